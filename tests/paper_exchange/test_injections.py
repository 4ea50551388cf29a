"""Everything that can happen to a request on its way: each injection that a client's recovery is tested with."""

import hmac
import json
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from binance.error import ClientError, ServerError
from binance.um_futures import UMFutures

from paper_exchange.http.presets import PRESETS
from tests.support.paper import PaperExchange, wait_until

ORDER = "/fapi/v1/order"
ALGO = "/fapi/v1/algoOrder"


def market_order(client: UMFutures, client_id: str) -> Any:
    return client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001", newClientOrderId=client_id)


def stop(client: UMFutures, client_id: str, trigger: str = "49000", kind: str = "STOP_MARKET") -> Any:
    terms = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": kind}
    terms |= {"triggerPrice": trigger, "closePosition": "true", "clientAlgoId": client_id}
    return client.sign_request("POST", ALGO, terms)


def impatient(paper: PaperExchange, timeout_s: float = 0.3) -> UMFutures:
    found = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=timeout_s)
    found.session.trust_env = False
    return found


def orders(paper: PaperExchange) -> list[str]:
    return [order["clientOrderId"] for order in paper.ledger()["orders"]]


def last_request(paper: PaperExchange, method: str = "POST") -> dict[str, Any]:
    return [row for row in paper.ledger()["requests"] if row["method"] == method][-1]


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_each_documented_failure_with_and_without_execution(
    paper: PaperExchange, client: UMFutures, preset: str, *, execute: bool
) -> None:
    paper.add_fault(path=ORDER, method="POST", action="reply", preset=preset, execute=execute)

    with pytest.raises((ClientError, ServerError, KeyError)):
        market_order(client, "maybe")

    assert orders(paper) == (["maybe"] if execute else [])
    request = last_request(paper)
    # It should tell the arbiter what the client cannot know.
    assert (request["status"], request["done_status"]) == (PRESETS[preset].status, 200 if execute else None)


def test_hang_ends_with_its_rule(paper: PaperExchange) -> None:
    paper.add_fault(id="hang", path=ORDER, method="POST", action="hang")
    with pytest.raises(requests.exceptions.ReadTimeout):
        market_order(impatient(paper), "hung")
    paper.control("DELETE", "faults?id=hang")

    # It should neither execute it later nor keep others waiting.
    assert market_order(impatient(paper, 5), "next")["clientOrderId"] == "next"
    assert orders(paper) == ["next"]


def test_hang_after_execution(paper: PaperExchange) -> None:
    paper.add_fault(path=ORDER, method="POST", action="hang", execute=True)
    with pytest.raises(requests.exceptions.ReadTimeout):
        market_order(impatient(paper), "hung")
    assert orders(paper) == ["hung"]


def test_hang_of_limited_length_closes_the_connection(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path=ORDER, method="POST", action="hang", ms=100)
    with pytest.raises(requests.exceptions.ConnectionError):
        market_order(client, "hung")
    assert last_request(paper)["done_status"] is None


@pytest.mark.parametrize("action", ["late", "delay"])
def test_request_that_arrives_after_its_client_gave_up(paper: PaperExchange, action: str) -> None:
    paper.add_fault(path=ORDER, method="POST", action=action, ms=700)
    with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout)):
        market_order(impatient(paper), "late")
    assert orders(paper) == []

    wait_until(lambda: orders(paper) == ["late"], what="late arrival")
    assert last_request(paper)["done_status"] == 200


def test_late_arrival_is_held_against_its_receive_window(paper: PaperExchange, client: UMFutures) -> None:
    paper.add_fault(path=ORDER, method="POST", action="late", ms=600)
    with pytest.raises(requests.exceptions.ConnectionError):
        client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001", recvWindow="200")

    wait_until(lambda: last_request(paper)["done_status"], what="refusal of the late request")
    assert (last_request(paper)["done_status"], last_request(paper)["done_code"]) == (400, -1021)
    assert orders(paper) == []


