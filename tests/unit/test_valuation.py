import pytest

from execution.domain.valuation import market_between


@pytest.mark.parametrize(
    ("asset", "quote", "market"),
    [
        ("BNB", "USDT", "BNBUSDT"),
        ("BNB", "USDC", "BNBUSDC"),
        ("BNB", "BTC", "BNBBTC"),
        ("USDT", "USDT", ""),
        ("BNB", "", ""),
    ],
)
def test_another_asset_is_priced_by_its_market_in_the_listed_quote_asset(asset: str, quote: str, market: str) -> None:
    assert market_between(asset, quote) == market
