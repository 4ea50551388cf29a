"""Trades as the neighbours know them: newest first, each open, closed or on its way out."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db.models import Case, Exists, OuterRef, Prefetch, Q, QuerySet, Value, When

from execution.domain.states import ORDER_FINAL, TRADE_OPEN, TradeState
from execution.domain.trading import OrderPurpose
from execution.models import Order, Trade
from execution.queries.kept import kept
from execution.store.quarantine import read_each


class TradeStatus(StrEnum):
    """A trade in one word. `pending_exit`: it is open, and its exit is under way or not yet booked.

    `written_off`: the exchange denies its position, its last fills were never found, and an operator has ended it.
    """

    OPEN = "open"
    CLOSED = "closed"
    PENDING_EXIT = "pending_exit"
    WRITTEN_OFF = "written_off"


@dataclass(frozen=True, kw_only=True)
class TradeCounts:
    """The numbers of all trades, whatever a page shows of them."""

    total: int
    open: int
    closed: int
    written_off: int


STILL_OPEN = Q(state__in=sorted(TRADE_OPEN))
OVER = {TradeStatus.CLOSED: TradeState.CLOSED, TradeStatus.WRITTEN_OFF: TradeState.WRITTEN_OFF}


def trades() -> QuerySet[Trade, Any]:
    """Return all trades, newest first, with `status`, decision, bracket and orders.

    It takes three statements for any number.
    """
    status = Case(
        When(state=TradeState.CLOSED, then=Value(TradeStatus.CLOSED)),
        When(state=TradeState.WRITTEN_OFF, then=Value(TradeStatus.WRITTEN_OFF)),
        When(_leaving(), then=Value(TradeStatus.PENDING_EXIT)),
        default=Value(TradeStatus.OPEN),
    )
    orders = Prefetch("request__orders", Order.objects.order_by("id"))
    rows = Trade.objects.select_related("request__bracket").prefetch_related(orders, "request__bracket__legs")
    rows = rows.annotate(status=status)
    return rows.order_by("-entry_at", "-id")


def trade_exists(trade_id: UUID) -> bool:
    """Whether there is a trade of this id."""
    return Trade.objects.filter(pk=trade_id).exists()


def with_status(rows: QuerySet[Trade], status: TradeStatus) -> QuerySet[Trade]:
    """Keep the trades of one status. The conditions are those of the partial indexes."""
    if status in OVER:
        return rows.filter(state=OVER[status])
    if status is TradeStatus.PENDING_EXIT:
        return rows.filter(STILL_OPEN, _leaving())
    return rows.filter(STILL_OPEN).exclude(_leaving())


def page_of(rows: QuerySet[Trade], *, limit: int, offset: int) -> list[Trade]:
    """Return a part of `trades()`, filtered or not: first the ids by an index alone, then only these rows.

    Skipping a hundred thousand whole rows would work out the status of each of them.
    """
    ids = list(rows.values_list("pk", flat=True)[offset : offset + limit])
    # A row that cannot be read is missing from its page; health names it.
    return read_each(trades().filter(pk__in=ids))


def count_trades() -> TradeCounts:
    """Count all trades. Of large books the counts may be a moment old."""
    return kept("trade_counts", _count_trades)


def _count_trades() -> TradeCounts:
    """Count those that are not closed by their partial indexes.

    One statement for all would read every row.
    """
    total, still_open = Trade.objects.count(), Trade.objects.filter(STILL_OPEN).count()
    written_off = Trade.objects.filter(state=TradeState.WRITTEN_OFF).count()
    closed = total - still_open - written_off
    return TradeCounts(total=total, open=still_open, closed=closed, written_off=written_off)


def _leaving() -> Q:
    """Match trades with an exit order under way, and flat trades whose fills are awaited."""
    exits = Order.objects.filter(request=OuterRef("request"), purpose=OrderPurpose.CLOSE)
    return Q(flat_readings__gt=0) | Q(Exists(exits.exclude(state__in=sorted(ORDER_FINAL))))
