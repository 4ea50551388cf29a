"""Applies `policy.updated`: an announcement is a hint, risk-safety's own answer is the value."""

from datetime import datetime

import structlog

from execution.domain.policy import KEYS, PolicyValueError, parse_policy_value
from execution.domain.ports import RiskSafety, RiskSafetyUnavailableError
from execution.models import InboxEvent
from execution.models.inbox import InboxOutcome
from execution.risk.policy_store import EVENT, HTTP, refresh_policy, refuse_policy_value, set_policy_value
from execution.signals.schemas import PolicyUpdated

log = structlog.get_logger(__name__)


def apply_policy(inbox_id: int, *, risk_safety: RiskSafety, now: datetime) -> None:
    """Apply a policy value that was announced, and note that it was; a second time changes nothing."""
    inbox = InboxEvent.objects.get(pk=inbox_id)
    _apply(PolicyUpdated.model_validate(inbox.payload), risk_safety, now)
    InboxEvent.objects.filter(pk=inbox_id, outcome=InboxOutcome.PENDING).update(outcome=InboxOutcome.APPLIED)


def unapplied(*, before: datetime) -> list[int]:
    """Return the announcements that nobody has applied since: their task was lost with the broker."""
    lost = InboxEvent.objects.filter(outcome=InboxOutcome.PENDING, received_at__lt=before)
    return list(lost.order_by("pk").values_list("pk", flat=True))


def _apply(event: PolicyUpdated, risk_safety: RiskSafety, now: datetime) -> None:
    """Take `policy.updated` as a hint: ask the service for the value; without its word an event only tightens.

    So it does not matter in which order announcements are worked off, or whether one comes late.
    """
    # A change of the whole policy names no key.
    if not event.key:
        refresh_policy(risk_safety=risk_safety, now=now)
        return
    value, source = _current(event, risk_safety)
    if value is None:
        return
    try:
        set_policy_value(event.key, parse_policy_value(event.key, value), source=source, now=now)
    except PolicyValueError as error:
        refuse_policy_value(event.key, error, "policy.updated", now)


def _current(event: PolicyUpdated, risk_safety: RiskSafety) -> tuple[object, str]:
    """Return the service's own value, or the event's where the service is silent or does not keep the key."""
    # An unknown key is refused by what follows; it is no reason to ask the service.
    if event.key not in KEYS:
        return event.new_value, EVENT
    try:
        value = risk_safety.policy(event.key)
    except RiskSafetyUnavailableError as error:
        log.warning("policy_service_silent", key=event.key, error=str(error))
        return event.new_value, EVENT
    return (event.new_value, EVENT) if value is None else (value, HTTP)
