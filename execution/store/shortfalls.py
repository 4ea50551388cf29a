"""Statements on the shortfalls of closed trades."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import F, Max, Q, QuerySet

from execution.domain.shortfall import BestPrices
from execution.domain.states import TRADE_OVER, TradeState
from execution.models import Shortfall, Trade

# Books may be committed this long after the time that they carry.
COMMITTED_WITHIN = timedelta(minutes=10)
# Best bid and ask of the book that each request was approved with.
ARRIVALS = """
    SELECT DISTINCT ON (entity_id) entity_id::uuid, details #>> '{inputs,quote,bids,0,0}',
        details #>> '{inputs,quote,asks,0,0}'
    FROM execution_auditevent
    WHERE entity = 'request' AND entity_id = ANY(%s) AND trigger = 'guard_approved'
    ORDER BY entity_id, id DESC
"""
COLUMNS = [field.name for field in Shortfall._meta.concrete_fields if not field.primary_key]


def trades_without_shortfall(*, most: int) -> QuerySet[Trade, Trade]:
    """Return closed trades without a shortfall or with one of older books, oldest books first."""
    reached: datetime | None = Shortfall.objects.aggregate(reached=Max("books_of"))["reached"]
    ended = Trade.objects.filter(state__in=sorted(TRADE_OVER))
    if reached:
        ended = ended.filter(updated_at__gte=reached - COMMITTED_WITHIN)
    due = Q(shortfall=None) | Q(shortfall__books_of__lt=F("updated_at"))
    fresh = ended.filter(due, state=TradeState.CLOSED).order_by("updated_at")
    return fresh.select_related("request").prefetch_related("fills")[:most]


def trades_corrected_since(*, most: int) -> QuerySet[Trade, Trade]:
    """Return trades whose books were corrected after their shortfall was computed."""
    corrected = Trade.objects.filter(corrections__gt=0, state=TradeState.CLOSED)
    due = corrected.filter(shortfall__corrections__lt=F("corrections"))
    return due.select_related("request").prefetch_related("fills")[:most]


def arrivals_of(trades: Sequence[UUID]) -> dict[UUID, BestPrices]:
    """Return the best prices that each trade's request was approved with, where the journal has them."""
    with connection.cursor() as cursor:
        cursor.execute(ARRIVALS, [[str(pk) for pk in trades]])
        return {pk: BestPrices(bid=Decimal(bid), ask=Decimal(ask)) for pk, bid, ask in cursor.fetchall() if bid and ask}


def save_shortfalls(rows: Sequence[Shortfall]) -> None:
    """Insert shortfalls, or replace those of the same trades."""
    Shortfall.objects.bulk_create(rows, update_conflicts=True, unique_fields=["trade"], update_fields=COLUMNS)
