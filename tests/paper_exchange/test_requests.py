"""The outside of a request: signatures, windows, keys, parameters, limits, unknown paths."""

import hashlib
import hmac
import time
from typing import Any
from urllib.parse import quote

import pytest
import requests
from binance.error import ClientError
from binance.um_futures import UMFutures

from paper_exchange.core.accounts import Account
from paper_exchange.errors import ExchangeError
from paper_exchange.http.limits import LimitError, Limits
from paper_exchange.http.params import parse
from paper_exchange.http.security import check_signed, check_window
from tests.paper_exchange.trader import Trader
from tests.support.paper import PaperExchange

NOW = 1_790_000_000_000


def digest(text: str) -> str:
    return hmac.new(b"paper-secret", text.encode(), hashlib.sha256).hexdigest()


def signed(text: str) -> str:
    return f"{text}&signature={digest(text)}"


def send(paper: PaperExchange, method: str, path: str, query: str = "", **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"X-MBX-APIKEY": "paper", **options.pop("headers", {})}
        return session.request(method, f"{paper.url}{path}?{query}", headers=headers, timeout=5, **options)


def balance_query(window: str = "") -> str:
    return f"{window}timestamp={time.time_ns() // 1_000_000}"


def test_known_signature_is_accepted(trader: Trader) -> None:
    account: Account = trader.account
    account.secret = b"paperSecret"
    query = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.010&price=61250.00"
        "&newClientOrderId=svc%3A7f3a-1&recvWindow=5000&timestamp=1790000000000"
    )
    known = "107bc8087dba64e3be21c95222262762fd266fcec1068c321ef3ccb1890fee95"
    for spelling in (known, known.upper()):
        full = f"{query}&signature={spelling}"
        check_signed(account, parse(full, b""), full, b"", NOW)


