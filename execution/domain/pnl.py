"""What a trade earned, from its fills alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ZERO

FEE_AT_WORST = Decimal("0.001")


@dataclass(frozen=True, kw_only=True)
class FillAmounts:
    """The amounts of one fill in the quote asset. `realized_pnl` is the exchange's, before fees."""

    price: Decimal
    quantity: Decimal
    realized_pnl: Decimal
    commission: Decimal


@dataclass(frozen=True, kw_only=True)
class Result:
    """The books of a finished trade, in the quote asset. `pnl_percent` is of the margin."""

    exit_price: Decimal
    gross_pnl: Decimal
    fees: Decimal
    net_pnl: Decimal
    pnl_percent: Decimal | None
    r_multiple: Decimal | None


def vwap(fills: Sequence[FillAmounts]) -> Decimal:
    """Return the quantity-weighted average price of at least one fill."""
    return sum((fill.price * fill.quantity for fill in fills), ZERO) / total_quantity(fills)


def total_quantity(fills: Sequence[FillAmounts]) -> Decimal:
    return sum((fill.quantity for fill in fills), ZERO)


def total_commission(fills: Sequence[FillAmounts]) -> Decimal:
    return sum((fill.commission for fill in fills), ZERO)


def result_of(
    *,
    entries: Sequence[FillAmounts],
    exits: Sequence[FillAmounts],
    funding: Decimal,
    other: Decimal = ZERO,
    margin: Decimal | None,
    risk: Decimal | None,
) -> Result:
    """Book a trade: net = realised - commissions of both sides + funding + other income.

    The exchange's realizedPnl of a fill is before fees. Other income is what a liquidation costs apart from its fills.

    `margin` and `risk` (what the stop would have lost) are in the quote asset; None when they are not known.
    """
    gross = sum((fill.realized_pnl for fill in (*entries, *exits)), ZERO)
    fees = total_commission(entries) + total_commission(exits)
    net = gross - fees + funding + other
    return Result(
        exit_price=vwap(exits),
        gross_pnl=gross,
        fees=fees,
        net_pnl=net,
        pnl_percent=net / margin * 100 if margin else None,
        r_multiple=net / risk if risk else None,
    )


def assumed_cost(*, turnover: Decimal, margin: Decimal, fees_unvalued: bool, income_unvalued: bool) -> Decimal:
    """Return what limits assume that the unvalued part of a trade has cost, in the quote asset.

    It is the worse case. Fees without a value count as a tenth of a percent of all that was bought and sold, twice the
    highest taker fee. Funding, other income and PnL without a value count as the whole margin lost.
    """
    fees = turnover * FEE_AT_WORST if fees_unvalued else ZERO
    return fees + (margin if income_unvalued else ZERO)


@dataclass(frozen=True, kw_only=True)
class Excursion:
    """How far the price went against and for a position.

    In the quote asset, and in percent of its entry price.
    """

    adverse: Decimal
    favourable: Decimal
    adverse_percent: Decimal
    favourable_percent: Decimal


def excursion(
    *, sign: int, entry_price: Decimal, quantity: Decimal, lowest: Decimal | None, highest: Decimal | None
) -> Excursion | None:
    """Return the excursion over the prices seen, or None when none was.

    `sign` is 1 for a long position, -1 for a short one.
    """
    if lowest is None or highest is None or not entry_price:
        return None
    moves = [(lowest - entry_price) * sign, (highest - entry_price) * sign]
    against, favour = max(ZERO, -min(moves)), max(ZERO, *moves)
    return Excursion(
        adverse=against * quantity,
        favourable=favour * quantity,
        adverse_percent=against / entry_price * 100,
        favourable_percent=favour / entry_price * 100,
    )