@pytest.mark.parametrize("action", ["late", "delay"])
def test_reset_forgets_requests_on_their_way(paper: PaperExchange, action: str) -> None:
    paper.add_fault(path=ORDER, method="POST", action=action, ms=400)
    with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout)):
        market_order(impatient(paper, 0.1), "late")
    paper.reset()

    # What was held back is over when something held back for longer is.
    paper.add_fault(path="/fapi/v1/ping", action="delay", ms=600)
    impatient(paper, 5).ping()
    assert orders(paper) == []


@pytest.mark.parametrize(
    ("code", "status"), [(-2019, 400), (-2027, 400), (-2015, 401), (-1007, 408), (-1006, 500), (-4164, 400)]
)
def test_refusal_by_code(paper: PaperExchange, client: UMFutures, code: int, status: int) -> None:
    paper.add_fault(path=ORDER, method="POST", action="refuse", code=code)
    with pytest.raises((ClientError, ServerError)) as caught:
        market_order(client, "refused")
    assert caught.value.status_code == status
    assert orders(paper) == []
    assert market_order(client, "next")["status"] == "NEW"


@pytest.mark.parametrize("code", [-2021, -2022, -4045, -4120, -1111])
def test_refusal_of_conditional_orders(paper: PaperExchange, client: UMFutures, code: int) -> None:
    paper.add_fault(path=ALGO, method="POST", action="refuse", code=code)
    with pytest.raises(ClientError) as caught:
        stop(client, "sl")
    assert caught.value.error_code == code
    assert caught.value.error_message
    assert stop(client, "sl")["algoStatus"] == "NEW"


def test_order_that_only_single_look_ups_forget(paper: PaperExchange, client: UMFutures) -> None:
    first, second = market_order(client, "hidden"), market_order(client, "seen")
    paper.add_fault(path=ORDER, method="GET", action="hide", order="hidden", for_ms=60_000)

    for terms in ({"origClientOrderId": "hidden"}, {"orderId": first["orderId"]}):
        with pytest.raises(ClientError) as caught:
            client.query_order("BTCUSDT", **terms)
        assert caught.value.error_code == -2013
    assert client.query_order("BTCUSDT", orderId=second["orderId"])["status"] == "FILLED"
    assert [row["clientOrderId"] for row in client.get_all_orders("BTCUSDT")] == ["hidden", "seen"]

    paper.clear_faults()
    assert client.query_order("BTCUSDT", origClientOrderId="hidden")["status"] == "FILLED"


def test_order_that_only_lists_forget(paper: PaperExchange, client: UMFutures) -> None:
    market_order(client, "hidden")
    market_order(client, "seen")
    for path in ("/fapi/v1/allOrders", "/fapi/v1/userTrades"):
        paper.add_fault(path=path, method="GET", action="hide", order="hidden", for_ms=60_000)

    assert [row["clientOrderId"] for row in client.get_all_orders("BTCUSDT")] == ["seen"]
    assert len(client.get_account_trades("BTCUSDT")) == 1
    assert client.query_order("BTCUSDT", origClientOrderId="hidden")["status"] == "FILLED"


def test_conditional_order_that_is_forgotten(paper: PaperExchange, client: UMFutures) -> None:
    hidden = stop(client, "hidden")
    stop(client, "seen", "51000", "TAKE_PROFIT_MARKET")
    paper.add_fault(path="/fapi/v1/openAlgoOrders", action="hide", order=hidden["algoId"], for_ms=60_000)
    paper.add_fault(path=ALGO, method="GET", action="hide", order="hidden", for_ms=60_000)

    listed = client.sign_request("GET", "/fapi/v1/openAlgoOrders", {"symbol": "BTCUSDT"})
    assert [row["clientAlgoId"] for row in listed] == ["seen"]
    with pytest.raises(ClientError) as caught:
        client.sign_request("GET", ALGO, {"clientAlgoId": "hidden"})
    assert caught.value.error_code == -2013
    # It should live on all the same.
    assert len(client.sign_request("GET", "/fapi/v1/allAlgoOrders", {"symbol": "BTCUSDT"})) == 2


