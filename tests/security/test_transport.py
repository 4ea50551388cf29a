"""What leaves goes where it was meant to and no answer holds us: one attack a line, against real sockets."""

import json
import os
import socket
import ssl
import struct
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha1
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
import websocket
import yarl
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from redis import Redis

from execution.adapters.binance import stream as user_stream
from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.connector import Connector, RequestSlot, VenueConnection
from execution.adapters.binance.settings_cache import SettingsCache
from execution.adapters.binance.setup import SetupRules
from execution.adapters.binance.stream import open_socket
from execution.adapters.outgoing import AnswerTooLargeError, OutgoingSession
from execution.adapters.rate_limit import RateLimiter
from execution.adapters.risk_safety import HttpRiskSafety
from execution.domain.outcomes import Accepted, Refused
from execution.domain.ports import ExchangeUnavailableError, Lane, OrderTicket, RiskSafetyUnavailableError
from execution.domain.trading import OrderType, PositionSide, Side
from execution_project.addresses import (
    is_internal_door,
    is_loopback,
    parse_address,
    peer_is_this_machine,
    peer_may_be_any_service,
)
from execution_project.env import Environment, Mode
from tests.security.traps import Trap, answering, dripping, endless, trap
from tests.support.waiting import eventually

KEY, SECRET = "the-key-of-the-paper-exchange", "the-secret"
ORDER = OrderTicket(
    client_order_id="es1-e",
    symbol="BTCUSDT",
    side=Side.BUY,
    position_side=PositionSide.BOTH,
    order_type=OrderType.MARKET,
    quantity=Decimal(1),
)
# Each names, for one library or another, a host that is not this machine; or is no plain address.
CUNNING = [
    "http://evil.example\\@127.0.0.1",
    "http://evil.example\\\\@127.0.0.1:8700",
    "http://127.0.0.1\\@evil.example",
    "http://127.0.0.1@evil.example",
    "http://evil.example@127.0.0.1",
    "http://user:word@127.0.0.1:8700",
    "http://127.0.0.1:8700@evil.example",
    "http://127.0.0.1#@evil.example",
    "http://evil.example#@127.0.0.1",
    "http://127.0.0.1?@evil.example",
    "http://evil.example?@127.0.0.1",
    "http://127.0.0.1;@evil.example",
    "http://127.0.0.1%2f@evil.example",
    "http://127.0.0.1%00.evil.example",
    "http://127.0.0.1\t.evil.example",
    "http://127.0.0.1\n.evil.example",
    "http://127.0.0.1 .evil.example",
    "http://127。0。0。1",
    "http://127\uff0e0\uff0e0\uff0e1",
    "http://①②⑦.0.0.1",
    "http://١٢٧.0.0.1",
    "http://l\u043ecalhost",
    "http://ⓛocalhost",
    "http://localhost.",
    "http://127.0.0.1.",
    "http://localhost..",
    "http://.localhost",
    "http://2130706433",
    "http://0x7f000001",
    "http://0x7f.1",
    "http://0x7f.0.0.1",
    "http://017700000001",
    "http://0177.0.0.1",
    "http://127.1",
    "http://127.0.1",
    "http://127.000.000.001",
    "http://0",
    "http://0.0.0.0",
    "http://[::]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[::ffff:8.8.8.8]",
    "http://[::1%25eth0]",
    "http://[127.0.0.1]",
    "http://[::1",
    "http://::1",
    "http://[::1].evil.example",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.1.nip.example",
    "http://localhost.evil.example",
    "http://localtest.example",
    "http://169.254.169.254",
    "http://10.0.0.5:8700",
    "http://127.0.0.1:8700:80",
    "http://127.0.0.1:0",
    "http://127.0.0.1:65536",
    "http://127.0.0.1:+80",
    "http://127.0.0.1:\uff18\uff10",
    "http://127.0.0.1/..//evil.example",
    "http:\\\\127.0.0.1",
    "http:/127.0.0.1",
    "http:127.0.0.1",
    "http:///127.0.0.1",
    "//127.0.0.1",
    "127.0.0.1:8700",
    "HTTP://127.0.0.1",
    "https://127.0.0.1",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1",
    "http+unix://127.0.0.1",
    " http://127.0.0.1",
    "http://127.0.0.1 ",
    "http://",
    "http://" + "a" * 300,
]
# Of these, plain addresses that are only not this machine: a neighbour may have a name like it.
PLAIN_ELSEWHERE = {
    *("http://0.0.0.0", "http://[::]", "http://127.0.0.1.evil.example", "http://127.0.0.1.nip.example"),
    *("http://localhost.evil.example", "http://localtest.example", "http://169.254.169.254", "http://10.0.0.5:8700"),
    "https://127.0.0.1",
}


