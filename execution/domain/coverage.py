"""How much of a position at the exchange has a live stop: one definition for figures, health, API, event and repair."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.money import ZERO, plain
from execution.domain.trading import Direction


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """One position that we answer for, in the base asset, whether or not it has a trade row.

    `covered`: what our live stops on its side would close together. `out_of_reach`: what no order can close, because it
    is smaller than the present step. `since`: from when on a part of it has had no stop; None for a covered one.
    `overdue`: what is said of each live stop or trailing stop of it whose price was passed without a fill.
    """

    symbol: str
    position_side: str
    direction: Direction
    quantity: Decimal
    covered: Decimal
    out_of_reach: Decimal = ZERO
    step: Decimal = ZERO
    since: datetime | None = None
    overdue: tuple[str, ...] = ()

    @property
    def uncovered(self) -> Decimal:
        return max(ZERO, self.quantity - self.covered)

    @property
    def sentence(self) -> str:
        """What health says of it."""
        numbers = f"uncovered={plain(self.uncovered)} of={plain(self.quantity)}"
        if 0 < self.uncovered <= self.out_of_reach:
            return f"{self.symbol} {self.direction} REMAINDER_UNTRADABLE: {numbers} step={plain(self.step)}"
        return " ".join([f"{self.symbol} {self.direction} POSITION_UNPROTECTED: {numbers}", *self.overdue])


def is_covered(quantity: Decimal, stops: Iterable[Decimal]) -> bool:
    """Whether stops of these remaining quantities close all of a position: each closes a part."""
    return sum(stops, ZERO) >= quantity
