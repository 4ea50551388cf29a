"""The policy in force: read for every verdict, changed only through a value that its bounds allow.

It is a snapshot of what risk-safety says, renewed when a change is announced and when it has grown old. While that
service is down the last known values stay in force, and their age is shown.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import transaction
from django.db.models import Max

from execution.domain.clocks import age_of
from execution.domain.policy import KEYS, Policy, PolicyValueError, parse_policy_value
from execution.domain.ports import RiskSafety, RiskSafetyUnavailableError
from execution.models import Heartbeat, InboxEvent, PolicyValue
from execution.models.inbox import InboxOutcome
from execution.pipeline.heartbeats import beat
from execution.pipeline.quarantine import pairs
from execution.pipeline.schemas import PolicyUpdated
from execution.pipeline.transitions import log_step

log = structlog.get_logger(__name__)
HTTP, EVENT = "http", "event"
# The snapshot's line among the heartbeats.
SNAPSHOT = "policy"


def policy_in_force() -> Policy:
    """Return the values that differ from the defaults, with the version of the newest."""
    rows = list(PolicyValue.objects.all())
    # One nonsensical row must not take the others with it; entries wait until it is repaired.
    usable = {row.key: value for row, value in pairs(rows, _value_of)}
    unusable = frozenset(row.key for row in rows if row.key not in usable)
    return Policy(values=usable, version=max((row.version for row in rows), default=0), unusable=unusable)


def _value_of(row: PolicyValue) -> Decimal:
    return parse_policy_value(row.key, row.value)


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
    """Take `policy.updated` as a hint: ask the service for the value; only when it is silent, take the event's own."""
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
    refused = _apply_all(told, known.get("refused", {}), now)
    details = {"answered_at": now.isoformat(), "refused": refused, "unanswered": 0}
    beat(SNAPSHOT, now=now, healthy=not refused, details=details)
    return True


def _apply_all(told: Mapping[str, object], refused_before: Mapping[str, str], now: datetime) -> dict[str, str]:
    """Put in force what is in bounds; return the sentence for each value that is not."""
    in_force, refused = policy_in_force(), {}
    for key in sorted(KEYS.keys() & told.keys()):
        try:
            value = parse_policy_value(key, told[key])
        except PolicyValueError as error:
            refused[key] = str(error)
            # Logged when it is new; health shows it for as long as it lasts.
            if refused_before.get(key) != str(error):
                _refuse(key, error, HTTP, now)
            continue
        if value != in_force[key]:
            set_policy_value(key, value, source=HTTP, now=now)
    return refused


def _refuse(key: str, error: PolicyValueError, trigger: str, now: datetime) -> None:
    log.error("policy_value_refused", key=key, error=str(error))
    log_step("policy", key, to_state="REFUSED", trigger=trigger, now=now, reason=("", str(error)))


def _is_outdated(inbox: InboxEvent, event: PolicyUpdated) -> bool:
    """Whether a later announcement of this key has been applied: a task that was lost may come after it."""
    later = InboxEvent.objects.filter(event_type=inbox.event_type, pk__gt=inbox.pk, outcome=InboxOutcome.APPLIED)
    return any(PolicyUpdated.model_validate(each.payload).key == event.key for each in later)


def set_policy_value(key: str, value: Decimal, *, source: str, now: datetime) -> None:
    """Put a value in force; the policy's version grows and the change is logged."""
    with transaction.atomic():
        # The lock makes versions a sequence.
        rows = {row.key: row for row in PolicyValue.objects.select_for_update()}
        known = rows.get(key)
        if known and known.value == value:
            return
        newest = PolicyValue.objects.aggregate(newest=Max("version"))["newest"] or 0
        PolicyValue.objects.update_or_create(
            key=key, defaults={"value": value, "source": source, "version": newest + 1, "changed_at": now}
        )
        log_step(
            "policy",
            key,
            from_state=str(known.value.normalize()) if known else "default",
            to_state=str(value),
            trigger=source,
            now=now,
            details={"version": newest + 1},
        )


def _current(event: PolicyUpdated, risk_safety: RiskSafety) -> tuple[object, str]:
    try:
        value = risk_safety.policy(event.key)
    except RiskSafetyUnavailableError as error:
        log.warning("policy_service_silent", key=event.key, error=str(error))
        return event.new_value, EVENT
    # The service answers null for a key that it does not keep: then nobody but the event knows the value.
    return (event.new_value, EVENT) if value is None else (value, HTTP)
