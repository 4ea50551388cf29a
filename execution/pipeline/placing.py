"""Row, call, settle: the one way in which an order of any purpose goes to the exchange."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import assert_never

import structlog
from django.db import IntegrityError
from tenacity import RetryCallState, Retrying, retry_if_result
from tenacity.wait import wait_exponential_jitter

from execution.crash_points import CrashPoint, reached
from execution.domain import policy as keys
from execution.domain.client_ids import client_order_id
from execution.domain.outcomes import Accepted, PlaceOutcome, Refused, Unknown
from execution.domain.ports import Exchange, Lane, OrderTicket
from execution.domain.trading import Direction, OrderPurpose, OrderType, PositionSide
from execution.models import ExecutionRequest, Order
from execution.pipeline.evidence import settle_accepted, settle_refused, settle_unknown
from execution.pipeline.policy import policy_in_force
from execution.pipeline.write import Move, Write

log = structlog.get_logger(__name__)
Clock = Callable[[], datetime]
# An order that could not leave by then is not sent at all, so that its absence can be proven later.
LONGEST_WAIT_BEFORE_SENDING = timedelta(seconds=10)
LANES = {
    OrderPurpose.ENTRY: Lane.ENTRY,
    OrderPurpose.STOP: Lane.PROTECT,
    OrderPurpose.TARGET: Lane.PROTECT,
    OrderPurpose.CLOSE: Lane.CLOSE,
}

# Right behind the commit of the row, the answer, and the commit of the outcome.
WRITTEN = {purpose: CrashPoint[f"{purpose}_WRITTEN"] for purpose in OrderPurpose}
ANSWERED = {purpose: CrashPoint[f"{purpose}_ANSWERED"] for purpose in OrderPurpose}
SETTLED = {purpose: CrashPoint[f"{purpose}_SETTLED"] for purpose in OrderPurpose}


@dataclass(frozen=True, kw_only=True)
class Intention:
    """An order that one of our steps wants at the exchange."""

    purpose: OrderPurpose
    sequence: int
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    close_reason: str = ""


def ticket_for(request: ExecutionRequest, intention: Intention) -> OrderTicket:
    """Return the order in the exchange's terms; everything but an entry only ever reduces."""
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
        # In hedge mode the position side itself makes an order reducing, and the exchange refuses the flag.
        reduce_only=not entry and side is PositionSide.BOTH,
    )


def intend(
    request: ExecutionRequest, intention: Intention, *, recv_window_ms: int, now: datetime, after: Move | None = None
) -> tuple[Order, OrderTicket] | None:
    """Write the order before it is sent; None when somebody else has written it, or when `after` could not be done.

    `after` is the request's move that belongs to the order: both are written, or neither.
    """
    ticket = ticket_for(request, intention)
    order = Order(
        request=request,
        purpose=intention.purpose,
        sequence=intention.sequence,
        client_order_id=ticket.client_order_id,
        book=ticket.book,
        symbol=ticket.symbol,
        side=ticket.side,
        position_side=ticket.position_side,
        order_type=ticket.order_type,
        quantity=ticket.quantity,
        price=ticket.price,
        trigger_price=ticket.trigger_price,
        reduce_only=ticket.reduce_only,
        close_reason=intention.close_reason,
        attempts=1,
        sent_at=now,
        recv_window_ms=recv_window_ms,
        created_at=now,
    )
    write = Write().move(after) if after else Write()
    try:
        written = write.insert(order).run()
    except IntegrityError:
        return None
    return (order, ticket) if written else None


def send(order: Order, ticket: OrderTicket, *, exchange: Exchange, clock: Clock) -> PlaceOutcome:
    """Call the exchange with no transaction open, and settle by outcome.

    Only an outcome that proves refusal and allows a repeat is tried again, each attempt written before it is sent.
    """
    purpose = OrderPurpose(order.purpose)
    reached(WRITTEN[purpose])
    outcome = _attempts(order, ticket, exchange, clock)
    reached(ANSWERED[purpose])
    now = clock()
    match outcome:
        case Accepted(report=report):
            settle_accepted(order, report, now=now, source="answer")
        case Refused():
            settle_refused(order, outcome, now=now)
        case Unknown():
            settle_unknown(order, outcome, now=now)
        case _:
            assert_never(outcome)
    reached(SETTLED[purpose])
    return outcome


def _attempts(order: Order, ticket: OrderTicket, exchange: Exchange, clock: Clock) -> PlaceOutcome:
    # Read only when there is something to try again.
    policy = cache(policy_in_force)

    def attempt() -> PlaceOutcome:
        lane = LANES[OrderPurpose(order.purpose)]
        return exchange.place(ticket, lane, send_before=clock() + LONGEST_WAIT_BEFORE_SENDING)

    def pause(state: RetryCallState) -> float:
        base, most = float(policy()[keys.RETRY_BASE]), float(policy()[keys.RETRY_MAX])
        return wait_exponential_jitter(multiplier=base, max=most)(state)

    def write_attempt(state: RetryCallState) -> None:
        log.warning("order_sent_again", client_order_id=ticket.client_order_id, attempt=state.attempt_number + 1)
        # The row as read goes on into the outcome and its event.
        order.attempts, order.sent_at = state.attempt_number + 1, clock()
        order.save(update_fields=["attempts", "sent_at"])
        reached(CrashPoint.ATTEMPT_WRITTEN)

    retrying = Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, Refused) and outcome.retry_safe),
        stop=lambda state: state.attempt_number >= int(policy()[keys.MAX_ORDER_RETRIES]),
        wait=pause,
        before_sleep=write_attempt,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    outcome: PlaceOutcome = retrying(attempt)
    return outcome
