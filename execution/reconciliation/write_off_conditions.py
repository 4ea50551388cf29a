"""Asks the exchange whether it denies what our books still hold of a decision. Nothing is changed.

Everything that speaks for a position, an order or a fill that may still be found is an objection. Without one the
exchange knows nothing of it: its position is flat in two readings, none of its orders is open or can be looked up, and
there is no fill that is not booked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from execution.domain.clocks import Clock, age_of
from execution.domain.money import ZERO, plain
from execution.domain.outcomes import Missing, OrderReport, PositionReport, Unreadable
from execution.domain.ports import Exchange
from execution.domain.states import (
    ORDER_UNSETTLED,
    REQUEST_BEFORE_WIRE,
    REQUEST_FINAL,
    REQUEST_UNBOOKED,
    TRADE_OPEN,
)
from execution.domain.traces import weigh
from execution.domain.trading import OrderPurpose, OrderService, PositionSide
from execution.models import ExecutionRequest, Order, Trade
from execution.reconciliation.order_traces import query_of, read_traces
from execution.reconciliation.resolve_inflight import latest_arrival
from execution.store.requests import load_request
from execution.store.slots import has_slot
from execution.store.write_offs import (
    decisions_of_orders,
    entry_of_decision,
    trade_of_decision,
    unfinished_orders_of_decision,
)
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
        """Whether there is nothing to write off. A decision that was not sent yet expires by itself."""
        return self.request.state in REQUEST_BEFORE_WIRE or not (
            self.trade_is_open or self.request_is_open or self.orders or self.claimed
        )

    @property
    def states(self) -> dict[str, str]:
        """The states by what they are of. Two holdings with the same states are the same."""
        found = {"request": str(self.request.state)}
        if self.trade:
            left = f"exited {plain(self.trade.exited_quantity)} of {plain(self.trade.quantity)}"
            found["trade"] = f"{self.trade.state}, {left}"
        for order in self.orders:
            found[order.client_order_id] = f"{order.purpose} {order.state}, executed {plain(order.executed_quantity)}"
        return found


@dataclass(frozen=True, kw_only=True)
class VenueDenial:
    """What the exchange answered, sentence by sentence. Any objection keeps the books as they are."""

    read_at: datetime
    answers: tuple[str, ...]
    objections: tuple[str, ...]


def holding_of(request_id: UUID) -> WriteOffCase:
    """Read what our books hold of a decision.

    Raises:
        ExecutionRequest.DoesNotExist: there is no such decision.

    """
    return WriteOffCase(
        request=load_request(request_id),
        trade=trade_of_decision(request_id),
        orders=unfinished_orders_of_decision(request_id),
        claimed=has_slot(request_id),
    )


def read_denial(held: WriteOffCase, *, exchange: Exchange, clock: Clock) -> VenueDenial:
    """Ask the exchange about everything that our books hold.

    Raises:
        ExchangeUnavailableError: it did not answer one of the questions, so that nothing is known.

    """
    inquiry = _Inquiry(held=held, exchange=exchange, answers=[], now=clock())
    # Orders first: a position that is seen has its orders in the lists.
    objections = (
        *inquiry.unsettled_books(),
        *inquiry.open_orders(),
        *inquiry.look_ups(),
        *inquiry.fills(),
        *inquiry.positions(),
    )
    return VenueDenial(read_at=inquiry.now, answers=tuple(inquiry.answers), objections=objections)


@dataclass(frozen=True, kw_only=True)
class _Inquiry:
    """One case and the exchange's answers so far. Each method yields objections."""

    held: WriteOffCase
    exchange: Exchange
    answers: list[str]
    now: datetime

    def unsettled_books(self) -> Iterator[str]:
        """Object to what the chain, the protector and reconciliation have not finished with: they come first."""
        held, now = self.held, self.now
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

    def open_orders(self) -> Iterator[str]:
        """Object to open orders of this decision, and to those in its symbol that our books do not know."""
        request = self.held.request
        reports = [*self.exchange.open_orders(), *self.exchange.open_algo_orders()]
        names = {report.client_order_id for report in reports if report.symbol == request.symbol}
        known = decisions_of_orders(names)
        self.answers.append(f"open orders of ours in {request.symbol}: {', '.join(sorted(names)) or 'none'}")
        for name in sorted(names):
            if known.get(name, request.pk) == request.pk:
                yield f"ORDER_IS_OPEN: {name}"

    def look_ups(self) -> Iterator[str]:
        """Object to each unfinished order that the exchange still knows something about."""
        for order in self.held.orders:
            found = self.exchange.look_up(order.symbol, order.client_order_id, OrderService(order.service))
            match found:
                case OrderReport():
                    executed = f"{found.status} executed={plain(found.executed_quantity)}"
                    self.answers.append(f"{order.client_order_id}: {executed}")
                    yield f"ORDER_IS_KNOWN: {order.client_order_id} {executed}; the monitor settles it"
                case Missing():
                    self.answers.append(f"{order.client_order_id}: {found.message}")
                case Unreadable():
                    self.answers.append(f"{order.client_order_id}: {found.message}")
                    if self.exchange.rules(order.symbol) is not None:
                        yield f"ORDER_UNREADABLE: {order.client_order_id} {found.message}"
                case _:
                    assert_never(found)

    def fills(self) -> Iterator[str]:
        """Object to fills that are not in the books: they are booked, not written off."""
        if self.held.trade and self.held.trade_is_open:
            fresh = new_exits(self.held.trade, self.exchange)
            self.answers.append(f"exit fills that are not booked: {len(fresh)}")
            if fresh:
                quantity = plain(sum((fill.quantity for fill in fresh), ZERO))
                yield f"FILLS_FOUND: exits={len(fresh)} quantity={quantity}; the monitor books them"
            yield from self.further_entry_fills(self.held.trade)
        elif self.held.request_is_open:
            yield from self.entry_traces()

    def further_entry_fills(self, trade: Trade) -> Iterator[str]:
        """Object to fills of an entry that still rests by our books, beyond those that are booked."""
        for entry in self.held.orders:
            if entry.purpose == OrderPurpose.ENTRY and entry.exchange_order_id:
                fills = self.exchange.fills_of_order(entry.symbol, entry.exchange_order_id, since=entry.created_at)
                filled = sum((fill.quantity for fill in fills), ZERO)
                if filled > trade.quantity:
                    yield f"FILLS_FOUND: entry={plain(filled)} booked={plain(trade.quantity)}; the monitor books them"

    def entry_traces(self) -> Iterator[str]:
        """Object to fills and positions that speak for an entry without a trade."""
        entry = entry_of_decision(self.held.request.pk)
        if entry is None:
            return
        inference = weigh(query_of(entry), read_traces(entry, self.exchange))
        self.answers.append(f"traces of the entry: {inference.sentence}")
        if inference.speaks_for_arrival:
            yield f"FILLS_FOUND: {inference.sentence}"

    def positions(self) -> Iterator[str]:
        """Object to any position that may be this one, by two readings: one empty answer is not flat."""
        symbol, side = self.held.request.symbol, _side_of(self.held)
        for name, rows in (
            ("all positions", self.exchange.positions()),
            (f"positions in {symbol}", self.exchange.positions_in(symbol)),
        ):
            there = ", ".join(
                f"{row.symbol} {row.position_side} quantity={plain(row.quantity)}"
                for row in rows
                if row.symbol == symbol and _is_same_side(row, side)
            )
            self.answers.append(f"{name}: {there or f'{symbol} {side} is flat'}")
            if there:
                yield f"POSITION_IS_THERE: {there}"


def _side_of(held: WriteOffCase) -> str:
    if held.trade:
        return str(held.trade.position_side)
    return str(held.request.position_side) or PositionSide.BOTH.value


def _is_same_side(row: PositionReport, side: str) -> bool:
    """Whether a row may be the position: after a change of the position mode any row of the symbol may."""
    return row.position_side == side or PositionSide.BOTH in {row.position_side, side}
