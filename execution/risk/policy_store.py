"""The policy in force: read for every verdict, and changed only to values within their bounds.

It is a snapshot of risk-safety's values, renewed when a change is announced and when it has grown old. While
risk-safety is down the last known values stay in force, and health shows their age.

Tightening is easy, loosening is not. An announcement may tighten at once. A value that takes on more risk needs
risk-safety's own answer for that key, or an operator (`manage.py set_policy`). What an operator has set, only an
operator loosens. Nothing passes the hard ceilings of the settings (POLICY_CEILINGS). Each change is in the journal, and
a change that loosens or is refused raises an alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import transaction

from execution.domain.clocks import age_of
from execution.domain.policy import (
    KEYS,
    SYMBOL_RELEASE_SECONDS,
    Looser,
    Policy,
    PolicyValueError,
    capped,
    loosens,
    parse_policy_value,
)
from execution.domain.ports import RiskSafety, RiskSafetyUnavailableError
from execution.models import PolicyValue
from execution.store.heartbeats import POLICY, beat, last_heartbeat
from execution.store.policy import (
    change_policy_source,
    lock_policy,
    newest_policy_version,
    policy_mark,
    policy_value,
    policy_values,
    policy_values_by_key,
    save_policy_value,
)
from execution.store.quarantine import pairs
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
HTTP, EVENT, OPERATOR = "http", "event", "operator"
DENIED, LOOSER, TIGHTER, UNORDERED = "DENIED", "looser", "tighter", "unordered"


@dataclass(frozen=True, kw_only=True)
class PolicyReading:
    """The policy in force, and when risk-safety last reported all its values, None when it never has."""

    policy: Policy
    answered_at: datetime | None

    def age_seconds(self, now: datetime) -> float | None:
        """Return the seconds since risk-safety's last report."""
        return (now - self.answered_at).total_seconds() if self.answered_at else None


# The values that this process has read last, by their digest.
_read_last: dict[str, Policy] = {}


class PolicyLoosenedError(PolicyValueError):
    """A value that takes on more risk, from a source that may only tighten."""


def policy_in_force() -> Policy:
    """Return the policy that verdicts use: the stored values, capped by the ceilings of the settings."""
    return policy_reading().policy


def policy_reading() -> PolicyReading:
    """Return the policy in force and when risk-safety last reported it.

    It is one statement while the values are those that this process has read last.
    """
    mark, answered_at = policy_mark()
    last = _read_last.get(mark)
    if last is None:
        last = stored_policy()
        _read_last.clear()
        # Rows that cannot be read raise their alarm with each reading. What changed in between belongs to another mark.
        if not last.unusable and policy_mark()[0] == mark:
            _read_last[mark] = last
    at = datetime.fromisoformat(answered_at) if answered_at else None
    return PolicyReading(policy=_below_ceilings(last), answered_at=at)


def stored_policy() -> Policy:
    """Return the values as they were reported, without the ceilings, with the newest version."""
    rows = policy_values()
    # One nonsensical row must not take the others with it; entries wait until it is repaired.
    usable = {row.key: value for row, value in pairs(rows, lambda row: parse_policy_value(row.key, row.value))}
    unusable = frozenset(row.key for row in rows if row.key not in usable)
    return Policy(values=usable, version=max((row.version for row in rows), default=0), unusable=unusable)


def capped_values() -> dict[str, tuple[Decimal, Decimal]]:
    """Return the stored values beyond a hard ceiling, by key: what is stored, and what is in force."""
    stored = stored_policy()
    held = _below_ceilings(stored)
    return {key: (value, held[key]) for key, value in stored.values.items() if value != held[key]}


def _below_ceilings(stored: Policy) -> Policy:
    ceilings: Mapping[str, Decimal] = settings.POLICY_CEILINGS
    held = {key: capped(key, stored[key], ceilings) for key in ceilings}
    return replace(stored, values={**stored.values, **held})


def refresh_policy(*, risk_safety: RiskSafety, now: datetime, older_than: timedelta | None = None) -> bool:
    """Ask risk-safety for every value, unless it was asked less than `older_than` ago.

    A value that risk-safety does not keep stays as it is: it came by event, or is the default.

    Returns:
        False when it was not asked, or did not answer.

    """
    last = last_heartbeat(POLICY)
    if last and older_than and age_of(last.at, now) < older_than:
        return False
    known = last.details if last else {}
    try:
        reported = risk_safety.policies()
    except RiskSafetyUnavailableError as error:
        log.warning("policy_service_silent", error=str(error))
        details = {"answered_at": None, "refused": {}, **known, "unanswered": known.get("unanswered", 0) + 1}
        beat(POLICY, now=now, healthy=False, details={**details, "error": str(error)})
        return False
    refused = _apply_all(reported, known.get("refused", {}), risk_safety, now)
    details = {"answered_at": now.isoformat(), "refused": refused, "unanswered": 0, **_not_from_risk_safety(reported)}
    beat(POLICY, now=now, healthy=not refused, details=details)
    return True


