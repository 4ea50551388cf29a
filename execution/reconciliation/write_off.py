"""Writes off what the exchange denies, when an operator decides so.

It is for a position whose end will never be found.

REST, admin and `manage.py write_off` come through here. It refuses unless the exchange, asked at this moment, denies
all of it, and it invents nothing: no fill, no price, no result. The trade ends as WRITTEN_OFF, its unfinished orders
and its request as WRITTEN_OFF, and its symbol is free.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction

from execution.domain.authorization import Authorization
from execution.domain.clocks import Clock
from execution.domain.money import plain
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason, Reason
from execution.domain.states import OrderTrigger, RequestState, RequestTrigger, TradeTrigger
from execution.models import OperatorAction, Trade
from execution.orders.end_request import ending
from execution.outbox import payloads
from execution.reconciliation.write_off_conditions import VenueDenial, WriteOffCase, holding_of, read_denial
from execution.store.atomic_write import Move, Write, emit
from execution.store.orders import load_entry
from execution.store.positions import delete_position_of
from execution.store.slots import delete_slot_of
from execution.store.trades import lock_request_of_trade
from execution.store.transitions import apply_to, order_move, request_move, trade_move
from execution.store.write_offs import earlier_write_off, note_write_off

log = structlog.get_logger(__name__)
CHANGED_MEANWHILE = "CHANGED_MEANWHILE: the books have moved since the exchange was asked; ask again"
NO_RESULT: dict[str, None] = dict.fromkeys(
    ("exit_price", "exit_at", "gross_pnl", "net_pnl", "net_pnl_usd", "pnl_percent", "r_multiple")
)


class WriteOffRefusedError(Exception):
    """Nothing was written off.

    The message begins with a code: what the exchange still knows, or what has changed.
    """


@dataclass(frozen=True, kw_only=True)
class WrittenOff:
    """The row of a write-off. `repeated`: it was there before, and this call has changed nothing."""

    action: OperatorAction
    repeated: bool


def write_off(request_id: UUID, authorization: Authorization, *, exchange: Exchange, clock: Clock) -> WrittenOff:
    """End what our books hold of a decision, or of its trade, which has the same id. It is safe to repeat.

    Raises:
        ExecutionRequest.DoesNotExist: there is no such decision.
        WriteOffRefusedError: the exchange does not deny it, or the books hold nothing of it. Nothing was changed.
        ExchangeUnavailableError: the exchange did not answer. Nothing was changed.

    """
    held = holding_of(request_id)
    if held.is_empty:
        return _earlier(held)
    denial = read_denial(held, exchange=exchange, clock=clock)
    if denial.objections:
        raise WriteOffRefusedError("; ".join(denial.objections))
    written = _write(held, denial, authorization, clock())
    if not written.repeated:
        log.error(
            "written_off", request_id=str(request_id), by=authorization.by, reason=authorization.reason, **held.states
        )
    return written


def _earlier(held: WriteOffCase) -> WrittenOff:
    """Return the write-off that has left nothing to be done."""
    action = earlier_write_off(held.request.pk)
    if action is None:
        states = " ".join(f"{name}={state}" for name, state in held.states.items())
        raise WriteOffRefusedError(f"NOTHING_TO_WRITE_OFF: {states}")
    return WrittenOff(action=action, repeated=True)


@transaction.atomic
def _write(seen: WriteOffCase, denial: VenueDenial, authorization: Authorization, now: datetime) -> WrittenOff:
    """Write all of it, or nothing when anything has moved since the exchange was asked about it."""
    # The lock of all bookings; a second operator waits here, and then finds nothing left.
    lock_request_of_trade(seen.request.pk)
    held = holding_of(seen.request.pk)
    if held.is_empty:
        return _earlier(held)
    if held.states != seen.states:
        raise WriteOffRefusedError(CHANGED_MEANWHILE)
    reason = (Reason.WRITTEN_OFF, f"{Reason.WRITTEN_OFF}: by {authorization.by}: {authorization.reason}")
    for order in held.orders:
        _move(order_move(order, OrderTrigger.WRITTEN_OFF, now=now, reason=reason, alarmed_at=None))
    if held.request_is_open:
        _end_request(held, reason, now)
    if held.trade and held.trade_is_open:
        _end_trade(held.trade, authorization, now)
    delete_slot_of(held.request.pk)
    evidence = {"read_at": denial.read_at.isoformat(), "answers": list(denial.answers)}
    action = note_write_off(held.request, authorization, evidence=evidence, before=seen.states, now=now)
    return WrittenOff(action=action, repeated=False)


def _end_request(held: WriteOffCase, reason: tuple[Reason, str], now: datetime) -> None:
    """End the request, and emit `order.failed` where there is no trade to report the end."""
    request, trigger = held.request, RequestTrigger.WRITTEN_OFF
    state = RequestState(request.state)
    if held.trade:
        _move(request_move(request.pk, state, trigger, now=now, reason=reason))
        return
    write = Write()
    ending(write, request, state, trigger, reason=reason, now=now)
    _demand(moved=write.run())


def _end_trade(trade: Trade, authorization: Authorization, now: datetime) -> None:
    """End the trade without a result, take its position out of the totals, and emit `trade.closed`."""
    details = {
        "by": authorization.by,
        "reason": authorization.reason,
        "open_quantity": plain(trade.quantity - trade.exited_quantity),
    }
    move = trade_move(
        trade, TradeTrigger.WRITTEN_OFF, now=now, details=details, close_reason=CloseReason.WRITTEN_OFF, **NO_RESULT
    )
    _move(move)
    apply_to(trade, move)
    delete_position_of(trade.symbol, trade.position_side)
    body = payloads.trade_closed(trade, trade.request, load_entry(trade.pk), now)
    emit(trade.pk, [(payloads.TRADE_CLOSED, body)], trace_id=trade.request.trace_id, now=now)


def _move(move: Move) -> None:
    _demand(moved=Write().move(move).run())


def _demand(*, moved: bool) -> None:
    """Take everything back when another process has moved one of the rows first."""
    if not moved:
        raise WriteOffRefusedError(CHANGED_MEANWHILE)
