"""What a contract's quote asset is worth in USD. Sizes, limits and reports rest on this price."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ONE, ZERO, plain

# Trading in USDT goes on while the asset index cannot be read; no other asset is taken for a dollar unseen.
ASSUMED_DOLLAR = "USDT"
# Amounts in USD have eight decimals, as the exchange's own have.
USD_GRID = Decimal("1E-8")


@dataclass(frozen=True, kw_only=True)
class QuoteIndex:
    """USD per unit of an asset, by the exchange's asset index or, for one asset only, by assumption."""

    asset: str
    price: Decimal
    assumed: bool = False

    def __str__(self) -> str:
        return f"{self.asset}USD {plain(self.price)}" + (" (assumed)" if self.assumed else "")


@dataclass(frozen=True, kw_only=True)
class AccountMargin:
    """What stands behind an account's positions, open results included.

    `total_usd` counts all assets together in multi-assets mode. In single-asset mode it is None: each contract has only
    its own margin asset behind it, with the amount in `by_asset`.
    """

    total_usd: Decimal | None
    by_asset: Mapping[str, Decimal]

    def behind(self, asset: str, index: QuoteIndex) -> Decimal:
        """Return what stands behind contracts of a margin asset, in USD by that asset's index."""
        return self.by_asset.get(asset, ZERO) * index.price if self.total_usd is None else self.total_usd


def quote_index(asset: str, index: Mapping[str, Decimal] | None) -> QuoteIndex | None:
    """Return what one unit of an asset is worth, or None when no index prices it.

    USDT alone may be assumed to be a dollar.

    Args:
        asset: a contract's quote asset, as listed.
        index: USD per unit by asset (GET /fapi/v1/assetIndex); None when it could not be read.

    """
    price = (index or {}).get(asset)
    if price is not None and price.is_finite() and price > 0:
        return QuoteIndex(asset=asset, price=price)
    return QuoteIndex(asset=asset, price=ONE, assumed=True) if asset == ASSUMED_DOLLAR else None


def in_usd(amount: Decimal | None, price: Decimal | None) -> Decimal | None:
    """Return an amount of a quote asset in USD at its index price, or None when either is not known."""
    if amount is None or price is None:
        return None
    # At a price of one it is the amount itself, with all its digits.
    return amount if price == ONE else (amount * price).quantize(USD_GRID)
