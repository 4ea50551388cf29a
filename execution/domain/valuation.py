"""By which market an asset's amount is valued in a contract's quote asset."""


def market_between(asset: str, quote: str) -> str:
    """Return the market that prices an asset in a quote asset, as listed.

    Empty when none is needed or known.
    """
    return f"{asset}{quote}" if quote and asset != quote else ""
