"""Rows of positions whose stops do not close all of them, by the books.

A time that cannot be is not waited for: a row that carries one counts as old (`domain/bounds.py`).
"""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import DecimalField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest

from execution.domain.bounds import LATEST
from execution.domain.money import ZERO
from execution.domain.states import ORDER_LIVE, TRADE_OPEN, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import BracketLeg, ExecutionRequest, Fill, Order, Trade

# How long after its execution an exit may wait for its books: the stream is waited for, then fills are read.
BOOKED_WITHIN = timedelta(seconds=5)


def requests_filled(*, before: datetime) -> list[UUID]:
    """Return the requests that have been FILLED, and no further, since then."""
    moved = Q(moved_at__lte=before) | Q(moved_at__gte=LATEST)
    return list(ExecutionRequest.objects.filter(moved, state=RequestState.FILLED).values_list("pk", flat=True))


def requests_partly_filled(*, before: datetime, missed: int) -> list[UUID]:
    """Return the requests whose entry has filled in part since then, without a trade and without a stop.

    `missed`: a stop that so many readings have missed does not count.
    """
    partly = ExecutionRequest.objects.filter(state=RequestState.ACCEPTED, trade=None)
    entries = Order.objects.filter(request=OuterRef("pk"), purpose=OrderPurpose.ENTRY, executed_quantity__gt=0)
    seen = Q(last_evidence_at__lte=before) | Q(last_evidence_at__gte=LATEST)
    partly = partly.filter(Exists(entries.filter(seen)), ~Exists(_stops(missed)))
    return list(partly.values_list("pk", flat=True))


def trades_short_of_stops(*, before: datetime, missed: int) -> QuerySet[Trade, Trade]:
    """Return the open trades whose planned stops close less than is left, unchanged since then.

    What an exit has executed is not left, although its fills are booked a moment later. `stopped_quantity` returns what
    their stops close, `left_quantity` what is left. `missed`: a stop that so many readings have missed does not count.
    """
    planned = BracketLeg.objects.filter(bracket_id=OuterRef("pk"), purpose=OrderPurpose.STOP)
    changed = Q(updated_at__lte=before) | Q(updated_at__gte=LATEST)
    trades = Trade.objects.filter(Exists(planned), changed, state__in=sorted(TRADE_OPEN))
    remaining = _stops(missed).order_by().values("request_id").annotate(all=Sum(F("quantity") - F("executed_quantity")))
    cover = _sum_of(Subquery(remaining.values("all")))
    left = F("quantity") - F("exited_quantity") - _being_booked(executed_after=before - BOOKED_WITHIN)
    short = trades.annotate(left=left, cover=cover).filter(left__gt=F("cover"))
    return short.select_related("request__bracket")


def stopped_quantity(trade: Trade) -> Decimal:
    """Return what the stops of a trade from `trades_short_of_stops` close together, in the base asset."""
    cover: Decimal = trade.__dict__["cover"]
    return cover


def left_quantity(trade: Trade) -> Decimal:
    """Return what is left of a trade from `trades_short_of_stops`, in the base asset."""
    left: Decimal = trade.__dict__["left"]
    return left


def stops_in_doubt(*, missed: int, until: datetime, most: int) -> list[int]:
    """Return the live stops of open trades that a reading has missed, and fewer than `missed` have, until then."""
    doubted = Order.objects.filter(
        purpose=OrderPurpose.STOP,
        state__in=sorted(ORDER_LIVE),
        missing_readings__range=(1, missed - 1),
        last_evidence_at__lte=until,
        request__trade__state__in=sorted(TRADE_OPEN),
    )
    return list(doubted.order_by("last_evidence_at").values_list("pk", flat=True)[:most])


def _being_booked(*, executed_after: datetime) -> Combinable:
    """Return what the exits of the trade around this query have executed since then, and no fill has booked."""
    exits = Order.objects.filter(request_id=OuterRef("pk"), last_evidence_at__gt=executed_after)
    exits = exits.exclude(purpose=OrderPurpose.ENTRY).order_by()
    fills = Fill.objects.filter(trade_id=OuterRef("pk"), entry=False, order__last_evidence_at__gt=executed_after)
    executed = exits.values("request_id").annotate(all=Sum("executed_quantity")).values("all")
    booked = fills.order_by().values("trade_id").annotate(all=Sum("quantity")).values("all")
    return Greatest(_sum_of(Subquery(executed)) - _sum_of(Subquery(booked)), Value(ZERO), output_field=DecimalField())


def _sum_of(row: Subquery) -> Coalesce:
    return Coalesce(row, ZERO, output_field=DecimalField())


def _stops(missed: int) -> QuerySet[Order, Order]:
    """Return the live stops that count, of the request or trade around this query."""
    return Order.objects.filter(
        request_id=OuterRef("pk"),
        purpose=OrderPurpose.STOP,
        state__in=sorted(ORDER_LIVE),
        missing_readings__lt=missed,
        overdue_at=None,
    )
