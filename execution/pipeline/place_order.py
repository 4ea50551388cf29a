"""Fourth step: send the entry, once. Row, call, settle; a repeated task that finds the row sends nothing."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from execution.crash_points import CrashPoint, reached
from execution.domain.outcomes import Mismatch
from execution.domain.ports import Exchange, OrderTicket
from execution.domain.reasons import Reason
from execution.domain.states import OrderState, RequestState, RequestTrigger
from execution.domain.trading import OrderPurpose, OrderType, PositionSide
from execution.models import EssStatus, ExecutionRequest, Order
from execution.pipeline.asking import ask_at_once
from execution.pipeline.check_ess import known_block
from execution.pipeline.ending import end_request, expire_request
from execution.pipeline.entry_gate import CLOSED, Stack, closed_with, obstacle_to_entry
from execution.pipeline.guard_safety import stop_at
from execution.pipeline.placing import Intention, intend, send
from execution.pipeline.renew_approval import policy_is_newer, renew_approval
from execution.pipeline.transitions import request_move

Clock = Callable[[], datetime]


def place_order(request_id: UUID, *, exchange: Exchange, stack: Stack, recv_window_ms: int, clock: Clock) -> bool:
    """Send a request's entry; True when it has filled and its position needs cover now.

    Raises:
        ExchangeUnavailableError: the account could not be set up; nothing was sent, the request stays APPROVED.

    """
    request = ExecutionRequest.objects.get(pk=request_id)
    if request.state != RequestState.APPROVED:
        return False
    if clock() > request.expires_at:
        expire_request(request, now=clock())
        return False
    if policy_is_newer(request) and not _holds_still(request, clock()):
        return False
    mismatch = exchange.prepare_entry(
        request.symbol, leverage=request.leverage, position_side=PositionSide(request.position_side)
    )
    if mismatch:
        _refuse_setup(request, mismatch, clock())
        return False
    reached(CrashPoint.LEVERAGE_SET)
    written = _start(request, stack, recv_window_ms, clock())
    if written is None:
        return False
    order, ticket = written
    send(order, ticket, exchange=exchange, clock=clock)
    if order.state == OrderState.UNKNOWN:
        ask_at_once(order, exchange=exchange, clock=clock)
    return bool(order.request.state == RequestState.FILLED)


def _holds_still(request: ExecutionRequest, now: datetime) -> bool:
    """Hold an approval against a policy that has changed since; False when that refuses it, and then it has ended."""
    renewal = renew_approval(request, now=now)
    if renewal.veto:
        reason = (renewal.veto.code, f"{renewal.veto.code}: {renewal.veto.sentence}")
        end_request(request, RequestTrigger.GUARD_REFUSED, reason, now=now, details=renewal.details)
    return renewal.veto is None


def _start(
    request: ExecutionRequest, stack: Stack, recv_window_ms: int, now: datetime
) -> tuple[Order, OrderTicket] | None:
    """Write the intention; None when the request was moved, or entries were stopped in the meantime."""
    # A trip may have come after the check: whatever is in flight stops here, before the wire.
    move = request_move(
        request.pk,
        RequestState.APPROVED,
        RequestTrigger.SUBMISSION_STARTED,
        now=now,
        unless=CLOSED,
        unless_with=closed_with(stack, request.symbol, now=now),
    )
    written = intend(request, _entry(request), recv_window_ms=recv_window_ms, now=now, after=move)
    if written is None:
        _stop(request, stack, now)
        return None
    request.state = RequestState.SUBMITTING
    return written


def _stop(request: ExecutionRequest, stack: Stack, now: datetime) -> None:
    """Say what has stopped it; nothing has when somebody else moved it."""
    block = known_block()
    obstacle = obstacle_to_entry(stack, request.symbol, now=now)
    if block:
        _refuse_blocked(request, block, now)
    elif obstacle:
        stop_at(obstacle, request, now=now)


def _entry(request: ExecutionRequest) -> Intention:
    if request.quantity is None:
        raise ValueError(f"request {request.pk} was approved without a quantity")
    return Intention(
        purpose=OrderPurpose.ENTRY,
        sequence=1,
        order_type=OrderType(request.order_type),
        quantity=request.quantity,
        price=request.limit_price,
    )


def _refuse_setup(request: ExecutionRequest, mismatch: Mismatch, now: datetime) -> None:
    reason = (mismatch.reason, str(mismatch))
    end_request(request, RequestTrigger.GUARD_REFUSED, reason, now=now, failed={"error_code": mismatch.code})


def _refuse_blocked(request: ExecutionRequest, block: EssStatus, now: datetime) -> None:
    reason = (Reason.ESS_BLOCKED, f"ESS blocked: state={block.state} before sending ({block.source}: {block.reason})")
    end_request(request, RequestTrigger.ESS_BLOCKED, reason, now=now, failed={"ess_state": block.state})
