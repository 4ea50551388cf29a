"""How much of a position has a live stop: the one definition for every reader.

Figures, health, API, events and repairs all use it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.money import ZERO, plain
from execution.domain.software_stop import ProtectedBy
from execution.domain.trading import Direction


@dataclass(frozen=True, kw_only=True)
class PositionCover:
    """How one position is protected, as API and events show it.

    `overdue`: a sentence for each stop and trailing stop whose price was passed without a fill.
    """

    has_tp_sl: bool
    protected: bool
    protected_by: ProtectedBy
    overdue: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """One position that the service answers for, in base asset, whether or not it has a trade row.

    `covered`: what our live stops on its side would close together. `out_of_reach`: what no order can close, because it
    is smaller than the present step. `since`: from when on a part of it has had no stop, None when it is covered.
    `overdue`: one sentence for each live stop or trailing stop of it whose price was passed without a fill.
    `by_software`: what software stops protect of what is not covered, and `software_since` since when. `flaws`: why one
    of them does not protect. `stop_required`: false where no plan on its side has a stop, which policy permits.
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
    by_software: Decimal = ZERO
    software_since: datetime | None = None
    flaws: tuple[str, ...] = ()
    stop_required: bool = True

    @property
    def is_unprotected(self) -> bool:
        """Whether it needs action: nothing protects all of it, and something should."""
        return self.protected_by is ProtectedBy.NONE and (self.stop_required or bool(self.overdue))

    @property
    def protected_by(self) -> ProtectedBy:
        """Return what protects all of it."""
        if self.overdue or self.uncovered > self.by_software:
            return ProtectedBy.NONE
        return ProtectedBy.SOFTWARE if self.uncovered else ProtectedBy.VENUE

    @property
    def uncovered(self) -> Decimal:
        return max(ZERO, self.quantity - self.covered)

    @property
    def sentence(self) -> str:
        """Return the position's line in health."""
        numbers = f"uncovered={plain(self.uncovered)} of={plain(self.quantity)}"
        if 0 < self.uncovered <= self.out_of_reach:
            return f"{self.symbol} {self.direction} REMAINDER_UNTRADABLE: {numbers} step={plain(self.step)}"
        if self.protected_by is ProtectedBy.SOFTWARE:
            since = self.software_since.isoformat() if self.software_since else "unknown"
            return f"{self.symbol} {self.direction} PROTECTED_BY_SOFTWARE: {numbers} since={since}"
        unprotected = f"{self.symbol} {self.direction} POSITION_UNPROTECTED: {numbers}"
        return " ".join([unprotected, *self.overdue, *self.flaws])


def is_covered(quantity: Decimal, stops: Iterable[Decimal]) -> bool:
    """Whether stops of these remaining quantities close all of a position: each closes a part."""
    return sum(stops, ZERO) >= quantity
