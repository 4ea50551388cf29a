"""Walks the order book: what an order of some size would pay. Pure, so a verdict can be replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ZERO


@dataclass(frozen=True, kw_only=True)
class Level:
    """One price of the book and the base quantity that waits there."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How far a size reaches into the book.

    The first `levels` hold `covered` of it, at `average_price` for each unit.
    """

    levels: int
    covered: Decimal
    average_price: Decimal


def walk(levels: Sequence[Level], quantity: Decimal) -> Walk:
    """Return what a market order of this base quantity would pay, best level first.

    For a quantity of zero it is the best price.
    """
    covered, cost, used = ZERO, ZERO, 0
    for level in levels:
        if used and covered >= quantity:
            break
        taken = min(level.quantity, max(quantity - covered, ZERO))
        covered, cost, used = covered + taken, cost + taken * level.price, used + 1
    if used <= 1 or not covered:
        # The price itself, and not a quotient that has been rounded.
        return Walk(levels=used, covered=covered, average_price=levels[0].price if levels else ZERO)
    return Walk(levels=used, covered=covered, average_price=cost / covered)


def levels_within(levels: Sequence[Level], limit: Decimal, sign: int) -> tuple[Level, ...]:
    """Return what a LIMIT order takes from: the levels no worse than its limit, then the limit itself.

    What the book does not hold at once rests at the limit and fills there, so the last level stands for any size.
    `sign` is 1 for a buyer, -1 for a seller.
    """
    taken = tuple(level for level in levels if level.price * sign <= limit * sign)
    return (*taken, Level(price=limit, quantity=Decimal("Infinity")))


def quantity_worth(levels: Sequence[Level], cost: Decimal) -> Decimal:
    """Return the base quantity that costs this much, taken level by level.

    All that the levels hold when that costs less.
    """
    quantity, left = ZERO, cost
    for level in levels:
        if level.price * level.quantity >= left:
            return quantity + left / level.price
        quantity, left = quantity + level.quantity, left - level.price * level.quantity
    return quantity


def quantity_on(levels: Sequence[Level]) -> Decimal:
    """Return the base quantity that waits on all of these levels."""
    return sum((level.quantity for level in levels), ZERO)
