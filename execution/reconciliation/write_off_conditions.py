"""Whether the exchange denies what our books still hold of a decision: read at this moment, and nothing is changed.

Everything that speaks for a position, an order or a fill that may still be found is an objection. Without one the
exchange knows nothing of it: its position is flat in two readings, none of its orders is open or can be looked up, and
there is no fill that is not booked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from execution.domain.clocks import Clock, age_of
from execution.domain.money import ZERO, plain
from execution.domain.outcomes import Missing, OrderReport, PositionReport, Unreadable
from execution.domain.ports import Exchange
from execution.domain.states import (
    ORDER_FINAL,
    ORDER_UNSETTLED,
    REQUEST_BEFORE_WIRE,
    REQUEST_FINAL,
    REQUEST_UNBOOKED,
    TRADE_OPEN,
)
from execution.domain.traces import weigh
from execution.domain.trading import OrderPurpose, OrderService, PositionSide
from execution.models import ExecutionRequest, Order, PositionSlot, Trade
from execution.reconciliation.order_traces import query_of, read_traces
from execution.reconciliation.resolve_inflight import latest_arrival
from execution.trades.book_exits import new_exits

# What has moved more lately is still on its way through the chain or the monitor.
AT_REST_FOR = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class WriteOffCase:
    """What our books still hold of one decision."""

    request: ExecutionRequest
    trade: Trade | None
    # Those that are not over, oldest first.
    orders: tuple[Order, ...]
    claimed: bool

    @property
    def trade_is_open(self) -> bool:
        return self.trade is not None and self.trade.state in TRADE_OPEN

    @property
    def request_is_open(self) -> bool:
        return self.request.state not in REQUEST_FINAL | REQUEST_BEFORE_WIRE

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write off; a decision that has not left yet expires by itself."""
        return self.request.state in REQUEST_BEFORE_WIRE or not (
            self.trade_is_open or self.request_is_open or self.orders or self.claimed
        )

    @property
    def states(self) -> dict[str, str]:
        """The states by what they are of; two holdings with the same are the same."""
        found = {"request": str(self.request.state)}
        if self.trade:
            left = f"exited {plain(self.trade.exited_quantity)} of {plain(self.trade.quantity)}"
            found["trade"] = f"{self.trade.state}, {left}"
        for order in self.orders:
            found[order.client_order_id] = f"{order.purpose} {order.state}, executed {plain(order.executed_quantity)}"
        return found


@dataclass(frozen=True, kw_only=True)
class VenueDenial:
    """What the exchange said, sentence by sentence; any objection keeps the books as they are."""

    read_at: datetime
    said: tuple[str, ...]
    objections: tuple[str, ...]


def holding_of(request_id: UUID) -> WriteOffCase:
    """Read what our books hold of a decision.

    Raises:
        ExecutionRequest.DoesNotExist: there is no such decision.

    """
    request = ExecutionRequest.objects.get(pk=request_id)
    unfinished = Order.objects.filter(request_id=request_id).exclude(state__in=sorted(ORDER_FINAL))
    return WriteOffCase(
        request=request,
        trade=Trade.objects.select_related("request").filter(pk=request_id).first(),
        orders=tuple(unfinished.select_related("request").order_by("id")),
        claimed=PositionSlot.objects.filter(request_id=request_id).exists(),
    )


def read_denial(held: WriteOffCase, *, exchange: Exchange, clock: Clock) -> VenueDenial:
    """Ask the exchange about everything that our books hold.

    Raises:
        ExchangeUnavailableError: it did not answer one of the questions; then nobody knows.

    """
    asked = _Asked(held=held, exchange=exchange, said=[], now=clock())
    # Orders first: a position that is seen has its orders in the lists.
    objections = (
        *_unsettled_books(asked),
        *_open_orders(asked),
        *_look_ups(asked),
        *_fills(asked),
        *_positions(asked),
    )
    return VenueDenial(read_at=asked.now, said=tuple(asked.said), objections=objections)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    held: WriteOffCase
    exchange: Exchange
    said: list[str]
    now: datetime


def _unsettled_books(asked: _Asked) -> Iterator[str]:
    """Object to what our own work has not finished with: fast paths, patience and the monitor come first."""
    held, now = asked.held, asked.now
    for order in held.orders:
        if order.state in ORDER_UNSETTLED and now < latest_arrival(order):
            yield f"ORDER_MAY_ARRIVE: {order.client_order_id} until={latest_arrival(order).isoformat()}"
    if held.trade and held.trade_is_open:
        if not held.trade.flat_readings:
            yield "NOT_MISSED_YET: no monitor cycle has found the position smaller than the trade without fills"
    elif held.request.state in REQUEST_UNBOOKED and age_of(held.request.moved_at, now) < AT_REST_FOR:
        yield f"NOT_MISSED_YET: state={held.request.state} since={held.request.moved_at.isoformat()}"
    else:
        for order in held.orders:
            if not (order.missing_readings or order.alarmed_at or order.cancel_tries):
                yield f"NOT_MISSED_YET: no monitor cycle has missed order {order.client_order_id}"