def test_positions_are_empty_for_one_reading(paper: PaperExchange, client: UMFutures) -> None:
    market_order(client, "open")
    paper.add_fault(path="/fapi/v3/positionRisk", action="hide")
    paper.add_fault(path="/fapi/v3/account", action="hide")

    assert client.get_position_risk() == []
    assert client.account()["positions"] == []
    assert client.get_position_risk()[0]["positionAmt"] == "0.001"
    assert len(client.account()["positions"]) == 1


def raw(paper: PaperExchange, path: str = "/fapi/v1/ping") -> requests.Response:
    return requests.get(paper.url + path, timeout=5, proxies={"http": ""})


def test_limit_that_lasts_tells_how_long(paper: PaperExchange) -> None:
    paper.add_fault(path="/fapi/*", action="reply", preset="too_many_429", for_ms=2500)
    answer = raw(paper)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert answer.json()["code"] == -1003


def test_ban_tells_its_end(paper: PaperExchange) -> None:
    before = int(time.time() * 1000)
    paper.add_fault(path="/fapi/*", action="reply", preset="banned_418", for_ms=30_000)
    answer = raw(paper)
    until = int(answer.json()["msg"].split("until ")[1].split(".")[0])
    assert answer.status_code == 418
    assert 0 < int(answer.headers["Retry-After"]) <= 30
    assert before + 25_000 < until < int(time.time() * 1000) + 31_000


def test_retry_after_can_be_chosen(paper: PaperExchange) -> None:
    paper.add_fault(path="/fapi/*", action="reply", preset="too_many_429", headers={"Retry-After": "7"})
    assert raw(paper).headers["Retry-After"] == "7"
    assert raw(paper).status_code == 200


def test_listen_key_that_cannot_be_renewed(paper: PaperExchange, client: UMFutures) -> None:
    client.new_listen_key()
    paper.add_fault(path="/fapi/v1/listenKey", method="PUT", action="refuse", code=-1125)
    with pytest.raises(ClientError) as caught:
        client.renew_listen_key("ignored")
    assert caught.value.error_code == -1125


@pytest.mark.parametrize("skew_ms", [-3_600_000, -10_000, 10_000, 3_600_000])
def test_clock_that_is_off(paper: PaperExchange, client: UMFutures, skew_ms: int) -> None:
    paper.control("POST", "clock", {"skew_ms": skew_ms})
    shown: int = client.time()["serverTime"]
    assert abs(shown - time.time() * 1000 - skew_ms) < 5000
    assert abs(client.exchange_info()["serverTime"] - time.time() * 1000 - skew_ms) < 5000

    with pytest.raises(ClientError) as caught:
        market_order(client, "wrong")
    assert caught.value.error_code == -1021
    # It should take a client that goes by the server's time.
    right = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
    assert right_time(paper, right, client.time()["serverTime"]).status_code == 200

    paper.control("POST", "clock", {"skew_ms": 0})
    assert market_order(client, "right")["status"] == "NEW"


def right_time(paper: PaperExchange, terms: dict[str, str], now_ms: int) -> requests.Response:
    """Place an order stamped with a time of ours."""
    query = urlencode(terms | {"timestamp": str(now_ms)})
    signature = hmac.digest(paper.secret.encode(), query.encode(), "sha256").hex()
    return requests.post(
        f"{paper.url}{ORDER}?{query}&signature={signature}",
        headers={"X-MBX-APIKEY": paper.key},
        timeout=5,
        proxies={"http": ""},
    )


