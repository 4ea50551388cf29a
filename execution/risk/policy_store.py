"""The policy in force: read for every verdict, changed only through a value that its bounds allow.

It is a snapshot of what risk-safety says, renewed when a change is announced and when it has grown old. While that
service is down the last known values stay in force, and their age is shown.

Loosening never travels by the road of tightening. An announcement may tighten at once. What takes on more risk needs
risk-safety's own answer for that key, or an operator (`manage.py set_policy`). What an operator has set, only an
operator loosens. Nothing passes the hard ceilings of the settings (POLICY_CEILINGS). Each change is in the journal, and
one that loosens, or that was refused, is an alarm.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

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
from execution.models import Heartbeat, PolicyValue
from execution.store.heartbeats import beat
from execution.store.quarantine import pairs
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
HTTP, EVENT, OPERATOR = "http", "event", "operator"
# The snapshot's line among the heartbeats.
SNAPSHOT = "policy"
# One lock for all processes while a value changes.
POLICY_LOCK = 0x706F6C69
DENIED, LOOSER, TIGHTER, UNORDERED = "DENIED", "looser", "tighter", "unordered"


class PolicyLoosenedError(PolicyValueError):
    """A value that takes on more risk, from a source that may only tighten."""


def policy_in_force() -> Policy:
    """Return the values that differ from the defaults, below their ceilings, with the version of the newest."""
    return _below_ceilings(stored_policy())


def stored_policy() -> Policy:
    """Return the values as they were reported, which the ceilings of the settings may cap."""
    rows = list(PolicyValue.objects.all())
    # One nonsensical row must not take the others with it; entries wait until it is repaired.
    usable = {row.key: value for row, value in pairs(rows, _value_of)}
    unusable = frozenset(row.key for row in rows if row.key not in usable)
    return Policy(values=usable, version=max((row.version for row in rows), default=0), unusable=unusable)


def _value_of(row: PolicyValue) -> Decimal:
    return parse_policy_value(row.key, row.value)


def capped_values() -> dict[str, tuple[Decimal, Decimal]]:
    """Return the stored values beyond a hard ceiling, by key: what is stored, and what is in force."""
    stored = stored_policy()
    held = _below_ceilings(stored)
    return {key: (value, held[key]) for key, value in stored.values.items() if value != held[key]}


def _below_ceilings(stored: Policy) -> Policy:
    ceilings: Mapping[str, Decimal] = settings.POLICY_CEILINGS
    held = {key: capped(key, stored[key], ceilings) for key in ceilings}
    return replace(stored, values={**stored.values, **held})


def policy_age_seconds(now: datetime) -> float | None:
    """Return how long ago the policy's source last told all its values; None when it never has."""
    last = Heartbeat.objects.filter(part=SNAPSHOT).first()
    answered = last.details.get("answered_at") if last else None
    return (now - datetime.fromisoformat(answered)).total_seconds() if answered else None


def refresh_policy(*, risk_safety: RiskSafety, now: datetime, older_than: timedelta | None = None) -> bool:
    """Ask for every value, unless the last question is younger than `older_than`; False when nothing was learnt.

    What the service does not keep stays as it is: its value came by event, or is the default.
    """
    last = Heartbeat.objects.filter(part=SNAPSHOT).first()
    if last and older_than and age_of(last.at, now) < older_than:
        return False
    known = last.details if last else {}
    try:
        told = risk_safety.policies()
    except RiskSafetyUnavailableError as error:
        log.warning("policy_service_silent", error=str(error))
        details = {"answered_at": None, "refused": {}, **known, "unanswered": known.get("unanswered", 0) + 1}
        beat(SNAPSHOT, now=now, healthy=False, details={**details, "error": str(error)})
        return False
    refused = _apply_all(told, known.get("refused", {}), risk_safety, now)
    details = {"answered_at": now.isoformat(), "refused": refused, "unanswered": 0, **_by_others(told)}
    beat(SNAPSHOT, now=now, healthy=not refused, details=details)
    return True


