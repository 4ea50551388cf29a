"""Decimal helpers: amounts of cash have eight decimals, and what is published is what is booked."""

from decimal import ROUND_FLOOR, Decimal
from typing import Final

ZERO: Final = Decimal(0)
USDT: Final = "USDT"
# Binance Futures Credits, worth one dollar each; no contract and no market is quoted in them.
CREDITS: Final = "BNFCR"
# What counts as one dollar.
DOLLARS: Final = frozenset({USDT, "USDC", CREDITS})
CENT8: Final = Decimal("0.00000001")


def to_cash(value: Decimal) -> Decimal:
    """Round to the eight decimals in which wallets, fees and PnL are kept and published."""
    return value.quantize(CENT8)


def cash(value: Decimal) -> str:
    """Text of an amount with eight decimals, as in balances and income."""
    return format(value.quantize(CENT8), "f")


def plain(value: Decimal) -> str:
    """Text without trailing zeros and without exponent, as in stream events."""
    return format(value.normalize(), "f") if value else "0"


def price_text(value: Decimal) -> str:
    """Text of an average price: at most eight decimals, at least one."""
    text = plain(value.quantize(CENT8))
    return text if "." in text or text == "0" else text + ".0"


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Largest multiple of `step` that is not above `value`."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step
