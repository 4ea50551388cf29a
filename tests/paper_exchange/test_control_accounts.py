"""What others do to an account: its owner by hand, and the exchange by force."""

import json
from contextlib import closing
from typing import Any

import pytest
import requests
import websocket
from binance.error import ClientError
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange


def positions(client: UMFutures) -> list[str]:
    return [row["positionAmt"] for row in client.get_position_risk()]


def refused(paper: PaperExchange, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = requests.post(f"{paper.url}/paper/{path}", json=body, timeout=5, proxies={"http": ""})
    assert answer.status_code == 400
    found: dict[str, Any] = answer.json()
    return found


def test_position_is_opened_resized_turned_and_closed_by_hand(paper: PaperExchange, client: UMFutures) -> None:
    seen = []
    for amount in ("0.010", "0.004", "-0.002", "0"):
        paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": amount})
        seen.append(positions(client))
    assert seen == [["0.010"], ["0.004"], ["-0.002"], []]
    # It should look like the web page's orders, with fills and income like any other.
    orders = client.get_all_orders("BTCUSDT")
    assert [(row["side"], row["executedQty"]) for row in orders] == [
        ("BUY", "0.010"),
        ("SELL", "0.006"),
        ("SELL", "0.006"),
        ("BUY", "0.002"),
    ]
    assert all(row["clientOrderId"].startswith("web_") for row in orders)


def test_nothing_is_ordered_for_a_position_that_is_there(paper: PaperExchange, client: UMFutures) -> None:
    answer = paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0"})
    assert answer["order"] is None
    assert client.get_all_orders("BTCUSDT") == []


def test_position_by_hand_in_hedge_mode(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "settings", {"dual_side": True})
    assert client.get_position_mode() == {"dualSidePosition": True}
    paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "-0.010", "position_side": "SHORT"})
    assert positions(client) == ["-0.010"]
    assert "position_side" in refused(paper, "position", {"symbol": "BTCUSDT", "amount": "1"})["error"]
    # The guards of the exchange hold for people too.
    assert refused(paper, "settings", {"dual_side": False})["code"] == -4068


def test_foreign_order(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "orders", {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.010", "price": "51000"})
    [order] = client.get_orders()
    assert (order["side"], order["price"], order["clientOrderId"][:4]) == ("SELL", "51000.00", "web_")
    paper.control("POST", "orders/end", {"order": str(order["orderId"])})
    assert client.query_order("BTCUSDT", orderId=order["orderId"])["status"] == "CANCELED"


def test_setting_changed_elsewhere_is_told_on_the_stream(paper: PaperExchange, client: UMFutures) -> None:
    key = client.new_listen_key()["listenKey"]
    url = f"{paper.stream_url}/private/ws?listenKey={key}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        paper.control("POST", "settings", {"symbol": "BTCUSDT", "leverage": 7})
        event = json.loads(stream.recv())
    assert (event["e"], event["ac"]) == ("ACCOUNT_CONFIG_UPDATE", {"s": "BTCUSDT", "l": 7})
    paper.control("POST", "settings", {"symbol": "BTCUSDT", "isolated": True})
    [config] = client.symbol_configuration(symbol="BTCUSDT")
    assert (config["leverage"], config["marginType"]) == (7, "ISOLATED")


@pytest.mark.parametrize(
    ("kind", "client_id", "left"), [("LIQUIDATION", "autoclose-", "EXPIRED"), ("ADL", "adl_autoclose", "NEW")]
)
def test_forced_close_and_what_it_leaves(
    paper: PaperExchange, client: UMFutures, kind: str, client_id: str, left: str
) -> None:
    paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0.010"})
    resting = paper.control(
        "POST", "orders", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.010", "price": "49000"}
    )
    paper.control("POST", "close", {"symbol": "BTCUSDT", "kind": kind})
    assert client.query_order("BTCUSDT", orderId=resting["orderId"])["status"] == left
    assert client.force_orders(autoCloseType=kind)[0]["clientOrderId"].startswith(client_id)
    # A flat position is shown while an order of its symbol is open.
    assert positions(client) == (["0.000"] if left == "NEW" else [])


def test_calls_that_make_no_sense(paper: PaperExchange) -> None:
    assert refused(paper, "position", {"symbol": "BTCUSDT", "amount": "many"})["error"]
    assert refused(paper, "position", {"symbol": "NONE", "amount": "1"})["code"] == -1121
    assert refused(paper, "orders", {"symbol": "BTCUSDT", "side": "UP", "quantity": "1"})["error"]
    assert refused(paper, "keys", {"key": "unknown"})["error"]
    assert refused(paper, "settings", {"leverage": 5})["error"]
    # It should hold foreign orders to the filters as well.
    assert refused(paper, "orders", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.0001"})["code"] == -1111


def test_withheld_orders_are_the_accounts_own(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_account("second", "its-secret")
    paper.control("POST", "position", {"key": "second", "symbol": "BTCUSDT", "amount": "0.010"})
    assert positions(client) == []
    with pytest.raises(ClientError):
        client.query_order("BTCUSDT", orderId=paper.ledger()["orders"][0]["orderId"])
