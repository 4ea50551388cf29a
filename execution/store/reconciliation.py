"""Rows that reconciliation compares with the exchange.

They are what is not over, what is due, and what readings count.

Functions that return querysets are for sweeps that read each row by itself (`store/quarantine.py`).
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, When

from execution.domain.json_values import JsonObject
from execution.domain.money import ZERO
from execution.domain.states import (
    ORDER_FINAL,
    ORDER_LIVE,
    ORDER_UNSETTLED,
    REQUEST_FINAL,
    TRADE_OPEN,
    TRADE_OVER,
    OrderState,
    TradeState,
)
from execution.domain.trading import Direction, OrderPurpose
from execution.models import AuditEvent, ExecutionRequest, Fill, KillSwitch, Order, PositionSlot, Trade

# Id, symbol, position side, number of orders that have filled it, filled and ordered quantity.
DoubledEntry = tuple[UUID, str, str, int, Decimal, Decimal | None]

# What a snapshot holds


def unfinished_orders_with_trades() -> QuerySet[Order, Order]:
    """Return the orders that are not over, each with its request and trade."""
    return Order.objects.exclude(state__in=ORDER_FINAL).select_related("request", "request__trade")


def lists_of_unfinished_orders(*, sent_before: datetime) -> list[tuple[str, str, bool]]:
    """Return symbol and service of each order that is not over, and whether it is in doubt.

    In doubt is an order that was sent before this time and has no outcome, was missed by a reading or has triggered.
    """
    doubtful = Q(state__in=sorted(ORDER_UNSETTLED | {OrderState.TRIGGERED}))
    doubtful |= Q(missing_readings__gt=0) | Q(alarmed_at__isnull=False)
    in_doubt = Case(When(doubtful & Q(sent_at__lte=sent_before), then=True), default=False)
    rows = Order.objects.exclude(state__in=ORDER_FINAL).annotate(in_doubt=in_doubt)
    return list(rows.values_list("symbol", "service", "in_doubt"))


def unfinished_requests() -> QuerySet[ExecutionRequest, ExecutionRequest]:
    """Return the requests that are not over."""
    return ExecutionRequest.objects.filter(~Q(state__in=sorted(REQUEST_FINAL)))


def open_trades_with_plans() -> QuerySet[Trade, Trade]:
    """Return the open trades, oldest first, each with its request, bracket and legs: two statements."""
    open_trades = Trade.objects.filter(state__in=TRADE_OPEN).select_related("request__bracket").order_by("created_at")
    return open_trades.prefetch_related("request__bracket__legs")


def open_trades_with_requests() -> QuerySet[Trade, Trade]:
    """Return the open trades, each with its request."""
    return Trade.objects.filter(state__in=TRADE_OPEN).select_related("request")


def open_trades_alone() -> QuerySet[Trade, Trade]:
    """Return the open trades, oldest first, without what belongs to them."""
    return Trade.objects.filter(state__in=sorted(TRADE_OPEN)).order_by("created_at")


def trades_ended_since(moment: datetime) -> QuerySet[Trade, Trade]:
    """Return the trades that are over and have changed at this moment or later."""
    return Trade.objects.filter(state__in=sorted(TRADE_OVER), updated_at__gte=moment)


def sides_of_open_trades() -> set[tuple[str, str]]:
    """Return symbol and position side of each open trade."""
    return set(Trade.objects.filter(state__in=TRADE_OPEN).values_list("symbol", "position_side"))


def finished_orders_named(names: Collection[str]) -> Iterable[Order]:
    """Return the finished orders with these client ids. Without ids no statement runs."""
    finished = Order.objects.filter(state__in=sorted(ORDER_FINAL))
    return finished.filter(client_order_id__in=names) if names else ()


def trades_due_for_look_over(*, unchanged_since: datetime, most: int) -> list[UUID]:
    """Return closed trades whose books were not looked over, those whose entry has filled further at once.

    `unchanged_since`: all others have changed at this moment at the latest. `most`: how many are returned, the first
    closed first.
    """
    unchecked = Trade.objects.filter(state=TradeState.CLOSED, checked_at=None)
    entries = Order.objects.filter(request=OuterRef("request"), purpose=OrderPurpose.ENTRY)
    grown = Exists(entries.filter(executed_quantity__gt=OuterRef("quantity")))
    due = unchecked.filter(Q(updated_at__lte=unchanged_since) | Q(grown))
    return list(due.order_by("exit_at").values_list("pk", flat=True)[:most])


# Orders


def find_order_named(client_order_id: str) -> Order | None:
    """Return the order of this client id with its request, None when the books have none."""
    return Order.objects.select_related("request").filter(client_order_id=client_order_id).first()


def orders_named(client_order_ids: Collection[str]) -> dict[str, Order]:
    """Return the orders of these client ids with their requests, by client id: one statement."""
    rows = Order.objects.select_related("request").filter(client_order_id__in=client_order_ids)
    return {order.client_order_id: order for order in rows}


def known_order_names(names: Collection[str]) -> set[str]:
    """Return those of these client ids that the books know. Without ids no statement runs."""
    return (
        set(Order.objects.filter(client_order_id__in=names).values_list("client_order_id", flat=True))
        if names
        else set()
    )


def note_entry_expired(order: Order, *, now: datetime) -> bool:
    """Write since when a live entry has rested for too long.

    Returns False when it is over or the time stands already.
    """
    live = Order.objects.filter(pk=order.pk, state__in=sorted(ORDER_LIVE), expired_at=None)
    return bool(live.update(expired_at=now))


def has_forgotten_sibling(order: Order, *, readings: int) -> bool:
    """Whether another live order of the same leg was missed by at least so many readings."""
    same = Order.objects.filter(request_id=order.request_id, purpose=order.purpose, leg_id=order.leg_id)
    forgotten = same.filter(state__in=sorted(ORDER_LIVE), missing_readings__gte=readings)
    return forgotten.exclude(pk=order.pk).exists()


def triggered_at(client_order_id: str) -> datetime | None:
    """Return when an order was last triggered by the journal, None when it was not."""
    lines = AuditEvent.objects.filter(entity="order", entity_id=client_order_id, to_state=OrderState.TRIGGERED)
    return lines.order_by("-id").values_list("at", flat=True).first()


# Trades


def find_open_trade(trade_id: UUID) -> Trade | None:
    """Return the trade when it is open."""
    return Trade.objects.filter(pk=trade_id, state__in=sorted(TRADE_OPEN)).first()


def is_trade_open(trade_id: UUID) -> bool:
    """Whether there is such a trade, and it is open."""
    return Trade.objects.filter(pk=trade_id, state__in=sorted(TRADE_OPEN)).exists()


def is_trade_over(trade_id: UUID) -> bool:
    """Whether there is such a trade, and it is over."""
    return Trade.objects.filter(pk=trade_id, state__in=sorted(TRADE_OVER)).exists()


def trade_ended_at(trade_id: UUID) -> datetime | None:
    """Return when a trade was closed, None without a trade or while it is open."""
    return Trade.objects.filter(pk=trade_id).values_list("exit_at", flat=True).first()


def booked_entry_quantity(trade_id: UUID) -> Decimal:
    """Return what a trade's entry has filled by the books.

    It is in the base asset, and zero without a trade.
    """
    return Trade.objects.filter(pk=trade_id).values_list("quantity", flat=True).first() or ZERO


def open_quantity_of_trades(symbol: str, position_side: str, direction: Direction) -> Decimal:
    """Return what open trades hold together on one side, in the base asset."""
    trades = Trade.objects.filter(
        symbol=symbol, position_side=position_side, direction=direction, state__in=sorted(TRADE_OPEN)
    )
    return trades.aggregate(open=Sum(F("quantity") - F("exited_quantity")))["open"] or ZERO


def end_late_look_over(trade_id: UUID, *, closed_before: datetime, now: datetime) -> bool:
    """Take the books of a trade that was closed by then for looked over.

    Returns False when the trade was closed later, or its books are looked over already.
    """
    late = Trade.objects.filter(pk=trade_id, checked_at=None, exit_at__lte=closed_before)
    return bool(late.update(checked_at=now))


def count_flat_reading(trade_id: UUID) -> bool:
    """Count a reading that shows less than the trade, and return whether it is the first."""
    if Trade.objects.filter(pk=trade_id, flat_readings=0).update(flat_readings=1):
        return True
    Trade.objects.filter(pk=trade_id).update(flat_readings=F("flat_readings") + 1)
    return False


# Fills


def booked_origins(symbol: str, trade_ids: Collection[int]) -> list[tuple[str, str | None]]:
    """Return exchange order id and client id behind the booked fills of these numbers.

    The client id is None where the fill is of an order that is not ours.
    """
    booked = Fill.objects.filter(symbol=symbol, exchange_trade_id__in=trade_ids)
    return list(booked.values_list("exchange_order_id", "order__client_order_id"))


def names_by_exchange_order_id(symbol: str, order_ids: Collection[str]) -> dict[str, str]:
    """Return the client ids of our orders by the exchange's order id."""
    ours = Order.objects.filter(symbol=symbol, exchange_order_id__in=order_ids)
    return dict(ours.values_list("exchange_order_id", "client_order_id"))


