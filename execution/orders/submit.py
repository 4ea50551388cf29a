"""Sends an order of any purpose to the exchange: its row first, then the call, then the outcome."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import assert_never

import structlog
from django.db import IntegrityError, InterfaceError, OperationalError, connection
from tenacity import RetryCallState, Retrying, retry_if_result
from tenacity.wait import wait_exponential_jitter

from execution.crash_points import CrashPoint, reached
from execution.domain import policy as keys
from execution.domain.client_ids import client_order_id
from execution.domain.clocks import Clock
from execution.domain.lots import entry_lot
from execution.domain.money import ceil_to, floor_to, plain
from execution.domain.outcomes import Accepted, PlaceOutcome, Refused, Unknown
from execution.domain.ports import EntryBlock, Exchange, ExchangeUnavailableError, Lane, OrderTicket
from execution.domain.reasons import Reason
from execution.domain.states import TRADE_OVER, OrderState
from execution.domain.trading import (
    Direction,
    InstrumentFilters,
    OrderPurpose,
    OrderType,
    PositionSide,
    Side,
    TimeInForce,
)
from execution.models import ExecutionRequest, Order
from execution.orders.apply_report import apply_rejection, apply_report, apply_unknown
from execution.risk.policy_store import policy_in_force
from execution.risk.pre_send_check import pre_send_check
from execution.store.atomic_write import Move, Write
from execution.store.contention import is_busy
from execution.store.orders import claim_next_attempt
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
# An order that could not leave by then is not sent at all, so that its absence can be proven later.
LONGEST_WAIT_BEFORE_SENDING = timedelta(seconds=10)
NOTHING_IS_LEFT = (
    "EXISTS (SELECT FROM execution_trade WHERE id = %s AND state = ANY(%s)) "
    "OR EXISTS (SELECT FROM execution_executionrequest WHERE id = %s AND reason_code = %s)"
)
LANES = {
    OrderPurpose.ENTRY: Lane.ENTRY,
    OrderPurpose.STOP: Lane.PROTECT,
    OrderPurpose.TARGET: Lane.PROTECT,
    OrderPurpose.TRAILING: Lane.PROTECT,
    OrderPurpose.CLOSE: Lane.CLOSE,
}

# Right behind the commit of the row, the answer, and the commit of the outcome.
WRITTEN = {purpose: CrashPoint[f"{purpose}_WRITTEN"] for purpose in OrderPurpose}
ANSWERED = {purpose: CrashPoint[f"{purpose}_ANSWERED"] for purpose in OrderPurpose}
SETTLED = {purpose: CrashPoint[f"{purpose}_SETTLED"] for purpose in OrderPurpose}


@dataclass(frozen=True, kw_only=True)
class OrderSpec:
    """An order that one of our steps wants at the exchange."""

    purpose: OrderPurpose
    sequence: int
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    callback_percent: Decimal | None = None
    time_in_force: TimeInForce | None = None
    close_reason: str = ""
    leg_id: int | None = None


def ticket_for(request: ExecutionRequest, intention: OrderSpec) -> OrderTicket:
    """Return the order in the exchange's terms.

    Every order but an entry only reduces.
    """
    direction, side = Direction(request.direction), PositionSide(request.position_side)
    entry = intention.purpose is OrderPurpose.ENTRY
    return OrderTicket(
        client_order_id=client_order_id(request.pk, intention.purpose, intention.sequence),
        symbol=request.symbol,
        side=direction.entry_side if entry else direction.exit_side,
        position_side=side,
        order_type=intention.order_type,
        quantity=intention.quantity,
        price=intention.price,
        trigger_price=intention.trigger_price,
        callback_percent=intention.callback_percent,
        # In hedge mode the position side itself makes an order reducing, and the exchange refuses the flag.
        reduce_only=not entry and side is PositionSide.BOTH,
        good_till=request.entry_expires_at if entry else None,
        time_in_force=intention.time_in_force,
    )


def persist_order(
    request: ExecutionRequest, intention: OrderSpec, *, recv_window_ms: int, now: datetime, after: Move | None = None
) -> tuple[Order, OrderTicket] | None:
    """Write the order before it is sent, None when it is not to be sent.

    It is None when another process has written the order, or when `after` could not be done.

    `after` is the request's move that belongs to the order: both are written, or neither. An exit is no longer written
    when its trade is closed, because it would reduce the symbol's next position.
    """
    written = persist_orders(request, [intention], recv_window_ms=recv_window_ms, now=now, after=after)
    return written[0] if written else None


def persist_orders(
    request: ExecutionRequest,
    intentions: Sequence[OrderSpec],
    *,
    recv_window_ms: int,
    now: datetime,
    after: Move | None = None,
) -> list[tuple[Order, OrderTicket]]:
    """Write orders as `persist_order` does, all of them in one statement or none."""
    written = [_row(request, each, recv_window_ms=recv_window_ms, now=now) for each in intentions]
    write = Write().move(after) if after else Write()
    over = [request.pk, sorted(TRADE_OVER), request.pk, Reason.WRITTEN_OFF]
    for order, _ in written:
        write.insert(order, unless=NOTHING_IS_LEFT, unless_with=over)
    try:
        return written if write.run() else []
    except IntegrityError:
        return []


def _row(
    request: ExecutionRequest, intention: OrderSpec, *, recv_window_ms: int, now: datetime
) -> tuple[Order, OrderTicket]:
    """Return an order, unsaved, with what is sent for it."""
    ticket = ticket_for(request, intention)
    order = Order(
        request=request,
        leg_id=intention.leg_id,
        purpose=intention.purpose,
        sequence=intention.sequence,
        client_order_id=ticket.client_order_id,
        service=ticket.service,
        symbol=ticket.symbol,
        side=ticket.side,
        position_side=ticket.position_side,
        order_type=ticket.order_type,
        quantity=ticket.quantity,
        price=ticket.price,
        trigger_price=ticket.trigger_price,
        callback_percent=ticket.callback_percent,
        time_in_force=ticket.time_in_force or "",
        reduce_only=ticket.reduce_only,
        close_reason=intention.close_reason,
        attempts=1,
        sent_at=now,
        recv_window_ms=recv_window_ms,
        created_at=now,
    )
    return order, ticket


def send(order: Order, ticket: OrderTicket, *, exchange: Exchange, clock: Clock) -> PlaceOutcome | None:
    """Call the exchange with no transaction open, and settle the order by the outcome.

    None when another process has settled the order.

    Only an outcome that proves refusal and allows a repeat is tried again, each attempt written before it is sent.
    A process that was stopped in between neither sends late nor acts on what it believed before.
    """
    purpose = OrderPurpose(order.purpose)
    reached(WRITTEN[purpose])
    outcome = attempt(Sending(order=order, ticket=ticket, exchange=exchange, clock=clock))
    reached(ANSWERED[purpose])
    return settle(order, outcome, now=clock())


def settle(order: Order, outcome: PlaceOutcome, *, now: datetime) -> PlaceOutcome | None:
    """Write an order's outcome and return it, None when another process has settled the order."""
    match outcome:
        case Accepted(report=report):
            apply_report(order, report, now=now, source="answer")
        case Refused():
            apply_rejection(order, outcome, now=now)
        case Unknown():
            apply_unknown(order, outcome, now=now)
        case _:
            assert_never(outcome)
    reached(SETTLED[OrderPurpose(order.purpose)])
    # The row as this process knows it has not moved: another process has moved it, and answers for what follows.
    return None if order.state == OrderState.SUBMITTING else outcome


