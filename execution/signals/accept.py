"""Stores an event as an inbox row and a decision as a request, once for all its deliveries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import structlog
from django.db import DataError, IntegrityError, transaction
from pydantic import ValidationError

from execution.domain.ess import permits
from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.domain.signatures import UntrustedError
from execution.domain.trading import Source
from execution.models import InboxEvent
from execution.models.inbox import InboxOutcome
from execution.risk.ess import hold_trip
from execution.signals.dead_letters import store_dead_letter
from execution.signals.envelope import MalformedEventError, WireEvent, decode, entry_time
from execution.signals.inbox import (
    IntakeRules,
    accept_order,
    first_of,
    means_the_same,
    request_of,
    store_event,
    store_request,
)
from execution.signals.schemas import (
    AiDecision,
    EssStateChanged,
    EssTripped,
    Incoming,
    ManualOrder,
    ModelPromoted,
    PolicyUpdated,
    schema_errors,
)
from execution.signals.signatures import authenticated, is_proven
from execution.store.inbox import insert_promotion

log = structlog.get_logger(__name__)
AI_DECISION = "ai.decision.made"
MANUAL_SIGNAL = "signal.execute"
ESS_TRIPPED = "ess.tripped"
ESS_STATE_CHANGED = "ess.state.changed"
POLICY_UPDATED = "policy.updated"
MODEL_PROMOTED = "model.promoted"
# In the order in which they are read: what may forbid a decision comes before it.
EVENT_TYPES = (ESS_TRIPPED, ESS_STATE_CHANGED, POLICY_UPDATED, AI_DECISION, MANUAL_SIGNAL, MODEL_PROMOTED)
ORDER_EVENTS = frozenset({AI_DECISION, MANUAL_SIGNAL})
# Their senders may mean to stop trading: an unreadable one of them blocks entries too.
STOPPING = frozenset({ESS_TRIPPED, ESS_STATE_CHANGED})
# Values that the database does not take, or that cannot be calculated with: a fault of the event, not of the service.
DATA_ERRORS = (DataError, IntegrityError, ValueError, ArithmeticError, RecursionError)

M = TypeVar("M", bound=Incoming)


@dataclass(frozen=True, kw_only=True)
class AcceptedEvent:
    """What an entry asks to be done after its commit: a chain, a policy value, work after a trip."""

    request_id: UUID | None = None
    policy_inbox_id: int | None = None
    tripped: bool = False
    repeated: bool = False
    # A repeat of a known identity with another content.
    differs: bool = False


def accept_entry(entry: StreamEntry, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Record one stream entry as an event or as a dead letter.

    The caller may acknowledge the entry when this returns.
    """
    try:
        entry = authenticated(entry, rules.signing, now=now)
    except UntrustedError as error:
        return _refuse_untrusted(entry, error, rules=rules, now=now)
    try:
        event = decode(entry)
        accepted = accept(event, entry, rules=rules, now=now)
    except MalformedEventError as error:
        return _refuse(entry, error, rules=rules, now=now)
    if accepted.differs:
        sentence = f"identity={event.identity}: was used for an event with another content, which stands"
        reused = MalformedEventError(Reason.IDENTITY_REUSED, sentence, event.payload)
        return _refuse(entry, reused, rules=rules, now=now)
    return accepted


