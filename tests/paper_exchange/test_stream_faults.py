"""Faults beyond single replies: hidden orders, presets, thin markets, and user streams that misbehave."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import requests
import websocket
from binance.error import ClientError, ServerError
from binance.um_futures import UMFutures

from paper_exchange.http.presets import PRESETS
from tests.support.paper import PaperExchange, wait_until


@pytest.fixture
def stream(paper: PaperExchange, client: UMFutures) -> Iterator[websocket.WebSocket]:
    key = client.new_listen_key()["listenKey"]
    url = f"{paper.stream_url}/private/ws?listenKey={key}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as socket:
        yield socket


def events(stream: websocket.WebSocket, count: int) -> list[tuple[str, str]]:
    """Return the next events as (event, execution type or symbol's first word)."""
    messages = [json.loads(stream.recv()) for _ in range(count)]
    return [(message["e"], message.get("o", {}).get("x", "")) for message in messages]


def read_to_the_end(socket: websocket.WebSocket) -> None:
    while True:
        socket.recv()


def buy(client: UMFutures, client_id: str = "f:1", quantity: str = "0.010") -> Any:
    return client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=quantity, newClientOrderId=client_id)


NEW, LITE, TRADE, ACCOUNT = (
    ("ORDER_TRADE_UPDATE", "NEW"),
    ("TRADE_LITE", ""),
    ("ORDER_TRADE_UPDATE", "TRADE"),
    ("ACCOUNT_UPDATE", ""),
)


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        ({"action": "silent", "event": "TRADE_LITE"}, [NEW, TRADE, ACCOUNT]),
        ({"action": "silent", "count": 3}, [ACCOUNT]),
        ({"action": "duplicate", "event": "TRADE_LITE"}, [NEW, LITE, LITE, TRADE, ACCOUNT]),
        ({"action": "swap"}, [LITE, NEW, TRADE, ACCOUNT]),
        ({"action": "delay", "ms": 100, "event": "TRADE_LITE"}, [NEW, TRADE, ACCOUNT, LITE]),
        ({"action": "silent", "key": "somebody else", "count": None}, [NEW, LITE, TRADE, ACCOUNT]),
    ],
)
def test_events_get_lost_doubled_late_or_out_of_order(
    paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket, fault: dict[str, Any], heard: list[Any]
) -> None:
    paper.control("POST", "streams/faults", fault)
    buy(client)
    assert events(stream, len(heard)) == heard


def test_shuffled_events_all_come(paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket) -> None:
    paper.control("POST", "streams/faults", {"action": "shuffle", "size": 4, "for_ms": 60_000})
    orders = []
    for number in range(8):
        buy(client, f"f:{number}")
        orders.append(events(stream, 4))
    assert all(sorted(heard) == sorted([NEW, LITE, TRADE, ACCOUNT]) for heard in orders)
    assert any(heard != [NEW, LITE, TRADE, ACCOUNT] for heard in orders)


def test_shuffled_events_do_not_wait_for_ever(
    paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket
) -> None:
    paper.control("POST", "streams/faults", {"action": "shuffle", "size": 100, "ms": 50})
    buy(client)
    assert sorted(events(stream, 4)) == sorted([NEW, LITE, TRADE, ACCOUNT])


def test_stream_that_is_mute_for_a_time(paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket) -> None:
    paper.control("POST", "streams/faults", {"id": "mute", "action": "silent", "for_ms": 60_000})
    buy(client)
    stream.ping()
    # It should be alive all the same.
    assert stream.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_PONG
    assert paper.control("DELETE", "streams/faults?id=mute") == {"removed": 1}
    buy(client, "f:2")
    assert json.loads(stream.recv())["o"]["c"] == "f:2"


def test_all_connections_can_be_cut(paper: PaperExchange, stream: websocket.WebSocket) -> None:
    url = f"{paper.stream_url}/public/ws/btcusdt@bookTicker"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as market:
        assert paper.control("POST", "streams/drop", {"all": True})["dropped"] >= 2
        for socket in (stream, market):
            with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
                read_to_the_end(socket)


def test_stream_faults_are_listed_and_removed(
    paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket
) -> None:
    paper.control("POST", "streams/faults", {"id": "mute", "action": "silent", "count": None})
    buy(client)
    [rule] = paper.control("GET", "streams/faults")["faults"]
    assert (rule["id"], rule["hits"]) == ("mute", 4)

    assert paper.control("DELETE", "streams/faults") == {"removed": 1}
    buy(client, "f:2")
    assert json.loads(stream.recv())["o"]["c"] == "f:2"


