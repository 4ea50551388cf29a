"""PostgreSQL or Redis frozen, their connections alive: health answers in time and says which, and nothing hangs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, connections
from django.test import Client

from execution import wiring
from execution.adapters.redis_bus import redis_connection
from execution.api import health as health_view
from execution.models import Heartbeat
from execution.user_stream.dispatch import BrokerSilentError
from execution.workflow import BrokerLine
from execution_project.postgres.base import bound_session
from execution_project.waits import HEALTH_DATABASE_SECONDS, HEALTH_REDIS_SECONDS, HEALTH_SECONDS, Kind, held_as
from local_stack.valkey import start_valkey
from tests.support.desk import Desk
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
# What the question itself may take until its own bounds end it.
QUESTION_SECONDS = HEALTH_DATABASE_SECONDS + 2
LOAD_SECONDS = 2.0


@pytest.fixture(autouse=True)
def _web() -> Iterator[None]:
    with held_as(Kind.WEB):
        bound_session(connection)
        yield
    # The connection of health's own thread would keep the test database from being dropped.
    health_view.DATABASE.in_its_thread(connections.close_all)
    bound_session(connection)


def rest() -> None:
    """Let the connection of this thread have rested for so long that it is asked for a sign of life."""
    connection.connection.used_at -= 60


@contextmanager
def frozen_postgres() -> Iterator[None]:
    """Freeze the whole server: its sessions, and what takes new ones."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL AND pid <> pg_backend_pid()")
        pids = [row[0] for row in cursor.fetchall()]
        cursor.execute("SELECT pg_backend_pid()")
        [(own,)] = cursor.fetchall()
    server = int(Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[1])
    everybody = [server, own, *pids]
    for pid in everybody:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everybody:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Any]:
    server = start_valkey(tmp_path, durable=False)
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.stop()


def health(client: Client) -> tuple[dict[str, Any], float]:
    cache.delete("health_inputs")
    began = time.monotonic()
    body = client.get("/health").json()
    return body, time.monotonic() - began


def names(body: dict[str, Any], store: str, error: str) -> bool:
    """Whether a store is named: its question is open, or has ended by its own bound."""
    return any(reason.startswith((f"{store}: no answer within", f"{store}: {error}")) for reason in body["reasons"])


def named_in_time(client: Client, store: str, error: str) -> None:
    """Ask until a store is named: when its question has ended, and every answer within health's own time."""

    def is_named() -> bool:
        body, seconds = health(client)
        assert seconds < HEALTH_SECONDS + LOAD_SECONDS
        return names(body, store, error)

    eventually(is_named, within=QUESTION_SECONDS + LOAD_SECONDS, what=f"{store} is named")


@pytest.mark.parametrize("rested", [False, True])
def test_health_tells_of_a_frozen_postgres(desk: Desk, client: Client, *, rested: bool) -> None:
    desk.cycle()
    health(client)
    with frozen_postgres():
        if rested:
            health_view.DATABASE.in_its_thread(rest)
        named_in_time(client, "trade_store", "OperationalError")
        for _ in range(3):
            body, seconds = health(client)
            assert body["status"] == "DOWN"
            assert names(body, "trade_store", "OperationalError"), body
            # It should not call a store silent that answers.
            assert body["components"]["event_bus"]["error"] is None or "Redis" not in str(body["reasons"])
            assert seconds < HEALTH_SECONDS + LOAD_SECONDS
        assert client.get("/health/live").status_code == 200
    connection.close()

    def is_known_again() -> bool:
        return health(client)[0]["components"]["trade_store"]["error"] is None

    eventually(is_known_again, within=QUESTION_SECONDS + LOAD_SECONDS, what="health knows the database again")


def test_health_tells_of_a_frozen_redis(
    desk: Desk, client: Client, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.cycle()
    bounded = redis_connection(valkey.url, timeout_seconds=HEALTH_REDIS_SECONDS)
    bounded.ping()
    monkeypatch.setattr(wiring, "health_redis_client", lambda: bounded)
    valkey.process.send_signal(signal.SIGSTOP)
    named_in_time(client, "event_bus", "TimeoutError")
    for _ in range(3):
        body, seconds = health(client)
        assert names(body, "event_bus", "TimeoutError"), body
        assert body["components"]["trade_store"]["error"] is None
        assert seconds < HEALTH_SECONDS + LOAD_SECONDS


def test_a_page_answers_503_while_postgres_is_frozen(desk: Desk, client: Client) -> None:
    desk.cycle()
    with frozen_postgres():
        began = time.monotonic()
        with suppress(OperationalError):
            assert client.get("/api/execution/trades").status_code == 503
        assert time.monotonic() - began < 6 + 2 + LOAD_SECONDS
    connection.close()
    assert Heartbeat.objects.exists()


def test_a_silent_broker_is_left_alone_ever_longer() -> None:
    now = [0.0]
    line = BrokerLine(monotonic=lambda: now[0])
    tries: list[float] = []

    def start() -> None:
        from kombu.exceptions import OperationalError as BrokerAwayError  # noqa: PLC0415 -- two of one name

        tries.append(now[0])
        now[0] += 5
        raise BrokerAwayError(str(uuid4()))

    while now[0] < 60:
        with pytest.raises(BrokerSilentError):
            line.hand(start)
        now[0] += 0.25

    # Each try takes five seconds; the pauses between are of half a second, one, two, four, eight.
    pauses = [round(later - earlier - 5, 2) for earlier, later in pairwise(tries)]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 8][: len(pauses)], abs=0.3)
    # It should forget that with the first task that is taken.
    now[0] += 10
    line.hand(lambda: None)
    with pytest.raises(BrokerSilentError):
        line.hand(start)
    assert now[0] == tries[-1] + 5


def test_a_broken_connection_takes_those_with_it_that_rest(valkey: Any) -> None:
    client = redis_connection(valkey.url)
    pool: Any = client.connection_pool
    resting, broken = pool.get_connection(), pool.get_connection()
    pool.release(resting)
    assert resting.is_connected
    broken.disconnect()
    pool.release(broken)
    assert not resting.is_connected
    # It should serve the next command over a new connection.
    assert client.ping()
