"""Distances of exits from the entry price, in percent or in multiples of risk (R) or ATR. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from execution.domain.money import ZERO

PERCENT = 100


class Measure(StrEnum):
    """What a distance is counted in. R is the distance from the entry to its stop."""

    PERCENT = "percent"
    R = "r"
    ATR = "atr"


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far an exit lies from the entry price.

    `amount` is in percent of the entry price, in R, or in multiples of the ATR. `fixed`: the ATR is known, and `amount`
    is a distance in the quote asset.
    """

    measure: Measure
    amount: Decimal
    fixed: bool = False

    def at(self, atr: Decimal | None) -> "Distance":
        """Return the distance with the ATR as it is now, which later prices do not change."""
        if self.measure is not Measure.ATR or self.fixed:
            return self
        return Distance(measure=self.measure, amount=self.amount * (atr or ZERO), fixed=True)

    def from_entry(self, entry: Decimal, *, risk: Decimal = ZERO) -> Decimal:
        """Return the distance in the quote asset. `risk` is that of the stop from this entry price.

        Raises:
            ValueError: multiples of an ATR that is not known.

        """
        match self.measure:
            case Measure.PERCENT:
                return entry * self.amount / PERCENT
            case Measure.R:
                return risk * self.amount
            case Measure.ATR if self.fixed:
                return self.amount
        raise ValueError("the ATR is not known")
