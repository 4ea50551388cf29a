"""First step: an event becomes an inbox row, and a decision a request, once, however often it is delivered."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import F
from pydantic import ValidationError

from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.domain.states import RequestState
from execution.domain.trading import OrderType, Source
from execution.models import DeadLetter, EssStatus, ExecutionRequest, InboxEvent, ModelPromotion
from execution.models.inbox import InboxOutcome
from execution.pipeline import events_out
from execution.pipeline.schemas import AiDecision, EssTripped, Incoming, ManualOrder, ModelPromoted, PolicyUpdated
from execution.pipeline.transitions import log_line, log_step
from execution.pipeline.wire import MalformedEventError, WireEvent, decode
from execution.pipeline.write import Write, emit

AI_DECISION = "ai.decision.made"
MANUAL_SIGNAL = "signal.execute"
ESS_TRIPPED = "ess.tripped"
POLICY_UPDATED = "policy.updated"
MODEL_PROMOTED = "model.promoted"
EVENT_TYPES = (AI_DECISION, MANUAL_SIGNAL, ESS_TRIPPED, POLICY_UPDATED, MODEL_PROMOTED)
ORDER_EVENTS = frozenset({AI_DECISION, MANUAL_SIGNAL})
RAW_LIMIT = 16 * 1024
IDENTITY = ("event_type", "identity")

M = TypeVar("M", bound=Incoming)


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What became of an order: its request, and whether it had come before."""

    request_id: UUID
    duplicate: bool
    same_payload: bool = True


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What an entry asks to be done after its commit: start a chain, or ask for a policy value."""

    request_id: UUID | None = None
    policy_inbox_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class IntakeRules:
    """Ages and holds that the intake applies."""

    signal_max_age: timedelta
    ess_trip_hold: timedelta


def accept_entry(entry: StreamEntry, *, rules: IntakeRules, now: datetime) -> Accepted:
    """Record one stream entry, as an event or as a dead letter. The entry may be acknowledged when this returns."""
    try:
        event = decode(entry)
        return ACCEPTORS[entry.event_type](event, entry, rules, now)
    except MalformedEventError as error:
        _bury(entry, error, now)
        return Accepted()


def accept_order(  # noqa: PLR0913 -- the columns of an order's origin
    order: ManualOrder,
    *,
    source: Source,
    identity: str,
    payload: Mapping[str, Any],
    rules: IntakeRules,
    now: datetime,
    trace_id: str = "",
    entry_id: str = "",
    published_at: datetime | None = None,
) -> Intake:
    """Store a person's order. A repeated identity returns the first request and says whether it asked for the same."""
    inbox = InboxEvent(
        event_type=source,
        identity=identity,
        payload=dict(payload),
        trace_id=trace_id,
        entry_id=entry_id,
        outcome=InboxOutcome.REQUESTED,
        received_at=now,
    )
    request = _manual_request(order, source, rules, now, published_at or now)
    return _store(inbox, request)


