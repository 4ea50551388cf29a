"""The conditional update that every step rests on: the process that moves the row does the work."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypedDict, TypeVar, Unpack
from uuid import UUID

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
from execution.models import AuditEvent, ExecutionRequest, Order, Trade
from execution.store.atomic_write import Move, Step, Write

NO_REASON = ("", "")

S = TypeVar("S", bound=StrEnum)
G = TypeVar("G", bound=StrEnum)


class RequestColumns(TypedDict, total=False):
    """Columns of `ExecutionRequest` that its approval sets beside the state."""

    quote_asset: str
    quote_index: Decimal | None
    reference_price: Decimal
    limit_price: Decimal | None
    quantity: Decimal
    stop_price: Decimal | None
    target_price: Decimal
    position_side: str
    policy_version: int
    approved_at: datetime
    entry_expires_at: datetime | None


def request_move(
    request_id: UUID,
    state: RequestState,
    *triggers: RequestTrigger,
    now: datetime,
    reason: tuple[str, str] = NO_REASON,
    details: Mapping[str, object] | None = None,
    unless: str = "",
    unless_with: Sequence[object] = (),
    **columns: Unpack[RequestColumns],
) -> Move:
    """Return a request's move from exactly this state.

    Args:
        request_id: the request.
        state: the state that it must be in.
        triggers: what happened, in order; every state passed is logged.
        now: the time written to the row and the log.
        reason: reason code and sentence, stored on the request when the code is not empty.
        details: numbers for the journal.
        unless: a condition in SQL under which the request must stay where it is.
        unless_with: its parameters.
        columns: further columns to set in the same update.

    """
    given = {"reason_code": reason[0], "reason": reason[1]} if reason[0] else {}
    return Move(
        model=ExecutionRequest,
        key=request_id,
        entity="request",
        entity_id=str(request_id),
        steps=_walk(REQUEST_STATES, state, triggers),
        now=now,
        reason=reason,
        details=details,
        columns={"moved_at": now, **columns, **given},
        unless=unless,
        unless_with=unless_with,
    )


def order_move(
    order: Order, *triggers: OrderTrigger, now: datetime, reason: tuple[str, str] = NO_REASON, **columns: object
) -> Move:
    """Return an order's move from the state that `order` shows. `columns` are set in the same update."""
    return Move(
        model=Order,
        key=order.pk,
        entity="order",
        entity_id=order.client_order_id,
        steps=_walk(ORDER_STATES, OrderState(order.state), triggers),
        now=now,
        reason=reason,
        details=None,
        columns=columns,
    )


def trade_move(
    trade: Trade,
    trigger: TradeTrigger,
    *,
    now: datetime,
    details: Mapping[str, object] | None = None,
    **columns: object,
) -> Move:
    """Return a trade's move from the state that `trade` shows. `columns` are set in the same update."""
    return Move(
        model=Trade,
        key=trade.pk,
        entity="trade",
        entity_id=str(trade.pk),
        steps=_walk(TRADE_STATES, TradeState(trade.state), [trigger]),
        now=now,
        reason=NO_REASON,
        details=details,
        columns={"updated_at": now, **columns},
    )


def move_request(
    request_id: UUID,
    state: RequestState,
    *triggers: RequestTrigger,
    now: datetime,
    reason: tuple[str, str] = NO_REASON,
    details: Mapping[str, object] | None = None,
    **columns: Unpack[RequestColumns],
) -> bool:
    """Move a request as `request_move` does. False when another process has moved it."""
    move = request_move(request_id, state, *triggers, now=now, reason=reason, details=details, **columns)
    return Write().move(move).run()


def apply_to(row: Order | Trade, move: Move) -> None:
    """Let a row that was read earlier show what a move has just written."""
    row.state = move.steps[-1].following
    for name, value in move.columns.items():
        setattr(row, name, value)


def log_step(
    entity: str,
    entity_id: object,
    *,
    to_state: str,
    trigger: str,
    now: datetime,
    from_state: str = "",
    reason: tuple[str, str] = NO_REASON,
    details: Mapping[str, object] | None = None,
) -> None:
    """Save one line of an entity's story, see `log_line`."""
    line = log_line(
        entity,
        entity_id,
        to_state=to_state,
        trigger=trigger,
        now=now,
        from_state=from_state,
        reason=reason,
        details=details,
    )
    line.save(force_insert=True)


def log_line(
    entity: str,
    entity_id: object,
    *,
    to_state: str,
    trigger: str,
    now: datetime,
    from_state: str = "",
    reason: tuple[str, str] = NO_REASON,
    details: Mapping[str, object] | None = None,
) -> AuditEvent:
    """Return one line of an entity's story, unsaved."""
    return AuditEvent(
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


def _walk(table: Mapping[tuple[S, G], S], state: S, triggers: Sequence[G]) -> list[Step]:
    steps = []
    for trigger in triggers:
        following = next_state(table, state, trigger)
        steps.append(Step(state, trigger, following))
        state = following
    return steps