def _apply_all(
    told: Mapping[str, object], refused_before: Mapping[str, str], risk_safety: RiskSafety, now: datetime
) -> dict[str, str]:
    """Put in force what is in bounds; return the sentence for each value that is not."""
    stored, refused = stored_policy(), {}
    for key in sorted(KEYS.keys() & told.keys()):
        try:
            value = parse_policy_value(key, told[key])
            if value != stored[key]:
                _confirm(key, stored[key], value, risk_safety)
                set_policy_value(key, value, source=HTTP, now=now)
        except PolicyValueError as error:
            refused[key] = str(error)
            # Logged when it is new; health shows it for as long as it lasts.
            if refused_before.get(key) != str(error):
                refuse_policy_value(key, error, HTTP, now)
    return refused


def _confirm(key: str, before: Decimal, after: Decimal, risk_safety: RiskSafety) -> None:
    """Let a value of the list that loosens be said once more, by the answer for that key alone.

    Raises:
        PolicyLoosenedError: the key's own answer is missing, or another value.

    """
    if not loosens(key, before, after):
        return
    try:
        said = risk_safety.policy(key)
        confirmed = said is not None and parse_policy_value(key, said) == after
    except (RiskSafetyUnavailableError, PolicyValueError):
        confirmed = False
    if not confirmed:
        raise PolicyLoosenedError(f"POLICY_NOT_CONFIRMED: key={key} in_force={before:f} listed={after:f}")


def _by_others(listed: Mapping[str, object]) -> dict[str, list[str]]:
    """Name the values in force that risk-safety does not keep, and those that only an operator loosens."""
    rows = list(PolicyValue.objects.order_by("key"))
    return {
        "not_kept": [row.key for row in rows if row.source != OPERATOR and row.key not in listed],
        "by_operator": [row.key for row in rows if row.source == OPERATOR],
    }


def refuse_policy_value(key: str, error: PolicyValueError, trigger: str, now: datetime) -> None:
    log.error("policy_value_refused", key=key, error=str(error))
    log_step("policy", key, to_state=DENIED, trigger=trigger, now=now, reason=("", str(error)))


def set_policy_value(key: str, value: Decimal, *, source: str, now: datetime, by: str = "", reason: str = "") -> None:
    """Put a value in force; the policy's version grows and the change is logged, with an alarm when it loosens.

    Raises:
        PolicyLoosenedError: it takes on more risk, and its source may only tighten; nothing was changed.

    """
    with transaction.atomic():
        _lock()
        known = PolicyValue.objects.filter(key=key).first()
        # A stored value that means nothing counts as the default, as it does in force.
        before = stored_policy()[key]
        looser = loosens(key, before, value)
        if looser:
            _demand_right_to_loosen(known, key, before, value, source)
        # An operator may hold what is in force already, so that nobody else loosens it.
        if before == value and source != OPERATOR and not (known and known.value != value):
            return
        newest = PolicyValue.objects.aggregate(newest=Max("version"))["newest"] or 0
        # What an operator has set stays the operator's, also when others have tightened it further.
        keeper = OPERATOR if known and known.source == OPERATOR else source
        PolicyValue.objects.update_or_create(
            key=key, defaults={"value": value, "source": keeper, "version": newest + 1, "changed_at": now}
        )
        log_step(
            "policy",
            key,
            from_state=f"{before.normalize():f}" if known else "default",
            to_state=f"{value:f}",
            trigger=source,
            now=now,
            reason=("", reason),
            details={"version": newest + 1, "direction": _direction(key, loosens=looser), "by": by},
        )
    if looser:
        say = log.error if _direction(key, loosens=True) == LOOSER else log.warning
        say("policy_loosened", key=key, before=f"{before:f}", after=f"{value:f}", source=source, by=by)


def _lock() -> None:
    """Wait for any change that is under way: versions are a sequence, and each compares with what is in force."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [POLICY_LOCK])


def _direction(key: str, *, loosens: bool) -> str:
    """Return the journal's word for a change; health raises the alarm for LOOSER."""
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
    """Let an operator's value be risk-safety's again: its next answer may loosen it."""
    with transaction.atomic():
        _lock()
        PolicyValue.objects.filter(key=key, source=OPERATOR).update(source=HTTP, changed_at=now)
        log_step("policy", key, to_state="RELEASED", trigger=OPERATOR, now=now, reason=("", reason), details={"by": by})


def symbol_release() -> timedelta:
    """Return for how long an order that does not end keeps the symbol of a position that is gone."""
    return timedelta(seconds=float(policy_in_force()[SYMBOL_RELEASE_SECONDS]))
