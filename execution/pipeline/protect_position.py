"""Fifth step: put the stop at the exchange, then the target, as soon as the executed quantity is known.

A position that cannot get its stop is closed at market: naked is not a state that we accept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Max, Sum

from execution.domain.money import ZERO
from execution.domain.outcomes import Accepted, PlaceOutcome, Refused
from execution.domain.policy import Policy
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason, Reason
from execution.domain.states import ORDER_FINAL, ORDER_LIVE, RequestState, RequestTrigger
from execution.domain.trading import OrderPurpose, OrderType
from execution.models import ExecutionRequest, Fill
from execution.pipeline.cancelling import cancel_order
from execution.pipeline.placing import Intention, intend, send
from execution.pipeline.policy import policy_in_force
from execution.pipeline.transitions import move_request

log = structlog.get_logger(__name__)
Clock = Callable[[], datetime]
WOULD_TRIGGER_IMMEDIATELY = -2021
TYPES = {OrderPurpose.STOP: OrderType.STOP_MARKET, OrderPurpose.TARGET: OrderType.TAKE_PROFIT_MARKET}


@dataclass(frozen=True, kw_only=True)
class ProtectionRules:
    """How long a position may be without a confirmed stop, and the receive window of our orders."""

    max_unprotected: timedelta
    recv_window_ms: int


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One run of this step."""

    request: ExecutionRequest
    quantity: Decimal
    exchange: Exchange
    policy: Policy
    rules: ProtectionRules
    clock: Clock


