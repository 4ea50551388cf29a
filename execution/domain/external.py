"""Positions that we did not open: what to do about them, and where our exits would lie."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from execution.domain import policy as keys
from execution.domain.brackets import (
    is_tighter,
    round_stop,
    round_target,
    stop_fraction,
    stop_price_at,
    target_price_at,
)
from execution.domain.money import ZERO
from execution.domain.outcomes import PositionReport
from execution.domain.policy import Policy
from execution.domain.trading import Direction, Side

STOPS = frozenset({"STOP", "STOP_MARKET", "TRAILING_STOP_MARKET"})
TARGETS = frozenset({"TAKE_PROFIT", "TAKE_PROFIT_MARKET"})


class ExternalPositions(StrEnum):
    """What the operator wants for a position that none of our trades explains (EXTERNAL_POSITIONS)."""

    IGNORE = "ignore"
    PROTECT = "protect"
    ADOPT = "adopt"


@dataclass(frozen=True, kw_only=True)
class ForeignOrder:
    """A resting order that is not ours. `kind` is the exchange's order type.

    `closes_all`: it has no quantity and closes whatever is there. `order_id`: the exchange's own, of the Algo Service
    for a `conditional` one. `reduces`: it can open nothing.
    """

    kind: str
    side: str
    position_side: str
    quantity: Decimal
    closes_all: bool
    order_id: str = ""
    conditional: bool = False
    reduces: bool = False


@dataclass(frozen=True, kw_only=True)
class ExternalExits:
    """Where stop and target of an external position belong, on their ticks.

    None where the policy has none.
    """

    stop_price: Decimal | None
    target_price: Decimal


def direction_of(row: PositionReport) -> Direction:
    short = row.quantity < 0 or row.position_side == Direction.SHORT
    return Direction.SHORT if short else Direction.LONG


def position_part(row: PositionReport, quantity: Decimal) -> PositionReport:
    """Return a part of a position of this size, with the entry price of the whole."""
    share = quantity / abs(row.quantity)
    return replace(
        row,
        quantity=quantity.copy_sign(row.quantity),
        unrealized_pnl=row.unrealized_pnl * share,
        initial_margin=row.initial_margin * share,
        notional=row.notional * share,
    )


def exit_quantity_of_others(row: PositionReport, orders: Iterable[ForeignOrder], kinds: frozenset[str]) -> Decimal:
    """Return how much of a position other clients' orders of these kinds would close."""
    side: Side = direction_of(row).exit_side
    size = abs(row.quantity)
    exits = [o for o in orders if o.kind in kinds and o.side == side and o.position_side == row.position_side]
    return min(size, sum((size if order.closes_all else order.quantity for order in exits), ZERO))


def exits_for(row: PositionReport, policy: Policy, tick: Decimal) -> ExternalExits:
    """Return the policy's default exits from the entry price, or from a mark price beyond them.

    A default behind the market would close the position at once, which no operator has asked for. A stop beyond the
    liquidation price protects nothing, so it lies half-way between that and the mark price instead.
    """
    direction = direction_of(row)
    fraction, least = policy[keys.DEFAULT_STOP], policy[keys.MIN_STOP_DISTANCE]
    stop = stop_price_at(direction, row.entry_price, fraction)
    if stop_fraction(direction, row.mark_price, stop) <= least:
        stop = stop_price_at(direction, row.mark_price, fraction)
    if row.liquidation_price > 0 and not is_tighter(direction, stop, row.liquidation_price):
        stop = (row.mark_price + row.liquidation_price) / 2
    target = target_price_at(direction, row.entry_price, policy[keys.DEFAULT_TARGET])
    if not is_tighter(direction, target, row.mark_price):
        target = target_price_at(direction, row.mark_price, policy[keys.DEFAULT_TARGET])
    return ExternalExits(
        stop_price=round_stop(direction, stop, tick) if fraction else None,
        target_price=round_target(direction, target, tick),
    )
