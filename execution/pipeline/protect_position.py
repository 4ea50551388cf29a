"""Fifth step: put the stop at the exchange, then the target, as soon as the executed quantity is known.

A position that cannot get its stop is closed at market: naked is not a state that we accept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile
from uuid import UUID

import structlog

from execution.crash_points import CrashPoint, reached
from execution.domain.money import ZERO
from execution.domain.outcomes import Accepted, OrderReport, PlaceOutcome, Refused
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason, Reason
from execution.domain.states import ORDER_FINAL, ORDER_LIVE, OrderState, RequestState, RequestTrigger
from execution.domain.trading import OrderBook, OrderPurpose, OrderType
from execution.models import ExecutionRequest, Order, Trade
from execution.pipeline.cancelling import cancel_order
from execution.pipeline.evidence import settle_accepted
from execution.pipeline.placing import Intention, intend, send
from execution.pipeline.transitions import move_request

log = structlog.get_logger(__name__)
Clock = Callable[[], datetime]
WOULD_TRIGGER_IMMEDIATELY = -2021
FORGOTTEN_AFTER_READINGS = 2
FIRST_TARGET_PAUSE, LONGEST_TARGET_PAUSE = timedelta(seconds=5), timedelta(hours=1)
# Before another stop is sent while the exchange answers with errors or not at all.
PAUSE_SECONDS = 0.2
COVERED_STATES = frozenset({RequestState.ACCEPTED, RequestState.FILLED, RequestState.PROTECTED, RequestState.RECORDED})
TYPES = {OrderPurpose.STOP: OrderType.STOP_MARKET, OrderPurpose.TARGET: OrderType.TAKE_PROFIT_MARKET}


@dataclass(frozen=True, kw_only=True)
class ProtectionRules:
    """How long a position may be without a confirmed stop, and the receive window of our orders."""

    max_unprotected: timedelta
    recv_window_ms: int


@dataclass(kw_only=True)
class _Work:
    """One run of this step: the request with its orders as they stand, kept up to date by what this run does."""

    request: ExecutionRequest
    orders: list[Order]
    quantity: Decimal
    exchange: Exchange
    rules: ProtectionRules
    clock: Clock

    def legs(self, purpose: OrderPurpose) -> list[Order]:
        return [order for order in self.orders if order.purpose == purpose]

    def covered(self, purpose: OrderPurpose) -> Decimal:
        """Return the largest quantity that one confirmed leg of this purpose would close."""
        return max((cover_of(leg) for leg in self.legs(purpose)), default=ZERO)

    def is_sending(self, purpose: OrderPurpose) -> bool:
        """Whether another run is sending a leg just now; one that has been silent for too long is not waited for."""
        since = self.clock() - self.rules.max_unprotected
        return any(leg.state == OrderState.SUBMITTING and leg.sent_at > since for leg in self.legs(purpose))


def cover_of(leg: Order) -> Decimal:
    """Return what a leg would close: nothing unless it is live, and seen by the exchange's own lists.

    The Algo Service is known to forget orders for a while. A second reducing stop does no harm; trusting a leg that
    nobody can find may.
    """
    live = leg.state in ORDER_LIVE and leg.missing_readings < FORGOTTEN_AFTER_READINGS
    return leg.quantity - leg.executed_quantity if live else ZERO


def protect_position(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Cover what a request's entry has filled and not yet exited; True when its fills can be recorded.

    Safe to run twice at once: a leg is written before it is sent, and while one is being sent no other is written.
    """
    request = ExecutionRequest.objects.get(pk=request_id)
    if request.state not in COVERED_STATES:
        return bool(request.state == RequestState.FLATTENED)
    work = _begin(request, exchange, rules, clock)
    if work.quantity <= 0:
        return _confirm(request, clock())
    flattened = _ensure_stop(work) or _ensure_target(work)
    if flattened:
        return _confirm_flattened(request, flattened, clock())
    return _confirm(request, clock()) if work.covered(OrderPurpose.STOP) >= work.quantity else False


