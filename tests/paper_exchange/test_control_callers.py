"""The control API answers programs of this machine, and no web page that a browser of this machine has open."""

from typing import Any

import pytest
import requests

from paper_exchange.control.callers import refusal
from tests.support.paper import PaperExchange

CHANGE = b'{"symbol": "BTCUSDT", "price": "40000"}'
JSON = {"Content-Type": "application/json"}


def post(paper: PaperExchange, body: bytes, headers: dict[str, str]) -> requests.Response:
    return requests.post(f"{paper.url}/paper/price", data=body, headers=headers, timeout=5, proxies={"http": ""})


def price(paper: PaperExchange) -> Any:
    return requests.get(f"{paper.url}/fapi/v1/ticker/price?symbol=BTCUSDT", timeout=5, proxies={"http": ""}).json()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # What a form, an image or a script of another page can make a browser send without asking first.
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({}, 415),
        (JSON | {"Origin": "https://evil.example"}, 403),
        (JSON | {"Origin": "null"}, 403),
        (JSON | {"Origin": "http://127.0.0.1:1"}, 403),
        # A name of the attacker's that has begun to mean this machine.
        (JSON | {"Host": "evil.example"}, 403),
        (JSON | {"Host": "127.0.0.1.evil.example:8700"}, 403),
        (JSON | {"Host": "[nonsense"}, 403),
    ],
)
def test_a_web_page_changes_nothing(paper: PaperExchange, headers: dict[str, str], status: int) -> None:
    before = price(paper)

    answer = post(paper, CHANGE, headers)

    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert price(paper) == before


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_program_does(paper: PaperExchange, content_type: str) -> None:
    assert post(paper, CHANGE, {"Content-Type": content_type}).status_code == 200
    assert price(paper)["price"] == "40000.00"


def test_reading_is_guarded_too(paper: PaperExchange) -> None:
    url = f"{paper.url}/paper/ledger"
    assert requests.get(url, headers={"Host": "evil.example"}, timeout=5, proxies={"http": ""}).status_code == 403
    assert requests.get(url, timeout=5, proxies={"http": ""}).status_code == 200


@pytest.mark.parametrize(
    ("remote", "host", "origin"),
    [
        ("127.0.0.1", "127.0.0.1:8700", None),
        ("::1", "[::1]:8700", None),
        ("127.0.0.1", "localhost", None),
        ("127.0.0.1", "localhost:8700", "http://localhost:8700"),
    ],
)
def test_this_machine_and_its_own_page_are_answered(remote: str, host: str, origin: str | None) -> None:
    headers = JSON | {"Host": host} | ({"Origin": origin} if origin else {})

    assert refusal(remote, headers, has_body=True) is None


@pytest.mark.parametrize("remote", ["10.0.0.7", "::ffff:10.0.0.7", None, "nonsense"])
def test_another_machine_is_not(remote: str | None) -> None:
    assert refusal(remote, JSON | {"Host": "127.0.0.1"}, has_body=True) == (
        403,
        "the control API answers loopback callers only",
    )
