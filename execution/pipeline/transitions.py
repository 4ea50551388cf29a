"""The conditional update that every step rests on: whoever moves the row does the work, others do nothing.

Update and log line are one SQL statement, so they are one transaction even where no other is open.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import Model

from execution.domain.states import (
    ORDER_STATES,
    REQUEST_STATES,
    TRADE_STATES,
    OrderState,
    OrderTrigger,
    RequestState,
    RequestTrigger,
    TradeState,
    TradeTrigger,
    next_state,
)
from execution.models import ExecutionRequest, Order, Trade, Transition

LOG_COLUMNS = "entity, entity_id, from_state, to_state, trigger, reason_code, reason, details, at"
NO_REASON = ("", "")

S = TypeVar("S", bound=StrEnum)
G = TypeVar("G", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class Note:
    """Why something moved: reason code and sentence, and numbers for the journal."""

    reason: tuple[str, str] = NO_REASON
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Step:
    """One row of a life cycle's table, as walked."""

    state: StrEnum
    trigger: StrEnum
    following: StrEnum


def move_request(
    request_id: UUID,
    state: RequestState,
    *triggers: RequestTrigger,
    now: datetime,
    reason: tuple[str, str] = NO_REASON,
    details: Mapping[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Move a request from exactly this state; False when somebody else has moved it.

    Args:
        request_id: the request.
        state: the state that it must be in.
        triggers: what happened, in order; every state passed is logged.
        now: the time written to the row and the log.
        reason: reason code and sentence, stored on the request when the code is not empty.
        details: numbers for the journal.
        columns: further columns to set in the same update.

    """
    if reason[0]:
        columns |= {"reason_code": reason[0], "reason": reason[1]}
    columns["moved_at"] = now
    steps = _walk(REQUEST_STATES, state, triggers)
    return _move(ExecutionRequest, request_id, "request", steps, now, Note(reason=reason, details=details), columns)


def move_order(
    order: Order,
    *triggers: OrderTrigger,
    now: datetime,
    reason: tuple[str, str] = NO_REASON,
    **columns: Any,
) -> bool:
    """Move an order from the state that `order` was read in, as `move_request` does; `order` follows."""
    steps = _walk(ORDER_STATES, OrderState(order.state), triggers)
    moved = _move(Order, order.pk, "order", steps, now, Note(reason=reason), columns, named=order.client_order_id)
    if moved:
        _follow(order, steps[-1].following, columns)
    return moved


def move_trade(
    trade: Trade, trigger: TradeTrigger, *, now: datetime, details: Mapping[str, Any] | None = None, **columns: Any
) -> bool:
    """Move a trade from the state that `trade` was read in, as `move_request` does; `trade` follows."""
    columns["updated_at"] = now
    steps = _walk(TRADE_STATES, TradeState(trade.state), [trigger])
    moved = _move(Trade, trade.pk, "trade", steps, now, Note(details=details), columns)
    if moved:
        _follow(trade, steps[-1].following, columns)
    return moved


def log_step(
    entity: str,
    entity_id: object,
    *,
    to_state: str,
    trigger: str,
    now: datetime,
    from_state: str = "",
    reason: tuple[str, str] = NO_REASON,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one line of an entity's story."""
    Transition.objects.create(
        entity=entity,
        entity_id=str(entity_id),
        from_state=from_state,
        to_state=to_state,
        trigger=trigger,
        reason_code=reason[0],
        reason=reason[1],
        details=dict(details or {}),
        at=now,
    )


def _walk(table: Mapping[tuple[S, G], S], state: S, triggers: Sequence[G]) -> list[_Step]:
    steps = []
    for trigger in triggers:
        following = next_state(table, state, trigger)
        steps.append(_Step(state, trigger, following))
        state = following
    return steps


def _move(
    model: type[Model],
    key: object,
    entity: str,
    steps: Sequence[_Step],
    now: datetime,
    note: Note,
    columns: Mapping[str, Any],
    *,
    named: str = "",
) -> bool:
    """Update the row if it is still where the first step starts, and log the steps; both or neither."""
    values = {"state": steps[-1].following, **columns}
    assignments = ", ".join(f"{name} = %s" for name in values)
    lines = ", ".join("(%s, %s, %s, %s)" for _ in steps)
    statement = f"""
        WITH moved AS (
            UPDATE {model._meta.db_table} SET {assignments} WHERE id = %s AND state = %s RETURNING 1
        )
        INSERT INTO {Transition._meta.db_table} ({LOG_COLUMNS})
        SELECT %s, %s, steps.came_from, steps.went_to, steps.why, %s, %s, %s::jsonb, %s
        FROM moved, (VALUES {lines}) AS steps (place, came_from, went_to, why) ORDER BY steps.place
    """  # noqa: S608 -- table and column names are our models' own
    fields = {field.name: field for field in model._meta.concrete_fields}
    parameters: list[Any] = [fields[name].get_db_prep_save(value, connection) for name, value in values.items()]
    parameters += [key, steps[0].state.value, entity, named or str(key), *note.reason, _json(note.details), now]
    for place, step in enumerate(steps):
        parameters += [place, step.state.value, step.following.value, step.trigger.value]
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return bool(cursor.rowcount)


def _follow(row: Order | Trade, state: StrEnum, columns: Mapping[str, Any]) -> None:
    """Let a row that was read earlier show what was just written."""
    row.state = state
    for name, value in columns.items():
        setattr(row, name, value)


def _json(details: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(details or {}), cls=DjangoJSONEncoder)
