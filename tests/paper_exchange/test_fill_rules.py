"""Fill rules: a share of the quantity, in parts, at once or over time. And fills and ends by hand."""

from typing import Any

import pytest
import requests
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange, wait_until


def send(client: UMFutures, client_id: str, kind: str = "MARKET", **terms: str) -> Any:
    wanted = {"symbol": "BTCUSDT", "side": "BUY", "type": kind, "quantity": "0.010", "newClientOrderId": client_id}
    return client.new_order(**(wanted | terms))


def state(client: UMFutures, client_id: str) -> tuple[str, str]:
    order = client.query_order("BTCUSDT", origClientOrderId=client_id)
    return order["status"], order["executedQty"]


def fills(paper: PaperExchange, client_id: str) -> list[str]:
    return [row["qty"] for row in paper.ledger()["fills"] if row["clientOrderId"] == client_id]


LIMIT = {"kind": "LIMIT", "timeInForce": "GTC", "price": "50100"}
IOC = LIMIT | {"timeInForce": "IOC"}


@pytest.mark.parametrize(
    ("order", "rest", "left"),
    [
        ({}, "NORMAL", ("EXPIRED", "0.004")),
        ({}, "CANCELED", ("CANCELED", "0.004")),
        (IOC, "NORMAL", ("EXPIRED", "0.004")),
        (LIMIT, "NORMAL", ("PARTIALLY_FILLED", "0.004")),
        (LIMIT, "CANCELED", ("CANCELED", "0.004")),
        (LIMIT, "EXPIRED", ("EXPIRED", "0.004")),
    ],
)
def test_share_is_filled_and_the_rest_ends(
    paper: PaperExchange, client: UMFutures, order: dict[str, str], rest: str, left: tuple[str, str]
) -> None:
    paper.control("POST", "portions", {"fraction": "0.4", "rest": rest})
    send(client, "partly", **order)

    assert state(client, "partly") == left
    assert client.get_position_risk()[0]["positionAmt"] == "0.004"
    # It should hold for one order only.
    send(client, "next")
    assert state(client, "next") == ("FILLED", "0.010")


def test_nothing_is_filled(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"fraction": "0"})
    send(client, "empty")
    assert state(client, "empty") == ("EXPIRED", "0.000")
    assert client.get_position_risk() == []


def test_several_parts_at_once(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"parts": 3})
    send(client, "parts")
    assert (state(client, "parts"), fills(paper, "parts")) == (("FILLED", "0.010"), ["0.003", "0.003", "0.004"])


def test_several_parts_over_time(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"parts": 3, "every_ms": 300_000, "fraction": "0.9", "rest": "CANCELED"})
    send(client, "slow")
    seen = [state(client, "slow")]
    for _ in range(2):
        paper.control("POST", "clock", {"advance_ms": 300_000})
        seen.append(state(client, "slow"))
    assert seen == [("PARTIALLY_FILLED", "0.003"), ("PARTIALLY_FILLED", "0.006"), ("CANCELED", "0.009")]


def test_parts_come_by_themselves(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"parts": 4, "every_ms": 20})
    send(client, "quick")
    wait_until(lambda: state(client, "quick") == ("FILLED", "0.010"), what="last part")
    assert len(fills(paper, "quick")) == 4


def test_order_that_is_cancelled_between_its_parts(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"parts": 2, "every_ms": 300_000})
    send(client, "slow")
    client.cancel_order("BTCUSDT", origClientOrderId="slow")
    paper.control("POST", "clock", {"advance_ms": 300_000})
    assert (state(client, "slow"), fills(paper, "slow")) == (("CANCELED", "0.005"), ["0.005"])


def test_conditional_order_that_fills_partly(paper: PaperExchange, client: UMFutures) -> None:
    send(client, "entry")
    terms = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
    client.sign_request(
        "POST", "/fapi/v1/algoOrder", terms | {"triggerPrice": "49000", "closePosition": "true", "clientAlgoId": "sl"}
    )
    paper.control("POST", "portions", {"order": "sl", "fraction": "0.5", "parts": 2, "every_ms": 300_000})
    paper.set_price("BTCUSDT", "48900")
    algo = {"clientAlgoId": "sl"}
    assert client.sign_request("GET", "/fapi/v1/algoOrder", dict(algo))["algoStatus"] == "TRIGGERED"

    paper.control("POST", "clock", {"advance_ms": 300_000})
    found = client.sign_request("GET", "/fapi/v1/algoOrder", dict(algo))
    assert (found["algoStatus"], found["actualQty"]) == ("FINISHED", "0.005")
    assert client.get_position_risk()[0]["positionAmt"] == "0.005"


