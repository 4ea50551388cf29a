"""Places a position's stop, then its targets and trailing stop, once the executed quantity is known.

This is the chain's fifth step. A position that cannot get its stop is closed at market, or held by a software stop
while the exchange takes none. It never stays unprotected.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

import structlog

from execution.crash_points import CrashPoint, reached
from execution.domain import policy as keys
from execution.domain.brackets import Leg, Wanted
from execution.domain.clocks import Clock
from execution.domain.closing import PROTECTIVE_PART
from execution.domain.money import ZERO, plain
from execution.domain.outcomes import Accepted, OrderReport, PlaceOutcome, Refused, Unknown
from execution.domain.ports import Exchange, SpareExchange
from execution.domain.reasons import CloseReason, Reason
from execution.domain.software_stop import STANDS_AFTER_SECONDS, TRIED_BESIDE_SECONDS
from execution.domain.states import ORDER_LIVE, OrderState, RequestState, RequestTrigger
from execution.domain.trading import OrderPurpose, OrderService
from execution.models import ExecutionRequest, Order
from execution.orders.apply_report import apply_report
from execution.protection import run_software_stops
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.protection.market_close import makes_way, settle_doubts
from execution.risk.policy_store import policy_in_force
from execution.store.atomic_write import Write
from execution.store.brackets import load_position
from execution.store.transitions import move_request

log = structlog.get_logger(__name__)
WOULD_TRIGGER_IMMEDIATELY, TOO_MANY_CONDITIONAL_ORDERS = -2021, -4045
# Before another stop is sent while the exchange answers with errors or not at all.
PAUSE_SECONDS = 0.2
# How long a run waits for the stop that another run is sending, before it leaves the rest to reconciliation.
PEER_PATIENCE = timedelta(seconds=1)
COVERED_STATES = frozenset({RequestState.ACCEPTED, RequestState.FILLED, RequestState.PROTECTED, RequestState.RECORDED})


class _Next(Enum):
    """What follows an attempt to place the stop."""

    LEAVE = auto()
    GO_ON = auto()
    REPEAT = auto()
    CLOSE_LEVEL_PASSED = auto()
    CLOSE_NOT_CONFIRMED = auto()


CLOSING = {
    _Next.CLOSE_LEVEL_PASSED: (CloseReason.SL, Reason.STOP_LEVEL_PASSED),
    _Next.CLOSE_NOT_CONFIRMED: (CloseReason.PROTECTION_FAILED, Reason.STOP_NOT_CONFIRMED),
}


def ensure_exits(
    request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock, spare: SpareExchange | None = None
) -> bool:
    """Bring the orders of a request's legs in line with its plan, True when its fills can be recorded.

    Safe to run twice at once: a leg is written before it is sent, and while one is being sent no other is written.
    With `spare` clients the first targets leave beside the stop, else behind it.
    """
    rows = load_position(request_id)
    if rows.request.state not in COVERED_STATES:
        return bool(rows.request.state == RequestState.FLATTENED)
    work = BracketManager(request=rows.request, exchange=exchange, rules=rules, clock=clock, spare=spare, rows=rows)
    try:
        return _protect(work, _ensure_others)
    finally:
        work.settle_beside()


def place_stop(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> None:
    """Place the stop alone, where other positions wait for their stops too."""
    rows = load_position(request_id)
    if rows.request.state in COVERED_STATES:
        work = BracketManager(request=rows.request, exchange=exchange, rules=rules, clock=clock, rows=rows)
        _protect(work, lambda _: None)


def _protect(work: BracketManager, ensure_others: Callable[[BracketManager], CloseReason | None]) -> bool:
    if makes_way(work):
        return False
    # A close whose answer was lost may have closed all of it: then it is not a stop that is missing.
    settle_doubts(work)
    if work.exposure.open <= 0:
        closed_by = work.closed_by()
        return _confirm_flattened(work.request, closed_by, work.clock()) if closed_by else _confirm(work)
    if work.overdue or (work.lacks_stop and work.software_stop_reached):
        return _end_passed(work)
    if work.is_dust:
        _give_up(work, CloseReason.DUST, Reason.POSITION_BELOW_MINIMUM)
        return True
    flattened = _ensure_stop(work) or ensure_others(work)
    if flattened:
        return _confirm_flattened(work.request, flattened, work.clock())
    return False if work.lacks_stop and not work.held_by_software else _confirm(work)


def _end_passed(work: BracketManager) -> bool:
    """Close a position whose stop did not execute at its price.

    The stop is an order at the exchange, whatever its status, or a software stop.

    An order is settled by evidence afterwards. It may still execute: like the close it only reduces.
    """
    overdue, by_software = work.overdue, work.software_stop_reached
    names = [order.client_order_id for order in overdue]
    log.error("stop_did_not_execute", request_id=str(work.request.pk), orders=names, software=by_software)
    reason = _reason_of(overdue) if overdue else _reason_of_the_stop(work)
    work.cancel_overdue()
    if work.exposure.open <= 0:
        return _confirm(work)
    if _give_up(work, reason, Reason.STOP_OVERDUE if overdue else Reason.SOFTWARE_STOP_REACHED):
        return _confirm_flattened(work.request, reason, work.clock())
    return False


def _reason_of(overdue: Sequence[Order]) -> CloseReason:
    if all(order.purpose == OrderPurpose.TRAILING for order in overdue):
        return CloseReason.TRAILING
    return CloseReason(next((order.close_reason for order in overdue if order.close_reason), CloseReason.SL))


def _reason_of_the_stop(work: BracketManager) -> CloseReason:
    """Return what it means that the plan's stop has closed a position."""
    meanings = [work.meaning(leg) for leg in work.plan.of(OrderPurpose.STOP)]
    return CloseReason(next(filter(None, meanings), CloseReason.SL))