def on_filters(ticket: OrderTicket, rules: InstrumentFilters) -> OrderTicket | None:
    """Return an entry's order on the present step and tick, None when it is out of bounds.

    It becomes neither larger nor worse in price.
    """
    lot = entry_lot(rules, ticket.order_type)
    quantity = floor_to(ticket.quantity, lot.step)
    if not (lot.minimum <= quantity <= lot.maximum and quantity > 0):
        return None
    rounder = floor_to if ticket.side is Side.BUY else ceil_to
    price = None if ticket.price is None else rounder(ticket.price, rules.tick_size)
    return replace(ticket, quantity=quantity, price=price)


@dataclass(kw_only=True)
class Sending:
    """The attempts to send one order. It is called once for each.

    `answered`: what the first attempt was answered, when it was made elsewhere. `at_turn` is called when an attempt's
    turn has come.
    """

    order: Order
    ticket: OrderTicket
    exchange: Exchange
    clock: Clock
    answered: PlaceOutcome | None = None
    at_turn: Callable[[], None] | None = None
    refused: Refused | None = None

    def __call__(self) -> PlaceOutcome:
        if self.refused and not take_attempt(self.order, now=self.clock()):
            return replace(self.refused, retry_safe=False)
        purpose = OrderPurpose(self.order.purpose)
        outcome, self.answered = self.answered, None
        if outcome is None:
            outcome = self.exchange.place(
                self.ticket,
                LANES[purpose],
                send_before=latest_sending(self.order),
                pre_send_check=self._pre_send_check if purpose is OrderPurpose.ENTRY else self._note_turn,
            )
        if purpose is OrderPurpose.ENTRY and isinstance(outcome, Refused) and outcome.by_filters:
            outcome = replace(outcome, retry_safe=self._round_anew())
        self.refused = outcome if isinstance(outcome, Refused) else None
        return outcome

    def _round_anew(self) -> bool:
        """Round an entry to the present filters.

        False when that changes nothing, or cannot be done.
        """
        try:
            rules = self.exchange.rules(self.ticket.symbol)
        except ExchangeUnavailableError:
            return False
        rounded = rules and on_filters(self.ticket, rules)
        if not rounded or rounded == self.ticket:
            return False
        details = {"quantity": [plain(self.ticket.quantity), plain(rounded.quantity)]}
        if self.ticket.price is not None and rounded.price is not None:
            details["price"] = [plain(self.ticket.price), plain(rounded.price)]
        log.warning("entry_rounded_anew", client_order_id=self.ticket.client_order_id, **details)
        request = self.order.request_id
        log_step("request", request, to_state="REGRIDDED", trigger="filters_changed", now=self.clock(), details=details)
        self.ticket = rounded
        # Written with the next attempt.
        self.order.quantity, self.order.price = rounded.quantity, rounded.price
        return True

    def _note_turn(self) -> None:
        if self.at_turn:
            self.at_turn()

    def _pre_send_check(self) -> EntryBlock | None:
        """Ask once more on a new connection when the database's has just been lost.

        The order is written and not sent: a task that is tried again would not send it any more.
        """
        try:
            return pre_send_check(self.order.request, now=self.clock())
        except (InterfaceError, OperationalError) as error:
            if is_busy(error):
                raise
            connection.close_if_unusable_or_obsolete()
            return pre_send_check(self.order.request, now=self.clock())