def test_revoked_key(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "keys", {"revoked": True})
    for call in (client.balance, client.new_listen_key, lambda: market_order(client, "refused")):
        with pytest.raises(ClientError) as caught:
            call()
        assert (caught.value.status_code, caught.value.error_code) == (401, -2015)
    assert client.time()

    paper.control("POST", "keys", {"revoked": False})
    assert client.balance()


def test_reset_lifts_bans_and_counters() -> None:
    with PaperExchange(limits=True) as limited:
        client = impatient(limited, 5)
        for _ in range(65):
            with suppress(ClientError):
                client.get_orders()
        with pytest.raises(ClientError) as caught:
            client.get_orders()
        assert caught.value.status_code == 429
        limited.reset()
        assert client.get_orders() == []


@pytest.mark.parametrize(
    "fault",
    [
        {"path": ORDER, "action": "refuse"},
        {"path": ORDER, "action": "refuse", "code": 5},
        {"path": ORDER, "action": "refuse", "code": "-2019"},
        {"path": ORDER, "action": "hang", "count": True},
    ],
)
def test_injections_that_make_no_sense(paper: PaperExchange, fault: dict[str, Any]) -> None:
    answer = requests.post(f"{paper.url}/paper/faults", json=fault, timeout=5, proxies={"http": ""})
    assert (answer.status_code, list(json.loads(answer.text))) == (400, ["error"])


@pytest.mark.parametrize("code", [-4118, -2022, -4164])
@pytest.mark.parametrize(("opening", "closing", "trigger"), [("BUY", "SELL", "49000"), ("SELL", "BUY", "51000")])
@pytest.mark.parametrize("mode", ["one-way", "hedge"])
def test_closes_are_refused_while_waiting_orders_hold_the_quantity(
    paper: PaperExchange, client: UMFutures, mode: str, opening: str, closing: str, trigger: str, code: int
) -> None:
    hedged = {"positionSide": "LONG" if opening == "BUY" else "SHORT"} if mode == "hedge" else {}
    reducing = hedged or {"reduceOnly": "true"}
    if hedged:
        client.change_position_mode(dualSidePosition="true")
    paper.add_fault(path=ORDER, method="POST", action="refuse_reducing", code=code, count=None)

    def order(side: str, quantity: str, **more: Any) -> Any:
        return client.new_order(symbol="BTCUSDT", side=side, type="MARKET", quantity=quantity, **more)

    def wait_for(client_id: str, quantity: str) -> None:
        terms = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": closing, "type": "STOP_MARKET"}
        terms |= {"triggerPrice": trigger, "quantity": quantity, "clientAlgoId": client_id}
        client.sign_request("POST", ALGO, terms | reducing)

    order(opening, "0.010", **hedged)
    wait_for("some", "0.006")
    # It should leave alone what is not held: what opens, and what closes the rest.
    order(opening, "0.002", **hedged)
    order(closing, "0.002", **reducing)
    wait_for("others", "0.004")
    with pytest.raises(ClientError) as refused:
        order(closing, "0.010", **reducing)
    assert refused.value.error_code == code
    [rule] = paper.control("GET", "faults")["faults"]
    assert rule["hits"] == 1

    # It should let go of what is cancelled, part by part.
    client.sign_request("DELETE", ALGO, {"clientAlgoId": "some"})
    with pytest.raises(ClientError):
        order(closing, "0.010", **reducing)
    client.sign_request("DELETE", ALGO, {"clientAlgoId": "others"})
    order(closing, "0.010", **reducing)
    assert client.get_position_risk() == []
    assert paper.control("GET", "faults")["faults"][0]["hits"] == 2


@pytest.mark.parametrize("code", [-4120, 0, "-4118", None])
def test_codes_of_held_quantity_are_those_that_the_exchange_has(paper: PaperExchange, code: object) -> None:
    with pytest.raises(AssertionError, match=r"400 .*code must be one of -4118, -2022, -4164"):
        paper.add_fault(path=ORDER, action="refuse_reducing", code=code)
