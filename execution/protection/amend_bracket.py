"""Moves a position's exits for an operator: checked against the rules, journalled, then carried out.

The plan's rows move in one transaction. The orders follow as with every other move: the new one is confirmed before
the old one is cancelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction

from execution.domain.authorization import Authorization
from execution.domain.money import ONE, ZERO
from execution.domain.outcomes import PositionReport, held_in
from execution.domain.ports import Account
from execution.domain.protection_moves import Broken, LossRoom, ProtectionMove, Surroundings, broken_rules
from execution.domain.states import TRADE_OPEN
from execution.domain.trading import Direction, PositionSide
from execution.models import ExecutionRequest, Trade
from execution.models.bracket import LegOrigin
from execution.protection.amend_legs import move_callback, move_stop, move_target
from execution.protection.bracket_store import exit_orders, plan_of
from execution.risk.limit_usage import usage_for
from execution.risk.policy_store import policy_in_force
from execution.store.brackets import load_bracket_with_legs, targets_of
from execution.store.slots import lock_usage
from execution.store.trades import load_trade, lock_request_of_trade
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)


class TradeNotOpenError(Exception):
    """There is no open position whose exits could be moved. The message gives the reason."""


@dataclass
class MoveRefusedError(Exception):
    """The move breaks rules, and nothing was changed."""

    broken: list[Broken]


def move_protection(
    trade_id: UUID,
    move: ProtectionMove,
    authorization: Authorization,
    *,
    exchange: Account,
    now: datetime,
    override_reason: str = "",
) -> int:
    """Move the legs in the plan and return how many moved.

    Legs that lie there already are left alone.

    Raises:
        Trade.DoesNotExist: there is no such trade.
        TradeNotOpenError: it is closed, or the exchange shows it flat.
        MoveRefusedError: a rule is broken; nothing was changed.
        ExchangeUnavailableError: mark and liquidation price could not be read; nothing was changed.

    """
    trade = load_trade(trade_id)
    row = _position(trade, exchange)
    with transaction.atomic():
        # No entry may take what a loosened stop is about to use.
        lock_usage()
        # The lock of all bookings: no fill may close the trade or a target between the judgement and the move.
        request = lock_request_of_trade(trade_id)
        trade = load_trade(trade_id)
        _demand_open(trade)
        plan = plan_of(load_bracket_with_legs(trade_id), exit_orders([trade_id]).get(trade_id, []))
        around = Surroundings(
            direction=Direction(trade.direction),
            mark_price=row.mark_price,
            liquidation_price=row.liquidation_price,
            room=_room(trade, request, now),
        )
        if broken := broken_rules(move, plan, around):
            raise MoveRefusedError(broken)
        overridden = broken_rules(replace(move, override=frozenset()), plan, around)
        moved = _move(trade, move, authorization, now)
        if overridden:
            _note_override(trade, move, overridden, Authorization(by=authorization.by, reason=override_reason), now)
    if moved:
        log.warning(
            "protection_moved", trade_id=str(trade_id), legs=moved, by=authorization.by, reason=authorization.reason
        )
    return moved


def _position(trade: Trade, exchange: Account) -> PositionReport:
    """Read mark and liquidation price from the exchange, before any row is locked."""
    _demand_open(trade)
    rows = {(row.symbol, row.position_side): row for row in exchange.positions()}
    row, direction = rows.get((trade.symbol, trade.position_side)), Direction(trade.direction)
    if row is None or held_in(row, direction) <= 0:
        raise TradeNotOpenError("TRADE_NOT_OPEN: the exchange shows no position; its fills are about to be booked")
    return row


def _room(trade: Trade, request: ExecutionRequest, now: datetime) -> LossRoom:
    """Return what this position's stop may lose, beside what all others use of the limits."""
    policy = policy_in_force()
    usage = usage_for(request, PositionSide(trade.position_side), policy, now=now, later_too=True)
    ceilings: Mapping[str, Decimal] = settings.POLICY_CEILINGS
    return LossRoom(
        policy=policy,
        entry_price=trade.entry_price,
        open_quantity=trade.quantity - trade.exited_quantity,
        others_risk=usage.open_risk,
        lost_today=max(ZERO, -usage.day_result),
        usd_per_quote=request.quote_index or ONE,
        ceilings=ceilings,
    )


def _note_override(
    trade: Trade, move: ProtectionMove, overridden: list[Broken], authorization: Authorization, now: datetime
) -> None:
    """Journal the limits that an operator has set aside for this position, and raise the alarm."""
    rules = [rule for _, rule in overridden]
    details = {"by": authorization.by, "scope": sorted(move.override), "overridden": rules}
    reason = ("", authorization.reason)
    log_step(
        "trade", trade.pk, to_state="LIMITS_OVERRIDDEN", trigger="operator", now=now, reason=reason, details=details
    )
    log.error(
        "protection_limits_overridden",
        trade_id=str(trade.pk),
        by=authorization.by,
        reason=authorization.reason,
        rules=rules,
    )


def _demand_open(trade: Trade) -> None:
    if trade.state not in TRADE_OPEN:
        raise TradeNotOpenError(f"TRADE_NOT_OPEN: state={trade.state} reason={trade.close_reason}")


def _move(trade: Trade, move: ProtectionMove, authorization: Authorization, now: datetime) -> int:
    moved = 0
    if move.stop_price is not None:
        moved += move_stop(
            trade,
            move.stop_price,
            origin=LegOrigin.OPERATOR,
            now=now,
            operator=authorization.by,
            why=authorization.reason,
        )
    for number, leg in enumerate(targets_of(trade.pk), start=1):
        if number in move.target_prices:
            moved += move_target(
                trade, leg, move.target_prices[number], now=now, operator=authorization.by, why=authorization.reason
            )
    if move.callback_percent is not None:
        moved += move_callback(
            trade, move.callback_percent, now=now, operator=authorization.by, why=authorization.reason
        )
    return moved