def environment(**given: Any) -> Environment:
    """Read settings as a process would, from nothing but these."""
    return Environment(_env_file=None, **{name.lower(): value for name, value in given.items()})


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BINANCE_BASE_URL", "BINANCE_STREAM_URL", "RISK_SAFETY_SERVICE_URL", "EXECUTION_MODE"):
        monkeypatch.delenv(name, raising=False)


def redis_address() -> str:
    """Return the real Valkey's address with a database number of our own."""
    return urlsplit(os.environ["REDIS_URL"])._replace(path="/7").geturl()


@pytest.fixture
def limiter() -> Iterator[RateLimiter]:
    with Redis.from_url(redis_address()) as redis:
        redis.flushdb()
        yield RateLimiter(redis, per_minute=100_000)


@pytest.fixture
def line(limiter: RateLimiter) -> VenueConnection:
    return VenueConnection(limiter=limiter, peer_rule=peer_is_this_machine)


def exchange_at(url: str, line: VenueConnection, *, timeout_seconds: float = 3.0) -> BinanceExchange:
    redis = Redis.from_url(redis_address())
    return BinanceExchange(
        key=KEY,
        secret=SECRET,
        base_url=url,
        timeout_seconds=timeout_seconds,
        recv_window_ms=3000,
        line=line,
        rules=SetupRules(cache=SettingsCache(redis, account=url, secret=SECRET)),
    )


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=10)


# Addresses


@pytest.mark.parametrize("url", CUNNING)
def test_paper_orders_cannot_be_addressed_elsewhere(url: str) -> None:
    stream = url.replace("http", "ws", 1)
    for name, given_url in (("BINANCE_BASE_URL", url), ("BINANCE_STREAM_URL", stream)):
        with pytest.raises(ValidationError) as refused:
            environment(**{name: given_url})
        assert f"{name} must be a loopback address" in str(refused.value)


@pytest.mark.parametrize("url", CUNNING)
def test_risk_safety_cannot_be_addressed_cunningly(url: str) -> None:
    if url in PLAIN_ELSEWHERE:
        host = parse_address(url, schemes=("http", "https")).host.strip("[]")
        assert hosts_of(environment(RISK_SAFETY_SERVICE_URL=url).risk_safety_url) == {host}
        return
    with pytest.raises(ValidationError, match="RISK_SAFETY_SERVICE_URL must"):
        environment(RISK_SAFETY_SERVICE_URL=url)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8700", "http://localhost:8700/", "http://127.9.8.7", "http://[::1]:8700", "http://LOCALHOST"],
)
def test_plain_addresses_of_this_machine_are_taken_and_used_as_checked(url: str) -> None:
    env = environment(BINANCE_BASE_URL=url, BINANCE_STREAM_URL=url.replace("http", "ws", 1))

    assert env.exchange_url == url.lower().rstrip("/")
    assert env.stream_url == env.exchange_url.replace("http", "ws", 1)
    assert {is_loopback(host) for host in hosts_of(env.exchange_url)} == {True}


def hosts_of(url: str) -> set[str]:
    """Return the host as the libraries that we use, and some more, read it from a URL."""
    prepared = requests.Request("GET", url).prepare().url or ""
    return {
        str(host).strip("[]").lower()
        for host in (
            urlsplit(url).hostname,
            urllib3.util.parse_url(url).host,
            urllib3.util.parse_url(prepared).host,
            yarl.URL(url).host,
            websocket._url.parse_url(url.replace("http", "ws", 1))[0],
        )
    }


PIECES = st.sampled_from(
    [
        "127.0.0.1",
        "localhost",
        "evil.example",
        "@",
        "\\",
        "/",
        "#",
        "?",
        ":",
        ".",
        "%",
        "[::1]",
        "[",
        "]",
        "80",
        "0x7f",
        " ",
    ]
)


