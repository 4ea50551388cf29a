"""500 broken requests, each a good one with one thing wrong: all refused with a 4xx and a body, and nothing changes."""

import hashlib
import hmac
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import requests
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange

SEED, REQUESTS = 20261122, 500
LARGE_BODIES = 8
# By kind: values, as they stand in the address, that no number of the exchange may be.
BAD_NUMBERS = {
    "wrong type": ["abc", "true", "null", "%5B%5D", "%7B%7D", "0x10", "1%2C000", "1_000", "%EF%BC%91", "%22%22", "%00"],
    "huge": ["9" * 19, "9" * 21, "9" * 400, "1" + "0" * 3_000],
    "bad UTF-8": ["%FF%FE", "%C3%28", "1%80", "%F0%9F"],
    "NaN": ["NaN", "nan", "sNaN", "Infinity", "-Infinity"],
    "negative": ["-1", "-0.001", "-0", "-" + "9" * 19],
    "exponent": ["1e5", "1E-5", "1e400", "0.1e1", "1e-400"],
}
# Numbers by the requests that need them; a timestamp far away is refused as much as one that is no number.
GOOD: list[tuple[str, str, dict[str, str]]] = [
    (
        "POST",
        "order",
        {"symbol": "", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "", "price": ""},
    ),
    ("POST", "order", {"symbol": "", "side": "SELL", "type": "MARKET", "quantity": "", "reduceOnly": "true"}),
    ("PUT", "order", {"symbol": "", "side": "BUY", "quantity": "", "price": "", "orderId": ""}),
    ("POST", "algoOrder", {"symbol": "", "side": "SELL", "type": "STOP_MARKET", "quantity": "", "triggerPrice": ""}),
    ("POST", "leverage", {"symbol": "", "leverage": ""}),
    ("POST", "positionMargin", {"symbol": "", "amount": "", "type": "1"}),
    ("POST", "countdownCancelAll", {"symbol": "", "countdownTime": ""}),
    ("DELETE", "order", {"symbol": "", "orderId": ""}),
    ("GET", "order", {"symbol": "", "orderId": ""}),
]
VALUES = {
    "symbol": "BTCUSDT",
    "quantity": "0.010",
    "price": "49000",
    "triggerPrice": "48000",
    "leverage": "10",
    "amount": "5",
    "countdownTime": "60000",
}
NUMBERS = ("quantity", "price", "triggerPrice", "leverage", "amount", "countdownTime", "orderId", "timestamp")
WORDS = ("symbol", "side", "type", "timeInForce", "reduceOnly")


@dataclass(frozen=True, kw_only=True)
class Broken:
    kind: str
    method: str
    path: str
    parts: list[str]
    large: bool = False


def broken_requests(order_id: str) -> list[Broken]:
    """Return the requests, in an order by chance but the same each time."""
    chance = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    kinds = [*BAD_NUMBERS, "duplicate"]
    found = [break_one(chance, kinds[number % len(kinds)], order_id) for number in range(REQUESTS - LARGE_BODIES)]
    for _ in range(LARGE_BODIES):
        method, path, values = chance.choice([good for good in GOOD if good[0] != "GET"])
        found.append(Broken(kind="10 MB", method=method, path=path, parts=pairs(values, order_id), large=True))
    chance.shuffle(found)
    return found


def break_one(chance: random.Random, kind: str, order_id: str) -> Broken:
    method, path, values = chance.choice(GOOD)
    parts = pairs(values, order_id)
    if kind == "duplicate":
        parts.append(chance.choice(parts))
    else:
        names = [part.partition("=")[0] for part in parts]
        victim = chance.choice([name for name in names if name in (*NUMBERS, *WORDS)])
        value = chance.choice(BAD_NUMBERS[kind])
        parts[names.index(victim)] = f"{victim}={value}"
    return Broken(kind=kind, method=method, path=path, parts=parts)


def pairs(values: dict[str, str], order_id: str) -> list[str]:
    known = VALUES | {"orderId": order_id}
    stamp = f"timestamp={time.time_ns() // 10**6}"
    return [*(f"{name}={quote(value or known[name])}" for name, value in values.items()), stamp, "recvWindow=60000"]


def send(http: requests.Session, paper: PaperExchange, broken: Broken, *, in_body: bool) -> requests.Response:
    text = "&".join(broken.parts)
    padding = b"&padding=" + b"x" * 10_000_000 if broken.large else b""
    body = (text.encode() if in_body or broken.large else b"") + padding
    query = "" if body else text
    signature = hmac.new(paper.secret.encode(), query.encode() + body, hashlib.sha256).hexdigest()
    url = f"{paper.url}/fapi/v1/{broken.path}?" + "&".join(filter(None, (query, f"signature={signature}")))
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    return http.request(broken.method, url, data=body or None, headers=headers, timeout=10)


def state(paper: PaperExchange) -> Any:
    ledger = paper.ledger()
    del ledger["requests"]
    return ledger, paper.summary()


@pytest.fixture
def order_id(client: UMFutures) -> str:
    """A position, a resting order and a stop: something that a broken request could change."""
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.020")
    resting = client.new_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.020", price="48500"
    )
    return str(resting["orderId"])


def test_500_broken_requests_are_refused_and_change_nothing(paper: PaperExchange, order_id: str) -> None:
    before = state(paper)
    kinds: Counter[str] = Counter()
    with requests.Session() as http:
        http.trust_env = False
        http.headers["X-MBX-APIKEY"] = paper.key
        for number, broken in enumerate(broken_requests(order_id)):
            in_body = broken.method != "GET" and number % 2 == 0
            answer = send(http, paper, broken, in_body=in_body)
            # It should be an error body with a 4xx, never a 500.
            assert 400 <= answer.status_code < 500, (broken, answer.status_code, answer.text)
            assert set(answer.json()) == {"code", "msg"}, (broken, answer.text)
            assert answer.json()["code"] < 0
            # It should have got as far as the parameters: the signature was right.
            assert answer.json()["code"] != -1022, (broken, answer.text)
            kinds[broken.kind] += 1
    # It should have left orders, fills, balances and the summary as they were.
    assert state(paper) == before
    assert sum(kinds.values()) == REQUESTS
    assert set(kinds) == {*BAD_NUMBERS, "duplicate", "10 MB"}
