"""The lots of a symbol: which quantities an order may have, and how a larger one is split. Pure.

Every order that reduces a position takes its quantities from here: stops, targets, trailing stops and closes.
"""

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

from execution.domain.money import ZERO, ceil_to, floor_to
from execution.domain.trading import InstrumentFilters, OrderType


@dataclass(frozen=True, kw_only=True)
class LotRule:
    """Step and bounds of one order type's quantity."""

    step: Decimal
    minimum: Decimal
    maximum: Decimal


def lot_rule(rules: InstrumentFilters, order_type: OrderType) -> LotRule:
    """Return the lot rule that the exchange applies to this order type."""
    if order_type is OrderType.LIMIT:
        return LotRule(step=rules.limit_step, minimum=rules.limit_min_quantity, maximum=rules.limit_max_quantity)
    # A market quantity must fit both filters; the exchange checks the market one for its step as well.
    return LotRule(
        step=max(rules.market_step, rules.limit_step),
        minimum=max(rules.market_min_quantity, rules.limit_min_quantity),
        maximum=min(rules.market_max_quantity, rules.limit_max_quantity),
    )


def entry_lot(rules: InstrumentFilters, order_type: OrderType) -> LotRule:
    """Return the lot rule of an entry.

    Its exits are market orders, so its quantity lies on their step too.
    """
    lot = lot_rule(rules, order_type)
    return replace(lot, step=max(lot.step, rules.market_step))


@dataclass(frozen=True, kw_only=True)
class Split:
    """How a quantity is split on a lot, without the parts: how many orders, and what they are together."""

    number: int
    total: Decimal


def _bounds(lot: LotRule) -> tuple[Decimal, Decimal]:
    """Return the least and the most that one order on this lot may have, both on its step."""
    return ceil_to(lot.minimum, lot.step), floor_to(lot.maximum, lot.step)


def split_of(quantity: Decimal, lot: LotRule) -> Split:
    """Return the split that `lot_parts` makes, without building parts that may be millions."""
    least, most = _bounds(lot)
    left = floor_to(quantity, lot.step)
    # A quantity below the minimum is no part, by the counting below; a maximum below the step takes no order at all.
    if most <= 0 or most < least:
        return Split(number=0, total=ZERO)
    number = int((left / most).to_integral_value(rounding=ROUND_CEILING))
    if number * least > left:
        return Split(number=number - 1, total=most * (number - 1))
    return Split(number=number, total=left)


def lot_parts(quantity: Decimal, lot: LotRule) -> list[Decimal]:
    """Split a quantity into as few orders as the lot allows, the largest first.

    The parts lie on the step, between minimum and maximum, and add up to the quantity floored to the step. Where no
    split does that, because minimum and maximum lie close together, they add up to the most that can be sent.
    """
    least, most = _bounds(lot)
    split, parts = split_of(quantity, lot), []
    left = split.total
    for behind in reversed(range(split.number)):
        # Each part leaves enough behind for the others' minimum.
        parts.append(min(most, left - behind * least))
        left -= parts[-1]
    return parts


def closing_parts(quantity: Decimal, lot: LotRule, *, trims: bool) -> list[Decimal]:
    """Return the orders that close a quantity, which may lie off a step that has become coarser.

    `trims`: the exchange executes no more of a reduce-only order than the position has (one-way mode), so a remainder
    below step or minimum is closed by an order that is larger. In hedge mode such an order is rejected, and the
    remainder stays out of reach: what the parts lack of the quantity.
    """
    if quantity <= 0:
        return []
    return lot_parts(max(ceil_to(quantity, lot.step), ceil_to(lot.minimum, lot.step)) if trims else quantity, lot)


def out_of_reach(quantity: Decimal, lot: LotRule, *, trims: bool) -> Decimal:
    """Return what of a quantity no order on this lot can close."""
    return max(ZERO, quantity - sum(closing_parts(quantity, lot, trims=trims), ZERO))
