"""Stores decisions: an inbox row and a request in one statement, once for each identity."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NotRequired, TypedDict
from uuid import UUID, uuid4

from django.core.serializers.json import DjangoJSONEncoder

from execution.domain.json_values import JsonValue
from execution.domain.risk_review import SizeMeasure
from execution.domain.signatures import SigningRules
from execution.domain.states import RequestState
from execution.domain.trading import OrderType, Source
from execution.models import ExecutionRequest, InboxEvent
from execution.models.inbox import InboxOutcome
from execution.signals.schemas import AiDecision, ManualOrder, TargetIn
from execution.store.atomic_write import Write
from execution.store.inbox import count_repeat, event_with
from execution.store.requests import request_of_event
from execution.store.transitions import log_line

IDENTITY = ("event_type", "identity", "producer")
# Fields of a payload with the time of its writing.
TIMES = frozenset({"timestamp", "trip_time"})


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The request of an order, and whether the order is a repeat of an earlier one.

    `same_payload`: the repeat has the same content; `same_meaning`: the same content but for the times of writing.
    """

    request_id: UUID
    duplicate: bool
    same_payload: bool = True
    same_meaning: bool = True


@dataclass(frozen=True, kw_only=True)
class IntakeRules:
    """Ages and holds that the intake applies, and the keys of signed entries, if they are signed."""

    signal_max_age: timedelta
    ess_trip_hold: timedelta
    signing: SigningRules | None = None


def accept_order(  # noqa: PLR0913 -- the columns of an order's origin
    order: ManualOrder,
    *,
    source: Source,
    identity: str,
    payload: Mapping[str, object],
    rules: IntakeRules,
    now: datetime,
    trace_id: str = "",
    entry_id: str = "",
    published_at: datetime | None = None,
    producer: str = "",
) -> Intake:
    """Store a manual order.

    A repeated identity returns the first request, and whether both ask for the same.
    """
    inbox = InboxEvent(
        event_type=source,
        identity=identity,
        producer=producer,
        payload=dict(payload),
        trace_id=trace_id,
        entry_id=entry_id,
        outcome=InboxOutcome.REQUESTED,
        received_at=now,
    )
    request = request_of_order(order, source, rules, now, published_at or now)
    if store_request(inbox, request):
        return Intake(request_id=request.pk, duplicate=False)
    first = request_of_event(first_of(inbox))
    return Intake(
        request_id=first.pk,
        duplicate=True,
        same_payload=_same(first.inbox.payload, inbox.payload),
        same_meaning=_same(_meaning(first.inbox.payload), _meaning(inbox.payload)),
    )


def store_event(inbox: InboxEvent) -> bool:
    """Insert an event, or count a repeat and return False when its identity is known already."""
    came_before = _came_unsigned(inbox) is not None
    return (not came_before and Write().insert(inbox, once_by=IDENTITY).run()) or _count_repeat(inbox)


def store_request(inbox: InboxEvent, request: ExecutionRequest) -> bool:
    """Insert an event and its request in one statement, or return False as `store_event` does."""
    request.trace_id = inbox.trace_id
    line = log_line(
        "request",
        request.pk,
        to_state=request.state,
        trigger=inbox.event_type,
        now=inbox.received_at,
        details={"identity": inbox.identity},
    )
    write = Write().insert(inbox, once_by=IDENTITY).insert(request, first_as="inbox_id").insert(line)
    return (_came_unsigned(inbox) is None and write.run()) or _count_repeat(inbox)


def first_of(inbox: InboxEvent) -> InboxEvent | None:
    """Return the event that has this one's identity already, if there is one."""
    return event_with(_identity_of(inbox)) or _came_unsigned(inbox)


def _came_unsigned(inbox: InboxEvent) -> InboxEvent | None:
    """Return the same event from before signing was switched on.

    Its signature must not make it a second event.

    An unsigned event with another content is not the same: any client could have sent it.
    """
    if not inbox.producer:
        return None
    before = event_with(_identity_of(inbox) | {"producer": ""})
    return before if before and _same(_meaning(before.payload), _meaning(inbox.payload)) else None


def _identity_of(inbox: InboxEvent) -> dict[str, str]:
    return {name: getattr(inbox, name) for name in IDENTITY}


def means_the_same(inbox: InboxEvent) -> bool:
    """Whether a repeat has the content of the first event with its identity, but for the times of writing."""
    first = first_of(inbox)
    return first is not None and _same(_meaning(first.payload), _meaning(inbox.payload))


def request_of(decision: AiDecision, *, rules: IntakeRules, published_at: datetime, now: datetime) -> ExecutionRequest:
    """Return the request that an AI decision asks for, unsaved."""
    decided_at = min(decision.timestamp or published_at, published_at)
    return ExecutionRequest(
        id=uuid4(),
        source=Source.AI,
        symbol=decision.symbol,
        direction=decision.side,
        order_type=OrderType.MARKET,
        notional_usd=decision.position_size_usd,
        **_size_asked(decision),
        expected_price=decision.entry_price,
        stop_price_asked=decision.stop_loss,
        target_price_asked=decision.take_profit,
        trail_percent=decision.trail_percent,
        exits_asked=_distances_asked(decision),
        leverage=decision.leverage or 1,
        confidence=decision.confidence,
        model=decision.model,
        strategy=decision.strategy,
        meta_strategy=decision.meta_strategy,
        regime=decision.regime,
        **_times(decided_at, rules, now),
    )