def _ensure_stop(work: BracketManager) -> CloseReason | None:
    """Place the stop, in as many orders as it takes.

    While the exchange takes none, a software stop may stand in for it.

    Returns:
        A reason to have closed the position instead, when the stop cannot be had within the bound.

    """
    if work.held_by_software:
        return _ask_beside_software(work)
    # A stop that nothing else covers for waits until the position may be closed in its stead.
    if work.lacks_stop and (first := work.missing(OrderPurpose.STOP)) and not work.may_try_stop(first.leg):
        return None
    run_software_stops.begin_in_known_outage(work)
    # From here on by steady time: a clock that is set back must not leave the position unprotected for longer.
    begun = time.monotonic()
    pause = PAUSE_SECONDS
    patience = min(_deadline(work) - work.clock(), work.rules.max_unprotected).total_seconds()
    while want := work.missing(OrderPurpose.STOP):
        # The old stop still covers everything: a better one can wait until the exchange takes it.
        if not work.lacks_stop and work.refused_lately(want.leg):
            return None
        outcome = _place_stop(work, want)
        waited = time.monotonic() - begun
        if outcome is None and waited >= PEER_PATIENCE.total_seconds():
            return None
        late = waited >= patience * _part_for_stops(outcome)
        following = _beside_software(work, outcome, _judge(work, outcome, late=late), waited)
        if following is _Next.GO_ON:
            continue
        if following is _Next.LEAVE:
            break
        if following in CLOSING:
            return _close_instead(work, want, following)
        # Where the filters are as they were, it is asked ever more seldom.
        time.sleep(pause)
        pause = pause * 2 if _by_filters(outcome) else PAUSE_SECONDS
        work.read()
    work.cancel_excess(OrderPurpose.STOP)
    _leave_to_the_exchange(work)
    return None


def _beside_software(work: BracketManager, outcome: PlaceOutcome | None, following: _Next, waited: float) -> _Next:
    """Begin a software stop as soon as the failure has lasted, and return what follows.

    From then on the exchange is asked for its stop only for a moment.
    """
    slip = waited < STANDS_AFTER_SECONDS and not work.held_by_software
    failing = following is _Next.CLOSE_NOT_CONFIRMED or (following is _Next.REPEAT and not slip)
    if not (failing and work.lacks_stop and run_software_stops.holds(work, outcome)):
        return following
    run_software_stops.begin(work, outcome)
    if not work.held_by_software:
        return following
    patient = following is _Next.REPEAT and waited < TRIED_BESIDE_SECONDS
    return _Next.REPEAT if patient else _Next.LEAVE