def _apply_all(
    reported: Mapping[str, object], refused_before: Mapping[str, str], risk_safety: RiskSafety, now: datetime
) -> dict[str, str]:
    """Put in force the values that are in bounds, and return a sentence for each that is not."""
    stored, refused = stored_policy(), {}
    for key in sorted(KEYS.keys() & reported.keys()):
        try:
            value = parse_policy_value(key, reported[key])
            if value != stored[key]:
                _demand_confirmation(key, stored[key], value, risk_safety)
                set_policy_value(key, value, source=HTTP, now=now)
        except PolicyValueError as error:
            refused[key] = str(error)
            # Logged when it is new; health shows it for as long as it lasts.
            if refused_before.get(key) != str(error):
                refuse_policy_value(key, error, HTTP, now)
    return refused


def _demand_confirmation(key: str, before: Decimal, after: Decimal, risk_safety: RiskSafety) -> None:
    """Demand that risk-safety's answer for this key alone confirms a listed value that loosens.

    Raises:
        PolicyLoosenedError: the key's own answer is missing, or another value.

    """
    if not loosens(key, before, after):
        return
    try:
        answer = risk_safety.policy(key)
        confirmed = answer is not None and parse_policy_value(key, answer) == after
    except (RiskSafetyUnavailableError, PolicyValueError):
        confirmed = False
    if not confirmed:
        raise PolicyLoosenedError(f"POLICY_NOT_CONFIRMED: key={key} in_force={before:f} listed={after:f}")


def _not_from_risk_safety(listed: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the keys that risk-safety does not keep, and those that only an operator loosens."""
    rows = policy_values_by_key()
    return {
        "not_kept": [row.key for row in rows if row.source != OPERATOR and row.key not in listed],
        "by_operator": [row.key for row in rows if row.source == OPERATOR],
    }


def refuse_policy_value(key: str, error: PolicyValueError, trigger: str, now: datetime) -> None:
    """Write a refused value to log and journal. The value in force stays."""
    log.error("policy_value_refused", key=key, error=str(error))
    log_step("policy", key, to_state=DENIED, trigger=trigger, now=now, reason=("", str(error)))


def set_policy_value(key: str, value: Decimal, *, source: str, now: datetime, by: str = "", reason: str = "") -> None:
    """Put a value in force: the policy's version grows, and a change that loosens raises an alarm.

    Raises:
        PolicyLoosenedError: it takes on more risk, and its source may only tighten; nothing was changed.

    """
    with transaction.atomic():
        lock_policy()
        known = policy_value(key)
        # A stored value that means nothing counts as the default, as it does in force.
        before = stored_policy()[key]
        looser = loosens(key, before, value)
        if looser:
            _demand_right_to_loosen(known, key, before, value, source)
        # An operator may hold the value that is in force already, so that only an operator loosens it.
        if before == value and source != OPERATOR and not (known and known.value != value):
            return
        version = newest_policy_version() + 1
        # What an operator has set stays the operator's, also when others have tightened it further.
        keeper = OPERATOR if known and known.source == OPERATOR else source
        save_policy_value(key, value, source=keeper, version=version, now=now)
        log_step(
            "policy",
            key,
            from_state=f"{before.normalize():f}" if known else "default",
            to_state=f"{value:f}",
            trigger=source,
            now=now,
            reason=("", reason),
            details={"version": version, "direction": _direction(key, loosens=looser), "by": by},
        )
    if looser:
        write = log.error if _direction(key, loosens=True) == LOOSER else log.warning
        write("policy_loosened", key=key, before=f"{before:f}", after=f"{value:f}", source=source, by=by)


def _direction(key: str, *, loosens: bool) -> str:
    """Return the direction of a change for the journal. Health raises an alarm for LOOSER."""
    if not loosens:
        return TIGHTER
    return UNORDERED if KEYS[key].looser is Looser.EITHER else LOOSER


def _demand_right_to_loosen(known: PolicyValue | None, key: str, before: Decimal, after: Decimal, source: str) -> None:
    change = f"key={key} in_force={before:f} asked={after:f}"
    if source == EVENT:
        raise PolicyLoosenedError(
            f"POLICY_LOOSENED_BY_EVENT: {change}; it needs risk-safety's own answer for the key, or an operator"
        )
    if known and known.source == OPERATOR and source != OPERATOR:
        raise PolicyLoosenedError(f"POLICY_HELD_BY_OPERATOR: {change} source={source}")


def release_policy_value(key: str, *, now: datetime, by: str, reason: str) -> None:
    """Give an operator's value back to risk-safety, whose next answer may loosen it."""
    with transaction.atomic():
        lock_policy()
        change_policy_source(key, source=OPERATOR, to=HTTP, now=now)
        log_step("policy", key, to_state="RELEASED", trigger=OPERATOR, now=now, reason=("", reason), details={"by": by})


def symbol_release() -> timedelta:
    """Return how long an unfinished order keeps the symbol of a position that is gone."""
    return timedelta(seconds=float(policy_in_force()[SYMBOL_RELEASE_SECONDS]))
