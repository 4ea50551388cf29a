"""The policy in force: read for every verdict, changed only through a value that its bounds allow."""

from datetime import datetime
from decimal import Decimal

import structlog
from django.db import transaction
from django.db.models import Max

from execution.domain.policy import Policy, PolicyValueError, parse_policy_value
from execution.domain.ports import RiskSafety, RiskSafetyUnavailableError
from execution.models import InboxEvent, PolicyValue
from execution.pipeline.schemas import PolicyUpdated
from execution.pipeline.transitions import log_step

log = structlog.get_logger(__name__)
HTTP, EVENT = "http", "event"


def policy_in_force() -> Policy:
    """Return the values that differ from the defaults, with the version of the newest."""
    rows = list(PolicyValue.objects.all())
    return Policy(values={row.key: row.value for row in rows}, version=max((row.version for row in rows), default=0))


def apply_policy(inbox_id: int, *, risk_safety: RiskSafety, now: datetime) -> None:
    """Take `policy.updated` as a hint: ask the service for the value; only when it is silent, take the event's own."""
    event = PolicyUpdated.model_validate(InboxEvent.objects.get(pk=inbox_id).payload)
    # A change of the whole policy names no key: the service is asked for each key that we know, by the refresh.
    if not event.key:
        log.warning("policy_update_without_key", inbox_id=inbox_id)
        return
    value, source = _current(event, risk_safety)
    if value is None:
        return
    try:
        set_policy_value(event.key, parse_policy_value(event.key, value), source=source, now=now)
    except PolicyValueError as error:
        log.warning("policy_value_refused", inbox_id=inbox_id, error=str(error))
        log_step("policy", event.key, to_state="REFUSED", trigger="policy.updated", now=now, reason=("", str(error)))


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
