"""A contract's index price, its premium over the index, and its open interest.

All three are synthetic: smooth waves, seeded by symbol, with a value for every moment, so that candles of the past and
figures of now agree and a repeated question gets the same answer.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from paper_exchange.core.history import Candle
from paper_exchange.core.money import CENT8, ZERO, floor_to
from paper_exchange.core.symbols import Symbol

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
# Most by which the mark price stands from the index, as a fraction.
LARGEST: Final = 0.0006
# Moments at which a candle looks for its highest and lowest premium.
_SAMPLES: Final = 12
# Share of a contract's last bracket that is open on average, and by how much that moves.
_OPEN_SHARE: Final = 0.2
_OPEN_SWING: Final = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Values of a figure over a time."""

    first: Decimal
    high: Decimal
    low: Decimal
    last: Decimal


class Basis:
    """Premium and open interest of one symbol by time (ms)."""

    def __init__(self, symbol: Symbol, seed: int) -> None:
        self._symbol = symbol
        self._phase = (seed % 991) * 7 + sum(place * code for place, code in enumerate(symbol.name.encode(), start=1))

    def premium(self, time: int) -> Decimal:
        """Fraction by which the mark price is above the index price. Eight decimals."""
        turn = time / MINUTE_MS + self._phase
        wave = math.sin(turn / 5.3) + math.sin(turn / 37.0) + math.sin(turn / 411.0)
        return Decimal(round(LARGEST * wave / 3 * 1e8)).scaleb(-8)

    def premium_span(self, start: int, end: int) -> Span:
        """Return the premium from a moment to another."""
        values = [self.premium(start + (end - start) * part // _SAMPLES) for part in range(_SAMPLES + 1)]
        return Span(first=values[0], high=max(values), low=min(values), last=values[-1])

    def index(self, mark: Decimal, time: int) -> Decimal:
        """Index price to a mark price. Eight decimals."""
        return (mark / (1 + self.premium(time))).quantize(CENT8)

    def index_span(self, candle: Candle, now: int) -> Span:
        """Return the index prices of a candle of mark prices. A running one ends now."""
        premium = self.premium_span(candle.open_time, min(candle.close_time, now))
        return Span(
            first=(candle.open / (1 + premium.first)).quantize(CENT8),
            high=(candle.high / (1 + premium.low)).quantize(CENT8),
            low=(candle.low / (1 + premium.high)).quantize(CENT8),
            last=(candle.close / (1 + premium.last)).quantize(CENT8),
        )

    def open_interest(self, time: int) -> Decimal:
        """Contracts that the whole market holds, in the base asset: nothing to do with the accounts here."""
        symbol, turn = self._symbol, time / HOUR_MS + self._phase
        wave = (math.sin(turn / 7.0) + math.sin(turn / 31.0)) / 2
        share = _OPEN_SHARE * (0.5 + self._phase % 101 / 100) * (1 + _OPEN_SWING * wave)
        quantity = symbol.brackets[-1].cap / symbol.price * Decimal(round(share * 1e6)).scaleb(-6)
        return max(floor_to(quantity, symbol.step), ZERO)
