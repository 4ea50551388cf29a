"""Asks the exchange for its prices, as any client may."""

from decimal import Decimal

import aiohttp


async def last_prices(http: aiohttp.ClientSession, exchange_url: str) -> dict[str, Decimal]:
    """Return the last price of each symbol; raises aiohttp.ClientError."""
    async with http.get(f"{exchange_url}/fapi/v1/ticker/price", raise_for_status=True) as response:
        return {row["symbol"]: Decimal(row["price"]) for row in await response.json()}
