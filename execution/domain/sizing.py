"""How much to buy or sell: from notional to a quantity that the exchange accepts, never more than was asked."""

from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import floor_to
from execution.domain.trading import OrderType, SymbolRules


@dataclass(frozen=True, kw_only=True)
class LotRule:
    """Step and bounds of one order type's quantity."""

    step: Decimal
    minimum: Decimal
    maximum: Decimal


def lot_rule(rules: SymbolRules, order_type: OrderType) -> LotRule:
    """Return the lot rule that the exchange applies to this order type."""
    if order_type is OrderType.LIMIT:
        return LotRule(step=rules.limit_step, minimum=rules.limit_min_quantity, maximum=rules.limit_max_quantity)
    # A market quantity must fit both filters; the exchange checks the market one for its step as well.
    return LotRule(
        step=max(rules.market_step, rules.limit_step),
        minimum=max(rules.market_min_quantity, rules.limit_min_quantity),
        maximum=min(rules.market_max_quantity, rules.limit_max_quantity),
    )


def quantity_for(notional_usd: Decimal, price: Decimal, lot: LotRule) -> Decimal:
    """Return the base quantity whose notional at `price` does not exceed `notional_usd`."""
    return floor_to(notional_usd / price, lot.step)
