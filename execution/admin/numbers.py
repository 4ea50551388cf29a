"""Formats numbers for people: prices on the tick, quantities on the step, amounts in cents."""

from dataclasses import dataclass
from decimal import Decimal

from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution.domain.money import plain
from execution.models import Bracket

NOTHING = "-"
# As many decimals as the finest contract has; more come from averages and shares.
MOST_DECIMALS = Decimal("1e-8")
CENT, FINE = Decimal("0.01"), Decimal("0.0001")
# The way from a row to the plan that knows the grid of its contract: the first that the row has.
WAYS = (("bracket",), ("request", "bracket"), ("trade", "request", "bracket"))
# Columns of what was won or lost.
SIGNED = frozenset(
    {
        *("net_pnl", "net_pnl_usd", "gross_pnl", "realized_pnl", "unrealized_pnl", "pnl_value"),
        "unrealized_usd",
        *("funding", "other_income", "amount"),
    }
)
RATIOS = frozenset({"pnl_percent", "r_multiple"})
AMOUNTS = frozenset(
    {
        "wallet_usd",
        "low_usd",
        "high_usd",
        "margin",
        "margin_usd",
        "initial_margin",
        "entry_fees",
        "exit_fees",
        "assumed_cost",
        "fee_value",
    }
)
PRICE_WORDS = ("price", "best_mark")
QUANTITY_WORD = "quantity"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The precision of a contract.

    `tick` is that of its prices in quote asset, `step` that of its quantities in base asset.
    """

    tick: Decimal
    step: Decimal


def display_grid(row: object) -> Grid | None:
    """Return the precision of a row's contract, or None where none of our brackets knows it."""
    plan = row if isinstance(row, Bracket) else _plan_of(row)
    return Grid(tick=plan.tick_size, step=plan.quantity_step) if plan else None


def _plan_of(row: object) -> Bracket | None:
    """Follow the row's own way only: another would query the database once more for every row."""
    way = next((way for way in WAYS if hasattr(row, way[0])), ())
    for name in way:
        # The error of a request without a plan is an AttributeError as well.
        row = getattr(row, name, None)
    return row if isinstance(row, Bracket) else None


def rounded_text(value: Decimal | None, unit: Decimal | None) -> str:
    """Write a number with the decimals of `unit`, without one with eight decimals at most."""
    if value is None:
        return NOTHING
    if unit is None:
        return plain(value.quantize(MOST_DECIMALS) if abs(value) >= MOST_DECIMALS else value)
    return f"{value.quantize(_power_of_ten(unit)):f}"


def _power_of_ten(unit: Decimal) -> Decimal:
    """Return the last decimal of a unit: 0.05 has two of them, 10 none."""
    exponent = unit.normalize().as_tuple().exponent
    return Decimal(1).scaleb(min(0, int(exponent)))


def price(value: Decimal | None, grid: Grid | None) -> str:
    return rounded_text(value, grid.tick if grid else None)


def quantity(value: Decimal | None, grid: Grid | None) -> str:
    return rounded_text(value, grid.step if grid else None)


def amount(value: Decimal | None) -> str:
    """Write an amount of money in cents, one below a unit to a hundredth of a cent."""
    return rounded_text(value, FINE if value is not None and abs(value) < 1 else CENT)


def won(value: Decimal | None, unit: str = "") -> SafeString | str:
    """Write what was won or lost: with its sign, in green or red, and readable without colours."""
    if value is None:
        return NOTHING
    return _signed(value, amount(value) + (f" {unit}" if unit else ""))


def ratio(value: Decimal | None) -> SafeString | str:
    """Write a result in percent or in units of what was risked: to two decimals, in green or red."""
    return NOTHING if value is None else _signed(value, rounded_text(value, CENT))


def _signed(value: Decimal, text: str) -> SafeString:
    tone = "gain" if value > 0 else "loss" if value < 0 else "level"
    return format_html('<span class="xs-{}">{}{}</span>', tone, "+" if value > 0 else "", text)


def written(name: str, value: Decimal | None, grid: Grid | None) -> SafeString | str:
    """Write the number of a column in the form that its name calls for."""
    if name in SIGNED:
        return won(value)
    if name in RATIOS:
        return ratio(value)
    if name in AMOUNTS:
        return amount(value)
    if QUANTITY_WORD in name:
        return quantity(value, grid)
    return price(value, grid if any(word in name for word in PRICE_WORDS) else None)