def test_signature_covers_query_then_body_wherever_it_stands(paper: PaperExchange) -> None:
    stamp = balance_query()
    for query, body in (
        (f"signature={digest(stamp)}&{stamp}", ""),
        ("", signed(stamp)),
        (f"symbol=BTCUSDT&signature={digest('symbol=BTCUSDT' + stamp)}", stamp),
        ("symbol=BTCUSDT", f"{stamp}&signature={digest('symbol=BTCUSDT' + stamp)}"),
    ):
        answer = send(
            paper,
            "DELETE",
            "/fapi/v1/order",
            query,
            data=body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        # It should come as far as the parameters of the order itself.
        assert answer.json()["code"] == -1102, answer.text


def test_signature_of_the_decoded_text_is_accepted(paper: PaperExchange) -> None:
    plain = f"symbol=BTCUSDT&origClientOrderId=a:b/c&{balance_query()}"
    encoded = plain.replace("a:b/c", quote("a:b/c", safe=""))
    answer = send(paper, "GET", "/fapi/v1/order", f"{encoded}&signature={digest(plain)}")
    assert answer.json() == {"code": -2013, "msg": "Order does not exist."}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("timestamp=1", 400, -1102),
        ("signature=ab", 400, -1102),
        ("timestamp=soon&signature=ab", 400, -1102),
        ("timestamp=1&signature=ab", 400, -1021),
        ("timestamp=9999999999999&signature=ab", 400, -1021),
        ("timestamp=1&timestamp=2&signature=ab", 400, -1101),
    ],
)
def test_unsigned_or_late(paper: PaperExchange, query: str, status: int, code: int) -> None:
    answer = send(paper, "GET", "/fapi/v2/balance", query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_wrong_signature(paper: PaperExchange) -> None:
    answer = send(paper, "GET", "/fapi/v2/balance", f"{balance_query()}&signature={'0' * 64}")
    assert (answer.status_code, answer.json()) == (
        400,
        {"code": -1022, "msg": "Signature for this request is not valid."},
    )


@pytest.mark.parametrize(("key", "code"), [("", -2014), ("x" * 200, -2014), ("stranger", -2015)])
def test_keys_that_open_nothing(paper: PaperExchange, key: str, code: int) -> None:
    answer = send(paper, "GET", "/fapi/v2/balance", signed(balance_query()), headers={"X-MBX-APIKEY": key})
    assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize(
    ("age_ms", "window", "accepted"),
    [
        (5000, None, True),
        (5001, None, False),
        (-999, None, True),
        (-1000, None, False),
        (60_000, 60_000, True),
        (0, 60_001, False),
        (0, 0, False),
    ],
)
def test_receive_window(age_ms: int, window: int | None, *, accepted: bool) -> None:
    if accepted:
        check_window(NOW - age_ms, window, NOW)
        return
    with pytest.raises(ExchangeError):
        check_window(NOW - age_ms, window, NOW)


def test_query_wins_over_body() -> None:
    params = parse("symbol=BTCUSDT&side=", b"symbol=ETHUSDT&side=BUY&type=MARKET")
    assert params.values == {"symbol": "BTCUSDT", "side": "", "type": "MARKET"}


def test_json_content_type_with_an_empty_body_is_the_connectors_way(client: UMFutures) -> None:
    assert client.session.headers["Content-Type"].startswith("application/json")
    assert client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")["status"] == "NEW"


@pytest.mark.parametrize(
    ("terms", "code", "name"),
    [
        ({"side": "BUY", "type": "MARKET"}, -1102, "quantity"),
        ({"side": "BUY", "type": "LIMIT", "quantity": "1", "price": "1"}, -1102, "timeinforce"),
        ({"side": "BUY", "type": "LIMIT", "quantity": "1", "timeInForce": "GTC"}, -1102, "price"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1", "timeInForce": "GTC"}, -1106, "timeinforce"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1e-05"}, -1100, "quantity"),
        ({"side": "BUY", "type": "MARKET", "quantity": "-1"}, -1100, "quantity"),
        ({"side": "BUY", "type": "MARKET", "quantity": "NaN"}, -1100, "quantity"),
        ({"side": "UP", "type": "MARKET", "quantity": "1"}, -1117, "side"),
        ({"side": "BUY", "type": "ICEBERG", "quantity": "1"}, -1116, "orderType"),
        ({"side": "BUY", "type": "LIMIT", "quantity": "1", "price": "1", "timeInForce": "X"}, -1115, "timeInForce"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1", "newOrderRespType": "FULL"}, -1136, "newOrderRespType"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1", "reduceOnly": "maybe"}, -1130, "reduceOnly"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1", "positionSide": "UP"}, -4060, "position side"),
    ],
)
def test_parameters_that_do_not_fit(client: UMFutures, terms: dict[str, str], code: int, name: str) -> None:
    with pytest.raises(ClientError) as caught:
        client.sign_request("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", **terms})
    assert (caught.value.status_code, caught.value.error_code) == (400, code)
    assert name in caught.value.error_message


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"type": "STOP_MARKET", "quantity": "0.010"}, -1102),
        ({"type": "STOP", "quantity": "0.010", "triggerPrice": "49000"}, -1102),
        ({"type": "LIMIT", "quantity": "0.010", "triggerPrice": "49000"}, -1116),
        ({"type": "STOP_MARKET", "quantity": "0.010", "triggerPrice": "49000", "closePosition": "true"}, -4137),
        ({"type": "STOP_MARKET", "triggerPrice": "49000", "closePosition": "true", "reduceOnly": "true"}, -1106),
        ({"type": "STOP", "triggerPrice": "49000", "price": "49000", "closePosition": "true"}, -4136),
        ({"type": "STOP_MARKET", "quantity": "0.010", "triggerPrice": "50001"}, -2021),
        ({"type": "TRAILING_STOP_MARKET", "quantity": "0.010"}, -1102),
        ({"type": "TRAILING_STOP_MARKET", "quantity": "0.010", "callbackRate": "21"}, -1130),
        ({"type": "TRAILING_STOP_MARKET", "quantity": "0.010", "callbackRate": "1", "triggerPrice": "49000"}, -2021),
    ],
)
def test_conditional_parameters_that_do_not_fit(client: UMFutures, terms: dict[str, str], code: int) -> None:
    with pytest.raises(ClientError) as caught:
        client.sign_request(
            "POST", "/fapi/v1/algoOrder", {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", **terms}
        )
    assert caught.value.error_code == code


def test_unknown_path_and_method(paper: PaperExchange) -> None:
    answer = send(paper, "PATCH", "/fapi/v1/order")
    assert (answer.status_code, answer.json()) == (
        404,
        {"code": -5000, "msg": "Path /fapi/v1/order, Method PATCH is invalid"},
    )


def test_weight_and_order_counters_are_in_the_headers(paper: PaperExchange) -> None:
    client = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=5, show_limit_usage=True)
    client.session.trust_env = False
    before = int(client.ping()["limit_usage"]["x-mbx-used-weight-1m"])

    usage = client.balance()["limit_usage"]
    # A balance weighs 5; the minute may have turned between the two calls.
    assert int(usage["x-mbx-used-weight-1m"]) in {before + 5, 5}
    usage = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")["limit_usage"]
    assert int(usage["x-mbx-order-count-10s"]) >= 1
    assert int(usage["x-mbx-order-count-1m"]) >= 1


