"""The conditional update that every step rests on: whoever moves the row does the work, others do nothing."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import models

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


def move_request(
    request_id: UUID,
    state: RequestState,
    trigger: RequestTrigger,
    *,
    now: datetime,
    reason: tuple[str, str] = ("", ""),
    details: Mapping[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Move a request from exactly this state; False when somebody else has moved it. Call it in a transaction.

    Args:
        request_id: the request.
        state: the state that it must be in.
        trigger: what happened.
        now: the time written to the row and the log.
        reason: reason code and sentence, stored on the request when the code is not empty.
        details: numbers for the journal.
        columns: further columns to set in the same update.

    """
    if reason[0]:
        columns |= {"reason_code": reason[0], "reason": reason[1]}
    columns["moved_at"] = now
    rows = ExecutionRequest.objects.filter(pk=request_id)
    following = next_state(REQUEST_STATES, state, trigger)
    return _move(rows, "request", request_id, (state, following, trigger), now, reason, details, columns)


def move_order(
    order: Order,
    trigger: OrderTrigger,
    *,
    now: datetime,
    reason: tuple[str, str] = ("", ""),
    details: Mapping[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Move an order from the state that `order` was read in, as `move_request` does; `order.state` follows."""
    state = OrderState(order.state)
    following = next_state(ORDER_STATES, state, trigger)
    rows = Order.objects.filter(pk=order.pk)
    moved = _move(rows, "order", order.client_order_id, (state, following, trigger), now, reason, details, columns)
    if moved:
        order.state = following
    return moved


def move_trade(
    trade: Trade,
    trigger: TradeTrigger,
    *,
    now: datetime,
    details: Mapping[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Move a trade from the state that `trade` was read in, as `move_request` does; `trade.state` follows."""
    state = TradeState(trade.state)
    following = next_state(TRADE_STATES, state, trigger)
    columns["updated_at"] = now
    rows = Trade.objects.filter(pk=trade.pk)
    moved = _move(rows, "trade", trade.pk, (state, following, trigger), now, ("", ""), details, columns)
    if moved:
        trade.state = following
    return moved


def log_step(
    entity: str,
    entity_id: object,
    *,
    to_state: str,
    trigger: str,
    now: datetime,
    from_state: str = "",
    reason: tuple[str, str] = ("", ""),
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


def _move(
    rows: "models.QuerySet[Any]",
    entity: str,
    entity_id: object,
    step: tuple[StrEnum, StrEnum, StrEnum],
    now: datetime,
    reason: tuple[str, str],
    details: Mapping[str, Any] | None,
    columns: dict[str, Any],
) -> bool:
    state, following, trigger = step
    if not rows.filter(state=state).update(state=following, **columns):
        return False
    log_step(
        entity,
        entity_id,
        from_state=state,
        to_state=following,
        trigger=trigger,
        now=now,
        reason=reason,
        details=details,
    )
    return True