def give_up(entry: StreamEntry, why: str, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Keep an entry as a dead letter after its last try."""
    sentence = f"deliveries={entry.deliveries}: {why}"[:2000]
    error = MalformedEventError(Reason.DELIVERY_LIMIT, sentence)
    return _refuse(entry, error, rules=rules, now=now, trusted=is_proven(entry, rules.signing))


def accept(event: WireEvent, entry: StreamEntry, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Store an event whose envelope was read.

    Raises:
        MalformedEventError: its payload breaks a rule or cannot be stored; nothing was stored.

    """
    try:
        # Everything or nothing, also where it is a part of something larger.
        with transaction.atomic():
            return ACCEPTORS[entry.event_type](event, entry, rules, now)
    except DATA_ERRORS as error:
        sentence = f"{type(error).__name__}: {error}".partition("\n")[0][:2000]
        raise MalformedEventError(Reason.UNSTORABLE, sentence, event.payload) from None


def _refuse(
    entry: StreamEntry, error: MalformedEventError, *, rules: IntakeRules, now: datetime, trusted: bool = True
) -> AcceptedEvent:
    # The copy of an order is no order that has failed: the first one stands.
    was_an_order = entry.event_type in ORDER_EVENTS and error.code is not Reason.SIGNATURE_REPLAYED
    # Both or neither: when the entry is delivered again, its letter is found and no hold is placed.
    with transaction.atomic():
        is_new = store_dead_letter(entry, error, was_an_order=was_an_order, now=now)
        tripped = is_new and (entry.event_type in STOPPING if trusted else _may_stop(entry))
        if tripped:
            # An entry after its last try has waited here; else only an entry that is itself old is history.
            since = now if error.code is Reason.DELIVERY_LIMIT else _since(entry_time(entry.entry_id), None, now)
            reason = f"{'unreadable' if trusted else 'unproven'} {entry.event_type}: {error}"
            hold_trip(reason, tripped_at=since, hold=rules.ess_trip_hold, now=now, proven=trusted)
    return AcceptedEvent(tripped=tripped and trusted)


def _refuse_untrusted(entry: StreamEntry, error: UntrustedError, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Keep an event without a proven sender as a dead letter. One that may be a stop blocks entries.

    The block has the usual length, and ESS_TRIP_ACTION does not follow: closing positions is an order, and an order
    needs a sender. The letter is kept for the producer that it claims, so that its replay by an operator is the same
    event as the producer's own.
    """
    log.warning("event_not_trusted", stream=entry.stream, entry_id=entry.entry_id, reason=error.code.value)
    try:
        payload: Mapping[str, object] = decode(entry).payload
    except MalformedEventError:
        payload = {}
    refused = MalformedEventError(error.code, error.sentence, payload)
    return _refuse(replace(entry, producer=error.claimed), refused, rules=rules, now=now, trusted=False)


def _may_stop(entry: StreamEntry) -> bool:
    """Whether an event without a proven sender could be a stop: all but a change to a state that permits."""
    if entry.event_type != ESS_STATE_CHANGED:
        return entry.event_type in STOPPING
    try:
        change = _validated(EssStateChanged, decode(entry))
    except MalformedEventError:
        return True
    return not permits(change.new_state, can_execute=True)


def _accept_ai(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    decision = _validated(AiDecision, event)
    inbox = _inbox(event, entry, now, InboxOutcome.REQUESTED if decision.side else InboxOutcome.IGNORED)
    if decision.side is None:
        return AcceptedEvent() if store_event(inbox) else _repeat(inbox)
    request = request_of(decision, rules=rules, published_at=event.published_at, now=now)
    return AcceptedEvent(request_id=request.pk) if store_request(inbox, request) else _repeat(inbox)


def _accept_signal(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    order = _validated(ManualOrder, event)
    intake = accept_order(
        order,
        source=Source.SIGNAL,
        identity=f"request:{order.request_id}" if order.request_id else event.identity,
        payload=event.payload,
        rules=rules,
        now=now,
        trace_id=event.trace_id,
        entry_id=entry.entry_id,
        published_at=event.published_at,
        producer=entry.producer,
    )
    if not intake.duplicate:
        return AcceptedEvent(request_id=intake.request_id)
    return AcceptedEvent(repeated=True, differs=not intake.same_meaning)


def _accept_trip(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    trip = _validated(EssTripped, event)
    inbox = _inbox(event, entry, now, InboxOutcome.APPLIED)
    with transaction.atomic():
        stored = store_event(inbox)
        stops = stored or _came_again(inbox)
        if stops:
            tripped_at = _since(event.published_at, trip.timestamp, now)
            hold_trip(trip.reason, tripped_at=tripped_at, hold=rules.ess_trip_hold, now=now)
    return replace(AcceptedEvent() if stored else _repeat(inbox), tripped=stops)


def _accept_state(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Block entries at once by a state that blocks.

    A state that permits changes nothing here: risk-safety's own answer decides.
    """
    change = _validated(EssStateChanged, event)
    inbox = _inbox(event, entry, now, InboxOutcome.APPLIED)
    with transaction.atomic():
        stored = store_event(inbox)
        blocks = (stored or _came_again(inbox)) and not permits(change.new_state, can_execute=True)
        if blocks:
            changed_at = _since(event.published_at, change.timestamp, now)
            reason = f"state changed to {change.new_state.upper()}: {change.reason}"
            hold_trip(reason, tripped_at=changed_at, hold=rules.ess_trip_hold, now=now)
    return replace(AcceptedEvent() if stored else _repeat(inbox), tripped=blocks)


def _came_again(inbox: InboxEvent) -> bool:
    """Whether a known stop came again in another entry: a sender that repeats it means it now."""
    first = first_of(inbox)
    return first is not None and first.entry_id != inbox.entry_id


def _since(arrived: datetime, stamp: datetime | None, now: datetime) -> datetime:
    """Return the time from which a stop holds: the later of its stamp and its arrival, at most now.

    A sender's clock that is behind, or its local time without a zone, must not make a stop that arrives now look old.
    Only an entry that is itself old is history.
    """
    return min(max(stamp or arrived, arrived), now)


def _accept_policy(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> AcceptedEvent:  # noqa: ARG001
    _validated(PolicyUpdated, event)
    inbox = _inbox(event, entry, now, InboxOutcome.PENDING)
    return AcceptedEvent(policy_inbox_id=inbox.pk) if store_event(inbox) else _repeat(inbox)


def _accept_promotion(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> AcceptedEvent:  # noqa: ARG001
    promotion = _validated(ModelPromoted, event)
    with transaction.atomic():
        inbox = _inbox(event, entry, now, InboxOutcome.APPLIED)
        stored = store_event(inbox)
        if stored:
            insert_promotion(
                model=promotion.model,
                old_version=promotion.old_version,
                new_version=promotion.new_version,
                details=inbox.payload,
                promoted_at=promotion.promoted_at or event.published_at,
                now=now,
            )
    return AcceptedEvent() if stored else _repeat(inbox)


ACCEPTORS: Mapping[str, Callable[[WireEvent, StreamEntry, IntakeRules, datetime], AcceptedEvent]] = {
    AI_DECISION: _accept_ai,
    MANUAL_SIGNAL: _accept_signal,
    ESS_TRIPPED: _accept_trip,
    ESS_STATE_CHANGED: _accept_state,
    POLICY_UPDATED: _accept_policy,
    MODEL_PROMOTED: _accept_promotion,
}


def _repeat(inbox: InboxEvent) -> AcceptedEvent:
    """Return that the event is a repeat, and whether its content differs from the first."""
    return AcceptedEvent(repeated=True, differs=not means_the_same(inbox))


def _validated(schema: type[M], event: WireEvent) -> M:
    try:
        return schema.model_validate(dict(event.payload))
    except ValidationError as error:
        raise MalformedEventError.by_field(schema_errors(error, schema), event.payload) from None


def _inbox(event: WireEvent, entry: StreamEntry, now: datetime, outcome: InboxOutcome) -> InboxEvent:
    return InboxEvent(
        event_type=event.event_type,
        identity=event.identity,
        producer=entry.producer,
        payload=dict(event.payload),
        trace_id=event.trace_id,
        entry_id=entry.entry_id,
        outcome=outcome,
        received_at=now,
    )
