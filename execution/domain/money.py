"""Exact arithmetic on prices and quantities: Decimal only, rounded in a stated direction."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)
BASIS_POINTS = Decimal(10_000)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` not above `value`."""
    return (value / step).to_integral_value(rounding=ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Return the smallest multiple of `step` not below `value`."""
    return (value / step).to_integral_value(rounding=ROUND_CEILING) * step


def plain(value: Decimal) -> str:
    """Write a number as the exchange reads it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def basis_points(fraction: Decimal) -> Decimal:
    """Turn a fraction into basis points, to a hundredth of one."""
    return (fraction * BASIS_POINTS).quantize(Decimal("0.01"))
