"""Third step: send the entry, once. Row, call, settle; a repeated task that finds the row sends nothing."""

from datetime import datetime
from uuid import UUID

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.ports import Exchange, OrderTicket
from execution.domain.states import OrderState, RequestState, RequestTrigger
from execution.domain.trading import PositionSide
from execution.models import ExecutionRequest, Order
from execution.orders.end_request import deny_setup, end_request, end_stopped, expire_request
from execution.orders.query_inflight import ask_at_once
from execution.orders.submit import approved_entry, persist_order, send
from execution.risk.entry_gate import CLOSED, Stack, closed_with
from execution.risk.reapproval import policy_is_newer, renew_approval
from execution.store.transitions import request_move


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
        deny_setup(request, mismatch, now=clock())
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
        end_request(request, RequestTrigger.GUARD_DENIED, reason, now=now, details=renewal.details)
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
    written = persist_order(request, approved_entry(request), recv_window_ms=recv_window_ms, now=now, after=move)
    if written is None:
        end_stopped(request, stack, now=now)
        return None
    request.state = RequestState.SUBMITTING
    return written