def protect_position(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Cover what a request's entry has filled and not yet exited; True when its fills can be recorded.

    Safe to run twice at once: a leg is written before it is sent, and each can be written once only.
    """
    request = ExecutionRequest.objects.get(pk=request_id)
    if request.state not in {RequestState.ACCEPTED, RequestState.FILLED, RequestState.PROTECTED, RequestState.RECORDED}:
        return bool(request.state == RequestState.FLATTENED)
    quantity = open_quantity(request)
    if quantity <= 0:
        return _confirm(request, clock())
    work = _Work(
        request=request, quantity=quantity, exchange=exchange, policy=policy_in_force(), rules=rules, clock=clock
    )
    flattened = _ensure_stop(work) or _ensure_target(work)
    if flattened:
        return _confirm_flattened(request, flattened, clock())
    return _confirm(request, clock()) if covered(request, OrderPurpose.STOP) >= quantity else False


def open_quantity(request: ExecutionRequest) -> Decimal:
    """Return what the entry has filled and booked exits have not closed."""
    filled = request.orders.filter(purpose=OrderPurpose.ENTRY).aggregate(sum=Sum("executed_quantity"))["sum"] or ZERO
    exited = Fill.objects.filter(trade__request=request, entry=False).aggregate(sum=Sum("quantity"))["sum"] or ZERO
    return Decimal(filled - exited)


def covered(request: ExecutionRequest, purpose: OrderPurpose) -> Decimal:
    """Return the largest quantity that one confirmed leg of this purpose would close."""
    legs = request.orders.filter(purpose=purpose, state__in=ORDER_LIVE)
    return max((leg.quantity - leg.executed_quantity for leg in legs), default=ZERO)


def _ensure_stop(work: _Work) -> CloseReason | None:
    """Place the stop; a reason to have closed the position instead, when it cannot be had within the bound."""
    deadline = work.clock() + work.rules.max_unprotected
    while covered(work.request, OrderPurpose.STOP) < work.quantity:
        outcome = _place_leg(work, OrderPurpose.STOP, work.request.stop_price)
        # Somebody else writes this very leg at this moment: that one is the cover.
        if outcome is None:
            return None
        if isinstance(outcome, Accepted):
            _cancel_replaced(work, OrderPurpose.STOP)
            return None
        passed = isinstance(outcome, Refused) and outcome.code == WOULD_TRIGGER_IMMEDIATELY
        # An unknown stop may be followed by another: two reducing stops do no harm, none does.
        hopeless = isinstance(outcome, Refused) and not outcome.retry_safe
        if passed or hopeless or work.clock() >= deadline:
            reason = Reason.STOP_LEVEL_PASSED if passed else Reason.STOP_NOT_CONFIRMED
            return _flatten(work, CloseReason.SL if passed else CloseReason.PROTECTION_FAILED, reason)
    return None


def _ensure_target(work: _Work) -> CloseReason | None:
    """Place the target; its level may have been reached already, then the gain is taken at market.

    Any other failure leaves the stop in charge, and the monitor tries again.
    """
    if covered(work.request, OrderPurpose.TARGET) >= work.quantity:
        return None
    outcome = _place_leg(work, OrderPurpose.TARGET, work.request.target_price)
    if isinstance(outcome, Accepted):
        _cancel_replaced(work, OrderPurpose.TARGET)
    if isinstance(outcome, Refused) and outcome.code == WOULD_TRIGGER_IMMEDIATELY:
        return _flatten(work, CloseReason.TP, Reason.STOP_LEVEL_PASSED)
    return None


def _place_leg(work: _Work, purpose: OrderPurpose, trigger_price: Decimal | None) -> PlaceOutcome | None:
    intention = Intention(
        purpose=purpose,
        sequence=_next_sequence(work.request, purpose),
        order_type=TYPES[purpose],
        quantity=work.quantity,
        trigger_price=trigger_price,
    )
    written = intend(work.request, intention, recv_window_ms=work.rules.recv_window_ms, now=work.clock())
    if written is None:
        return None
    return send(*written, exchange=work.exchange, policy=work.policy, clock=work.clock)


def _cancel_replaced(work: _Work, purpose: OrderPurpose) -> None:
    """Cancel the legs that the newest confirmed one replaces: new first, then old, so that cover never drops."""
    live = work.request.orders.filter(purpose=purpose, state__in=ORDER_LIVE).order_by("-sequence")
    for leg in live[1:]:
        cancel_order(leg, exchange=work.exchange, clock=work.clock)


def flatten(
    request: ExecutionRequest, reason: CloseReason, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> PlaceOutcome | None:
    """Close what is open at market with a reducing order; None when nothing is open or somebody else is closing it."""
    quantity = open_quantity(request)
    closing = request.orders.filter(purpose=OrderPurpose.CLOSE).exclude(state__in=ORDER_FINAL).exists()
    if quantity <= 0 or closing:
        return None
    intention = Intention(
        purpose=OrderPurpose.CLOSE,
        sequence=_next_sequence(request, OrderPurpose.CLOSE),
        order_type=OrderType.MARKET,
        quantity=quantity,
        close_reason=reason,
    )
    written = intend(request, intention, recv_window_ms=rules.recv_window_ms, now=clock())
    if written is None:
        return None
    return send(*written, exchange=exchange, policy=policy_in_force(), clock=clock)


def _flatten(work: _Work, reason: CloseReason, why: Reason) -> CloseReason:
    log.error("position_closed_without_cover", request_id=str(work.request.pk), reason=why, quantity=str(work.quantity))
    flatten(work.request, reason, exchange=work.exchange, rules=work.rules, clock=work.clock)
    return reason


def _next_sequence(request: ExecutionRequest, purpose: OrderPurpose) -> int:
    newest = request.orders.filter(purpose=purpose).aggregate(newest=Max("sequence"))["newest"]
    return (newest or 0) + 1


def _confirm(request: ExecutionRequest, now: datetime) -> bool:
    """Say that the stop stands; True also when it was said before, so that the fills get recorded."""
    if request.state == RequestState.FILLED:
        details = {"stop_price": str(request.stop_price), "target_price": str(request.target_price)}
        with transaction.atomic():
            move_request(request.pk, RequestState.FILLED, RequestTrigger.COVER_CONFIRMED, now=now, details=details)
    return True


def _confirm_flattened(request: ExecutionRequest, reason: CloseReason, now: datetime) -> bool:
    if request.state == RequestState.FILLED:
        sentence = f"{reason}: closed at market"
        with transaction.atomic():
            move_request(
                request.pk, RequestState.FILLED, RequestTrigger.POSITION_FLATTENED, now=now, reason=(reason, sentence)
            )
    return True
