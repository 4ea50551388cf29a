"""The control API: prices, faults, ledger, accounts; what a test of a client needs to arrange and to judge."""

import time
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from binance.error import ClientError, ServerError
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange, wait_until


def market_order(client: UMFutures, client_id: str) -> Any:
    return client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001", newClientOrderId=client_id)


def test_dropped_before_execution_leaves_no_order(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path="/fapi/v1/order", method="POST", action="drop_before")

    with pytest.raises(requests.exceptions.ConnectionError):
        market_order(client, "lost")

    assert paper.ledger()["orders"] == []
    # It should have struck once only.
    assert market_order(client, "next")["clientOrderId"] == "next"


def test_dropped_after_execution_leaves_the_order(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path="/fapi/v1/order", method="POST", action="drop_after")

    with pytest.raises(requests.exceptions.ConnectionError):
        market_order(client, "done")

    assert [order["clientOrderId"] for order in paper.ledger()["orders"]] == ["done"]
    assert client.query_order("BTCUSDT", origClientOrderId="done")["status"] == "FILLED"


@pytest.mark.parametrize(("execute", "orders"), [(True, 1), (False, 0)])
def test_scripted_reply_with_and_without_execution(
    paper: PaperExchange, client: UMFutures, orders: int, *, execute: bool
) -> None:
    message = "Unknown error, please check your request or try again later."
    paper.add_fault(
        path="/fapi/v1/order", action="reply", status=503, body={"code": -1000, "msg": message}, execute=execute
    )

    with pytest.raises(ServerError) as caught:
        market_order(client, "maybe")

    assert caught.value.status_code == 503
    assert message in caught.value.message
    assert len(paper.ledger()["orders"]) == orders


def test_scripted_text_is_sent_as_it_is(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path="/fapi/*", action="reply", status=403, body="<html>Forbidden</html>")
    with pytest.raises(ClientError) as caught:
        client.ping()
    assert (caught.value.status_code, caught.value.error_code) == (403, None)


def test_hidden_order_is_found_later(paper: PaperExchange, client: UMFutures) -> None:
    order = market_order(client, "h")
    paper.add_fault(path="/fapi/v1/order", method="GET", action="hide", count=2)

    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            client.query_order("BTCUSDT", orderId=order["orderId"])
        assert caught.value.error_code == -2013
    assert client.query_order("BTCUSDT", orderId=order["orderId"])["status"] == "FILLED"


def test_delay(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path="/fapi/v1/ping", action="delay", ms=150)
    started = time.monotonic()
    client.ping()
    assert time.monotonic() - started >= 0.15


