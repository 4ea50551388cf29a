"""A server that does not prove who it is gets no key, no signed request and no question: one wrong certificate a line.

The clients trust an authority of the test's, so that each certificate is wrong in one way alone, and a right one shows
that the others are not refused for another reason.
"""

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.connector import VenueConnection
from execution.adapters.binance.settings_cache import SettingsCache
from execution.adapters.binance.setup import SetupRules
from execution.adapters.binance.stream import BinanceUserStream
from execution.adapters.rate_limit import RateLimiter
from execution.adapters.redis_bus import redis_connection
from execution.adapters.risk_safety import HttpRiskSafety
from execution.domain.outcomes import Accepted
from execution.domain.ports import (
    ExchangeUnavailableError,
    Lane,
    OrderTicket,
    RiskSafetyUnavailableError,
    StreamClosedError,
)
from execution.domain.rate_limits import Limits
from execution.domain.trading import OrderType, PositionSide, Side
from execution_project.addresses import peer_is_this_machine
from tests.security.certificates import Authority, authority, server
from tests.security.traps import Trap, answering, trap
from tests.support.databases import redis_address
from tests.support.waiting import eventually

# Apart from the numbers of the other suites.
REDIS_DATABASE = 3
KEY, SECRET, LISTEN_KEY = "the-key-of-the-exchange", "the-secret-of-the-exchange", "the-listen-key-of-the-account"
ORDER = OrderTicket(
    client_order_id="es1-e",
    symbol="BTCUSDT",
    side=Side.BUY,
    position_side=PositionSide.BOTH,
    order_type=OrderType.MARKET,
    quantity=Decimal(1),
)
DAY = timedelta(days=1)
WRONG: Mapping[str, Callable[[Path, Authority, Authority], ssl.SSLContext]] = {
    "signed by itself": lambda folder, _known, _other: server(folder, signed_by=None),
    "signed by a stranger": lambda folder, _known, other: server(folder, signed_by=other),
    "of another host": lambda folder, known, _other: server(folder, signed_by=known, hosts="DNS:fapi.example"),
    "of another address": lambda folder, known, _other: server(folder, signed_by=known, hosts="IP:127.0.0.9"),
    "of a wider name": lambda folder, known, _other: server(folder, signed_by=known, hosts="DNS:*,DNS:*.localhost"),
    "expired": lambda folder, known, _other: server(folder, signed_by=known, starts_in=-2 * DAY, ends_in=-DAY),
    "not valid yet": lambda folder, known, _other: server(folder, signed_by=known, starts_in=DAY, ends_in=2 * DAY),
}


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Who the clients trust, and somebody else."""
    folder = tmp_path_factory.mktemp("authorities")
    return authority(folder, "known"), authority(folder, "other")


@pytest.fixture(autouse=True)
def _trusted(authorities: tuple[Authority, Authority], monkeypatch: pytest.MonkeyPatch) -> None:
    known = str(authorities[0].certificate)
    # Where requests, and where OpenSSL itself, look for whom to trust.
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", known)
    monkeypatch.setenv("SSL_CERT_FILE", known)


@pytest.fixture
def redis() -> "Redis":
    client = redis_connection(redis_address(REDIS_DATABASE))
    client.flushdb()
    return client


def exchange_at(venue: Trap, redis: "Redis") -> BinanceExchange:
    unlimited = Limits(weight=1_000_000, orders_10s=1_000_000, orders_1m=1_000_000)
    limiter = RateLimiter(redis, per_minute=1_000_000, limits=unlimited)
    return BinanceExchange(
        key=KEY,
        secret=SECRET,
        base_url=f"https://localhost:{venue.port}",
        timeout_seconds=3,
        recv_window_ms=3000,
        line=VenueConnection(limiter=limiter, peer_rule=peer_is_this_machine),
        rules=SetupRules(cache=SettingsCache(redis, account="tls", secret=SECRET)),
    )


def stream_at(venue: Trap, redis: "Redis") -> BinanceUserStream:
    return BinanceUserStream(
        exchange=exchange_at(venue, redis),
        stream_url=f"wss://localhost:{venue.port}",
        ping_seconds=15,
        clock=lambda: datetime.now(UTC),
        peer_rule=peer_is_this_machine,
    )


def place(venue: Trap, redis: "Redis") -> object:
    send_before = datetime.now(UTC) + timedelta(seconds=10)
    return exchange_at(venue, redis).place(ORDER, Lane.ENTRY, send_before=send_before)


def ask_the_emergency_stop(venue: Trap, _redis: "Redis") -> object:
    client = HttpRiskSafety(f"https://localhost:{venue.port}", timeout_seconds=3, peer_rule=peer_is_this_machine)
    return client.ess()


# What each client would show a server that it has not proven.
CLIENTS: Mapping[str, tuple[Callable[[Trap, "Redis"], Any], type[Exception] | None]] = {
    "an order": (place, None),
    "an open position": (lambda venue, redis: exchange_at(venue, redis).positions(), ExchangeUnavailableError),
    "a listen key": (lambda venue, redis: stream_at(venue, redis).open_key(), ExchangeUnavailableError),
    "its renewal": (lambda venue, redis: stream_at(venue, redis).renew_key(LISTEN_KEY), ExchangeUnavailableError),
    "the user stream": (lambda venue, redis: stream_at(venue, redis).connect(LISTEN_KEY), StreamClosedError),
    "the emergency stop": (ask_the_emergency_stop, RiskSafetyUnavailableError),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("certificate", WRONG)
def test_a_server_with_a_wrong_certificate_hears_nothing(
    certificate: str, client: str, authorities: tuple[Authority, Authority], tmp_path: Path, redis: "Redis"
) -> None:
    call, refusal = CLIENTS[client]
    with trap(answering("200 OK"), tls=WRONG[certificate](tmp_path / "server", *authorities)) as venue:
        if refusal:
            with pytest.raises(refusal):
                call(venue, redis)
        else:
            assert not isinstance(call(venue, redis), Accepted)
        # It should have come to the server, and shown it nothing. (The trap counts in a thread of its own.)
        eventually(lambda: venue.connections >= 1, what="the connection is seen at the other end")

    assert venue.heard == []


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_with_a_right_certificate_is_spoken_to(
    client: str, authorities: tuple[Authority, Authority], tmp_path: Path, redis: "Redis"
) -> None:
    """Without this the other test could pass for any reason."""
    call, refusal = CLIENTS[client]
    with trap(answering("400 Bad Request"), tls=server(tmp_path / "server", signed_by=authorities[0])) as venue:
        with suppress(*([refusal] if refusal else [])):
            call(venue, redis)
        eventually(lambda: bool(venue.heard), what="the server is spoken to")

    shown = b"".join(venue.heard)
    assert (KEY if client not in {"the user stream", "the emergency stop"} else "HTTP/1.1").encode() in shown
