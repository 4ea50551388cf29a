"""BNB in the futures wallet: it pays fees at a discount, and in multi-assets mode it is margin."""

import json
from contextlib import closing
from typing import Any

import pytest
import requests
import websocket
from binance.error import ClientError
from binance.um_futures import UMFutures

from paper_exchange.core import margin_assets
from paper_exchange.core.accounts import Account
from paper_exchange.core.margin import account_figures, total_figures
from paper_exchange.core.settings import change_assets_mode
from tests.paper_exchange.trader import D, Trader
from tests.support.paper import PaperExchange


def give(trader: Trader, amount: str) -> Account:
    margin_assets.transfer(trader.exchange.state, trader.account, "BNB", D(amount))
    return trader.account


def incomes(trader: Trader, kind: str) -> list[tuple[str, D]]:
    return [(row.asset, row.amount) for row in trader.account.income if row.type == kind]


def test_fee_is_paid_in_bnb_at_a_discount(trader: Trader) -> None:
    account = give(trader, "1")
    account.fee_burn = True
    [fill] = trader.buy("0.010").fills

    # 500.001 at 0.05 %, less a tenth, at 600 for one BNB.
    assert (fill.commission, fill.commission_asset) == (D("0.00037500"), "BNB")
    assert (account.coins["BNB"], account.wallet) == (D("0.99962500"), D(10_000))
    assert incomes(trader, "COMMISSION") == [("BNB", D("-0.00037500"))]
    # Break-even counts what the fee was worth.
    assert trader.position().open_fees == D("0.22500045")
    trader.check_identity()


@pytest.mark.parametrize(("amount", "burn"), [("0.0001", True), ("1", False)])
def test_fee_stays_in_usdt_without_the_setting_or_enough_bnb(trader: Trader, amount: str, *, burn: bool) -> None:
    account = give(trader, amount)
    account.fee_burn = burn
    [fill] = trader.buy("0.010").fills
    assert (fill.commission, fill.commission_asset) == (D("0.25000050"), "USDT")
    assert account.coins["BNB"] == D(amount)
    trader.check_identity()


def test_bnb_is_margin_in_multi_assets_mode_only(trader: Trader) -> None:
    account, markets = give(trader, "10"), trader.exchange.state.markets
    assert account_figures(account, markets).available == total_figures(account, markets).wallet == account.wallet
    change_assets_mode(trader.exchange.state, account, multi=True)
    # 6,000 dollars, of which 95 % count.
    assert total_figures(account, markets).wallet - account.wallet == D(6000)
    assert account_figures(account, markets).available - account.wallet == D(5700)


def test_debt_is_paid_by_selling_bnb(trader: Trader) -> None:
    account, state = give(trader, "10"), trader.exchange.state
    change_assets_mode(state, account, multi=True)
    state.book_income(account, "TRANSFER", D("-10570"))

    margin_assets.exchange_for_debt(state, account)

    # 570 dollars at 570 for one BNB.
    assert incomes(trader, "AUTO_EXCHANGE") == [("BNB", D("-1.00000001")), ("USDT", D("570.00000570"))]
    assert account.wallet == D("0.00000570")
    trader.check_identity()


def test_liquidation_counts_on_bnb(trader: Trader) -> None:
    account = give(trader, "10")
    change_assets_mode(trader.exchange.state, account, multi=True)
    trader.buy("3")
    # A loss of 12,000 is more than the USDT, and less than all.
    trader.price("46000")
    assert trader.position().amount == D(3)
    trader.price("44000")
    assert trader.position().amount == D(0)
    assert account.wallet >= 0
    assert incomes(trader, "AUTO_EXCHANGE")
    trader.check_identity()


def test_balances_name_bnb_when_there_is_some(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "transfer", {"asset": "BNB", "amount": "2.5"})
    assert [(row["asset"], row["balance"]) for row in client.balance()] == [
        ("USDT", "10000.00000000"),
        ("USDC", "5000.00000000"),
        ("BTC", "0.10000000"),
        ("BNB", "2.50000000"),
    ]
    account = client.account()
    assert [row["asset"] for row in account["assets"]] == ["USDT", "USDC", "BTC", "BNB"]
    # In single-asset mode totals are USDT alone.
    assert account["totalWalletBalance"] == "10000.00000000"

    client.sign_request("POST", "/fapi/v1/multiAssetsMargin", {"multiAssetsMargin": "true"})
    account = client.account()
    # 10,000 USDT, 5,000 USDC, 5,000 and 1,500 dollars in BTC and BNB; of USDC 99.95 % count, of coins 95 %.
    assert (account["totalWalletBalance"], account["availableBalance"]) == ("21500.00000000", "21172.50000000")
    [bnb] = [row for row in asset_index(paper) if row["symbol"] == "BNBUSD"]
    assert (bnb["index"], bnb["bidRate"]) == ("600.00000000", "570.00000000")


def asset_index(paper: PaperExchange) -> Any:
    return requests.get(f"{paper.url}/fapi/v1/assetIndex", timeout=5, proxies={"http": ""}).json()


def test_fee_in_bnb_is_reported_everywhere(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "transfer", {"asset": "BNB", "amount": "1"})
    client.sign_request("POST", "/fapi/v1/feeBurn", {"feeBurn": "true"})
    key = client.new_listen_key()["listenKey"]
    url = f"{paper.stream_url}/private/ws?listenKey={key}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
        events = [json.loads(stream.recv()) for _ in range(4)]
    assert (events[2]["o"]["n"], events[2]["o"]["N"]) == ("0.000375", "BNB")
    assert {row["a"]: row["wb"] for row in events[3]["a"]["B"]} == {"USDT": "10000.00000000", "BNB": "0.99962500"}
    [trade] = client.get_account_trades("BTCUSDT")
    assert (trade["commission"], trade["commissionAsset"]) == ("0.00037500", "BNB")
    assert client.get_income_history(incomeType="COMMISSION")[0]["asset"] == "BNB"


def test_transfers(paper: PaperExchange, client: UMFutures) -> None:
    key = client.new_listen_key()["listenKey"]
    url = f"{paper.stream_url}/private/ws?listenKey={key}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        paper.control("POST", "transfer", {"amount": "-9990"})
        event = json.loads(stream.recv())
    assert (event["a"]["m"], event["a"]["B"][0]["bc"]) == ("WITHDRAW", "-9990")
    with pytest.raises(ClientError) as caught:
        client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert caught.value.error_code == -2019
    for body in (
        {"amount": "-11"},
        {"amount": "0"},
        {"amount": "1", "asset": "DOGE"},
        {"amount": "-1", "asset": "BNB"},
    ):
        answer = requests.post(f"{paper.url}/paper/transfer", json=body, timeout=5, proxies={"http": ""})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert paper.summary()["wallet"] == "10.00000000"
