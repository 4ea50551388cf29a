"""The policy in force: read for every verdict, changed only through a value that its bounds allow.

It is a snapshot of what risk-safety says, renewed when a change is announced and when it has grown old. While that
service is down the last known values stay in force, and their age is shown.

Loosening never travels by the road of tightening. An announcement may tighten at once. What takes on more risk needs
risk-safety's own answer for that key, or an operator (`manage.py set_policy`). What an operator has set, only an
operator loosens. Nothing passes the hard ceilings of the settings (POLICY_CEILINGS). Each change is in the journal, and
one that loosens, or that was refused, is an alarm.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Max

from execution.domain.clocks import age_of
from execution.domain.policy import KEYS, Looser, Policy, PolicyValueError, capped, loosens, parse_policy_value
from execution.domain.ports import RiskSafety, RiskSafetyUnavailableError
from execution.models import Heartbeat, InboxEvent, PolicyValue
from execution.models.inbox import InboxOutcome
from execution.pipeline.heartbeats import beat
from execution.pipeline.schemas import PolicyUpdated
from execution.pipeline.transitions import log_step

log = structlog.get_logger(__name__)
HTTP, EVENT, OPERATOR = "http", "event", "operator"
# The snapshot's line among the heartbeats.
SNAPSHOT = "policy"
REFUSED, LOOSER, TIGHTER, UNORDERED = "REFUSED", "looser", "tighter", "unordered"


class PolicyLoosenedError(PolicyValueError):
    """A value that takes on more risk, from a source that may only tighten."""


def policy_in_force() -> Policy:
    """Return the values that differ from the defaults, below their ceilings, with the version of the newest."""
    stored = stored_policy()
    ceilings: Mapping[str, Decimal] = settings.POLICY_CEILINGS
    held = {key: capped(key, stored[key], ceilings) for key in ceilings}
    return Policy(values={**stored.values, **held}, version=stored.version)


def stored_policy() -> Policy:
    """Return the values as they were told, which the ceilings of the settings may cap."""
    rows = list(PolicyValue.objects.all())
    return Policy(values={row.key: row.value for row in rows}, version=max((row.version for row in rows), default=0))


def capped_values() -> dict[str, tuple[Decimal, Decimal]]:
    """Return the values that were told beyond a hard ceiling, by key: what was told, and what is in force."""
    stored, held = stored_policy(), policy_in_force()
    return {key: (value, held[key]) for key, value in stored.values.items() if value != held[key]}


def policy_age_seconds(now: datetime) -> float | None:
    """Return how long ago the policy's source last told all its values; None when it never has."""
    last = Heartbeat.objects.filter(part=SNAPSHOT).first()
    answered = last.details.get("answered_at") if last else None
    return (now - datetime.fromisoformat(answered)).total_seconds() if answered else None


def apply_policy(inbox_id: int, *, risk_safety: RiskSafety, now: datetime) -> None:
    """Apply a policy value that was announced, and note that it was; a second time changes nothing."""
    inbox = InboxEvent.objects.get(pk=inbox_id)
    _apply(inbox, PolicyUpdated.model_validate(inbox.payload), risk_safety, now)
    InboxEvent.objects.filter(pk=inbox_id, outcome=InboxOutcome.PENDING).update(outcome=InboxOutcome.APPLIED)


def unapplied(*, before: datetime) -> list[int]:
    """Return the announcements that nobody has applied since: their task was lost with the broker."""
    lost = InboxEvent.objects.filter(outcome=InboxOutcome.PENDING, received_at__lt=before)
    return list(lost.order_by("pk").values_list("pk", flat=True))


def _apply(inbox: InboxEvent, event: PolicyUpdated, risk_safety: RiskSafety, now: datetime) -> None:
    """Take `policy.updated` as a hint: ask the service for the value; without its word an event only tightens."""
    # A change of the whole policy names no key.
    if not event.key:
        refresh_policy(risk_safety=risk_safety, now=now)
        return
    value, source = _current(event, risk_safety)
    if value is None or (source == EVENT and _is_outdated(inbox, event)):
        return
    try:
        set_policy_value(event.key, parse_policy_value(event.key, value), source=source, now=now)
    except PolicyValueError as error:
        _refuse(event.key, error, "policy.updated", now)


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
                _refuse(key, error, HTTP, now)
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
        raise PolicyLoosenedError(f"POLICY_NOT_CONFIRMED: key={key} in_force={before:f} told={after:f}")


def _by_others(told: Mapping[str, object]) -> dict[str, list[str]]:
    """Name the values in force that risk-safety does not keep, and those that only an operator loosens."""
    rows = list(PolicyValue.objects.order_by("key"))
    return {
        "not_kept": [row.key for row in rows if row.source != OPERATOR and row.key not in told],
        "by_operator": [row.key for row in rows if row.source == OPERATOR],
    }


def _refuse(key: str, error: PolicyValueError, trigger: str, now: datetime) -> None:
    log.error("policy_value_refused", key=key, error=str(error))
    log_step("policy", key, to_state=REFUSED, trigger=trigger, now=now, reason=("", str(error)))


def _is_outdated(inbox: InboxEvent, event: PolicyUpdated) -> bool:
    """Whether a later announcement of this key has been applied: a task that was lost may come after it."""
    later = InboxEvent.objects.filter(event_type=inbox.event_type, pk__gt=inbox.pk, outcome=InboxOutcome.APPLIED)
    return any(PolicyUpdated.model_validate(each.payload).key == event.key for each in later)


def set_policy_value(key: str, value: Decimal, *, source: str, now: datetime, by: str = "", reason: str = "") -> None:
    """Put a value in force; the policy's version grows and the change is logged, with an alarm when it loosens.

    Raises:
        PolicyLoosenedError: it takes on more risk, and its source may only tighten; nothing was changed.

    """
    with transaction.atomic():
        # The lock makes versions a sequence.
        rows = {row.key: row for row in PolicyValue.objects.select_for_update()}
        known = rows.get(key)
        before = known.value if known else KEYS[key].default
        looser = loosens(key, before, value)
        if looser:
            _demand_right_to_loosen(known, key, before, value, source)
        if known and known.value == value and source != OPERATOR:
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
        PolicyValue.objects.filter(key=key, source=OPERATOR).update(source=HTTP, changed_at=now)
        log_step("policy", key, to_state="RELEASED", trigger=OPERATOR, now=now, reason=("", reason), details={"by": by})


def _current(event: PolicyUpdated, risk_safety: RiskSafety) -> tuple[object, str]:
    """Return the service's own value, or the event's where the service is silent or does not keep the key."""
    # An unknown key is refused by what follows; it is no reason to ask anybody.
    if event.key not in KEYS:
        return event.new_value, EVENT
    try:
        value = risk_safety.policy(event.key)
    except RiskSafetyUnavailableError as error:
        log.warning("policy_service_silent", key=event.key, error=str(error))
        return event.new_value, EVENT
    return (event.new_value, EVENT) if value is None else (value, HTTP)