def _ask_beside_software(work: BracketManager) -> CloseReason | None:
    """Ask the exchange once for the stop that a software stop stands in for.

    The software stop ends when the exchange has taken it.
    """
    want = work.missing(OrderPurpose.STOP)
    if want is None or not work.lacks_stop:
        work.cancel_excess(OrderPurpose.STOP)
        _leave_to_the_exchange(work)
        return None
    if not run_software_stops.may_ask_again(work, want.leg):
        return None
    while want is not None:
        outcome = _place_stop(work, want)
        following = _judge(work, outcome, late=True)
        if following is _Next.CLOSE_NOT_CONFIRMED and run_software_stops.holds(work, outcome):
            return None
        if following in CLOSING:
            return _close_instead(work, want, following)
        if not isinstance(outcome, Accepted):
            break
        want = work.missing(OrderPurpose.STOP)
    work.cancel_excess(OrderPurpose.STOP)
    _leave_to_the_exchange(work)
    return None


def _leave_to_the_exchange(work: BracketManager) -> None:
    if work.held_by_software and not work.lacks_stop:
        run_software_stops.end(work)


def _close_instead(work: BracketManager, want: Wanted, following: _Next) -> CloseReason | None:
    reason, why = CLOSING[following]
    passed = following is _Next.CLOSE_LEVEL_PASSED and work.meaning(want.leg)
    return _give_up(work, CloseReason(passed or reason), why)


def _part_for_stops(outcome: PlaceOutcome | None) -> float:
    """Return the share of the unprotected time that stops may use, by the last answer.

    After it the position is closed instead.

    The rest is for the close, of which the first may get no answer either: an exchange that does not answer is given up
    earlier than one that refuses.
    """
    lost = 2 if isinstance(outcome, Unknown) else 1
    return 1 - lost / PROTECTIVE_PART


def _place_stop(work: BracketManager, want: Wanted) -> PlaceOutcome | None:
    """Place the stop, and where its level has only just passed try once more beyond it.

    The second try is for a position that nothing else covers.
    """
    outcome = work.place(want)
    if not (_level_has_passed(outcome) and work.lacks_stop):
        return outcome
    beyond = work.beyond(want, policy_in_force()[keys.STOP_BUFFER])
    return _place_beyond(work, beyond) if beyond else outcome


def _place_beyond(work: BracketManager, beyond: Leg) -> PlaceOutcome | None:
    """Place every part of the stop there, and return the first outcome that is not Accepted."""
    outcome: PlaceOutcome | None = None
    for part in [each for each in work.comparison.missing if each.leg.purpose is OrderPurpose.STOP]:
        outcome = work.place(replace(part, leg=beyond))
        if not isinstance(outcome, Accepted):
            break
    return outcome


def _by_filters(outcome: PlaceOutcome | None) -> bool:
    return isinstance(outcome, Refused) and outcome.by_filters


def _level_has_passed(outcome: PlaceOutcome | None) -> bool:
    return isinstance(outcome, Refused) and outcome.code == WOULD_TRIGGER_IMMEDIATELY


def _judge(work: BracketManager, outcome: PlaceOutcome | None, *, late: bool) -> _Next:
    """Return what follows from the outcome of a stop. None: another run is sending one just now."""
    if isinstance(outcome, Accepted) or (isinstance(outcome, Unknown) and _has_arrived(work)):
        # Another part may be missing; an order that is taken and gone at once is not followed for ever.
        return _Next.LEAVE if late else _Next.GO_ON
    if _level_has_passed(outcome):
        return _Next.CLOSE_LEVEL_PASSED
    if outcome is None:
        return _Next.REPEAT
    if not work.lacks_stop:
        return _Next.LEAVE
    # A refusal by filters is no reason against a stop: they are read anew, and it is rounded and asked for again.
    if isinstance(outcome, Refused) and not (outcome.retry_safe or _by_filters(outcome)):
        room = outcome.code == TOO_MANY_CONDITIONAL_ORDERS and work.make_room()
        return _Next.REPEAT if room else _Next.CLOSE_NOT_CONFIRMED
    # An unknown stop may be followed by another: two reducing stops do no harm, none does.
    return _Next.CLOSE_NOT_CONFIRMED if late else _Next.REPEAT