def request_of_order(
    order: ManualOrder, source: Source, rules: IntakeRules, now: datetime, published_at: datetime
) -> ExecutionRequest:
    """Return the request that a manual order asks for, unsaved."""
    decided_at = min(order.timestamp or published_at, published_at)
    times = _times(decided_at, rules, now)
    expires_at = order.expires_at
    if order.expires_in_seconds is not None:
        expires_at = times["decided_at"] + timedelta(seconds=order.expires_in_seconds)
    if expires_at is not None:
        times["entry_expires_at"] = expires_at
        # An order that would have to be cancelled at once is not sent.
        times["expires_at"] = min(times["expires_at"], times["entry_expires_at"])
    return ExecutionRequest(
        id=uuid4(),
        source=source,
        symbol=order.symbol,
        direction=order.side,
        order_type=OrderType.LIMIT if order.price is not None else OrderType.MARKET,
        time_in_force=order.time_in_force or "",
        base_quantity_asked=order.quantity,
        notional_usd=order.notional_usd,
        **_size_asked(order),
        limit_price_asked=order.price,
        stop_price_asked=order.stop_loss,
        target_price_asked=order.take_profit,
        trail_percent=order.trailing.callback_percent if order.trailing else order.trail_percent,
        exits_asked=_exits_asked(order),
        leverage=order.leverage or 1,
        metadata=order.metadata,
        **times,
    )


def _exits_asked(order: ManualOrder) -> dict[str, JsonValue]:
    """Return what was asked about exits beyond the columns, as JSON with amounts as text."""
    trailing = order.trailing
    asked: dict[str, JsonValue] = {
        "targets": [_target_asked(target) for target in order.take_profits],
        "activation_price": str(trailing.activation_price or "") if trailing else "",
        "activation": _measured(
            percent=trailing.activation_percent, r=trailing.activation_r, atr=trailing.activation_atr
        )
        if trailing
        else {},
        "break_even": order.break_even,
        "time_exit_seconds": order.time_exit_seconds,
    }
    return _distances_asked(order) | {name: value for name, value in asked.items() if value not in (None, "", [], {})}


class _Size(TypedDict, total=False):
    """The columns of a size that is neither a notional nor a base quantity."""

    size_measure: str
    size_amount: Decimal


def _size_asked(order: AiDecision | ManualOrder) -> _Size:
    """Return the size by equity or risk, without columns where the size is another one."""
    for measure in SizeMeasure:
        amount: Decimal | None = getattr(order, measure.lower())
        if amount is not None:
            return {"size_measure": measure, "size_amount": amount}
    return {}


def _target_asked(target: TargetIn) -> dict[str, JsonValue]:
    level = _measured(percent=target.percent, r=target.r, atr=target.atr)
    return {**({"price": str(target.price)} if target.price is not None else level), "share": str(target.share)}


def _distances_asked(order: AiDecision | ManualOrder) -> dict[str, JsonValue]:
    """Return stop and target that were asked for by their distance, and by which ATR, as JSON."""
    asked: dict[str, JsonValue] = {
        "stop": _measured(percent=order.stop_loss_percent, r=None, atr=order.stop_loss_atr),
        "target": _measured(percent=order.take_profit_percent, r=order.take_profit_r, atr=order.take_profit_atr),
        "atr": {"interval": order.atr_interval, "period": order.atr_period} if order.atr_interval else {},
    }
    return {name: value for name, value in asked.items() if value}


def _measured(*, percent: Decimal | None, r: Decimal | None, atr: Decimal | None) -> dict[str, JsonValue]:
    """Return the distance that there is, by its measure."""
    return {name: str(value) for name, value in (("percent", percent), ("r", r), ("atr", atr)) if value is not None}


class _Times(TypedDict):
    """The columns of a new request that say where it stands and when."""

    state: RequestState
    decided_at: datetime
    received_at: datetime
    expires_at: datetime
    moved_at: datetime
    entry_expires_at: NotRequired[datetime]


def _times(decided_at: datetime, rules: IntakeRules, now: datetime) -> _Times:
    # A producer's clock must not make a decision younger than its arrival: it would expire late, or never.
    decided_at = min(decided_at, now)
    return {
        "state": RequestState.RECEIVED,
        "decided_at": decided_at,
        "received_at": now,
        "expires_at": decided_at + rules.signal_max_age,
        "moved_at": now,
    }


def _count_repeat(inbox: InboxEvent) -> bool:
    first = first_of(inbox)
    if first:
        count_repeat(first, inbox.entry_id)
    return False


def _meaning(payload: Mapping[str, object]) -> dict[str, object]:
    """Return a payload without its times of writing, which a producer may write anew when it sends again."""
    return {name: value for name, value in payload.items() if name not in TIMES}


def _same(stored: Mapping[str, object], given: Mapping[str, object]) -> bool:
    """Compare payloads as the database keeps them: it writes 1e30 as an integer."""
    return _exact(stored) == _exact(json.loads(json.dumps(dict(given), cls=DjangoJSONEncoder)))


def _exact(value: object) -> object:
    """Return a JSON value with its numbers as they are written."""
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    # A boolean is not the number that equals it.
    return Decimal(repr(value)) if type(value) in {int, float} else value
