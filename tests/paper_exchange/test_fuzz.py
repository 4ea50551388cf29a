"""Bad input: whatever comes, the answer is a 4xx with a code, never a 500, and nothing changes."""

import random
import string
import time
from typing import Any

import pytest
import requests

from paper_exchange.http.routes import ROUTES
from tests.paper_exchange.test_requests import signed
from tests.support.paper import PaperExchange

SEED = 20261122
NASTY = [
    "",
    " ",
    "NaN",
    "-1",
    "-0",
    "1e5",
    "1e-05",
    "Infinity",
    "9" * 40,
    "0" * 400,
    "0.0000000000000000000001",
    "null",
    "true",
    "[]",
    "{}",
    '[{"symbol":1}]',
    "[[[[]]]]",
    "BTCUSDT",
    "BUY",
    "LIMIT",
    "MARKET",
    "%00",
    "%ff%fe",
    "%F0%9F%92%A9",
    "%D8%B1",
    "a" * 3000,
    "' OR 1=1",
    "../../etc/passwd",
    "\uff19",
    "1_000",
    "9223372036854775808",
    "-9223372036854775809",
]
NAMES = [
    "symbol",
    "side",
    "type",
    "quantity",
    "price",
    "timeInForce",
    "reduceOnly",
    "positionSide",
    "newClientOrderId",
    "newOrderRespType",
    "priceMatch",
    "goodTillDate",
    "orderId",
    "origClientOrderId",
    "algoId",
    "clientAlgoId",
    "triggerPrice",
    "callbackRate",
    "closePosition",
    "batchOrders",
    "orderIdList",
    "limit",
    "startTime",
    "endTime",
    "fromId",
    "interval",
    "leverage",
    "marginType",
    "amount",
    "countdownTime",
    "recvWindow",
    "incomeType",
    "pair",
    "contractType",
]


PLAUSIBLE = {
    "symbol": ["BTCUSDT", "ETHUSDT"],
    "pair": ["BTCUSDT"],
    "contractType": ["PERPETUAL"],
    "interval": ["1m", "3d", "1w", "1M"],
    "limit": ["1", "5", "1500"],
    "startTime": ["0", "1", "1790000000000", "99999999999999"],
    "endTime": ["0", "1", "1790000000000", "99999999999999"],
    "orderId": ["1"],
    "origClientOrderId": ["x"],
    "clientAlgoId": ["x"],
}


def session() -> requests.Session:
    found = requests.Session()
    found.trust_env = False
    found.headers["X-MBX-APIKEY"] = "paper"
    return found


def state(paper: PaperExchange) -> Any:
    ledger = paper.ledger()
    return ledger["orders"], ledger["algo_orders"], ledger["fills"], paper.summary()


def test_random_parameters_never_break_the_server(paper: PaperExchange) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    routes = sorted(ROUTES)
    # Real changes of settings by chance are no failure; orders by chance would need five right values.
    with session() as http:
        for _ in range(500):
            method, path = chance.choice(routes)
            names = chance.sample(NAMES, chance.randint(0, 8))
            query = "&".join(
                [*(f"{name}={chance.choice(NASTY)}" for name in names), f"timestamp={time.time_ns() // 10**6}"]
            )
            answer = http.request(method, f"{paper.url}{path}?{signed(query)}", timeout=5)
            assert answer.status_code < 500, (method, path, query, answer.text)
            if answer.status_code != 200:
                assert set(answer.json()) == {"code", "msg"}, (method, path, query, answer.text)
                assert answer.json()["code"] < 0
    orders, algos, fills, summary = state(paper)
    assert (orders, algos, fills, summary["wallet"]) == ([], [], [], "10000.00000000")


def test_reads_with_plausible_and_nasty_values_mixed(paper: PaperExchange) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    routes = sorted(path for method, path in ROUTES if method == "GET")
    answered = 0
    with session() as http:
        for _ in range(500):
            path = chance.choice(routes)
            values = {
                name: chance.choice(known if chance.random() < 0.85 else NASTY)
                for name, known in PLAUSIBLE.items()
                if chance.random() < 0.7
            }
            query = "&".join(
                [*(f"{name}={value}" for name, value in values.items()), f"timestamp={time.time_ns() // 10**6}"]
            )
            answer = http.get(f"{paper.url}{path}?{signed(query)}", timeout=5)
            assert answer.status_code in {200, 400, 404}, (path, query, answer.text)
            answered += answer.status_code == 200
    # It should have come through to real answers often enough to mean something.
    assert answered > 100


