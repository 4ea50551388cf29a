"""Synthetic prices: a seeded mean-reverting walk per symbol, on the symbol's tick grid."""

import math
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Final, Protocol

from paper_exchange.core.symbols import Symbol

# How fast the price returns (per second) and how far it typically strays (fraction of the price):
# it crosses its centre every few seconds, and 2 % away is eight deviations.
REVERSION: Final = 0.1
DEVIATION: Final = 0.0025
BASIS_DEVIATION: Final = 0.00005


class PriceSource(Protocol):
    """Where a market's prices come from."""

    def steps(self, seconds: float) -> Iterator[tuple[Decimal, Decimal]]: ...

    def jump(self, price: Decimal) -> None: ...

    def recentre(self, price: Decimal) -> None: ...


class PricePath:
    """An Ornstein-Uhlenbeck walk of the logarithm of price / centre.

    The mark price strays a little from it.
    """

    def __init__(self, symbol: Symbol, seed: int, volatility: float = 1.0) -> None:
        self.symbol = symbol
        self.volatility = volatility
        self._centre = float(symbol.price)
        self._random = Random(f"{seed}/{symbol.name}")  # noqa: S311 - prices, not secrets
        self._offset = 0.0
        self._basis = 0.0

    def step(self, seconds: float) -> tuple[Decimal, Decimal]:
        """Advance by that time and return (last price on the tick grid, mark price)."""
        kept = math.exp(-REVERSION * seconds)
        spread = math.sqrt(1 - kept * kept)
        gauss = self._random.gauss
        self._offset = self._offset * kept + gauss(0.0, DEVIATION * self.volatility) * spread
        self._basis = self._basis * kept + gauss(0.0, BASIS_DEVIATION * self.volatility) * spread
        raw = self._centre * math.exp(self._offset)
        last = self.symbol.tick * max(1, round(raw / float(self.symbol.tick)))
        mark = Decimal(round(raw * (1 + self._basis) * 1e8)).scaleb(-8)
        return last, mark

    def steps(self, seconds: float) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield the prices that this time brings: one."""
        yield self.step(seconds)

    def jump(self, price: Decimal) -> None:
        """Continue from a price that was set from outside. The walk returns to its centre."""
        self._offset = math.log(float(price) / self._centre)
        self._basis = 0.0

    def recentre(self, price: Decimal) -> None:
        """Make a price the one that the walk returns to."""
        self._centre = float(price)
        self._offset = 0.0
        self._basis = 0.0
