"""Takes an alert in: reads it, applies the webhook's rules, and stores it by the intake of the bus.

An alert becomes a `signal.execute` whose producer is `webhook:NAME`. What the bus accepts, refuses and recognises
as a repeat, a webhook does too, by the same code (`signals/accept.py`). Nothing here waits for the exchange or the
broker: the caller starts the tasks afterwards, and the monitor resumes what was not started.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hmac import compare_digest
from uuid import UUID

from django.db import transaction

from execution.domain.alerts import AlertDraft, AlertVerb
from execution.domain.money import plain
from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.models import ExecutionRequest, Webhook
from execution.models.webhook import SizeRule
from execution.signals.accept import MANUAL_SIGNAL, AcceptedEvent, accept
from execution.signals.envelope import MalformedEventError, WireEvent
from execution.signals.inbox import IntakeRules
from execution.store.inbox import event_with
from execution.store.requests import request_of_event
from execution.store.webhooks import count_accepted, first_alert, lock_content
from execution.webhooks.alert_body import alert_fields, field_error, take_secret
from execution.webhooks.grammars import read_alert
from execution.webhooks.manage import secret_digest
from execution.webhooks.symbols import contract_of

PRODUCER = "webhook:"


class IdentifiedBy(StrEnum):
    """By what a repeat of an alert is recognised."""

    ALERT_ID = "alert_id"
    BAR_TIME = "bar_time"
    ALERT_TIME = "alert_time"
    CONTENT = "content"


@dataclass(frozen=True, kw_only=True)
class Signal:
    """An alert in the words of `signal.execute`, with what identifies it.

    `identity` is that of the alert's own id, or a digest of the content, which counts within the webhook's window.
    """

    payload: Mapping[str, object]
    verb: AlertVerb
    grammar: str
    identity: str
    identified_by: IdentifiedBy


@dataclass(frozen=True, kw_only=True)
class TakenAlert:
    """What has become of an alert: what is to be started, and the request that it is or was."""

    signal: Signal
    accepted: AcceptedEvent
    request_id: UUID | None


def signal_of(webhook: Webhook, raw: bytes, content_type: str, *, token: str, now: datetime) -> Signal:
    """Read an alert and apply the webhook's rules.

    Raises:
        MalformedEventError: it cannot be read or breaks a rule; the code shows which kind.

    """
    fields = alert_fields(raw, content_type)
    _check_secret(webhook, take_secret(fields), token)
    draft = read_alert(fields)
    if draft.intent.verb not in webhook.verbs:
        rule = f"{draft.intent.verb} is not allowed; this webhook may {', '.join(webhook.verbs)}"
        raise MalformedEventError(Reason.VERB_NOT_ALLOWED, f"action: {rule}", broken=[("action", rule)])
    _check_lag(webhook, draft, now)
    payload = _payload(webhook, draft)
    identity, identified_by = _identity(draft, payload)
    return Signal(
        payload=payload,
        verb=draft.intent.verb,
        grammar=draft.grammar,
        identity=identity,
        identified_by=identified_by,
    )


def take_alert(webhook: Webhook, signal: Signal, *, rules: IntakeRules, now: datetime) -> TakenAlert:
    """Store a signal once, however often its alert comes.

    Raises:
        MalformedEventError: the intake refuses it, or its id was used for another content; nothing was stored.

    """
    with transaction.atomic():
        signal = _within_window(webhook, signal, now)
        entry = StreamEntry(
            stream=PRODUCER + webhook.name,
            event_type=MANUAL_SIGNAL,
            entry_id="",
            fields={},
            producer=PRODUCER + webhook.name,
        )
        event = WireEvent(
            event_type=MANUAL_SIGNAL,
            identity=signal.identity,
            payload=signal.payload,
            trace_id=str(signal.payload.get("trace_id") or "")[:200],
            published_at=now,
        )
        accepted = accept(event, entry, rules=rules, now=now)
        if accepted.differs:
            rule = "was used for an alert with another content, which stands"
            raise MalformedEventError(Reason.IDENTITY_REUSED, f"id: {rule}", broken=[("id", rule)])
        # Within the transaction: a commit is followed by nothing that can fail.
        request_id = accepted.request_id or _request_of(signal, entry.producer)
        count_accepted(webhook.pk, now=now, repeated=accepted.repeated)
    return TakenAlert(signal=signal, accepted=accepted, request_id=request_id)


def _check_secret(webhook: Webhook, given: str, token: str) -> None:
    if webhook.secret_sha256 and not compare_digest(secret_digest(token, given), webhook.secret_sha256):
        rule = "is wrong" if given else "is missing"
        raise MalformedEventError(Reason.SECRET_WRONG, f"secret: {rule}", broken=[("secret", rule)])


def _check_lag(webhook: Webhook, draft: AlertDraft, now: datetime) -> None:
    """Refuse an alert that comes too late, by the shorter of the alert's and the webhook's bound."""
    bounds = [each for each in (webhook.max_lag_seconds, draft.max_lag_seconds) if each is not None]
    if not bounds:
        return
    if draft.moment is None:
        raise field_error("timestamp", "is required, as a time of the alert or its bar, where there is a max_lag")
    lag = (now - draft.moment).total_seconds()
    if lag > min(bounds):
        rule = f"expected<={min(bounds)}s actual={lag:.1f}s"
        raise MalformedEventError(Reason.SIGNAL_TOO_OLD, f"max_lag: {rule}", broken=[("max_lag", rule)])


def _payload(webhook: Webhook, draft: AlertDraft) -> dict[str, object]:
    """Return the signal. Defaults are for entries: what closes or reduces has its own fields only."""
    verb, side = draft.intent.verb, draft.intent.side
    payload: dict[str, object] = {**webhook.defaults} if verb.opens else {}
    payload |= {name: value for name, value in draft.fields.items() if value is not None}
    payload["symbol"] = contract_of(draft.symbol, webhook.symbol_map)
    if side:
        payload["side"] = side.lower()
    if not verb.opens:
        payload["action"] = verb.value
    if verb is AlertVerb.CLOSE:
        # All of it: the quantity of a strategy is not that of the position here.
        payload.pop("quantity", None)
    elif webhook.size_rule == SizeRule.QUANTITY and verb is not AlertVerb.REDUCE:
        payload["quantity"] = plain(webhook.size_quantity)
    if draft.alert_time:
        payload["timestamp"] = draft.alert_time.isoformat()
    notes = payload.get("metadata")
    known: dict[str, object] = {"webhook": webhook.name, "grammar": draft.grammar} | draft.notes
    if draft.bar_time:
        known["bar_time"] = draft.bar_time.isoformat()
    payload["metadata"] = known | (notes if isinstance(notes, dict) else {})
    return payload


def _identity(draft: AlertDraft, payload: Mapping[str, object]) -> tuple[str, IdentifiedBy]:
    """Return what makes two alerts the same: an id of its own, else the content with its time."""
    if draft.alert_id:
        return f"alert:{hashlib.sha256(draft.alert_id.encode()).hexdigest()}", IdentifiedBy.ALERT_ID
    meaning = dict(payload)
    identified_by = IdentifiedBy.ALERT_TIME if draft.alert_time else IdentifiedBy.CONTENT
    if draft.bar_time:
        # The time of the alert may be another one when it is sent again; the bar is the same.
        meaning.pop("timestamp", None)
        identified_by = IdentifiedBy.BAR_TIME
    text = json.dumps(meaning, sort_keys=True, default=str)
    return f"content:{hashlib.sha256(text.encode()).hexdigest()}", identified_by


def _within_window(webhook: Webhook, signal: Signal, now: datetime) -> Signal:
    """Give a signal without an id of its own the identity of the same content within the webhook's window.

    The window counts from the first alert. Identities carry the number of the interval in which that came, so the
    first is found in this interval or the one before. One alert of a content at a time looks and stores.
    """
    if signal.identified_by is IdentifiedBy.ALERT_ID:
        return signal
    lock_content(PRODUCER + webhook.name, signal.identity)
    window = timedelta(seconds=webhook.repeat_window_seconds)
    number = int(now.timestamp() // window.total_seconds())
    ours = f"{signal.identity}:{number}"
    before = f"{signal.identity}:{number - 1}"
    known = first_alert(MANUAL_SIGNAL, before, PRODUCER + webhook.name, since=now - window)
    return replace(signal, identity=before if known else ours)


def _request_of(signal: Signal, producer: str) -> UUID | None:
    """Return the request of a repeat's first alert, None when that became another thing."""
    first = event_with({"event_type": MANUAL_SIGNAL, "identity": signal.identity, "producer": producer})
    with suppress(ExecutionRequest.DoesNotExist):
        return request_of_event(first).pk
    return None