@pytest.mark.parametrize("name", ["quantity", "price", "symbol", "side", "type", "timeInForce", "newClientOrderId"])
def test_each_parameter_of_an_order_with_each_nasty_value(paper: PaperExchange, name: str) -> None:
    good = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.010",
        "price": "49000",
        "newClientOrderId": "fine",
    }
    accepted = 0
    with session() as http:
        for value in NASTY:
            query = "&".join(f"{key}={value if key == name else known}" for key, known in good.items())
            answer = http.post(
                f"{paper.url}/fapi/v1/order?{signed(f'{query}&timestamp={time.time_ns() // 10**6}')}", timeout=5
            )
            assert answer.status_code in {200, 400}, (value, answer.text)
            accepted += answer.status_code == 200
    # It should have booked what it accepted, and only that.
    assert len(paper.ledger()["orders"]) == accepted


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json"}, b'{"symbol": "BTCUSDT"}'),
        ({"Content-Type": "application/json"}, b"{" * 100),
        ({}, b"\xff\xfe\x00"),
        ({}, b"&" * 10_000),
        ({}, b"a=1&a=2"),
        ({}, b"=" * 500),
    ],
)
def test_odd_bodies(paper: PaperExchange, headers: dict[str, str], body: bytes) -> None:
    with session() as http:
        answer = http.post(f"{paper.url}/fapi/v1/order", data=body, headers=headers, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["code"] in {-1101, -1102}


def test_body_of_ten_megabytes_is_refused(paper: PaperExchange) -> None:
    with session() as http:
        try:
            answer = http.post(f"{paper.url}/fapi/v1/order", data=b"x" * 10_000_000, timeout=10)
        except requests.exceptions.ConnectionError:
            # The server may hang up while the client still sends.
            pass
        else:
            assert answer.status_code == 413
            assert set(answer.json()) == {"code", "msg"}
        assert http.get(f"{paper.url}/fapi/v1/ping", timeout=5).json() == {}


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        ("/fapi/v1/order?%", 400, -1102),
        ("/fapi/v1/order?a=%zz&b=%", 400, -1102),
        ("//", 404, -5000),
        ("/?x", 404, -5000),
        ("/fapi/v1/../v1/order", 400, -1102),
    ],
)
def test_odd_paths(paper: PaperExchange, raw: str, status: int, code: int) -> None:
    with session() as http:
        answer = http.get(f"{paper.url}{raw}", timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "price", b""),
        ("POST", "price", b"[]"),
        ("POST", "price", b'{"symbol": "BTCUSDT", "price": "NaN"}'),
        ("POST", "price", b'{"symbol": "BTCUSDT", "price": "sNaN"}'),
        ("POST", "price", b'{"symbol": "NOPE", "price": "1"}'),
        ("POST", "price", b'{"symbol": "BTCUSDT", "price": "-1"}'),
        ("POST", "clock", b'{"advance_ms": "1"}'),
        ("POST", "accounts", b'{"key": "paper", "secret": "x"}'),
        ("POST", "prices/freeze", b'{"frozen": "yes"}'),
        ("GET", "ledger?since=x", b""),
        ("GET", "summary?key=nobody", b""),
        ("POST", "close", b'{"symbol": "BTCUSDT", "kind": "MAGIC"}'),
    ],
)
def test_odd_control_calls(paper: PaperExchange, method: str, path: str, body: bytes) -> None:
    with session() as http:
        json = {"Content-Type": "application/json"}
        answer = http.request(method, f"{paper.url}/paper/{path}", data=body, headers=json, timeout=5)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_random_text_as_key(paper: PaperExchange) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    with session() as http:
        for length in (1, 64, 128):
            key = "".join(chance.choice(string.ascii_letters) for _ in range(length))
            answer = http.get(f"{paper.url}/fapi/v2/balance", headers={"X-MBX-APIKEY": key}, timeout=5)
            assert (answer.status_code, answer.json()["code"]) == (401, -2015)