@given(st.one_of(st.text(max_size=20), st.lists(PIECES, max_size=6).map("".join)).map(lambda text: f"http://{text}"))
@example("http://127.0.0.1:80")
def test_what_is_accepted_is_read_alike_by_every_library(url: str) -> None:
    try:
        address = parse_address(url, schemes=("http",))
    except ValueError:
        return

    assert hosts_of(address.url) == {address.host.strip("[]")}
    assert parse_address(address.url, schemes=("http",)) == address


# The other end


@pytest.mark.parametrize(
    "peer",
    [
        "8.8.8.8",
        "10.0.0.5",
        "192.168.1.2",
        "172.17.0.1",
        "0.0.0.0",
        "::",
        "::ffff:8.8.8.8",
        "fe80::1%eth0",
        "2001:db8::1",
    ],
)
def test_the_paper_exchange_is_never_at_such_an_end(peer: str) -> None:
    assert not peer_is_this_machine(peer)


@pytest.mark.parametrize(
    "peer",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
    ],
)
def test_no_neighbour_is_at_such_an_end(peer: str) -> None:
    assert not peer_may_be_any_service(peer)
    assert is_internal_door(peer)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.5", "8.8.8.8", "::ffff:10.0.0.5", "2001:db8::1"])
def test_neighbours_may_be_anywhere_else(peer: str) -> None:
    assert peer_may_be_any_service(peer)


def only_the_first(peer: str) -> bool:
    """Stands for "this machine" where the test has no other machine: 127.0.0.2 is another one."""
    return peer == "127.0.0.1"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """A server at another address, to which the name `localhost` has been made to lead."""
    found = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        return found("127.0.0.2" if host == "localhost" else host, *arguments, **options)

    with trap(answering("200 OK"), host="127.0.0.2") as caught:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        yield caught


def test_a_name_that_leads_elsewhere_gets_no_order(elsewhere: Trap, limiter: RateLimiter) -> None:
    exchange = exchange_at(
        f"http://localhost:{elsewhere.port}", VenueConnection(limiter=limiter, peer_rule=only_the_first)
    )

    outcome = exchange.place(ORDER, Lane.ENTRY, send_before=soon())

    # It should have connected, seen where, and sent nothing. (The trap counts in a thread of its own.)
    eventually(lambda: elsewhere.connections >= 1, what="the connection is seen at the other end")
    assert elsewhere.heard == []
    assert isinstance(outcome, Refused), outcome


def test_a_name_that_leads_elsewhere_gets_no_listen_key(elsewhere: Trap) -> None:
    with pytest.raises(OSError, match=r"ended at 127\.0\.0\.2"):
        open_socket(f"ws://localhost:{elsewhere.port}/private/ws/{KEY}", only_the_first)

    assert elsewhere.heard == []


def test_a_name_that_leads_elsewhere_is_not_asked_for_the_emergency_stop(elsewhere: Trap) -> None:
    client = HttpRiskSafety(f"http://localhost:{elsewhere.port}", timeout_seconds=1, peer_rule=only_the_first)

    with pytest.raises(RiskSafetyUnavailableError):
        client.ess()
    assert elsewhere.heard == []


# Redirects


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_signed_request_is_not_carried_elsewhere(line: VenueConnection, method: str, status: str) -> None:
    with trap(answering("200 OK", body=b'{"orderId": 1}')) as other:
        with trap(answering(status, f"Location: {other.url}/fapi/v1/order")) as venue:
            client = Connector(key=KEY, secret=SECRET, base_url=venue.url, timeout_seconds=3, line=line)
            with client.turn(RequestSlot(lane=Lane.PROTECT, wait_seconds=1)), pytest.raises(requests.RequestException):
                client.sign_request(method, "/fapi/v1/order", {"symbol": "BTCUSDT"})
        assert len(venue.heard) == 1
        assert other.connections == 0


def test_an_order_that_was_answered_by_a_redirect_is_unknown(line: VenueConnection) -> None:
    with (
        trap(answering("200 OK")) as other,
        trap(answering("307 Temporary Redirect", f"Location: {other.url}")) as venue,
    ):
        outcome = exchange_at(venue.url, line).place(ORDER, Lane.ENTRY, send_before=soon())

    # The host that answered may have passed it on: neither placed nor proven absent.
    assert not isinstance(outcome, Accepted | Refused)
    assert other.connections == 0