def _open_orders(asked: _Asked) -> Iterator[str]:
    """Object to open orders of this decision, and to those in its symbol that our books do not know."""
    exchange, request = asked.exchange, asked.held.request
    reports = [*exchange.open_orders(), *exchange.open_algo_orders()]
    names = {report.client_order_id for report in reports if report.symbol == request.symbol}
    known = dict(Order.objects.filter(client_order_id__in=names).values_list("client_order_id", "request_id"))
    asked.said.append(f"open orders of ours in {request.symbol}: {', '.join(sorted(names)) or 'none'}")
    for name in sorted(names):
        if known.get(name, request.pk) == request.pk:
            yield f"ORDER_IS_OPEN: {name}"


def _look_ups(asked: _Asked) -> Iterator[str]:
    """Object to each unfinished order that the exchange still knows something about."""
    for order in asked.held.orders:
        found = asked.exchange.look_up(order.symbol, order.client_order_id, OrderService(order.service))
        match found:
            case OrderReport():
                executed = f"{found.status} executed={plain(found.executed_quantity)}"
                asked.said.append(f"{order.client_order_id}: {executed}")
                yield f"ORDER_IS_KNOWN: {order.client_order_id} {executed}; the monitor settles it"
            case Missing():
                asked.said.append(f"{order.client_order_id}: {found.message}")
            case Unreadable():
                asked.said.append(f"{order.client_order_id}: {found.message}")
                if asked.exchange.rules(order.symbol) is not None:
                    yield f"ORDER_UNREADABLE: {order.client_order_id} {found.message}"
            case _:
                assert_never(found)


def _fills(asked: _Asked) -> Iterator[str]:
    """Object to fills that are not in the books: they are booked, not written off."""
    if asked.held.trade and asked.held.trade_is_open:
        fresh = new_exits(asked.held.trade, asked.exchange)
        asked.said.append(f"exit fills that are not booked: {len(fresh)}")
        if fresh:
            quantity = plain(sum((fill.quantity for fill in fresh), ZERO))
            yield f"FILLS_FOUND: exits={len(fresh)} quantity={quantity}; the monitor books them"
        yield from _further_entry_fills(asked, asked.held.trade)
    elif asked.held.request_is_open:
        yield from _entry_traces(asked)


def _further_entry_fills(asked: _Asked, trade: Trade) -> Iterator[str]:
    """Object to fills of an entry that still rests by our books, beyond those that are booked."""
    for entry in asked.held.orders:
        if entry.purpose == OrderPurpose.ENTRY and entry.exchange_order_id:
            fills = asked.exchange.fills_of_order(entry.symbol, entry.exchange_order_id, since=entry.created_at)
            filled = sum((fill.quantity for fill in fills), ZERO)
            if filled > trade.quantity:
                yield f"FILLS_FOUND: entry={plain(filled)} booked={plain(trade.quantity)}; the monitor books them"


def _entry_traces(asked: _Asked) -> Iterator[str]:
    entry = Order.objects.filter(request=asked.held.request, purpose=OrderPurpose.ENTRY).first()
    if entry is None:
        return
    weight = weigh(query_of(entry), read_traces(entry, asked.exchange))
    asked.said.append(f"traces of the entry: {weight.sentence}")
    if weight.speaks_for_arrival:
        yield f"FILLS_FOUND: {weight.sentence}"


def _positions(asked: _Asked) -> Iterator[str]:
    """Object to any position that may be this one, by two readings; one empty answer is not flat."""
    symbol, side = asked.held.request.symbol, _side_of(asked.held)
    for name, rows in (
        ("all positions", asked.exchange.positions()),
        (f"positions in {symbol}", asked.exchange.positions_in(symbol)),
    ):
        there = [row for row in rows if row.symbol == symbol and _is_same_side(row, side)]
        asked.said.append(f"{name}: {_told(there) or f'{symbol} {side} is flat'}")
        if there:
            yield f"POSITION_IS_THERE: {_told(there)}"


def _side_of(held: WriteOffCase) -> str:
    if held.trade:
        return str(held.trade.position_side)
    return str(held.request.position_side) or PositionSide.BOTH.value


def _is_same_side(row: PositionReport, side: str) -> bool:
    """Whether a row may be the position: after a change of the position mode any row of the symbol may."""
    return row.position_side == side or PositionSide.BOTH in {row.position_side, side}


def _told(rows: Sequence[PositionReport]) -> str:
    return ", ".join(f"{row.symbol} {row.position_side} quantity={plain(row.quantity)}" for row in rows)
