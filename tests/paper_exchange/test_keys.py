"""Accounts whose requests are signed by a private key: RSA and Ed25519, over REST and over the WebSocket API."""

import json
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import websocket
from binance.error import ClientError
from binance.um_futures import UMFutures
from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa, pkcs1_15

from tests.support.paper import PaperExchange

EDWARDS, RIVEST = ECC.generate(curve="Ed25519"), RSA.generate(2048)
PUBLIC = {"edwards": EDWARDS.public_key().export_key(format="PEM"), "rivest": RIVEST.public_key().export_key().decode()}


def sign_edwards(text: str) -> str:
    return b64encode(eddsa.new(EDWARDS, "rfc8032").sign(text.encode())).decode()


def sign_rivest(text: str) -> str:
    return b64encode(pkcs1_15.new(RIVEST).sign(SHA256.new(text.encode()))).decode()


SIGN: dict[str, Callable[[str], str]] = {"edwards": sign_edwards, "rivest": sign_rivest}


@pytest.fixture
def keyed(paper: PaperExchange) -> PaperExchange:
    for key, pem in PUBLIC.items():
        paper.control("POST", "accounts", {"key": key, "public_key": pem})
    return paper


def ask(paper: PaperExchange, key: str, signature: str, query: str) -> Any:
    url = f"{paper.url}/fapi/v3/balance?{query}&signature={quote(signature, safe='')}"
    answer = requests.get(url, headers={"X-MBX-APIKEY": key}, timeout=5, proxies={"http": ""})
    return answer.json()


def stamp() -> str:
    return f"recvWindow=5000&timestamp={time.time_ns() // 10**6}"


@pytest.mark.parametrize("key", sorted(SIGN))
def test_right_signature(keyed: PaperExchange, key: str) -> None:
    query = stamp()
    assert ask(keyed, key, SIGN[key](query), query)[0]["balance"] == "10000.00000000"


@pytest.mark.parametrize("key", sorted(SIGN))
@pytest.mark.parametrize("signature", ["", "abc", "=", "%%%", "0" * 64])
def test_wrong_signature(keyed: PaperExchange, key: str, signature: str) -> None:
    query = stamp()
    code = -1022 if signature else -1102
    assert ask(keyed, key, signature, query)["code"] == code
    assert ask(keyed, key, SIGN[key](query + "0"), query)["code"] == -1022


def test_keys_of_others_do_not_fit(keyed: PaperExchange) -> None:
    query = stamp()
    assert ask(keyed, "edwards", SIGN["rivest"](query), query)["code"] == -1022
    assert ask(keyed, "paper", SIGN["edwards"](query), query)["code"] == -1022


def test_connector_with_its_private_key(keyed: PaperExchange) -> None:
    client = UMFutures(key="rivest", private_key=RIVEST.export_key().decode(), base_url=keyed.url, timeout=5)
    client.session.trust_env = False
    order = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert client.query_order("BTCUSDT", orderId=order["orderId"])["status"] == "FILLED"


def test_secret_does_not_open_an_account_with_a_key(keyed: PaperExchange) -> None:
    client = UMFutures(key="edwards", secret="", base_url=keyed.url, timeout=5)
    client.session.trust_env = False
    with pytest.raises(ClientError) as caught:
        client.balance()
    assert caught.value.error_code == -1022


def test_key_that_is_none(keyed: PaperExchange) -> None:
    answer = requests.post(
        f"{keyed.url}/paper/accounts", json={"key": "x", "public_key": "none"}, timeout=5, proxies={"http": ""}
    )
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_keys_survive_a_restart(tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_text(PUBLIC["edwards"])
    options = ("--account-key", f"edwards:{pem}:500", "--state-file", str(tmp_path / "state"))
    for _ in range(2):
        with PaperExchange(*options) as paper:
            query = stamp()
            assert ask(paper, "edwards", SIGN["edwards"](query), query)[0]["balance"] == "500.00000000"


class Line:
    """The WebSocket API on one connection."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket

    def __call__(self, method: str, key: str | None = None, **params: Any) -> Any:
        params |= {"timestamp": time.time_ns() // 10**6}
        if key is not None:
            params["apiKey"] = key
            payload = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
            params["signature"] = SIGN[key](payload)
        self._socket.send(json.dumps({"id": 1, "method": method, "params": params}))
        answer = json.loads(self._socket.recv())
        return answer.get("result", answer.get("error"))


def test_session_of_a_connection(keyed: PaperExchange) -> None:
    url = f"{keyed.stream_url}/ws-fapi/v1"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as socket:
        call = Line(socket)
        assert call("v2/account.balance")["code"] == -2014
        assert call("session.status")["apiKey"] is None

        assert call("session.logon", key="edwards")["apiKey"] == "edwards"
        # It should need neither key nor signature from here on.
        assert call("v2/account.balance")[0]["balance"] == "10000.00000000"
        placed = call("order.place", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
        assert placed["status"] == "NEW"
        keyed.control("POST", "keys", {"key": "edwards", "revoked": True})
        assert call("v2/account.balance")["code"] == -2015
        keyed.control("POST", "keys", {"key": "edwards", "revoked": False})

        assert call("session.logout")["apiKey"] is None
        assert call("v2/account.balance")["code"] == -2014


def test_only_ed25519_keys_log_in(keyed: PaperExchange) -> None:
    url = f"{keyed.stream_url}/ws-fapi/v1"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as socket:
        call = Line(socket)
        assert call("session.logon", key="rivest")["code"] == -4056
        assert call("v2/account.balance", key="rivest")[0]["balance"] == "10000.00000000"