def test_fault_that_matches_a_parameter(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(
        path="/fapi/v1/order",
        action="reply",
        status=400,
        body={"code": -2019, "msg": "Margin is insufficient."},
        match={"symbol": "ETHUSDT"},
        count=None,
    )
    market_order(client, "btc")
    with pytest.raises(ClientError) as caught:
        client.new_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert caught.value.error_code == -2019

    paper.clear_faults()
    assert client.new_order(symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.010")["status"] == "NEW"


@pytest.mark.parametrize(
    "fault",
    [
        {"path": "/fapi/v1/order", "action": "explode"},
        {"action": "delay"},
        {"path": "/fapi/v1/order", "action": "delay", "count": 0},
        {"path": "/fapi/v1/order", "action": "delay", "ms": "soon"},
        {"path": "/fapi/v1/order", "action": "delay", "match": "symbol"},
    ],
)
def test_faults_that_make_no_sense_are_refused(paper: PaperExchange, fault: dict[str, Any]) -> None:
    answer = requests.post(f"{paper.url}/paper/faults", json=fault, timeout=5, proxies={"http": ""})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert paper.control("GET", "faults") == {"faults": []}


def test_ledger_knows_every_request_with_its_arrival_and_answer(paper: PaperExchange, client: UMFutures) -> None:
    before = time.time_ns()
    market_order(client, "seen")
    with pytest.raises(ClientError):
        client.query_order("BTCUSDT", origClientOrderId="unseen")

    placed, asked = paper.ledger()["requests"]
    assert (placed["method"], placed["path"], placed["key"], placed["status"], placed["code"]) == (
        "POST",
        "/fapi/v1/order",
        "paper",
        200,
        None,
    )
    assert placed["params"]["newClientOrderId"] == "seen"
    assert "signature" not in placed["params"]
    assert before < placed["t_ns"] < asked["t_ns"] < time.time_ns()
    assert (asked["status"], asked["code"]) == (400, -2013)
    assert paper.ledger(since=asked["seq"])["requests"] == []

    paper.clear_ledger()
    assert paper.ledger()["requests"] == []


def test_dropped_request_has_status_zero(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path="/fapi/v1/ping", action="drop_before")
    with pytest.raises(requests.exceptions.ConnectionError):
        client.ping()
    [request] = paper.ledger()["requests"]
    assert (request["status"], request["code"]) == (0, None)


def test_ledger_rows_join_by_ids(paper: PaperExchange, client: UMFutures) -> None:
    market_order(client, "joined")
    ledger = paper.ledger()
    [order], [fill] = ledger["orders"], ledger["fills"]
    assert (fill["orderId"], fill["clientOrderId"], fill["key"]) == (order["orderId"], "joined", "paper")
    assert [(row["type"], row["asset"], row["amount"], row["balance"]) for row in ledger["balances"]] == [
        ("DEPOSIT", "USDT", "10000.00000000", "10000.00000000"),
        ("DEPOSIT", "USDC", "5000.00000000", "5000.00000000"),
        ("DEPOSIT", "BTC", "0.10000000", "0.10000000"),
        ("COMMISSION", "USDT", "-0.02500005", "9999.97499995"),
    ]


def test_accounts_are_separate(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_account("second", "its-secret", "500")
    other = UMFutures(key="second", secret="its-secret", base_url=paper.url, timeout=5)
    other.session.trust_env = False
    market_order(client, "mine")

    assert other.balance()[0]["balance"] == "500.00000000"
    assert other.get_all_orders("BTCUSDT") == []
    assert paper.summary("second")["wallet"] == "500.00000000"


def test_reset_forgets_everything_but_gives_no_id_twice(paper: PaperExchange, client: UMFutures) -> None:
    first = market_order(client, "again")
    paper.reset()
    second = market_order(client, "again")
    assert second["orderId"] > first["orderId"]
    assert len(paper.ledger()["orders"]) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"price": "1.23"}, "price must be a multiple of 0.10 within the symbol's limits"),
        ({"price": "50000", "mark": "0"}, "mark must be above 0"),
        ({"price": "50000", "mark": "-1"}, "mark must be above 0"),
        ({"price": "50000", "mark": "high"}, "mark must be a decimal number"),
    ],
)
def test_a_price_that_cannot_be_is_refused_and_changes_nothing(
    paper: PaperExchange, client: UMFutures, body: dict[str, str], message: str
) -> None:
    paper.set_price("BTCUSDT", "50500", mark="50400")

    answer = requests.post(
        f"{paper.url}/paper/price", json={"symbol": "BTCUSDT"} | body, timeout=5, proxies={"http": ""}
    )

    assert (answer.status_code, answer.json()) == (400, {"error": message})
    assert [last_of(client), mark_of(client)] == [50500, 50400]


def last_of(client: UMFutures) -> Decimal:
    return Decimal(client.ticker_price("BTCUSDT")["price"])


def mark_of(client: UMFutures) -> Decimal:
    return Decimal(client.mark_price("BTCUSDT")["markPrice"])


def test_last_and_mark_price_can_be_apart(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    paper.set_price("BTCUSDT", "50500", mark="49900")

    [position] = [row for row in client.get_position_risk() if Decimal(row["positionAmt"])]
    best = client.book_ticker("BTCUSDT")
    assert [last_of(client), mark_of(client), Decimal(best["bidPrice"])] == [50500, 49900, Decimal("50499.9")]
    # Bought at 50000.1 and marked at 49900, whatever was traded last.
    assert Decimal(position["unRealizedProfit"]) == Decimal("-1.001")
    # Both are one again where nothing else is asked for.
    paper.set_price("BTCUSDT", "50500")
    assert mark_of(client) == 50500


def test_limit_order_at_fifty_thousand_fills_by_the_moving_price() -> None:
    with PaperExchange(static_prices=False) as moving:
        client = UMFutures(key=moving.key, secret=moving.secret, base_url=moving.url, timeout=5)
        client.session.trust_env = False
        order = client.new_order(
            symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.001", price="50000"
        )

        def filled() -> bool:
            return bool(client.query_order("BTCUSDT", orderId=order["orderId"])["status"] == "FILLED")

        assert wait_until(filled, 60, what="fill at 50 000")


def test_child_ends_by_sigterm_cleanly() -> None:
    paper = PaperExchange()
    paper.start()
    process = paper._process
    assert process is not None
    # Whoever is not gone within five seconds is killed, and says so by its code.
    paper.stop()
    assert process.returncode == 0


def test_answers_tell_the_exchanges_time_in_their_head(paper: PaperExchange) -> None:
    paper.control("POST", "clock", {"advance_ms": 8 * 86_400_000})

    head = requests.get(f"{paper.url}/fapi/v1/ping", timeout=5, proxies={"http": ""}).headers["Date"]

    # It should go with the exchange's clock, to the second
    ahead = parsedate_to_datetime(head).timestamp() - time.time()
    assert abs(ahead - 8 * 86_400) < 5