def test_rules_choose_by_symbol_account_and_id(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"id": "mine", "order": "chosen", "fraction": "0.5", "count": None})
    paper.control("POST", "portions", {"symbol": "ETHUSDT", "fraction": "0"})
    paper.control("POST", "portions", {"key": "somebody", "fraction": "0"})
    send(client, "other")
    send(client, "chosen")
    assert (state(client, "other"), state(client, "chosen")) == (("FILLED", "0.010"), ("EXPIRED", "0.005"))

    rules = paper.control("GET", "portions")["rules"]
    assert (rules[0]["id"], rules[0]["hits"], rules[0]["count"]) == ("mine", 1, None)
    assert paper.control("DELETE", "portions") == {"removed": 3}


def test_resting_order_is_filled_by_hand(paper: PaperExchange, client: UMFutures) -> None:
    send(client, "rests", "LIMIT", timeInForce="GTC", price="49000")
    paper.control("POST", "orders/fill", {"order": "rests", "quantity": "0.002"})
    assert state(client, "rests") == ("PARTIALLY_FILLED", "0.002")
    paper.control("POST", "orders/fill", {"order": "rests", "fraction": "0.5"})
    assert state(client, "rests") == ("PARTIALLY_FILLED", "0.007")
    paper.control("POST", "orders/end", {"order": "rests", "status": "EXPIRED"})
    assert state(client, "rests") == ("EXPIRED", "0.007")
    assert {row["price"] for row in paper.ledger()["fills"]} == {"49000.00"}


def test_waiting_part_is_filled_by_hand(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "portions", {"parts": 2, "every_ms": 300_000})
    send(client, "slow")
    paper.control("POST", "orders/fill", {"order": "slow", "fraction": "1"})
    assert state(client, "slow") == ("FILLED", "0.010")


def test_conditional_order_is_ended_by_hand(paper: PaperExchange, client: UMFutures) -> None:
    terms = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
    terms |= {"triggerPrice": "49000", "quantity": "0.010", "clientAlgoId": "sl"}
    client.sign_request("POST", "/fapi/v1/algoOrder", terms)
    paper.control("POST", "orders/end", {"order": "sl", "status": "EXPIRED"})
    assert client.sign_request("GET", "/fapi/v1/algoOrder", {"clientAlgoId": "sl"})["algoStatus"] == "EXPIRED"


def test_many_fills_and_payments_are_one_call(paper: PaperExchange, client: UMFutures) -> None:
    send(client, "rests", "LIMIT", timeInForce="GTC", price="49000")

    paper.control("POST", "orders/fill", {"order": "rests", "quantity": "0.002", "times": 3})
    assert state(client, "rests") == ("PARTIALLY_FILLED", "0.006")
    paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0001", "times": 2})
    # It should end with the order, though more was asked for.
    paper.control("POST", "orders/fill", {"order": "rests", "quantity": "0.002", "times": 1000})

    assert state(client, "rests") == ("FILLED", "0.010")
    assert [row["qty"] for row in paper.ledger()["fills"]] == ["0.002"] * 5
    paid = client.get_income_history(symbol="BTCUSDT", incomeType="FUNDING_FEE")
    assert len(paid) == 2
    assert len({row["tranId"] for row in paid}) == 2


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("portions", {"fraction": "1.5"}, "fraction"),
        ("portions", {"parts": 0}, "parts"),
        ("portions", {"every_ms": -1}, "every_ms"),
        ("portions", {"count": 0}, "count"),
        ("portions", {"rest": "FILLED"}, "rest"),
        ("orders/fill", {"order": "unknown", "quantity": "1"}, "no open order"),
        ("orders/fill", {"order": "known", "quantity": "0.001", "times": 0}, "times must be 1 to 1000"),
        ("orders/fill", {"order": "known", "quantity": "0.001", "times": 1001}, "times must be 1 to 1000"),
        ("orders/fill", {"order": "known", "quantity": "0.0001"}, "less than a step"),
        ("funding", {"symbol": "BTCUSDT", "times": -1}, "times must be 1 to 1000"),
        ("orders/end", {"order": "unknown"}, "no open order"),
        ("orders/end", {"order": "unknown", "status": "FILLED"}, "status must be one of"),
    ],
)
def test_prescriptions_that_make_no_sense(
    paper: PaperExchange, client: UMFutures, path: str, body: dict[str, Any], said: str
) -> None:
    send(client, "known", "LIMIT", timeInForce="GTC", price="49000")

    answer = requests.post(f"{paper.url}/paper/{path}", json=body, timeout=5, proxies={"http": ""})

    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert said in answer.json()["error"]
    assert (state(client, "known"), paper.ledger()["fills"]) == (("NEW", "0.000"), [])
