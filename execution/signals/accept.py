"""First step: an event becomes an inbox row, and a decision a request, once, however often it is delivered."""

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
from execution.models import InboxEvent, ModelPromotion
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
# Whoever sends these may mean to stop us: what we cannot read of them must not keep us trading.
STOPPING = frozenset({ESS_TRIPPED, ESS_STATE_CHANGED})
# Values that the database does not take, or that cannot be calculated with: a fault of the event, not of ours.
DATA_ERRORS = (DataError, IntegrityError, ValueError, ArithmeticError, RecursionError)

M = TypeVar("M", bound=Incoming)


@dataclass(frozen=True, kw_only=True)
class AcceptedEvent:
    """What an entry asks to be done after its commit: a chain, a policy value, work after a trip."""

    request_id: UUID | None = None
    policy_inbox_id: int | None = None
    tripped: bool = False
    repeated: bool = False
    # A repeat of a known identity that says something else.
    differs: bool = False


def accept_entry(entry: StreamEntry, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Record one stream entry, as an event or as a dead letter. The entry may be acknowledged when this returns."""
    try:
        known = authenticated(entry, rules.signing, now=now)
    except UntrustedError as error:
        return _distrust(entry, error, rules=rules, now=now)
    return _accept_known(known, rules=rules, now=now)


def _accept_known(entry: StreamEntry, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
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
    """Keep an entry that was tried for long enough as a dead letter."""
    sentence = f"deliveries={entry.deliveries}: {why}"[:2000]
    error = MalformedEventError(Reason.DELIVERY_LIMIT, sentence)
    return _refuse(entry, error, rules=rules, now=now, trusted=is_proven(entry, rules.signing))


def accept(event: WireEvent, entry: StreamEntry, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Store an event that was understood as an envelope.

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
    # Both or neither: an entry that comes again finds its letter, and would not hold.
    with transaction.atomic():
        buried = store_dead_letter(entry, error, was_an_order=was_an_order, now=now)
        tripped = buried and (entry.event_type in STOPPING if trusted else _may_stop(entry))
        if tripped:
            # What was tried for long enough has waited with us; else only an entry that is itself old is history.
            since = now if error.code is Reason.DELIVERY_LIMIT else _since(entry_time(entry.entry_id), None, now)
            reason = f"{'unreadable' if trusted else 'unproven'} {entry.event_type}: {error}"
            hold_trip(reason, tripped_at=since, hold=rules.ess_trip_hold, now=now, proven=trusted)
    return AcceptedEvent(tripped=tripped and trusted)


def _distrust(entry: StreamEntry, error: UntrustedError, *, rules: IntakeRules, now: datetime) -> AcceptedEvent:
    """Keep an entry that nobody is proven to have sent as a dead letter; one that may mean to stop us holds entries.

    The hold has its usual length, and what ESS_TRIP_ACTION says does not follow: closing positions is an order, and an
    order needs a sender. The letter is kept for the producer that it claims, so that driving it again, by a person, is
    the same event as the producer's own.
    """
    log.warning("event_not_trusted", stream=entry.stream, entry_id=entry.entry_id, reason=error.code.value)
    refused = MalformedEventError(error.code, error.sentence, _legible_payload(entry))
    claimed = replace(entry, producer=error.claimed)
    return _refuse(claimed, refused, rules=rules, now=now, trusted=False)


def _legible_payload(entry: StreamEntry) -> Mapping[str, object]:
    try:
        return decode(entry).payload
    except MalformedEventError:
        return {}


def _may_stop(entry: StreamEntry) -> bool:
    """Whether an entry of an unknown sender could mean to stop us: all but a change to a state that permits."""
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
    """Block at once by a state that blocks; one that permits is believed when the service itself says so."""
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
    """Whether a known stop came in another entry: a sender that repeats it means now."""
    first = first_of(inbox)
    return first is not None and first.entry_id != inbox.entry_id


def _since(arrived: datetime, stamp: datetime | None, now: datetime) -> datetime:
    """Return the moment from which a stop holds: the later of its stamp and its arrival on the stream, at most now.

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
            ModelPromotion.objects.create(
                model=promotion.model,
                old_version=promotion.old_version,
                new_version=promotion.new_version,
                details=inbox.payload,
                promoted_at=promotion.promoted_at or event.published_at,
                received_at=now,
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
    """Return what to do about an identity that is known: nothing, and whether to say that it says something else."""
    return AcceptedEvent(repeated=True, differs=not means_the_same(inbox))


def _validated(schema: type[M], event: WireEvent) -> M:
    try:
        return schema.model_validate(dict(event.payload))
    except ValidationError as error:
        sentence = "; ".join(f"{name or 'event'}: {rule}" for name, rule in schema_errors(error, schema))[:2000]
        raise MalformedEventError(Reason.INVALID_FIELD, sentence, event.payload) from None


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
