"""The WebSocket API: orders over a socket, signed over sorted parameters, with the limits in each answer."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import websocket
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange


class Caller:
    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket

    def raw(self, text: str) -> Any:
        self._socket.send(text)
        return json.loads(self._socket.recv())

    def __call__(self, method: str, *, sign: bool = True, **params: Any) -> Any:
        params = {"apiKey": "paper", **params}
        if sign:
            params["timestamp"] = time.time_ns() // 10**6
            payload = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
            params["signature"] = hmac.new(b"paper-secret", payload.encode(), hashlib.sha256).hexdigest()
        return self.raw(json.dumps({"id": "any-id", "method": method, "params": params}))


@pytest.fixture
def call(paper: PaperExchange) -> Iterator[Caller]:
    url = f"{paper.stream_url}/ws-fapi/v1"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as socket:
        yield Caller(socket)


def limit_order(**terms: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.010",
        "price": "49000",
        **terms,
    }


def test_life_of_an_order(call: Caller, client: UMFutures, paper: PaperExchange) -> None:
    placed = call("order.place", **limit_order(newClientOrderId="w:1"))
    assert (placed["id"], placed["status"], placed["result"]["status"]) == ("any-id", 200, "NEW")
    assert not {"avgPrice", "cumQuote"} & set(placed["result"])
    order_id = placed["result"]["orderId"]
    # It should be the same order that REST shows.
    assert client.query_order("BTCUSDT", orderId=order_id)["clientOrderId"] == "w:1"

    amended = call("order.modify", symbol="BTCUSDT", orderId=order_id, side="BUY", quantity="0.020", price="49100")
    assert (amended["result"]["origQty"], amended["result"]["price"]) == ("0.020", "49100.00")
    assert call("order.status", symbol="BTCUSDT", orderId=order_id)["result"]["price"] == "49100.00"
    assert call("order.cancel", symbol="BTCUSDT", orderId=order_id)["result"]["status"] == "CANCELED"
    refused = call("order.cancel", symbol="BTCUSDT", orderId=order_id)
    assert (refused["id"], refused["status"], refused["error"]) == (
        "any-id",
        400,
        {"code": -2011, "msg": "Unknown order sent."},
    )
    assert [
        (row["method"], row["path"], row["code"]) for row in paper.ledger()["requests"] if row["method"] == "WS"
    ] == [
        ("WS", "order.place", None),
        ("WS", "order.modify", None),
        ("WS", "order.status", None),
        ("WS", "order.cancel", None),
        ("WS", "order.cancel", -2011),
    ]


def test_conditional_order(call: Caller) -> None:
    placed = call(
        "algoOrder.place",
        algoType="CONDITIONAL",
        symbol="BTCUSDT",
        side="SELL",
        type="STOP_MARKET",
        triggerPrice="49000",
        quantity="0.010",
    )
    assert placed["result"]["algoStatus"] == "NEW"
    assert call("algoOrder.cancel", algoId=placed["result"]["algoId"])["result"]["code"] == "200"


def test_limits_are_counted_and_can_be_left_out(call: Caller) -> None:
    counted = call("order.place", **limit_order())["rateLimits"]
    assert [(row["rateLimitType"], row["interval"], row["limit"]) for row in counted] == [
        ("REQUEST_WEIGHT", "MINUTE", 2400),
        ("ORDERS", "SECOND", 300),
        ("ORDERS", "MINUTE", 1200),
    ]
    assert "rateLimits" not in call("order.place", **limit_order(returnRateLimits="false"))


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("ping", dict),
        ("time", dict),
        ("account.balance", list),
        ("v2/account.balance", list),
        ("account.status", dict),
        ("v2/account.status", dict),
        ("account.position", list),
        ("v2/account.position", list),
        ("ticker.price", list),
        ("ticker.book", list),
    ],
)
def test_reads(call: Caller, method: str, kind: type) -> None:
    answer = call(method)
    assert answer["status"] == 200
    assert isinstance(answer["result"], kind)


def test_ping_and_time_need_no_key(call: Caller) -> None:
    now = time.time() * 1000
    assert call.raw('{"id":7,"method":"ping"}')["result"] == {}
    answer = call.raw('{"id":8,"method":"time","params":{}}')
    assert (answer["id"], answer["status"], list(answer["result"])) == (8, 200, ["serverTime"])
    assert abs(answer["result"]["serverTime"] - now) < 5000


def test_listen_key_needs_no_signature(call: Caller, client: UMFutures) -> None:
    key = call("userDataStream.start", sign=False)["result"]["listenKey"]
    assert client.new_listen_key()["listenKey"] == key
    assert call("userDataStream.stop", sign=False)["result"] == {}


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("{", 400, -1130),
        ("[1]", 400, -1130),
        ('{"id":1,"method":"order.explode","params":{}}', 400, -1130),
        ('{"id":1,"method":"order.place","params":[]}', 400, -1102),
        ('{"id":1,"method":"order.place","params":{}}', 401, -2014),
        ('{"id":1,"method":"order.place","params":{"apiKey":"nobody"}}', 401, -2015),
        ('{"id":1,"method":"order.place","params":{"apiKey":"paper","timestamp":1,"signature":"a"}}', 400, -1021),
        ('{"id":1,"method":"depth","params":{"symbol":"NOPE"}}', 400, -1121),
        ('{"id":1,"method":"depth","params":{"symbol":{"a":1}}}', 400, -1121),
    ],
)
def test_requests_that_do_not_fit(call: Caller, text: str, status: int, code: int) -> None:
    answer = call.raw(text)
    assert (answer["status"], answer["error"]["code"]) == (status, code)


def test_wrong_signature(call: Caller) -> None:
    answer = call("order.place", sign=False, **limit_order(timestamp=time.time_ns() // 10**6, signature="0" * 64))
    assert answer["error"] == {"code": -1022, "msg": "Signature for this request is not valid."}
