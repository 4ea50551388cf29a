"""Begins and ends stops of our own, and holds them against mark prices; `protect_position` closes what they ask for.

One begins when the exchange takes no stop, and ends when it has taken one. Both are conditional updates, so that of
two processes one tells of it.
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
from execution.models import Bracket, ExecutionRequest, ExternalPosition, Order
from execution.protection.bracket_manager import BracketManager
from execution.protection.coverage import publish_protection
from execution.protection.software_stops import GUARD, software_rows
from execution.risk.policy_store import policy_in_force
from execution.store.heartbeats import beat
from execution.store.quarantine import pairs, read_each
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
SOFTWARE, VENUE, REACHED = "PROTECTED_BY_SOFTWARE", "PROTECTED_BY_VENUE", "SOFTWARE_STOP_REACHED"


def holds(work: BracketManager, outcome: PlaceOutcome | None) -> bool:
    """Whether the policy lets a stop of our own stand in for one that had this outcome; never for what others hold."""
    wanted = WithoutStop(int(policy_in_force()[keys.STOP_UNAVAILABLE]))
    return may_hold(outcome, wanted) and not ExternalPosition.objects.filter(request_id=work.request.pk).exists()


def begin_in_known_outage(work: BracketManager) -> None:
    """Let one stand before the exchange is asked, when another position is held so just now: asking may take long."""
    if work.is_naked and not work.held_by_software and software_rows().exclude(pk=work.bracket.pk).exists():
        unasked = Unknown(message="another position is held by software just now")
        if holds(work, unasked):
            begin(work, unasked)


def begin(work: BracketManager, outcome: PlaceOutcome | None) -> None:
    """Let a stop of our own stand from now on; nothing when one stands, or the plan has none."""
    leg = next(iter(work.plan.of(OrderPurpose.STOP)), None)
    now = work.clock()
    if leg is None or leg.price is None:
        return
    facts = {"level": plain(leg.price), "code": outcome.code if isinstance(outcome, Refused) else None}
    facts["answer"] = str(getattr(outcome, "message", ""))
    with transaction.atomic():
        mine = Bracket.objects.filter(pk=work.bracket.pk, software_since=None)
        if mine.update(software_since=now, software_seen_at=now, software_passed_at=None):
            _tell(work.request, SOFTWARE, "stop_not_taken", facts, now)
            log.error("software_stop_begins", request_id=str(work.request.pk), symbol=work.request.symbol, **facts)
    work.read()


def end(work: BracketManager) -> None:
    """Let it go: the exchange has the stop."""
    now = work.clock()
    with transaction.atomic():
        mine = Bracket.objects.filter(pk=work.bracket.pk, software_since__isnull=False)
        if mine.update(software_since=None, software_seen_at=None, software_passed_at=None):
            _tell(work.request, VENUE, "stop_taken", {}, now)
            log.warning("software_stop_ends", request_id=str(work.request.pk), symbol=work.request.symbol)
    work.read()


def may_ask_again(work: BracketManager, leg: Leg) -> bool:
    """Whether the stop at the exchange may be asked for again beside one of our own.

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
    if age_of(last, now) < (FIRST_PAUSE if beside else SOON_BESIDE) or not work.may_try_naked(leg):
        return False
    others = Order.objects.filter(purpose=OrderPurpose.STOP).exclude(request_id=work.request.pk)
    if not beside or others.filter(created_at__gt=last, state__in=sorted(ORDER_LIVE)).exists():
        return True
    if age_of(last, now) < pause_after(beside, LONGEST_PAUSE_BESIDE):
        return False
    waits = sorted({OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.REJECTED, OrderState.NOT_ACCEPTED})
    return not others.filter(created_at__gt=now - BETWEEN_PROBES, state__in=waits).exists()


def note_software_stops(marks: Mapping[str, Decimal], *, now: datetime) -> tuple[UUID, ...]:
    """Hold every stop of our own against these mark prices; return the requests of those that were reached.

    One that was reached stays so, also when the price comes back: it is closed, as a stop that has triggered is.
    """
    rows = read_each(software_rows().select_related("request").prefetch_related("legs"))
    stops = [(row, stop) for row, stop in pairs(rows, _stop_of) if stop is not None]
    seen = [row.pk for row, _ in stops if row.request.symbol in marks]
    if seen:
        Bracket.objects.filter(pk__in=seen, software_since__isnull=False).update(software_seen_at=now)
    return tuple(row.pk for row, stop in stops if _is_reached(row, stop, marks.get(row.request.symbol), now))


def reached_stops() -> list[UUID]:
    """Return the requests whose software stop was reached and whose position is not out yet."""
    return list(software_rows().filter(software_passed_at__isnull=False).values_list("pk", flat=True))


def software_requests() -> list[UUID]:
    """Return all requests beside which a stop of our own stands: each asks the exchange for its stop."""
    return list(software_rows().values_list("pk", flat=True))


def note_guarded(now: datetime) -> None:
    """Say that what software stops ask to be closed has been gone to."""
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
        mine = Bracket.objects.filter(pk=row.pk, software_since=row.software_since, software_passed_at=None)
        if mine.update(software_passed_at=now):
            _tell(row.request, REACHED, "mark_price", facts, now)
            log.error("software_stop_reached", request_id=str(row.pk), symbol=row.request.symbol, **facts)
    return True


def _tell(request: ExecutionRequest, to_state: str, trigger: str, facts: Mapping[str, object], now: datetime) -> None:
    """Write it into the journal, and tell of the position; call it in the transaction of the change."""
    log_step("request", request.pk, to_state=to_state, trigger=trigger, now=now, details=dict(facts))
    publish_protection(request.symbol, request.position_side, now=now)