def _begin(request: ExecutionRequest, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> _Work:
    """Read the orders and what is open: filled by the entry and not closed by booked exits."""
    orders = list(Order.objects.filter(request=request).order_by("sequence"))
    filled = sum((order.executed_quantity for order in orders if order.purpose == OrderPurpose.ENTRY), ZERO)
    exited = Trade.objects.filter(pk=request.pk).values_list("exited_quantity", flat=True).first() or ZERO
    return _Work(request=request, orders=orders, quantity=filled - exited, exchange=exchange, rules=rules, clock=clock)


def _ensure_stop(work: _Work) -> CloseReason | None:
    """Place the stop; a reason to have closed the position instead, when it cannot be had within the bound."""
    deadline = work.clock() + work.rules.max_unprotected
    while work.covered(OrderPurpose.STOP) < work.quantity:
        outcome = _place_leg(work, OrderPurpose.STOP, work.request.stop_price)
        # Somebody else sends this very leg at this moment: that one is the cover.
        if outcome is None:
            return None
        if isinstance(outcome, Accepted) or _has_arrived(work):
            _cancel_replaced(work, OrderPurpose.STOP)
            return None
        passed = isinstance(outcome, Refused) and outcome.code == WOULD_TRIGGER_IMMEDIATELY
        # An unknown stop may be followed by another: two reducing stops do no harm, none does.
        hopeless = isinstance(outcome, Refused) and not outcome.retry_safe
        if passed or hopeless or work.clock() >= deadline:
            why = Reason.STOP_LEVEL_PASSED if passed else Reason.STOP_NOT_CONFIRMED
            return _give_up(work, CloseReason.SL if passed else CloseReason.PROTECTION_FAILED, why)
        time.sleep(PAUSE_SECONDS)
    return None


def _has_arrived(work: _Work) -> bool:
    """Ask for a stop of unknown outcome before another is sent."""
    stop = work.legs(OrderPurpose.STOP)[-1]
    if stop.state != OrderState.UNKNOWN:
        return False
    found = work.exchange.look_up(stop.symbol, stop.client_order_id, OrderBook(stop.book))
    if isinstance(found, OrderReport):
        settle_accepted(stop, found, now=work.clock(), source="look-up")
    return work.covered(OrderPurpose.STOP) >= work.quantity


def _ensure_target(work: _Work) -> CloseReason | None:
    """Place the target; its level may have been reached already, then the gain is taken at market.

    Any other failure leaves the stop in charge, and the monitor tries again.
    """
    if work.covered(OrderPurpose.TARGET) >= work.quantity or _refused_lately(work):
        return None
    outcome = _place_leg(work, OrderPurpose.TARGET, work.request.target_price)
    if isinstance(outcome, Accepted):
        _cancel_replaced(work, OrderPurpose.TARGET)
    if isinstance(outcome, Refused) and outcome.code == WOULD_TRIGGER_IMMEDIATELY:
        return _give_up(work, CloseReason.TP, Reason.TARGET_LEVEL_PASSED)
    return None


def _refused_lately(work: _Work) -> bool:
    """Whether the exchange keeps refusing the target; each refusal in a row doubles the pause, up to an hour."""
    targets = work.legs(OrderPurpose.TARGET)
    refused = list(takewhile(lambda leg: leg.state == OrderState.REJECTED, reversed(targets)))
    pause = min(FIRST_TARGET_PAUSE * 2 ** min(len(refused), 16), LONGEST_TARGET_PAUSE)
    return bool(refused) and work.clock() - refused[0].created_at < pause


def _place_leg(work: _Work, purpose: OrderPurpose, trigger_price: Decimal | None) -> PlaceOutcome | None:
    if work.is_sending(purpose):
        return None
    intention = Intention(
        purpose=purpose,
        sequence=_next_sequence(work, purpose),
        order_type=TYPES[purpose],
        quantity=work.quantity,
        trigger_price=trigger_price,
    )
    return _place(work, intention)


def _place(work: _Work, intention: Intention) -> PlaceOutcome | None:
    written = intend(work.request, intention, recv_window_ms=work.rules.recv_window_ms, now=work.clock())
    if written is None:
        return None
    order, ticket = written
    work.orders.append(order)
    return send(order, ticket, exchange=work.exchange, clock=work.clock)


def _cancel_replaced(work: _Work, purpose: OrderPurpose) -> None:
    """Cancel the legs that the newest confirmed one replaces: new first, then old, so that cover never drops."""
    live = [leg for leg in work.legs(purpose) if leg.state in ORDER_LIVE]
    for leg in live[:-1]:
        cancel_order(leg, exchange=work.exchange, clock=work.clock)


def _give_up(work: _Work, reason: CloseReason, why: Reason) -> CloseReason | None:
    """Close at market; None when even that is not confirmed, and then the monitor begins anew."""
    log.error("position_closed_without_cover", request_id=str(work.request.pk), reason=why, quantity=str(work.quantity))
    return reason if isinstance(_close_at_market(work, reason), Accepted) else None


def _close_at_market(work: _Work, reason: CloseReason) -> PlaceOutcome | None:
    closing = any(order.state not in ORDER_FINAL for order in work.legs(OrderPurpose.CLOSE))
    if work.quantity <= 0 or closing:
        return None
    intention = Intention(
        purpose=OrderPurpose.CLOSE,
        sequence=_next_sequence(work, OrderPurpose.CLOSE),
        order_type=OrderType.MARKET,
        quantity=work.quantity,
        close_reason=reason,
    )
    return _place(work, intention)


def _next_sequence(work: _Work, purpose: OrderPurpose) -> int:
    return max((order.sequence for order in work.legs(purpose)), default=0) + 1


def _confirm(request: ExecutionRequest, now: datetime) -> bool:
    """Say that the stop stands; True also when it was said before, so that the fills get recorded."""
    if request.state == RequestState.FILLED:
        details = {"stop_price": request.stop_price, "target_price": request.target_price}
        move_request(request.pk, RequestState.FILLED, RequestTrigger.COVER_CONFIRMED, now=now, details=details)
        reached(CrashPoint.COVER_CONFIRMED)
    return True


def _confirm_flattened(request: ExecutionRequest, reason: CloseReason, now: datetime) -> bool:
    if request.state == RequestState.FILLED:
        why = (reason, f"{reason}: closed at market")
        move_request(request.pk, RequestState.FILLED, RequestTrigger.POSITION_FLATTENED, now=now, reason=why)
    return True