def test_dropped_stream_can_be_opened_again_with_the_same_key(
    paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket
) -> None:
    assert paper.control("POST", "streams/drop") == {"dropped": 1}
    with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
        stream.recv()

    key = client.new_listen_key()["listenKey"]
    with closing(
        websocket.create_connection(f"{paper.stream_url}/private/ws?listenKey={key}", timeout=5, http_no_proxy=["*"])
    ) as again:
        buy(client)
        assert events(again, 1) == [NEW]


def test_listen_key_that_runs_out(paper: PaperExchange, client: UMFutures, stream: websocket.WebSocket) -> None:
    paper.control("POST", "streams/expire")
    assert json.loads(stream.recv())["e"] == "listenKeyExpired"
    with pytest.raises(ClientError) as caught:
        client.renew_listen_key("ignored")
    assert caught.value.error_code == -1125


@pytest.mark.parametrize("fault", [{}, {"action": "explode"}, {"action": "delay", "ms": -1}])
def test_stream_faults_that_make_no_sense(paper: PaperExchange, fault: dict[str, Any]) -> None:
    answer = requests.post(f"{paper.url}/paper/streams/faults", json=fault, timeout=5, proxies={"http": ""})
    assert answer.status_code == 400


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_documented_failures_by_name(paper: PaperExchange, client: UMFutures, preset: str) -> None:
    paper.add_fault(path="/fapi/v1/order", method="POST", action="reply", preset=preset)
    with pytest.raises((ClientError, ServerError, KeyError)):
        buy(client)
    [request] = paper.ledger()["requests"]
    assert request["status"] == PRESETS[preset].status
    assert paper.ledger()["orders"] == []


def test_throttling_spares_orders_that_only_reduce(paper: PaperExchange, client: UMFutures) -> None:
    buy(client)
    paper.add_fault(path="/fapi/v1/order", method="POST", action="reply", preset="throttled_503", count=None)
    with pytest.raises(ServerError) as caught:
        buy(client, "f:2")
    assert json.loads(caught.value.message)["code"] == -1008
    closing = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.010", "reduceOnly": "true"}
    assert client.new_order(**closing)["side"] == "SELL"
    assert client.get_position_risk() == []


def test_unknown_preset(paper: PaperExchange) -> None:
    fault = {"path": "/fapi/v1/order", "action": "reply", "preset": "nope"}
    answer = requests.post(f"{paper.url}/paper/faults", json=fault, timeout=5, proxies={"http": ""})
    assert "unknown_503" in answer.json()["error"]


def test_an_order_is_hidden_for_a_time(paper: PaperExchange, client: UMFutures) -> None:
    stop = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
    stop |= {"triggerPrice": "49000", "quantity": "0.010", "clientAlgoId": "s"}
    client.sign_request("POST", "/fapi/v1/algoOrder", stop)
    paper.add_fault(path="/fapi/v1/openAlgoOrders", action="hide", for_ms=300)
    began = time.monotonic()

    def listed() -> list[Any]:
        found: list[Any] = client.sign_request("GET", "/fapi/v1/openAlgoOrders", {"symbol": "BTCUSDT"})
        return found

    assert listed() == []
    wait_until(listed, what="end of the hiding")
    assert time.monotonic() - began >= 0.25


def test_resting_orders_fill_in_parts_on_a_thin_market(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "liquidity", {"symbol": "BTCUSDT", "resting_fill": "0.004"})
    order = client.new_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49900"
    )
    seen = []
    for _ in range(3):
        paper.set_price("BTCUSDT", "49900")
        now = client.query_order("BTCUSDT", orderId=order["orderId"])
        seen.append((now["status"], now["executedQty"]))
    assert seen == [("PARTIALLY_FILLED", "0.004"), ("PARTIALLY_FILLED", "0.008"), ("FILLED", "0.010")]


def test_market_order_larger_than_the_book_fills_in_part(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "liquidity", {"symbol": "BTCUSDT", "levels": 1})
    available = client.depth("BTCUSDT", limit=5)["asks"]
    assert len(available) == 1
    order = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="3.500", newOrderRespType="RESULT")
    assert (order["status"], order["executedQty"]) == ("EXPIRED", available[0][1])


def test_ledger_tells_what_came_in_even_when_it_was_refused(paper: PaperExchange, client: UMFutures) -> None:
    with pytest.raises(ClientError):
        buy(client, "bad id")
    [request] = paper.ledger()["requests"]
    assert request["params"]["newClientOrderId"] == "bad id"
    assert request["params"]["quantity"] == "0.010"