# Invariants and kill switch


def doubled_entries() -> list[DoubledEntry]:
    """Return the open trades that more than one order has filled, or that are larger than their entry."""
    entry = Order.objects.filter(request_id=OuterRef("pk"), purpose=OrderPurpose.ENTRY)
    fills = Count("fills__exchange_order_id", filter=Q(fills__entry=True), distinct=True)
    trades = Trade.objects.filter(state__in=sorted(TRADE_OPEN)).annotate(
        orders=fills, ordered=Subquery(entry.values("quantity")[:1])
    )
    return list(
        trades.filter(Q(orders__gt=1) | Q(quantity__gt=F("ordered"))).values_list(
            "pk", "symbol", "position_side", "orders", "quantity", "ordered"
        )
    )


def save_journal_lines(lines: Sequence[AuditEvent]) -> None:
    """Insert these lines of the journal: one statement."""
    AuditEvent.objects.bulk_create(lines)


def report_kill_switch(switch: KillSwitch, report: JsonObject, *, completed_at: datetime | None) -> None:
    """Write what is left to do, unless another run has completed the work or the switch was released."""
    KillSwitch.objects.filter(pk=switch.pk, completed_at=None, released_at=None).update(
        report=report, completed_at=completed_at
    )


def sides_of_our_slots() -> set[tuple[str, str]]:
    """Return symbol and side of each position slot that is not for an external position."""
    claims = PositionSlot.objects.filter(request__external_position=None)
    return set(claims.values_list("symbol", "position_side"))
