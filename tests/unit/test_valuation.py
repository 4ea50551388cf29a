import pytest

from execution.domain.valuation import market_between, quote_asset


@pytest.mark.parametrize(
    ("symbol", "quote"),
    [("BTCUSDT", "USDT"), ("ETHUSDC", "USDC"), ("ETHBTC", "BTC"), ("BTCUSDT_260327", "USDT"), ("BTC", ""), ("X", "")],
)
def test_a_symbol_is_settled_in_the_asset_that_ends_its_name(symbol: str, quote: str) -> None:
    assert quote_asset(symbol) == quote


@pytest.mark.parametrize(
    ("asset", "symbol", "market"),
    [("BNB", "BTCUSDT", "BNBUSDT"), ("BNB", "BTCUSDC", "BNBUSDC"), ("USDT", "BTCUSDT", ""), ("BNB", "X", "")],
)
def test_another_asset_is_priced_by_its_market_in_the_same_quote(asset: str, symbol: str, market: str) -> None:
    assert market_between(asset, symbol) == market
