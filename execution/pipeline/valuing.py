"""Values what was paid in another asset (fees in BNB) in the quote asset of the symbol, at the price of that time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from execution.domain.attribution import FEE_GRID
from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport
from execution.domain.ports import Exchange
from execution.domain.valuation import market_between


@dataclass(kw_only=True)
class Values:
    """Prices as they are needed, each asked for once."""

    exchange: Exchange
    # The asset of the contract's prices and results, as it was listed when the decision was approved.
    quote_asset: str
    _known: dict[tuple[str, datetime], Decimal | None] = field(default_factory=dict)

    def worth(self, amount: Decimal, asset: str, at: datetime) -> Decimal | None:
        """Return an amount in the quote asset; None when no market of that minute says it.

        Raises:
            ExchangeUnavailableError: the exchange did not answer.

        """
        if not amount:
            return ZERO
        if asset == self.quote_asset:
            return amount
        market = market_between(asset, self.quote_asset)
        price = self._price(market, at.replace(second=0, microsecond=0)) if market else None
        return None if price is None else (amount * price).quantize(FEE_GRID)

    def _price(self, market: str, minute: datetime) -> Decimal | None:
        key = (market, minute)
        if key not in self._known:
            self._known[key] = self.exchange.price_at(market, minute)
        return self._known[key]


def valued(fills: Sequence[FillReport], exchange: Exchange, quote_asset: str) -> list[FillReport]:
    """Return the fills with what their fees are worth; fees in the quote asset cost no call."""
    values = Values(exchange=exchange, quote_asset=quote_asset)
    return [replace(fill, fee_value=values.worth(fill.commission, fill.commission_asset, fill.at)) for fill in fills]
