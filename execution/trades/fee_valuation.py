"""Values fees and results that were booked in another asset in the quote asset of the symbol.

Fees in BNB are such, and all that is booked in BNFCR. The price is the market's of that minute. Where no market joins
the two assets, it is the present one of the exchange's asset index. Where neither has one, the books show that the
value is unknown.
"""

from collections.abc import Mapping, Sequence
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
    _index: Mapping[str, Decimal] | None = None

    def worth(self, amount: Decimal, asset: str, at: datetime) -> Decimal | None:
        """Return an amount in the quote asset, None when neither a market nor the asset index prices it.

        Raises:
            ExchangeUnavailableError: the exchange did not answer.

        """
        if not amount:
            return ZERO
        if asset == self.quote_asset:
            return amount
        market = market_between(asset, self.quote_asset)
        price = self._price(market, at.replace(second=0, microsecond=0)) if market else None
        price = price or self._indexed(asset)
        return (amount * price).quantize(FEE_GRID) if price else None

    def _price(self, market: str, minute: datetime) -> Decimal | None:
        key = (market, minute)
        if key not in self._known:
            self._known[key] = self.exchange.price_at(market, minute)
        return self._known[key]

    def _indexed(self, asset: str) -> Decimal | None:
        """Return the price of an asset in another by what both are worth in USD."""
        if self._index is None:
            self._index = self.exchange.asset_index()
        worth, unit = self._index.get(asset), self._index.get(self.quote_asset)
        return worth / unit if worth and unit else None


def valued(fills: Sequence[FillReport], exchange: Exchange, quote_asset: str) -> list[FillReport]:
    """Return the fills with what fees and PnL are worth.

    What is in the quote asset costs no call.
    """
    values = Values(exchange=exchange, quote_asset=quote_asset)
    return [_valued(fill, values) for fill in fills]


def _valued(fill: FillReport, values: Values) -> FillReport:
    fee = values.worth(fill.commission, fill.commission_asset, fill.at)
    if fill.pnl_asset in {"", values.quote_asset}:
        return replace(fill, fee_value=fee, pnl_asset="")
    return replace(fill, fee_value=fee, pnl_value=values.worth(fill.realized_pnl, fill.pnl_asset, fill.at))