def test_the_emergency_stop_is_not_answered_by_others() -> None:
    armed = answering("200 OK", body=b'{"state": "ARMED", "can_execute": true}')
    with trap(armed) as other, trap(answering("307 Temporary Redirect", f"Location: {other.url}")) as neighbour:
        client = HttpRiskSafety(neighbour.url, timeout_seconds=2)
        with pytest.raises(RiskSafetyUnavailableError, match="HTTP 307"):
            client.ess()
    assert other.connections == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_listen_key_is_not_carried_elsewhere(status: str) -> None:
    with trap(answering("200 OK")) as other:
        location = f"Location: {other.url.replace('http', 'ws', 1)}/private/ws/{KEY}"
        with trap(answering(status, location)) as venue, pytest.raises(websocket.WebSocketException):
            open_socket(f"ws://127.0.0.1:{venue.port}/private/ws/{KEY}", peer_is_this_machine)
    assert other.connections == 0


# Proxies


PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "WS_PROXY", "ws_proxy")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """A proxy that every variable names, and that would hear everything."""
    with trap(answering("200 OK")) as caught:
        for name in PROXIES:
            monkeypatch.setenv(name, caught.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield caught


def test_no_proxy_of_the_environment_hears_an_order(proxy: Trap, line: VenueConnection) -> None:
    with trap(answering("200 OK", body=b'{"orderId": 1}')) as venue:
        exchange_at(venue.url, line).place(ORDER, Lane.ENTRY, send_before=soon())
    assert len(venue.heard) == 1
    assert proxy.connections == 0


def test_no_proxy_of_the_environment_answers_for_risk_safety(proxy: Trap) -> None:
    with trap(answering("200 OK", body=b'{"state": "CRITICAL", "can_execute": false}')) as neighbour:
        assert HttpRiskSafety(neighbour.url, timeout_seconds=2).ess().state == "CRITICAL"
    assert proxy.connections == 0


def test_no_proxy_of_the_environment_hears_the_listen_key(proxy: Trap) -> None:
    with trap(answering("403 Forbidden")) as venue, pytest.raises(websocket.WebSocketException):
        open_socket(f"ws://127.0.0.1:{venue.port}/private/ws/{KEY}", peer_is_this_machine)
    assert KEY.encode() in venue.heard[0]
    assert proxy.connections == 0


def test_no_password_file_is_read_for_a_host(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, line: VenueConnection
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password from-the-file\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with trap(answering("200 OK")) as venue:
        exchange_at(venue.url, line).place(ORDER, Lane.ENTRY, send_before=soon())
    assert b"authorization" not in venue.heard[0].lower()


# Answers


@pytest.mark.parametrize("behaviour", [endless, dripping], ids=["endless", "dripping"])
def test_no_answer_of_the_exchange_holds_a_worker(line: VenueConnection, behaviour: Callable[..., None]) -> None:
    with trap(behaviour) as venue:
        began = time.monotonic()
        outcome = exchange_at(venue.url, line, timeout_seconds=1.0).place(ORDER, Lane.ENTRY, send_before=soon())
        took = time.monotonic() - began

    assert not isinstance(outcome, Accepted | Refused)
    assert took < 8


@pytest.mark.parametrize("behaviour", [endless, dripping], ids=["endless", "dripping"])
def test_no_answer_of_risk_safety_holds_an_order(behaviour: Callable[..., None]) -> None:
    with trap(behaviour) as neighbour:
        began = time.monotonic()
        with pytest.raises(RiskSafetyUnavailableError):
            HttpRiskSafety(neighbour.url, timeout_seconds=1.0).policies()
        took = time.monotonic() - began

    assert took < 6


def test_an_answer_is_read_up_to_its_bound_and_no_further() -> None:
    session = OutgoingSession(peer_rule=peer_is_this_machine, largest_body=1000)
    with trap(answering("200 OK", body=b"x" * 1000)) as server:
        assert session.get(server.url, timeout=3).content == b"x" * 1000
    with trap(answering("200 OK", body=b"x" * 1001)) as server, pytest.raises(AnswerTooLargeError):
        session.get(server.url, timeout=3)


def test_an_answer_that_unpacks_to_much_more_is_refused() -> None:
    import gzip  # noqa: PLC0415 -- one use

    bomb = gzip.compress(b"0" * 50_000_000)
    session = OutgoingSession(peer_rule=peer_is_this_machine, largest_body=1_000_000)
    with trap(answering("200 OK", "Content-Encoding: gzip", body=bomb)) as server, pytest.raises(AnswerTooLargeError):
        session.get(server.url, timeout=10)


def accepting(then: Callable[[socket.socket], None]) -> Callable[[socket.socket, bytes], None]:
    """Accept a WebSocket and go on so."""

    def behave(connection: socket.socket, head: bytes) -> None:
        [nonce] = [line.split()[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")]
        sign = b64encode(sha1(nonce + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324 -- the protocol's
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + sign + b"\r\n\r\n"
        )
        then(connection)

    return behave


def one_huge_frame(connection: socket.socket) -> None:
    connection.sendall(struct.pack("!BBQ", 0x81, 127, 2**40))
    connection.sendall(b"x" * 100)
    time.sleep(0.2)


def many_parts(connection: socket.socket) -> None:
    """Send one message in parts, each of them small, and never the last."""
    part = b"x" * 60_000
    for number in range(200):
        connection.sendall(struct.pack("!BBH", 0x01 if number == 0 else 0x00, 126, len(part)) + part)


@pytest.mark.parametrize("attack", [one_huge_frame, many_parts])
def test_a_message_without_end_is_not_read(attack: Callable[[socket.socket], None]) -> None:
    with trap(accepting(attack)) as venue:
        opened = open_socket(f"ws://127.0.0.1:{venue.port}/private/ws/{KEY}", peer_is_this_machine)
        opened.settimeout(5)
        with pytest.raises(websocket.WebSocketPayloadException, match=str(user_stream.LARGEST_MESSAGE)):
            opened.recv_data_frame(control_frame=True)
        opened.shutdown()  # type: ignore[no-untyped-call]


def test_a_stream_over_tls_sends_no_key_before_the_other_end_has_proven_itself() -> None:
    with trap(answering("200 OK")) as venue, pytest.raises(ssl.SSLError):
        open_socket(f"wss://127.0.0.1:{venue.port}/private/ws/{KEY}", peer_is_this_machine)
    # It should have begun to speak, and not have said the key.
    assert venue.heard
    assert all(KEY.encode() not in head for head in venue.heard)


# Keys and policy names


@pytest.mark.parametrize("name", ["BINANCE_API_KEY", "BINANCE_TESTNET_API_KEY"])
def test_paper_mode_signs_with_paper_keys_only(name: str) -> None:
    secret = name.replace("KEY", "SECRET")
    env = environment(**{name: "a-real-key-of-binance", secret: "a-real-secret"})

    assert env.mode is Mode.PAPER
    assert (env.exchange_key, env.exchange_secret) == ("paper", "paper-secret")


def test_a_real_key_is_refused_as_the_paper_key() -> None:
    with pytest.raises(ValidationError, match="PAPER_API_KEY equals a key of Binance"):
        environment(PAPER_API_KEY="a-real-key", BINANCE_API_KEY="a-real-key")


@pytest.mark.parametrize(
    "key",
    [
        *(
            "..",
            ".",
            "",
            "../risk/ess/status",
            "a/b",
            "a/../../b",
            "a?value=1",
            "a#b",
            "a%2fb",
            "a b",
            "a\r\nX: y",
            "a\\b",
        ),
        *("é", "a" * 201, "a..b", ".a", "a.", "//evil.example", "@evil.example"),
    ],
)
def test_a_policy_key_is_no_address(key: str) -> None:
    with trap(answering("200 OK", body=json.dumps({"value": 1}).encode())) as neighbour:
        assert HttpRiskSafety(neighbour.url, timeout_seconds=2).policy(key) is None
    assert neighbour.heard == []


def test_a_policy_key_is_asked_for_by_its_name() -> None:
    with trap(answering("200 OK", body=json.dumps({"value": 0.5}).encode())) as neighbour:
        assert HttpRiskSafety(neighbour.url, timeout_seconds=2).policy("execution.max_slippage_pct") == 0.5
    assert neighbour.heard[0].startswith(b"GET /api/policy/execution.max_slippage_pct HTTP/1.1\r\n")


def test_trading_is_possible_after_all_that(line: VenueConnection) -> None:
    """The client that was attacked reads the next, honest answer."""
    exchange = exchange_at("http://127.0.0.1:9", line)
    with pytest.raises(ExchangeUnavailableError):
        exchange.hedge_mode()
    with trap(answering("200 OK", body=b'{"dualSidePosition": false}')) as venue:
        assert exchange_at(venue.url, line).hedge_mode() is False
