"""Reads the index price that converts a quote asset to US dollars.

While the exchange does not answer the price is None; nothing is raised.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

import structlog

from execution.domain.ports import ExchangeUnavailableError, MarketData
from execution.domain.quote_index import QuoteIndex, quote_index

log = structlog.get_logger(__name__)


def index_prices(exchange: MarketData) -> Mapping[str, Decimal] | None:
    """Return USD per unit by asset, or None while the exchange does not answer."""
    try:
        return exchange.asset_index()
    except ExchangeUnavailableError as error:
        log.warning("asset_index_unread", error=str(error))
        return None


def priced(exchange: MarketData, asset: str) -> QuoteIndex | None:
    """Return what one unit of a quote asset is worth now, or None when no index prices it."""
    return quote_index(asset, index_prices(exchange)) if asset else None


def priced_symbols(exchange: MarketData, symbols: Iterable[str]) -> dict[str, tuple[str, QuoteIndex | None]]:
    """Return quote asset and index of each contract.

    Contracts that are not listed now, or cannot be read, are left out.
    """
    wanted = sorted(set(symbols))
    if not wanted:
        return {}
    try:
        listed = {symbol: rules for symbol in wanted if (rules := exchange.rules(symbol))}
    except ExchangeUnavailableError as error:
        log.warning("listing_unread", error=str(error))
        return {}
    index = index_prices(exchange)
    return {symbol: (rules.quote_asset, quote_index(rules.quote_asset, index)) for symbol, rules in listed.items()}