def latest_sending(order: Order) -> datetime:
    """Return until when an order may leave, counted from its row.

    A process that finds the row later knows until when this one may still send.
    """
    return order.sent_at + LONGEST_WAIT_BEFORE_SENDING


def take_attempt(order: Order, *, now: datetime) -> bool:
    """Write the next attempt before it is sent, False when this process may not send the order again.

    The number of the last attempt is the fence: a process that slept while another settled the order, or sent it again,
    is refused here. An entry is not sent again either when its decision is too old by now or entries have been stopped.
    """
    if not claim_next_attempt(order, now=now):
        return False
    # The row as read goes on into the outcome and its event.
    order.attempts, order.sent_at = order.attempts + 1, now
    log.warning("order_sent_again", client_order_id=order.client_order_id, attempt=order.attempts)
    reached(CrashPoint.ATTEMPT_WRITTEN)
    return True


def attempt(sending: Sending) -> PlaceOutcome:
    """Send an order, again where a refusal allows it, and return the last outcome."""
    # Read only when there is something to try again.
    policy = cache(policy_in_force)

    def pause(state: RetryCallState) -> float:
        base, most = float(policy()[keys.RETRY_BASE]), float(policy()[keys.RETRY_MAX])
        return wait_exponential_jitter(multiplier=base, max=most)(state)

    retrying = Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, Refused) and outcome.retry_safe),
        stop=lambda state: state.attempt_number >= int(policy()[keys.MAX_ORDER_RETRIES]),
        wait=pause,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    outcome: PlaceOutcome = retrying(sending)
    return outcome


def approved_entry(request: ExecutionRequest) -> OrderSpec:
    """Return the entry that a request was approved with."""
    if request.quantity is None:
        raise ValueError(f"request {request.pk} was approved without a quantity")
    return OrderSpec(
        purpose=OrderPurpose.ENTRY,
        sequence=1,
        order_type=OrderType(request.order_type),
        quantity=request.quantity,
        price=request.limit_price,
        time_in_force=TimeInForce(request.time_in_force) if request.time_in_force else None,
    )
