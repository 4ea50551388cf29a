"""What a trade earned, from its fills alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ZERO


@dataclass(frozen=True, kw_only=True)
class FillAmounts:
    """The amounts of one fill; `realized_pnl` is the exchange's own figure, before fees."""

    price: Decimal
    quantity: Decimal
    realized_pnl: Decimal
    commission: Decimal


@dataclass(frozen=True, kw_only=True)
class Result:
    """The books of a finished trade, in the quote asset; `pnl_percent` is of the margin."""

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


def settle(
    *,
    entries: Sequence[FillAmounts],
    exits: Sequence[FillAmounts],
    funding: Decimal,
    margin: Decimal | None,
    risk: Decimal | None,
) -> Result:
    """Book a trade: net = realised - commissions of both sides + funding (userTrades.realizedPnl is before fees).

    `margin` and `risk` (what the stop would have lost) are in the quote asset; None when they are not known.
    """
    gross = sum((fill.realized_pnl for fill in (*entries, *exits)), ZERO)
    fees = total_commission(entries) + total_commission(exits)
    net = gross - fees + funding
    return Result(
        exit_price=vwap(exits),
        gross_pnl=gross,
        fees=fees,
        net_pnl=net,
        pnl_percent=net / margin * 100 if margin else None,
        r_multiple=net / risk if risk else None,
    )
