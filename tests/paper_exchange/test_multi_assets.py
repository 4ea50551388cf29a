"""Multi-assets mode: margin from all assets at their index less a buffer, totals in USD, and what refuses it."""

from typing import Any

import pytest
from binance.error import ClientError
from binance.um_futures import UMFutures

from paper_exchange.core import margin_assets
from paper_exchange.core.margin import account_figures, free_dollars, total_figures
from paper_exchange.core.settings import change_assets_mode, change_leverage, change_margin_type
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import BTC, D, Trader
from tests.support.paper import PaperExchange

# Amount of each asset, what it is worth in USD, and what of that counts as margin.
HELD = [
    ("USDC", "1000", "1000", "999.5"),
    ("BTC", "0.1", "5000", "4750"),
    ("ETH", "2", "5000", "4750"),
    ("BNB", "10", "6000", "5700"),
    ("BNFCR", "70", "70", "70"),
]


def refusal(call: Any, *words: Any, **terms: Any) -> int:
    with pytest.raises(ExchangeError) as caught:
        call(*words, **terms)
    return caught.value.code


@pytest.mark.parametrize(("asset", "amount", "worth", "margin"), HELD)
def test_each_asset_counts_less_its_buffer(trader: Trader, asset: str, amount: str, worth: str, margin: str) -> None:
    account, state = trader.account, trader.exchange.state
    margin_assets.transfer(state, account, asset, D(amount))
    assert account_figures(account, state.markets).available == total_figures(account, state.markets).wallet
    change_assets_mode(state, account, multi=True)
    assert total_figures(account, state.markets).wallet - account.wallet == D(worth)
    assert free_dollars(account, state.markets) - account.wallet == D(margin)


def test_totals_are_in_dollars_over_all_assets(paper: PaperExchange, client: UMFutures) -> None:
    # Beside 10,000 USDT, 5,000 USDC and 0.1 BTC, as at the start.
    for asset, amount, _, _ in HELD:
        paper.control("POST", "transfer", {"asset": asset, "amount": amount})
    assert client.account()["totalWalletBalance"] == "10000.00000000"
    client.sign_request("POST", "/fapi/v1/multiAssetsMargin", {"multiAssetsMargin": "true"})
    account = client.account()
    assert account["totalWalletBalance"] == "37070.00000000"
    assert account["totalMarginBalance"] == "37070.00000000"
    assert account["availableBalance"] == "36017.00000000"
    index = {row["symbol"]: (row["index"], row["bidBuffer"]) for row in client.query("/fapi/v1/assetIndex")}
    assert index["BTCUSD"] == ("50000.00000000", "0.05000000")
    assert index["USDCUSD"] == ("1.00000000", "0.00050000")


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_other_assets_carry_what_usdt_alone_could_not(trader: Trader, mode: Mode) -> None:
    margin_assets.transfer(trader.exchange.state, trader.account, "BTC", D("0.2"))
    mode.prepare(trader)
    # 10,000 USDT at leverage 20 carry 200,000; with 9,500 more 390,000.
    assert refusal(trader.send, mode.opening, "MARKET", "5", **mode.side_terms) == -2019
    change_assets_mode(trader.exchange.state, trader.account, multi=True)
    assert trader.send(mode.opening, "MARKET", "5", **mode.side_terms).status == "FILLED"


def test_isolated_symbols_forbid_the_mode(trader: Trader) -> None:
    change_margin_type(trader.exchange.state, trader.account, trader.market, isolated=True)
    assert refusal(change_assets_mode, trader.exchange.state, trader.account, multi=True) == -4167


def test_the_mode_forbids_isolated_symbols(trader: Trader) -> None:
    change_assets_mode(trader.exchange.state, trader.account, multi=True)
    assert refusal(change_margin_type, trader.exchange.state, trader.account, trader.market, isolated=True) == -4168


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_position_that_usdt_cannot_carry_keeps_the_mode(trader: Trader, mode: Mode) -> None:
    state, account = trader.exchange.state, trader.account
    margin_assets.transfer(state, account, "BTC", D("0.2"))
    change_assets_mode(state, account, multi=True)
    mode.prepare(trader, "5")
    assert refusal(change_assets_mode, state, account, multi=False) == -4169
    assert account.multi_assets
    trader.send(mode.closing, "MARKET", "2", **mode.terms)
    change_assets_mode(state, account, multi=False)
    assert not account.multi_assets


@pytest.mark.parametrize("multi", [True, False])
def test_open_orders_keep_the_mode(trader: Trader, *, multi: bool) -> None:
    state, account = trader.exchange.state, trader.account
    if not multi:
        change_assets_mode(state, account, multi=True)
    trader.bid("0.010", "49000")
    assert refusal(change_assets_mode, state, account, multi=multi) == -4170
    trader.exchange.orders.cancel_all(account, BTC)
    trader.condition("SELL", "STOP_MARKET", "0.010", "49000")
    assert refusal(change_assets_mode, state, account, multi=multi) == -4170


@pytest.mark.parametrize("multi", [True, False])
def test_mode_that_is_set_already(trader: Trader, *, multi: bool) -> None:
    if multi:
        change_assets_mode(trader.exchange.state, trader.account, multi=True)
    assert refusal(change_assets_mode, trader.exchange.state, trader.account, multi=multi) == -4171


@pytest.mark.parametrize("asset", ["USDT", "USDC"])
def test_debt_in_an_asset_keeps_the_mode(trader: Trader, asset: str) -> None:
    state, account = trader.exchange.state, trader.account
    margin_assets.transfer(state, account, "BTC", D("1"))
    change_assets_mode(state, account, multi=True)
    state.book_income(account, "TRANSFER", D(-11_000), asset=asset)
    assert refusal(change_assets_mode, state, account, multi=False) == -4172


def test_leverage_counts_all_assets(trader: Trader) -> None:
    state, account = trader.exchange.state, trader.account
    margin_assets.transfer(state, account, "BTC", D("0.2"))
    change_assets_mode(state, account, multi=True)
    trader.buy("3")
    # 150,000 at leverage 8 bind 18,750.
    assert change_leverage(state, account, trader.market, 8) > 0
    assert refusal(change_leverage, state, account, trader.market, 5) == -2028


def test_refusals_over_http(client: UMFutures) -> None:
    def change(*, on: str) -> tuple[int, str]:
        with pytest.raises(ClientError) as caught:
            client.sign_request("POST", "/fapi/v1/multiAssetsMargin", {"multiAssetsMargin": on})
        return int(caught.value.error_code), str(caught.value.error_message)

    assert change(on="false")[0] == -4171
    client.change_margin_type(BTC, "ISOLATED")
    code, text = change(on="true")
    assert (code, "isolated-margin" in text) == (-4167, True)
    client.change_margin_type(BTC, "CROSSED")
    client.new_order(symbol=BTC, side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49000")
    assert change(on="true")[0] == -4170
