"""Moves a position's exits because a person asks for it by name: judged, written with its reason, then carried out.

The plan's rows move in one transaction. The orders follow as with every other move: the new one is confirmed before
the old one is cancelled.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction

from execution.domain.outcomes import held_in
from execution.domain.ports import Exchange
from execution.domain.protection_moves import Broken, ProtectionMove, Surroundings, broken_rules
from execution.domain.states import TRADE_OPEN
from execution.domain.trading import Direction, OrderPurpose
from execution.models import Bracket, BracketLeg, ExecutionRequest, Trade
from execution.models.bracket import LegOrigin
from execution.pipeline.bracket_rows import exit_orders, plan_of
from execution.pipeline.kill_switch import Word
from execution.pipeline.move_legs import move_callback, move_stop, move_target

log = structlog.get_logger(__name__)


class TradeNotOpenError(Exception):
    """There is no open position whose exits could be moved; the message says why."""


@dataclass
class MoveRefusedError(Exception):
    """The move breaks rules; nothing was changed."""

    broken: list[Broken]


def move_protection(trade_id: UUID, move: ProtectionMove, word: Word, *, exchange: Exchange, now: datetime) -> int:
    """Move the legs in the plan and return how many moved; those that lie there already are left alone.

    Raises:
        Trade.DoesNotExist: there is no such trade.
        TradeNotOpenError: it is closed, or the exchange shows it flat.
        MoveRefusedError: a rule is broken; nothing was changed.
        ExchangeUnavailableError: mark and liquidation price could not be read; nothing was changed.

    """
    trade = Trade.objects.get(pk=trade_id)
    around = _surroundings(trade, exchange)
    with transaction.atomic():
        # The lock of all bookings: no fill may close the trade or a target between the judgement and the move.
        ExecutionRequest.objects.select_for_update().get(pk=trade_id)
        trade = Trade.objects.get(pk=trade_id)
        _demand_open(trade)
        plan = plan_of(
            Bracket.objects.prefetch_related("legs").get(pk=trade_id), exit_orders([trade_id]).get(trade_id, [])
        )
        if broken := broken_rules(move, plan, around):
            raise MoveRefusedError(broken)
        moved = _move(trade, move, word, now)
    if moved:
        log.warning("protection_moved", trade_id=str(trade_id), legs=moved, by=word.by, reason=word.reason)
    return moved


def _surroundings(trade: Trade, exchange: Exchange) -> Surroundings:
    """Read mark and liquidation price from the exchange, before any row is locked."""
    _demand_open(trade)
    rows = {(row.symbol, row.position_side): row for row in exchange.positions()}
    row, direction = rows.get((trade.symbol, trade.position_side)), Direction(trade.direction)
    if row is None or held_in(row, direction) <= 0:
        raise TradeNotOpenError("TRADE_NOT_OPEN: the exchange shows no position; its fills are about to be booked")
    return Surroundings(direction=direction, mark_price=row.mark_price, liquidation_price=row.liquidation_price)


def _demand_open(trade: Trade) -> None:
    if trade.state not in TRADE_OPEN:
        raise TradeNotOpenError(f"TRADE_NOT_OPEN: state={trade.state} reason={trade.close_reason}")


def _move(trade: Trade, move: ProtectionMove, word: Word, now: datetime) -> int:
    moved = 0
    if move.stop_price is not None:
        moved += move_stop(
            trade, move.stop_price, origin=LegOrigin.OPERATOR, now=now, operator=word.by, why=word.reason
        )
    targets = BracketLeg.objects.filter(bracket_id=trade.pk, purpose=OrderPurpose.TARGET).order_by("number")
    for number, leg in enumerate(targets, start=1):
        if number in move.target_prices:
            moved += move_target(trade, leg, move.target_prices[number], now=now, operator=word.by, why=word.reason)
    if move.callback_percent is not None:
        moved += move_callback(trade, move.callback_percent, now=now, operator=word.by, why=word.reason)
    return moved
