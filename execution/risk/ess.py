"""The emergency stop as we know it: its last answer, a trip that came by event, and what silence means."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import connection, transaction

from execution.domain.clocks import Clock
from execution.domain.ess import BLOCKING_STATES, EssDecision, permits
from execution.domain.ports import EssReading, RiskSafety, RiskSafetyUnavailableError
from execution.domain.reasons import Reason
from execution.models import EssStatus
from execution.store.transitions import log_step

HTTP = "http"
UNREACHABLE = "UNREACHABLE"
# Counted in the row itself: all processes share the figure.
COUNT_SILENCE = """
    UPDATE execution_essstatus SET unanswered = unanswered + 1,
        failures = failures || jsonb_build_object(%(kind)s::text, COALESCE((failures ->> %(kind)s)::int, 0) + 1)
"""
TRIPPED, TRIP_EVENT = "TRIPPED", "ess.tripped"
# A stop came whose sender is not proven: entries are held, and nothing else follows.
UNPROVEN = "UNPROVEN_STOP"


@dataclass(frozen=True, kw_only=True)
class EssRules:
    """What an unanswered check means: `open` lets entries pass as specified, `closed` does not."""

    fail_mode: Literal["open", "closed"]


def known_block() -> EssStatus | None:
    """Return the blocking state that we know of already, without asking anybody."""
    return EssStatus.objects.filter(pk=1, permitted=False).first()


def hold_trip(reason: str, *, tripped_at: datetime, hold: timedelta, now: datetime, proven: bool = True) -> None:
    """Block entries at once, and for a while: an answer that still says ARMED a moment later must not undo a trip.

    A trip that is replayed after its hold has run out is history; the next check asks the service itself. One whose
    sender is not proven blocks as long, but it is no trip: nothing is cancelled or closed for its sake, and it does not
    take the place of a trip that stands.
    """
    held_until = tripped_at + hold
    if not proven:
        _hold_unproven(reason, held_until, now)
        return
    blocked = {
        "state": TRIPPED,
        "permitted": False,
        "reason": reason,
        "source": TRIP_EVENT,
        "observed_at": now,
        "held_until": held_until,
    }
    with transaction.atomic():
        if held_until > now:
            EssStatus.objects.update_or_create(pk=1, defaults=blocked)
        details = {"tripped_at": tripped_at.isoformat(), "held_until": held_until.isoformat()}
        why = (Reason.ESS_BLOCKED, reason)
        log_step("ess", 1, to_state=TRIPPED, trigger=TRIP_EVENT, now=now, reason=why, details=details)


def _hold_unproven(reason: str, held_until: datetime, now: datetime) -> None:
    with transaction.atomic():
        if held_until > now:
            known = EssStatus.objects.select_for_update().filter(pk=1).first()
            stands = known is not None and not known.permitted and known.state in BLOCKING_STATES
            longest = max(held_until, known.held_until or held_until) if known else held_until
            blocked = {"permitted": False, "held_until": longest}
            if not stands:
                blocked |= {"state": UNPROVEN, "reason": reason, "source": TRIP_EVENT, "observed_at": now}
            EssStatus.objects.update_or_create(pk=1, defaults=blocked)
        details = {"held_until": held_until.isoformat()}
        log_step(
            "ess",
            1,
            to_state=UNPROVEN,
            trigger=TRIP_EVENT,
            now=now,
            reason=(Reason.ESS_BLOCKED, reason),
            details=details,
        )


def decide(risk_safety: RiskSafety, rules: EssRules, clock: Clock) -> EssDecision:
    """Ask the service; a trip that came by event outranks its answer while it is held, a known block any time-out."""
    known = EssStatus.objects.filter(pk=1).first()
    try:
        reading = risk_safety.ess()
    except RiskSafetyUnavailableError as error:
        return _unanswered(known, rules, error, clock())
    now = clock()
    if known and known.state == UNPROVEN and not permits(reading.state, can_execute=reading.can_execute):
        # The service itself says so: what follows a trip must not be kept from following by a stop of nobody.
        return _answered(known, reading, now)
    if known and not known.permitted and known.held_until and known.held_until > now:
        # The service is heard again, though it is not yet believed.
        EssStatus.objects.filter(pk=1, unanswered__gt=0).update(unanswered=0)
        return EssDecision(
            permitted=False,
            state=known.state,
            evidence=f"{known.source}: {known.reason}; held until {known.held_until.isoformat()}",
            age_seconds=(now - known.observed_at).total_seconds(),
        )
    return _answered(known, reading, now)


def _answered(known: EssStatus | None, reading: EssReading, now: datetime) -> EssDecision:
    permitted = permits(reading.state, can_execute=reading.can_execute)
    evidence = f"can_execute={reading.can_execute}" + (f": {reading.reason}" if reading.reason else "")
    changed = known is None or (known.state, known.permitted) != (reading.state, permitted)
    # One row for all workers: it is written when something changed, and else once a second for its age.
    if changed or known is None or known.unanswered or (now - known.observed_at).total_seconds() >= 1:
        _remember(known, reading, now, permitted=permitted, changed=changed)
    return EssDecision(permitted=permitted, state=reading.state, evidence=evidence, age_seconds=0.0)


def _remember(known: EssStatus | None, reading: EssReading, now: datetime, *, permitted: bool, changed: bool) -> None:
    with transaction.atomic():
        EssStatus.objects.update_or_create(
            pk=1,
            defaults={
                "state": reading.state,
                "permitted": permitted,
                "reason": reading.reason,
                "source": HTTP,
                "observed_at": now,
                # What holds entries for a while holds them still when this block ends sooner.
                "held_until": known.held_until if known and known.state == UNPROVEN and not permitted else None,
                "unanswered": 0,
            },
        )
        if changed:
            before = known.state if known else ""
            log_step("ess", 1, from_state=before, to_state=reading.state, trigger=HTTP, now=now)


def _unanswered(
    known: EssStatus | None, rules: EssRules, error: RiskSafetyUnavailableError, now: datetime
) -> EssDecision:
    """Count the silence and apply the configured side; what we know to be blocked stays blocked."""
    permitted = rules.fail_mode == "open"
    first = {"state": UNREACHABLE, "permitted": permitted, "source": HTTP, "observed_at": now}
    EssStatus.objects.get_or_create(pk=1, defaults=first)
    with connection.cursor() as cursor:
        cursor.execute(COUNT_SILENCE, {"kind": error.kind})
    if known and not known.permitted and known.state != UNREACHABLE:
        age = (now - known.observed_at).total_seconds()
        evidence = f"{error}; last known state, {age:.0f}s old: {known.reason}"
        return EssDecision(permitted=False, state=known.state, evidence=evidence, age_seconds=age)
    return EssDecision(permitted=permitted, state=UNREACHABLE, evidence=f"{error}; ESS_FAIL_MODE={rules.fail_mode}")
