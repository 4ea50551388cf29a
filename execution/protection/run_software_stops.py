"""Begins and ends software stops, and compares them with mark prices.

One begins when the exchange takes no stop, and ends when it has taken one. Both are conditional updates, so that of two
processes one reports it. `protect_position` closes the positions whose software stop was reached.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import transaction

from execution.domain import policy as keys
from execution.domain.backoff import FIRST_PAUSE, pause_after
from execution.domain.brackets import Leg
from execution.domain.clocks import age_of
from execution.domain.money import plain
from execution.domain.outcomes import PlaceOutcome, Refused, Unknown
from execution.domain.overdue import LiveStop, watch
from execution.domain.software_stop import (
    AT_ONCE,
    BETWEEN_PROBES,
    LONGEST_PAUSE_BESIDE,
    SOON_BESIDE,
    WithoutStop,
    may_hold,
)
from execution.domain.states import ORDER_LIVE, OrderState
from execution.domain.trading import Direction, OrderPurpose
from execution.models import Bracket, ExecutionRequest, ExternalPosition
from execution.protection.bracket_manager import BracketManager
from execution.protection.coverage import publish_protection
from execution.protection.software_stops import GUARD
from execution.risk.policy_store import policy_in_force
from execution.store.brackets import (
    begin_software_stop,
    end_software_stop,
    reach_software_stop,
    see_software_stops,
    software_rows,
)
from execution.store.heartbeats import beat
from execution.store.orders import stops_beside
from execution.store.quarantine import pairs, read_each
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
SOFTWARE, VENUE, REACHED = "PROTECTED_BY_SOFTWARE", "PROTECTED_BY_VENUE", "SOFTWARE_STOP_REACHED"


def holds(work: BracketManager, outcome: PlaceOutcome | None) -> bool:
    """Return whether the policy lets a software stop stand in for a stop with this outcome.

    It never does for an external position.
    """
    wanted = WithoutStop(int(policy_in_force()[keys.STOP_UNAVAILABLE]))
    return may_hold(outcome, wanted) and not ExternalPosition.objects.filter(request_id=work.request.pk).exists()


def begin_in_known_outage(work: BracketManager) -> None:
    """Begin a software stop before the exchange is asked, when it holds another position already.

    Asking may take long.
    """
    if work.lacks_stop and not work.held_by_software and work.held_beside:
        unasked = Unknown(message="another position is held by software just now")
        if holds(work, unasked):
            begin(work, unasked)


def begin(work: BracketManager, outcome: PlaceOutcome | None) -> None:
    """Begin a software stop, unless one stands or the plan has no stop."""
    leg = next(iter(work.plan.of(OrderPurpose.STOP)), None)
    now = work.clock()
    if leg is None or leg.price is None:
        return
    facts = {"level": plain(leg.price), "code": outcome.code if isinstance(outcome, Refused) else None}
    facts["answer"] = str(getattr(outcome, "message", ""))
    with transaction.atomic():
        if begin_software_stop(work.bracket.pk, now=now):
            _journal(work.request, SOFTWARE, "stop_not_taken", facts, now)
            log.error("software_stop_begins", request_id=str(work.request.pk), symbol=work.request.symbol, **facts)
    work.read()


def end(work: BracketManager) -> None:
    """End the software stop, because the exchange has taken the stop."""
    now = work.clock()
    with transaction.atomic():
        if end_software_stop(work.bracket.pk):
            _journal(work.request, VENUE, "stop_taken", {}, now)
            log.warning("software_stop_ends", request_id=str(work.request.pk), symbol=work.request.symbol)
    work.read()


def may_ask_again(work: BracketManager, leg: Leg) -> bool:
    """Return whether the stop at the exchange may be asked for again beside a software stop.

    The first time soon, because one call that hung is no outage. Then after a pause that grows, and by one position at
    a time; at once when the exchange has taken a stop since.
    """
    tries, now = work.of(leg), work.clock()
    last = tries[-1].created_at if tries else None
    if last is None:
        return True
    # The try with which it began may have been sent a moment after it.
    since = (work.bracket.software_since or now) + SOON_BESIDE
    beside = sum(order.created_at > since for order in tries)
    if age_of(last, now) < (FIRST_PAUSE if beside else SOON_BESIDE) or not work.may_try_stop(leg):
        return False
    others = stops_beside(work.request.pk)
    if not beside or others.filter(created_at__gt=last, state__in=sorted(ORDER_LIVE)).exists():
        return True
    if age_of(last, now) < pause_after(beside, LONGEST_PAUSE_BESIDE):
        return False
    waits = sorted({OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.REJECTED, OrderState.NOT_ACCEPTED})
    return not others.filter(created_at__gt=now - BETWEEN_PROBES, state__in=waits).exists()


def note_software_stops(marks: Mapping[str, Decimal], *, now: datetime) -> tuple[UUID, ...]:
    """Compare every software stop with these mark prices, and return the requests whose stop was reached.

    One that was reached stays so, also when the price comes back: it is closed, as a stop that has triggered is.
    """
    rows = read_each(software_rows().select_related("request").prefetch_related("legs"))
    stops = [(row, stop) for row, stop in pairs(rows, _stop_of) if stop is not None]
    seen = [row.pk for row, _ in stops if row.request.symbol in marks]
    if seen:
        see_software_stops(seen, now=now)
    return tuple(row.pk for row, stop in stops if _is_reached(row, stop, marks.get(row.request.symbol), now))


def reached_stops() -> list[UUID]:
    """Return the requests whose software stop was reached and whose position is not out yet."""
    return list(software_rows().filter(software_passed_at__isnull=False).values_list("pk", flat=True))


def software_requests() -> list[UUID]:
    """Return all requests with a software stop. Each asks the exchange for its stop."""
    return list(software_rows().values_list("pk", flat=True))


def note_guarded(now: datetime) -> None:
    """Record that the positions whose software stops were reached have been handled."""
    beat(GUARD, now=now, healthy=True, details={})


def _stop_of(row: Bracket) -> LiveStop | None:
    leg = next((leg for leg in row.legs.all() if leg.purpose == OrderPurpose.STOP), None)
    if leg is None:
        return None
    return LiveStop(side=Direction(row.request.direction).exit_side, level=leg.price, tick=row.tick_size)


def _is_reached(row: Bracket, stop: LiveStop, mark: Decimal | None, now: datetime) -> bool:
    if row.software_passed_at is not None:
        return True
    if not watch(stop, mark, AT_ONCE, now=now).overdue:
        return False
    facts = {"level": str(stop.level), "mark": str(mark)}
    with transaction.atomic():
        if reach_software_stop(row, now=now):
            _journal(row.request, REACHED, "mark_price", facts, now)
            log.error("software_stop_reached", request_id=str(row.pk), symbol=row.request.symbol, **facts)
    return True


def _journal(
    request: ExecutionRequest, to_state: str, trigger: str, facts: Mapping[str, object], now: datetime
) -> None:
    """Journal the change and emit the position's event. Call it in the transaction of the change."""
    log_step("request", request.pk, to_state=to_state, trigger=trigger, now=now, details=dict(facts))
    publish_protection(request.symbol, request.position_side, now=now)
