"""The exit prices of a position: which side they lie on, how far, and how they are rounded."""

from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ONE, ceil_to, floor_to
from execution.domain.trading import Direction


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """One stop and one target, as trigger prices."""

    stop_price: Decimal
    target_price: Decimal


def stop_distance(direction: Direction, reference: Decimal, stop: Decimal) -> Decimal:
    """Return how far the stop lies on the losing side, as a fraction of the reference price; negative: wrong side."""
    return (reference - stop) * direction.sign / reference


def target_distance(direction: Direction, reference: Decimal, target: Decimal) -> Decimal:
    """Return how far the target lies on the winning side, as a fraction of the reference; negative: wrong side."""
    return -stop_distance(direction, reference, target)


def stop_at(direction: Direction, reference: Decimal, fraction: Decimal) -> Decimal:
    """Return the price that lies `fraction` of the reference price on the losing side."""
    return reference * (ONE - fraction * direction.sign)


def target_at(direction: Direction, reference: Decimal, fraction: Decimal) -> Decimal:
    """Return the price that lies `fraction` of the reference price on the winning side."""
    return reference * (ONE + fraction * direction.sign)


def round_stop(direction: Direction, price: Decimal, tick: Decimal) -> Decimal:
    """Round a stop away from the entry, so that rounding never makes it trigger earlier than asked."""
    return floor_to(price, tick) if direction is Direction.LONG else ceil_to(price, tick)


def round_target(direction: Direction, price: Decimal, tick: Decimal) -> Decimal:
    """Round a target towards the entry, so that rounding never puts it out of reach."""
    return floor_to(price, tick) if direction is Direction.LONG else ceil_to(price, tick)
