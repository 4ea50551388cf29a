"""The emergency stop: risk-safety's last answer, trips that came by event, and what its silence means."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import transaction

from execution.domain.clocks import Clock
from execution.domain.ess import BLOCKING_STATES, EssDecision, permits
from execution.domain.ports import EssReading, RiskSafety, RiskSafetyUnavailableError
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.models import EssStatus
from execution.store.emergency_stop import (
    clear_unanswered,
    count_unanswered,
    ess_status,
    lock_ess_status,
    save_ess_answer,
    save_ess_status,
)
from execution.store.transitions import log_step

HTTP = "http"
UNREACHABLE = "UNREACHABLE"
TRIPPED, TRIP_EVENT = "TRIPPED", "ess.tripped"
# A stop came whose sender is not proven: entries are held, and nothing else follows.
UNPROVEN = "UNPROVEN_STOP"


@dataclass(frozen=True, kw_only=True)
class EssRules:
    """What an unanswered check means: `open` lets entries pass as specified, `closed` does not."""

    fail_mode: Literal["open", "closed"]


def hold_trip(reason: str, *, tripped_at: datetime, hold: timedelta, now: datetime, proven: bool = True) -> None:
    """Block entries at once, until `hold` after the trip.

    Until then an answer of risk-safety that still shows ARMED does not undo the trip. A trip that is replayed after its
    hold has run out is history; the next check asks risk-safety itself. A trip whose sender is not `proven` blocks as
    long, but nothing is cancelled or closed because of it, and it does not replace a trip that stands.
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
            save_ess_status(blocked)
        details = {"tripped_at": tripped_at.isoformat(), "held_until": held_until.isoformat()}
        why = (Reason.ESS_BLOCKED, reason)
        log_step("ess", 1, to_state=TRIPPED, trigger=TRIP_EVENT, now=now, reason=why, details=details)


def _hold_unproven(reason: str, held_until: datetime, now: datetime) -> None:
    with transaction.atomic():
        if held_until > now:
            known = lock_ess_status()
            stands = known is not None and not known.permitted and known.state in BLOCKING_STATES
            longest = max(held_until, known.held_until or held_until) if known else held_until
            blocked: dict[str, object] = {"permitted": False, "held_until": longest}
            if not stands:
                blocked |= {"state": UNPROVEN, "reason": reason, "source": TRIP_EVENT, "observed_at": now}
            save_ess_status(blocked)
        details = {"held_until": held_until.isoformat()}
        why = (Reason.ESS_BLOCKED, reason)
        log_step("ess", 1, to_state=UNPROVEN, trigger=TRIP_EVENT, now=now, reason=why, details=details)


def decide(risk_safety: RiskSafety, rules: EssRules, clock: Clock) -> EssDecision:
    """Ask risk-safety whether entries are permitted.

    A trip that came by event outranks the answer while it is held; a known block outranks a time-out.
    """
    known = ess_status()
    try:
        reading = risk_safety.ess()
    except RiskSafetyUnavailableError as error:
        first = {"state": UNREACHABLE, "permitted": _passes_unanswered(rules), "source": HTTP, "observed_at": clock()}
        count_unanswered(error.kind, first)
        return _by_silence(known, rules, error, clock())
    now = clock()
    if _held_until(known, reading, now):
        # Risk-safety answers again, though its answer does not count yet.
        clear_unanswered()
    else:
        _record_answer(known, reading, now)
    return _by_answer(known, reading, now)


def look(risk_safety: RiskSafety, rules: EssRules, clock: Clock) -> EssDecision:
    """Return what `decide` would answer now, and record nothing."""
    known = ess_status()
    try:
        reading = risk_safety.ess()
    except RiskSafetyUnavailableError as error:
        return _by_silence(known, rules, error, clock())
    return _by_answer(known, reading, clock())


def ess_verdict(decision: EssDecision) -> RuleVerdict:
    """Return the emergency stop's answer as a rule's verdict."""
    numbers = f"state={decision.state} ({decision.evidence})"
    return RuleVerdict(rule="ess", numbers=numbers, refusal=None if decision.permitted else Reason.ESS_BLOCKED)


def _held_until(known: EssStatus | None, reading: EssReading, now: datetime) -> datetime | None:
    """Return until when a trip that came by event outranks risk-safety's answer, or None when it does not."""
    if known is None or known.permitted or not known.held_until or known.held_until <= now:
        return None
    # Where risk-safety itself blocks, a stop without a proven sender must not keep back what follows a trip.
    outranks = known.state != UNPROVEN or permits(reading.state, can_execute=reading.can_execute)
    return known.held_until if outranks else None


def _by_answer(known: EssStatus | None, reading: EssReading, now: datetime) -> EssDecision:
    held_until = _held_until(known, reading, now)
    if known and held_until:
        return EssDecision(
            permitted=False,
            state=known.state,
            evidence=f"{known.source}: {known.reason}; held until {held_until.isoformat()}",
            age_seconds=(now - known.observed_at).total_seconds(),
        )
    permitted = permits(reading.state, can_execute=reading.can_execute)
    evidence = f"can_execute={reading.can_execute}" + (f": {reading.reason}" if reading.reason else "")
    return EssDecision(permitted=permitted, state=reading.state, evidence=evidence, age_seconds=0.0)


def _record_answer(known: EssStatus | None, reading: EssReading, now: datetime) -> None:
    permitted = permits(reading.state, can_execute=reading.can_execute)
    changed = known is None or (known.state, known.permitted) != (reading.state, permitted)
    # One row for all workers: it is written when something changed, and else once a second for its age.
    if changed or known is None or known.unanswered or (now - known.observed_at).total_seconds() >= 1:
        _save_answer(known, reading, now, permitted=permitted, changed=changed)


def _save_answer(
    known: EssStatus | None, reading: EssReading, now: datetime, *, permitted: bool, changed: bool
) -> None:
    answer = EssStatus(
        state=reading.state,
        permitted=permitted,
        reason=reading.reason,
        source=HTTP,
        observed_at=now,
        # A hold without a proven sender stays when risk-safety's own block ends sooner.
        held_until=known.held_until if known and known.state == UNPROVEN and not permitted else None,
    )
    if not changed:
        save_ess_answer(answer)
        return
    with transaction.atomic():
        save_ess_answer(answer)
        before = known.state if known else ""
        log_step("ess", 1, from_state=before, to_state=reading.state, trigger=HTTP, now=now)


def _passes_unanswered(rules: EssRules) -> bool:
    return rules.fail_mode == "open"


def _by_silence(
    known: EssStatus | None, rules: EssRules, error: RiskSafetyUnavailableError, now: datetime
) -> EssDecision:
    """Decide by `fail_mode`. What is known to block goes on blocking."""
    if known and not known.permitted and known.state != UNREACHABLE:
        age = (now - known.observed_at).total_seconds()
        evidence = f"{error}; last known state, {age:.0f}s old: {known.reason}"
        return EssDecision(permitted=False, state=known.state, evidence=evidence, age_seconds=age)
    evidence = f"{error}; ESS_FAIL_MODE={rules.fail_mode}"
    return EssDecision(permitted=_passes_unanswered(rules), state=UNREACHABLE, evidence=evidence)
