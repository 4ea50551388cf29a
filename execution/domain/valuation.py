"""Which asset a symbol is settled in, and by which market another asset's amount is valued in it."""

# Margin assets of USDⓈ-M Futures: a symbol's name ends with its own.
QUOTE_ASSETS = ("USDT", "USDC", "USD1", "FDUSD", "BTC")


def quote_asset(symbol: str) -> str:
    """Return the asset that a symbol's prices and results are in; empty for a name of no known kind."""
    name = symbol.partition("_")[0]
    return next((asset for asset in QUOTE_ASSETS if name.endswith(asset) and name != asset), "")


def market_between(asset: str, symbol: str) -> str:
    """Return the market that prices an asset in a symbol's quote asset; empty when none is needed or known."""
    quote = quote_asset(symbol)
    return f"{asset}{quote}" if quote and asset != quote else ""
