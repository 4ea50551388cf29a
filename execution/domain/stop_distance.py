"""How far the mark price is from the stop that triggers first."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.trading import Direction

PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class StopDistance:
    """From the mark price to a stop, in the quote asset. Negative where the mark price is past it."""

    trigger: Decimal
    price: Decimal
    percent: Decimal


def stop_distance(direction: Direction, mark: Decimal, triggers: Iterable[Decimal]) -> StopDistance | None:
    """Return the distance to the stop that the price reaches first.

    None without a stop or a mark price.
    """
    prices = list(triggers)
    if not prices or not mark:
        return None
    nearest = max(prices) if direction is Direction.LONG else min(prices)
    away = (mark - nearest) * direction.sign
    return StopDistance(trigger=nearest, price=away, percent=away / mark * PERCENT)
