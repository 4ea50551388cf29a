"""Finds the contract that an alert's symbol means: by the webhook's map, then by the charts' spellings."""

from collections.abc import Mapping

from execution.domain import bounds
from execution.webhooks.alert_body import field_error

# Charts name the exchange before a symbol. A chart of another one has other prices, and has to be mapped on purpose.
EXCHANGES = frozenset({"BINANCE", "BINANCEFUTURES", "BINANCE_FUTURES"})
PERPETUAL = (".P", "PERP", ".PERP")


def contract_of(symbol: object, symbol_map: Mapping[str, str]) -> str:
    """Return the contract: `BINANCE:BTCUSDT.P`, `BTC/USDT` and `BTCUSDTPERP` are BTCUSDT.

    Raises:
        MalformedEventError: it is no text, or of another exchange and not in the map.

    """
    if not isinstance(symbol, str) or not symbol.strip():
        raise field_error("symbol", "must be the symbol of a contract")
    name = bounds.capitals(symbol.strip(bounds.ASCII_SPACES))
    if name in symbol_map:
        return symbol_map[name]
    exchange, colon, ticker = name.rpartition(":")
    if colon and exchange not in EXCHANGES:
        rule = f"is of {exchange[:40]}, whose prices are not those of BINANCE; map it in the webhook's symbol map"
        raise field_error("symbol", rule)
    if ticker in symbol_map:
        return symbol_map[ticker]
    for ending in PERPETUAL:
        if ticker.endswith(ending) and len(ticker) > len(ending):
            ticker = ticker.removesuffix(ending)
            break
    ticker = ticker.replace("/", "").replace("-", "")
    return symbol_map.get(ticker, ticker)


def base_last(pair: str) -> str:
    """Return a pair that is written quote first, as `USDT_BTC`, the way contracts are called."""
    quote, underscore, base = pair.partition("_")
    return f"{base}{quote}" if underscore else pair
