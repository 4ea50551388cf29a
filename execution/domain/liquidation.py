"""How far the price may move before liquidation, with only the position's own margin behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ONE, ZERO
from execution.domain.trading import Direction


@dataclass(frozen=True, kw_only=True)
class MarginBracket:
    """What must stay behind a position of up to `notional_cap`: `rate` of its notional, less `deduction`.

    Amounts are in the contract's quote asset, as its notional is.
    """

    notional_cap: Decimal
    rate: Decimal
    deduction: Decimal


def bracket_for(brackets: Sequence[MarginBracket], notional: Decimal) -> MarginBracket | None:
    """Return the bracket of a notional, or None when none is known.

    Caps are inclusive, and the last bracket has no end.
    """
    ordered = sorted(brackets, key=lambda bracket: bracket.notional_cap)
    fitting = (bracket for bracket in ordered if notional <= bracket.notional_cap)
    return next(fitting, ordered[-1] if ordered else None)


def liquidation_distance(
    direction: Direction, *, leverage: int, notional: Decimal, rate: Decimal, deduction: Decimal = ZERO
) -> Decimal:
    """Return how far the mark price may move against an entry, as a fraction of its price.

    There margin and result together are what maintenance needs: N/leverage - d*N = rate*(N -+ d*N) - deduction.
    """
    spare = ONE / leverage - rate + (deduction / notional if notional else ZERO)
    return spare / (ONE - rate * direction.sign)