def test_weight_limit_leads_to_429_and_then_to_a_ban() -> None:
    limits = Limits(enforced=True)
    minute = NOW // 60_000 * 60_000
    assert limits.use_weight("a", 2400, minute + 1000) == 2400

    with pytest.raises(LimitError) as caught:
        limits.use_weight("a", 1, minute + 1000)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, -1003, 59)
    # It should not touch other addresses.
    assert limits.use_weight("b", 1, minute + 1000) == 1

    for _ in range(99):
        with pytest.raises(LimitError):
            limits.use_weight("a", 1, minute + 1000)
    with pytest.raises(LimitError) as caught:
        limits.use_weight("a", 1, minute + 1000)
    assert (caught.value.status, caught.value.retry_after_s) == (418, 120)
    assert f"IP banned until {minute + 121_000}." in caught.value.msg
    with pytest.raises(LimitError):
        limits.use_weight("a", 1, minute + 120_999)
    assert limits.use_weight("a", 1, minute + 121_000) == 1


def test_order_limits_are_counted_per_account(trader: Trader) -> None:
    limits = Limits(enforced=True)
    slot = NOW // 60_000 * 60_000
    for _ in range(300):
        limits.use_orders(trader.account, 1, 1, slot)
    with pytest.raises(LimitError) as caught:
        limits.use_orders(trader.account, 1, 1, slot)
    assert (caught.value.status, caught.value.code) == (429, -1015)
    assert caught.value.msg == "Too many new orders; current limit is 300 orders per 10 SECOND."
    # It should begin anew with the next ten seconds.
    assert limits.use_orders(trader.account, 1, 1, slot + 10_000) == (1, 302)


def test_limits_that_are_off_only_count(trader: Trader) -> None:
    limits = Limits(enforced=False)
    assert limits.use_weight("a", 5000, NOW) == 5000
    assert limits.use_orders(trader.account, 2000, 2000, NOW) == (2000, 2000)


def test_limits_over_http_answer_429_with_retry_after() -> None:
    with PaperExchange(limits=True) as strict:
        answers = [send(strict, "GET", "/fapi/v1/aggTrades", "symbol=BTCUSDT") for _ in range(121)]
    # 120 calls of weight 20 are the whole minute, unless a new one began on the way.
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) <= 1
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (429, -1003)
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_funding_rates_have_a_pool_of_their_own() -> None:
    limits = Limits(enforced=True)
    for _ in range(500):
        limits.use_funding("a", 300_000)
    with pytest.raises(LimitError) as caught:
        limits.use_funding("a", 301_000)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, -1003, 299)
    # It should cost no weight, concern nobody else, and end with its five minutes.
    assert limits.use_weight("a", 1, 301_000) == 1
    limits.use_funding("b", 301_000)
    limits.use_funding("a", 600_000)
