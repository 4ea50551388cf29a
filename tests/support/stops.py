"""What counts as the stop of a position: every attribute of the venue's conditional order, held against a plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]
STOP = "STOP_MARKET"
# Every conditional order of the service waits for the mark price: a single trade cannot reach it.
WORKING_TYPE = "MARK_PRICE"
ONE_WAY = "BOTH"
# `execution.sl_adjustment_buffer_pct`: a stop whose level has just passed is sent once more this far beyond it.
SECOND_CHANCE = Decimal("0.001")


@dataclass(frozen=True, kw_only=True)
class StopPlan:
    """Where the stop of one trade belongs, in the quote asset.

    `levels` are ranges of trigger prices, each from its lowest to its highest price; an order may lie one `tick` beside
    a range. The levels lie on the losing side of `entry_price`, but for a stop that was `moved` there since.
    """

    levels: tuple[tuple[Decimal, Decimal], ...]
    tick: Decimal
    entry_price: Decimal
    moved: bool = False

    def allows(self, price: Decimal, *, sign: int, second_chance: bool = True) -> bool:
        """Whether a stop may wait for this price; `sign` is 1 for a long position and -1 for a short one."""
        loses = (self.entry_price - price) * sign > 0
        beyond = 1 - SECOND_CHANCE * sign
        ranges = [*self.levels, *((low * beyond, high * beyond) for low, high in self.levels if second_chance)]
        near = any(low - self.tick <= price <= high + self.tick for low, high in ranges)
        return near and (loses or self.moved)


def mismatch(
    stop: Row, *, amount: Decimal, position_side: str, plan: StopPlan | None, second_chance: bool = True
) -> str:
    """Return what keeps a conditional order from being a stop of a position, in words; empty when it is one.

    Args:
        stop: the order as the venue's ledger has it.
        amount: the position's signed quantity.
        position_side: BOTH, or LONG or SHORT in hedge mode.
        plan: where its stop belongs; without a plan nothing counts.
        second_chance: whether an order may lie a little beyond a level that the price has just passed.

    """
    sign = 1 if amount > 0 else -1
    price = Decimal(stop["triggerPrice"])
    expected = {
        "type": (stop["orderType"], STOP),
        "side": (stop["side"], "SELL" if amount > 0 else "BUY"),
        "position side": (stop["positionSide"], position_side),
        "trigger type": (stop["workingType"], WORKING_TYPE),
    }
    wrong = [f"{name} {found} instead of {right}" for name, (found, right) in expected.items() if found != right]
    # In hedge mode the position side alone makes an order reducing, and the venue refuses the flag.
    if position_side == ONE_WAY and not (stop["reduceOnly"] or stop["closePosition"]):
        wrong.append("not reduce-only")
    if plan is None:
        wrong.append("no plan")
    elif not plan.allows(price, sign=sign, second_chance=second_chance):
        levels = ", ".join(dict.fromkeys(plain(level) for range_ in plan.levels for level in range_))
        wrong.append(f"price {plain(price)} off the plan {levels} for an entry at {plain(plan.entry_price)}")
    return "; ".join(wrong)


def plain(price: Decimal) -> str:
    """Return a price without the zeros that its column adds."""
    return format(price.normalize(), "f")


def closes(stop: Row) -> Decimal:
    """Return the quantity that a stop closes; without bound for one that closes the whole position."""
    return Decimal("Infinity") if stop["closePosition"] else Decimal(stop["quantity"])
