"""Applies `policy.updated`: the event is a hint, and risk-safety's own answer is the value."""

from datetime import datetime

import structlog

from execution.domain.policy import KEYS, PolicyValueError, parse_policy_value
from execution.domain.ports import RiskSafety, RiskSafetyUnavailableError
from execution.risk.policy_store import EVENT, HTTP, refresh_policy, refuse_policy_value, set_policy_value
from execution.signals.schemas import PolicyUpdated
from execution.store.inbox import load_event, mark_applied

log = structlog.get_logger(__name__)


def apply_policy(inbox_id: int, *, risk_safety: RiskSafety, now: datetime) -> None:
    """Apply an announced policy value and mark its event as applied. A second time changes nothing."""
    _apply(PolicyUpdated.model_validate(load_event(inbox_id).payload), risk_safety, now)
    mark_applied(inbox_id)


def _apply(event: PolicyUpdated, risk_safety: RiskSafety, now: datetime) -> None:
    """Ask risk-safety for the value. Without its answer the event's own value may only tighten.

    So events may be applied in any order, and late.
    """
    # A change of the whole policy names no key.
    if not event.key:
        refresh_policy(risk_safety=risk_safety, now=now)
        return
    value, source = _value_and_source(event, risk_safety)
    if value is None:
        return
    try:
        set_policy_value(event.key, parse_policy_value(event.key, value), source=source, now=now)
    except PolicyValueError as error:
        refuse_policy_value(event.key, error, "policy.updated", now)


def _value_and_source(event: PolicyUpdated, risk_safety: RiskSafety) -> tuple[object, str]:
    """Return risk-safety's own value, or the event's when risk-safety is silent or does not keep the key."""
    # The caller refuses an unknown key; risk-safety need not be asked for it.
    if event.key not in KEYS:
        return event.new_value, EVENT
    try:
        value = risk_safety.policy(event.key)
    except RiskSafetyUnavailableError as error:
        log.warning("policy_service_silent", key=event.key, error=str(error))
        return event.new_value, EVENT
    return (event.new_value, EVENT) if value is None else (value, HTTP)