def _accept_ai(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> Accepted:
    decision = _validated(AiDecision, event)
    inbox = _inbox(event, entry, now, InboxOutcome.REQUESTED if decision.side else InboxOutcome.IGNORED)
    if decision.side is None:
        _store_once(inbox)
        return Accepted()
    intake = _store(inbox, _ai_request(decision, event, rules, now))
    return Accepted(request_id=None if intake.duplicate else intake.request_id)


def _accept_signal(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> Accepted:
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
    )
    return Accepted(request_id=None if intake.duplicate else intake.request_id)


def _accept_trip(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> Accepted:
    """Block entries at once, and hold the trip: an answer that still says ARMED a moment later must not undo it."""
    trip = _validated(EssTripped, event)
    tripped_at = min(trip.timestamp or event.published_at, now)
    with transaction.atomic():
        if not _store_once(_inbox(event, entry, now, InboxOutcome.APPLIED)):
            return Accepted()
        held_until = tripped_at + rules.ess_trip_hold
        # A trip that is replayed after its hold has run out is history; the next check asks the service itself.
        if held_until > now:
            EssStatus.objects.update_or_create(
                pk=1,
                defaults={
                    "state": "TRIPPED",
                    "permitted": False,
                    "reason": trip.reason,
                    "source": ESS_TRIPPED,
                    "observed_at": now,
                    "held_until": held_until,
                },
            )
        log_step(
            "ess",
            1,
            to_state="TRIPPED",
            trigger=ESS_TRIPPED,
            now=now,
            reason=(Reason.ESS_BLOCKED, trip.reason),
            details={"tripped_at": tripped_at.isoformat(), "held_until": held_until.isoformat()},
        )
    return Accepted()


def _accept_policy(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> Accepted:  # noqa: ARG001
    _validated(PolicyUpdated, event)
    inbox = _inbox(event, entry, now, InboxOutcome.APPLIED)
    return Accepted(policy_inbox_id=inbox.pk if _store_once(inbox) else None)


def _accept_promotion(event: WireEvent, entry: StreamEntry, rules: IntakeRules, now: datetime) -> Accepted:  # noqa: ARG001
    promotion = _validated(ModelPromoted, event)
    with transaction.atomic():
        inbox = _inbox(event, entry, now, InboxOutcome.APPLIED)
        if _store_once(inbox):
            ModelPromotion.objects.create(
                model=promotion.model,
                old_version=promotion.old_version,
                new_version=promotion.new_version,
                details=inbox.payload,
                promoted_at=promotion.promoted_at or event.published_at,
                received_at=now,
            )
    return Accepted()


ACCEPTORS: Mapping[str, Callable[[WireEvent, StreamEntry, IntakeRules, datetime], Accepted]] = {
    AI_DECISION: _accept_ai,
    MANUAL_SIGNAL: _accept_signal,
    ESS_TRIPPED: _accept_trip,
    POLICY_UPDATED: _accept_policy,
    MODEL_PROMOTED: _accept_promotion,
}


def _validated(schema: type[M], event: WireEvent) -> M:
    try:
        return schema.model_validate(dict(event.payload))
    except ValidationError as error:
        raise MalformedEventError(Reason.INVALID_FIELD, _sentence(error), event.payload) from None


def _sentence(error: ValidationError) -> str:
    """Name each field and the rule that it broke."""
    parts = (
        f"{'.'.join(str(part) for part in problem['loc']) or 'event'}: {problem['msg']}" for problem in error.errors()
    )
    return "; ".join(parts)[:2000]


def _inbox(event: WireEvent, entry: StreamEntry, now: datetime, outcome: InboxOutcome) -> InboxEvent:
    return InboxEvent(
        event_type=event.event_type,
        identity=event.identity,
        payload=dict(event.payload),
        trace_id=event.trace_id,
        entry_id=entry.entry_id,
        outcome=outcome,
        received_at=now,
    )


def _store_once(inbox: InboxEvent) -> bool:
    """Insert the row; False when its identity is known already, which is then counted."""
    return Write().insert(inbox, once_by=IDENTITY).run() or _count_repeat(inbox)


def _count_repeat(inbox: InboxEvent) -> bool:
    known = InboxEvent.objects.filter(event_type=inbox.event_type, identity=inbox.identity)
    # The delivery of the very same entry again is not a second event.
    known.exclude(entry_id=inbox.entry_id, entry_id__gt="").update(duplicates=F("duplicates") + 1)
    return False


def _store(inbox: InboxEvent, request: ExecutionRequest) -> Intake:
    """Insert event and request in one statement, or find the request of the first delivery."""
    request.trace_id = inbox.trace_id
    line = log_line(
        "request",
        request.pk,
        to_state=request.state,
        trigger=inbox.event_type,
        now=inbox.received_at,
        details={"identity": inbox.identity},
    )
    if Write().insert(inbox, once_by=IDENTITY).insert(request, first_as="inbox_id").insert(line).run():
        return Intake(request_id=request.pk, duplicate=False)
    _count_repeat(inbox)
    first = ExecutionRequest.objects.select_related("inbox").get(
        inbox__event_type=inbox.event_type, inbox__identity=inbox.identity
    )
    return Intake(request_id=first.pk, duplicate=True, same_payload=_same(first.inbox.payload, inbox.payload))


def _same(stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Compare payloads as the database keeps them."""
    return bool(stored == json.loads(json.dumps(dict(given), cls=DjangoJSONEncoder)))


def _ai_request(decision: AiDecision, event: WireEvent, rules: IntakeRules, now: datetime) -> ExecutionRequest:
    decided_at = min(decision.timestamp or event.published_at, event.published_at)
    return ExecutionRequest(
        id=uuid4(),
        source=Source.AI,
        symbol=decision.symbol,
        direction=decision.side,
        order_type=OrderType.MARKET,
        notional_usd=decision.position_size_usd,
        expected_price=decision.entry_price,
        stop_price_asked=decision.stop_loss,
        target_price_asked=decision.take_profit,
        trail_percent=decision.trail_percent,
        leverage=decision.leverage or 1,
        confidence=decision.confidence,
        model=decision.model,
        strategy=decision.strategy,
        meta_strategy=decision.meta_strategy,
        regime=decision.regime,
        **_times(decided_at, rules, now),
    )


def _manual_request(
    order: ManualOrder, source: Source, rules: IntakeRules, now: datetime, published_at: datetime
) -> ExecutionRequest:
    decided_at = min(order.timestamp or published_at, published_at)
    return ExecutionRequest(
        id=uuid4(),
        source=source,
        symbol=order.symbol,
        direction=order.side,
        order_type=OrderType.LIMIT if order.price is not None else OrderType.MARKET,
        base_quantity_asked=order.quantity,
        limit_price_asked=order.price,
        stop_price_asked=order.stop_loss,
        target_price_asked=order.take_profit,
        trail_percent=order.trail_percent,
        leverage=order.leverage or 1,
        metadata=order.metadata,
        **_times(decided_at, rules, now),
    )


def _times(decided_at: datetime, rules: IntakeRules, now: datetime) -> dict[str, Any]:
    # No clock but ours may make a decision younger than its arrival: it would expire late, or never.
    decided_at = min(decided_at, now)
    return {
        "state": RequestState.RECEIVED,
        "decided_at": decided_at,
        "received_at": now,
        "expires_at": decided_at + rules.signal_max_age,
        "moved_at": now,
    }


def _bury(entry: StreamEntry, error: MalformedEventError, now: datetime) -> None:
    """Keep a message that cannot be understood; when it was an order, say that it failed."""
    raw = b" ".join(name + b"=" + value for name, value in entry.fields.items())
    letter = DeadLetter(
        stream=entry.stream,
        entry_id=entry.entry_id,
        event_type=entry.event_type,
        reason_code=error.code,
        reason=error.sentence,
        raw=raw[:RAW_LIMIT].decode(errors="replace").replace("\x00", "\ufffd"),
        size_bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        received_at=now,
    )
    with transaction.atomic():
        # A second delivery of the same entry finds its letter.
        if DeadLetter.objects.filter(stream=letter.stream, entry_id=letter.entry_id).exists():
            return
        letter.save(force_insert=True)
        if entry.event_type in ORDER_EVENTS:
            failed = events_out.order_failed(
                symbol=_known_text(error.payload, "symbol"),
                side=_known_text(error.payload, "side").lower(),
                reason=(error.code, error.sentence),
                now=now,
            )
            emit(f"entry:{entry.entry_id}", [(events_out.ORDER_FAILED, failed)], trace_id="", now=now)


def _known_text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value[:40] if isinstance(value, str) else ""
