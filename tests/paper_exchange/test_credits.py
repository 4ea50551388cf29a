"""Accounts in credits mode: wallet, fees, funding and realised PnL in BNFCR, for which there is no market."""

import json
from contextlib import closing
from typing import Any

import pytest
import requests
import websocket
from binance.um_futures import UMFutures

from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import BTC, D
from tests.support.paper import PaperExchange


@pytest.fixture
def credited(paper: PaperExchange, client: UMFutures) -> UMFutures:
    """Give the account that trades a wallet in credits."""
    assert paper.control("POST", "settings", {"credits": True})["credits"] is True
    return client


def trade(client: UMFutures, mode: Mode, side: str) -> None:
    terms = {"positionSide": mode.position_side} if mode.is_hedge else {}
    client.new_order(symbol=BTC, side=side, type="MARKET", quantity="0.010", **terms)


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_everything_is_paid_in_credits(paper: PaperExchange, credited: UMFutures, mode: Mode) -> None:
    if mode.is_hedge:
        credited.change_position_mode("true")
    trade(credited, mode, mode.opening)
    paper.control("POST", "funding", {"symbol": BTC, "rate": "0.0002"})
    paper.set_price(BTC, mode.beyond(2))
    trade(credited, mode, mode.closing)

    fills = credited.get_account_trades(BTC)
    assert {(row["commissionAsset"], row["marginAsset"]) for row in fills} == {("BNFCR", "BNFCR")}
    assert {(row["incomeType"], row["asset"]) for row in credited.get_income_history(limit=10)} == {
        ("COMMISSION", "BNFCR"),
        ("FUNDING_FEE", "BNFCR"),
        ("REALIZED_PNL", "BNFCR"),
    }
    # 10 dollars less the spread of 0.10 twice; funding of 0.10 paid by longs; two fees of 0.05 %.
    gain, funding = D("9.998"), D("-0.1") if mode.opening == "BUY" else D("0.1")
    fees = sum((D(row["commission"]) for row in fills), D(0))
    summary = paper.summary()
    assert (summary["asset"], summary["realized_pnl"], D(summary["funding"])) == ("BNFCR", "9.99800000", funding)
    assert D(summary["wallet"]) == 10_000 + gain + funding - fees
    assert {row["asset"] for row in paper.ledger()["balances"][-3:]} == {"BNFCR"}


def test_balances_and_events_name_the_asset(paper: PaperExchange, credited: UMFutures) -> None:
    key = credited.new_listen_key()["listenKey"]
    url = f"{paper.stream_url}/private/ws?listenKey={key}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        trade(credited, MODES[0], "BUY")
        events = [json.loads(stream.recv()) for _ in range(4)]
    orders = [event["o"]["N"] for event in events if event["e"] == "ORDER_TRADE_UPDATE"]
    accounts = [event["a"]["B"] for event in events if event["e"] == "ACCOUNT_UPDATE"]
    assert orders == ["BNFCR", "BNFCR"]
    assert [[row["a"] for row in rows] for rows in accounts] == [["BNFCR"]]
    assert [row["asset"] for row in credited.balance()] == ["BNFCR", "USDC", "BTC"]
    assert [row["asset"] for row in credited.account()["assets"]] == ["BNFCR", "USDC", "BTC"]
    assert [row["marginAsset"] for row in credited.get_position_risk()] == ["BNFCR"]


def test_no_contract_is_quoted_in_credits(credited: UMFutures) -> None:
    names = {row["symbol"] for row in credited.exchange_info()["symbols"]}
    assert not {name for name in names if "BNFCR" in name}
    # Contracts stay in their own quote.
    assert {row["marginAsset"] for row in credited.exchange_info()["symbols"]} >= {"USDT"}


@pytest.mark.parametrize("listed", [True, False])
def test_asset_index_may_list_credits(paper: PaperExchange, client: UMFutures, *, listed: bool) -> None:
    paper.control("POST", "assumptions", {"credits_listed": listed})
    rows = {row["symbol"]: row["index"] for row in client.query("/fapi/v1/assetIndex")}
    assert rows.get("BNFCRUSD") == ("1.00000000" if listed else None)
    assets = {row["asset"] for row in client.exchange_info()["assets"]}
    assert ("BNFCR" in assets) is listed


def test_bnb_pays_no_fee_in_credits_mode(paper: PaperExchange, credited: UMFutures) -> None:
    paper.control("POST", "transfer", {"asset": "BNB", "amount": "1"})
    credited.sign_request("POST", "/fapi/v1/feeBurn", {"feeBurn": "true"})
    trade(credited, MODES[0], "BUY")
    assert [row["commissionAsset"] for row in credited.get_account_trades(BTC)] == ["BNFCR"]


def refused(paper: PaperExchange, body: dict[str, Any]) -> str:
    answer = requests.post(f"{paper.url}/paper/settings", json=body, timeout=5, proxies={"http": ""})
    assert answer.status_code == 400
    return str(answer.json()["error"])


def test_mode_is_chosen_before_the_first_booking(paper: PaperExchange, client: UMFutures) -> None:
    trade(client, MODES[0], "BUY")
    assert "first booking" in refused(paper, {"credits": True})
    assert [row["asset"] for row in client.balance()] == ["USDT", "USDC", "BTC"]


def test_account_is_opened_in_credits(paper: PaperExchange) -> None:
    paper.control("POST", "accounts", {"key": "c", "secret": "s", "balance": "500", "credits": True})
    found = UMFutures(key="c", secret="s", base_url=paper.url, timeout=5)
    found.session.trust_env = False
    assert [(row["asset"], row["balance"]) for row in found.balance()] == [("BNFCR", "500.00000000")]


def test_exchange_can_start_in_credits_mode() -> None:
    with PaperExchange("--credits", "--assume", "credits_listed=false") as paper:
        assert paper.summary()["asset"] == "BNFCR"
        paper.reset()
        assert paper.summary()["asset"] == "BNFCR"
        assert paper.control("GET", "assumptions")["credits_listed"] is False
