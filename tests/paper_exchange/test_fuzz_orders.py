"""Bad input in the places where a lot is state: conditional orders and the contents of batches."""

import json
import random
import time
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.paper_exchange.test_fuzz import NASTY, SEED, session
from tests.paper_exchange.test_requests import signed
from tests.support.paper import PaperExchange

ALGO = "/fapi/v1/algoOrder"
STOP = {
    "algoType": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "STOP_MARKET",
    "quantity": "0.010",
    "triggerPrice": "49000",
    "workingType": "MARK_PRICE",
    "reduceOnly": "true",
    "priceProtect": "false",
    "clientAlgoId": "fine",
}
LIMIT = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.010",
    "price": "49000",
}
# What JSON can hold beside texts.
ODD: list[Any] = [None, True, 0, -1, 1e308, 10**30, [], {}, [[]], {"a": {}}, "\x00", "\ud83d\ude00", "NaN"]


def send(http: requests.Session, paper: PaperExchange, method: str, path: str, values: dict[str, str]) -> Any:
    query = "&".join(f"{name}={value}" for name, value in values.items())
    stamped = f"{query}&timestamp={time.time_ns() // 10**6}" if query else f"timestamp={time.time_ns() // 10**6}"
    answer = http.request(method, f"{paper.url}{path}?{signed(stamped)}", timeout=5)
    assert answer.status_code in {200, 400}, (method, path, query, answer.text)
    if answer.status_code == 400:
        assert set(answer.json()) == {"code", "msg"}
    return answer


def algos(paper: PaperExchange) -> list[dict[str, Any]]:
    return paper.ledger()["algo_orders"]


@pytest.mark.parametrize("name", [*STOP, "closePosition", "timeInForce", "price", "callbackRate", "activatePrice"])
def test_each_parameter_of_a_conditional_order_with_each_nasty_value(paper: PaperExchange, name: str) -> None:
    accepted = 0
    with session() as http:
        for value in NASTY:
            accepted += send(http, paper, "POST", ALGO, STOP | {name: value}).status_code == 200
    # It should have booked what it accepted, and only that; nothing may have triggered.
    assert [row["algoStatus"] for row in algos(paper)] == ["NEW"] * accepted
    assert paper.ledger()["orders"] == []


def test_state_of_conditional_orders_survives_nasty_calls(paper: PaperExchange) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    names = ("algoId", "clientAlgoId", "symbol", "algoType", "limit", "startTime", "endTime")
    with session() as http:
        for client_id in ("first", "second"):
            assert send(http, paper, "POST", ALGO, STOP | {"clientAlgoId": client_id}).status_code == 200
        before = algos(paper)
        for _ in range(300):
            method, path = chance.choice(
                [("GET", ALGO), ("DELETE", ALGO), ("GET", "/fapi/v1/openAlgoOrders"), ("GET", "/fapi/v1/allAlgoOrders")]
            )
            chosen = chance.sample(names, chance.randint(0, 4))
            send(http, paper, method, path, {name: chance.choice(NASTY) for name in chosen})
        assert algos(paper) == before
        # It should still trigger.
        paper.set_price("BTCUSDT", "48900")
    assert {row["algoStatus"] for row in algos(paper)} <= {"FINISHED", "REJECTED"}


def test_contents_of_batches(paper: PaperExchange) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    accepted = refused = 0
    with session() as http:
        for _ in range(150):
            rows = [broken(chance) for _ in range(chance.randint(0, 6))]
            answer = send(http, paper, "POST", "/fapi/v1/batchOrders", {"batchOrders": quote(json.dumps(rows))})
            if answer.status_code == 400:
                continue
            elements = answer.json()
            assert len(elements) == len(rows)
            accepted += sum("orderId" in element for element in elements)
            refused += sum(set(element) == {"code", "msg"} for element in elements)
            assert all("orderId" in element or set(element) == {"code", "msg"} for element in elements)
    assert len(paper.ledger()["orders"]) == accepted
    # It should have met both often enough to mean something.
    assert min(accepted, refused) > 20


def broken(chance: random.Random) -> Any:
    """Return an order of a batch, mostly with one wrong value, seldom no order at all."""
    if chance.random() < 0.05:
        return chance.choice(ODD)
    row: dict[str, Any] = dict(LIMIT)
    if chance.random() < 0.7:
        name = chance.choice([*LIMIT, "reduceOnly", "positionSide", "newClientOrderId", "priceMatch", "goodTillDate"])
        row[name] = chance.choice([*ODD, *NASTY])
    return row


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_batches_of_changes_leave_orders_alone(paper: PaperExchange, method: str) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    with session() as http:
        assert send(http, paper, "POST", "/fapi/v1/order", LIMIT).status_code == 200
        before = paper.ledger()["orders"]
        for _ in range(150):
            items = [chance.choice([*ODD, *NASTY]) for _ in range(chance.randint(0, 11))]
            name = chance.choice(["batchOrders", "orderIdList", "origClientOrderIdList"])
            rows = [{"symbol": "BTCUSDT", "orderId": item} for item in items] if name == "batchOrders" else items
            values = {"symbol": "BTCUSDT", name: quote(json.dumps(rows))}
            send(http, paper, method, "/fapi/v1/batchOrders", values)
    assert paper.ledger()["orders"] == before
