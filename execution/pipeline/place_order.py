"""Third step: send the entry, once: write its row, call the exchange, settle the row.

A repeated task finds the row and sends nothing.
"""

from datetime import datetime
from uuid import UUID

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.ports import Exchange
from execution.domain.states import OrderState, RequestState, RequestTrigger
from execution.domain.trading import PositionSide
from execution.models import ExecutionRequest
from execution.orders.end_request import deny_setup, end_request, end_stopped, expire_request
from execution.orders.query_inflight import ask_at_once
from execution.orders.submit import approved_entry, persist_order, send
from execution.risk.entry_gate import Stack, closed_with
from execution.risk.reapproval import policy_is_newer, renew_approval
from execution.store.entry_gates import CLOSED
from execution.store.requests import load_request
from execution.store.transitions import request_move


def place_order(request_id: UUID, *, exchange: Exchange, stack: Stack, recv_window_ms: int, clock: Clock) -> bool:
    """Send a request's entry. Returns True when it has filled and its position needs protection now.

    Raises:
        ExchangeUnavailableError: the account could not be set up; nothing was sent, the request stays APPROVED.

    """
    request = load_request(request_id)
    if request.state != RequestState.APPROVED:
        return False
    if clock() > request.expires_at:
        expire_request(request, now=clock())
        return False
    # Before the account is set up for an entry that must not leave.
    if policy_is_newer(request) and not _is_approved_anew(request, clock()):
        return False
    mismatch = exchange.prepare_entry(
        request.symbol, leverage=request.leverage, position_side=PositionSide(request.position_side)
    )
    if mismatch:
        deny_setup(request, mismatch, now=clock())
        return False
    reached(CrashPoint.LEVERAGE_SET)
    # A trip may have come after the check: the statement stops an approved entry here, before it is sent.
    now = clock()
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
        return False
    request.state = RequestState.SUBMITTING
    order, ticket = written
    send(order, ticket, exchange=exchange, clock=clock)
    if order.state == OrderState.UNKNOWN:
        ask_at_once(order, exchange=exchange, clock=clock)
    return bool(order.request.state == RequestState.FILLED)


def _is_approved_anew(request: ExecutionRequest, now: datetime) -> bool:
    """Judge an approval by a policy that has changed since. A refusal ends the request."""
    renewal = renew_approval(request, now=now)
    if renewal.block:
        reason = (renewal.block.code, f"{renewal.block.code}: {renewal.block.sentence}")
        end_request(request, RequestTrigger.GUARD_DENIED, reason, now=now, details=renewal.details)
    return renewal.block is None