def _deadline(work: BracketManager) -> datetime:
    """Return until when the position may be unprotected.

    The time counts from its first known fill, or from now when its stop was lost.
    """
    covered_before = any(order.algo_id for order in work.exits if order.purpose == OrderPurpose.STOP)
    since = None if covered_before else work.entry.last_evidence_at
    return (since or work.clock()) + work.rules.max_unprotected


def _has_arrived(work: BracketManager) -> bool:
    """Ask for a stop of unknown outcome before another is sent."""
    stop = next(order for order in reversed(work.exits) if order.purpose == OrderPurpose.STOP)
    if stop.state != OrderState.UNKNOWN:
        return False
    found = work.exchange.look_up(stop.symbol, stop.client_order_id, OrderService(stop.service), promptly=True)
    if isinstance(found, OrderReport):
        apply_report(stop, found, now=work.clock(), source="look-up")
    return stop.state in ORDER_LIVE


def _ensure_others(work: BracketManager) -> CloseReason | None:
    """Place targets and trailing stop.

    After a failure the stop alone protects the position, and reconciliation tries again.

    Beside a software stop there are none: they would take the room, or the time, of the one at the exchange.
    """
    work.settle_beside()
    if work.held_by_software:
        return None
    flattened, refused = _place_others(work)
    if refused and work.refresh():
        # Rounded to the filters as they are now.
        flattened, _ = _place_others(work)
    if flattened:
        return flattened
    work.cancel_excess(OrderPurpose.TARGET, OrderPurpose.TRAILING)
    return None


def _place_others(work: BracketManager) -> tuple[CloseReason | None, bool]:
    """Place them once and return what has closed the position instead, and whether filters refused one."""
    refused = False
    passed: set[int] = set()
    for want in work.comparison.missing:
        if want.leg.purpose is OrderPurpose.STOP or want.leg.id in passed or work.refused_lately(want.leg):
            continue
        outcome = work.place(want)
        refused |= _by_filters(outcome)
        if _level_has_passed(outcome):
            passed.add(want.leg.id)
            flattened = _level_reached(work, want)
            if flattened:
                return flattened, refused
    return None, refused


def _level_reached(work: BracketManager, want: Wanted) -> CloseReason | None:
    """Do what a level that has passed was meant for.

    A target's gain is taken at market, and a trailing stop follows from the present price.
    """
    parts = [each for each in work.comparison.missing if each.leg.id == want.leg.id]
    if want.leg.purpose is OrderPurpose.TRAILING:
        for part in parts:
            work.place(part, at_once=True)
        return None
    quantity = sum((part.quantity for part in parts), ZERO)
    everything = quantity == work.exposure.open
    work.close(quantity, CloseReason.TP, want.leg)
    return CloseReason.TP if everything and _is_out(work) else None


def _give_up(work: BracketManager, reason: CloseReason, why: Reason) -> CloseReason | None:
    """Close at market, None when even that is not confirmed.

    The watchdog of stops and reconciliation go on from there.
    """
    pk, before = str(work.request.pk), work.exposure.open
    outcome = work.close(before, reason)
    if _is_out(work):
        log.error("position_closed_without_cover", request_id=pk, reason=why, quantity=plain(before))
        return reason
    if outcome is not None:
        log.error("position_not_closed_yet", request_id=pk, reason=why, quantity=plain(work.exposure.open))
    return None


def _is_out(work: BracketManager) -> bool:
    """Whether our orders have executed all of the position that an order can reach."""
    return not work.exposure.closing_parts(work.plan.lot)


def _confirm(work: BracketManager) -> bool:
    """Record that the stop stands. True also when that is recorded already, so that fills get recorded."""
    move = work.confirmation()
    if move:
        Write().move(move).run()
        reached(CrashPoint.COVER_CONFIRMED)
    return True


def _confirm_flattened(request: ExecutionRequest, reason: CloseReason, now: datetime) -> bool:
    if request.state == RequestState.FILLED:
        why = (reason, f"{reason}: closed at market")
        move_request(request.pk, RequestState.FILLED, RequestTrigger.POSITION_FLATTENED, now=now, reason=why)
    return True
