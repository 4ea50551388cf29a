"""No wait without a bound: the page of all waits is held against the code, and the clients are walked."""

import ast
import inspect
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from execution import tasks, wiring, workflow
from execution.adapters import outgoing
from execution.adapters.binance import stream
from execution.adapters.redis_bus import redis_connection
from execution.signals import consumer
from execution.trades import account_income, settle_exits, streamed_fills
from execution_project import own_clock, task_limits, waits
from execution_project.celery import app
from execution_project.env import Environment
from tests.unit.test_docs import rows

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/waits.md"
SOURCES = sorted([*(ROOT / "execution").rglob("*.py"), *(ROOT / "execution_project").rglob("*.py")])
# What waits for the other side, by the name under which it is called, and where a bound may stand.
BOUNDED_CALLS = {"create_connection", "urlopen", "from_url", "connect_ex"}


def number(value: float) -> str:
    return f"{value:g}" if value else "none"


def default(name: str) -> float:
    return float(Environment.model_fields[name].default)


def test_the_page_shows_the_bounds_of_each_kind_of_process() -> None:
    expected = [
        [kind, *(number(value) for value in (found.lock, found.statement, found.idle_in_transaction, found.answer))]
        for kind, found in waits.DATABASE.items()
    ]

    assert rows(PAGE, "## PostgreSQL") == expected


def keepalive_seconds() -> int:
    socket_ = waits.DATABASE_SOCKET
    return int(socket_["keepalives_idle"] + socket_["keepalives_interval"] * socket_["keepalives_count"])


def bounds() -> dict[str, str]:
    """Return what the page has to say of each wait, from the code."""
    redis, database = waits.REDIS_SECONDS, waits.DATABASE_SOCKET
    answer = default("binance_timeout_seconds")
    tries = app.conf.task_publish_retry_policy["max_retries"] + 1
    pauses = f"{workflow.FIRST_SILENT_PAUSE_SECONDS:g} to {workflow.LONGEST_SILENT_PAUSE_SECONDS:g} s"
    turn, told = settle_exits.LONGEST_TURN.total_seconds(), streamed_fills.STREAMED_WITHIN
    pings = f"{stream.PINGS_WITHOUT_ANSWER} pings, {default('user_stream_ping_seconds'):g} s apart"
    return {
        "a connection to PostgreSQL": f"{database['connect_timeout']} s",
        f"a sign of life of a session that has rested for {waits.RESTED_SECONDS:g} s": f"{waits.SIGN_SECONDS:g} s",
        "keepalives of a session, from both ends": f"{keepalive_seconds()} s",
        "bytes to PostgreSQL that are not acknowledged": f"{database['tcp_user_timeout'] // 1000} s",
        "/health for PostgreSQL and Redis, which it asks beside each other": f"{waits.HEALTH_SECONDS:g} s",
        "all that /health asks of PostgreSQL": f"{waits.HEALTH_DATABASE_SECONDS:g} s and one connection",
        "a command of Redis, and a connection to it": f"{redis:g} s",
        "a connection to Redis that rests is asked for a sign of life": f"every {waits.REDIS_CHECK_SECONDS} s",
        "the broker's BRPOP": f"1 s, and {app.conf.broker_transport_options['health_check_interval']} s for its reply",
        "XREAD of the event bus": f"{consumer.BLOCK_MS / 1000:g} s",
        "the limiter's and the breaker's question to Redis": f"{waits.LIMITER_REDIS_SECONDS:g} s",
        "what /health asks of Redis": f"{waits.HEALTH_REDIS_SECONDS:g} s",
        "a publication of a task": f"{tries} tries",
        "the stream's hand-over to a silent broker": f"pauses of {pauses}",
        "the protector's turn without a broker": f"{tasks.PROTECTOR_PATIENCE.total_seconds():g} s",
        "a request to the exchange, whole answer (BINANCE_TIMEOUT_SECONDS)": f"{answer:g} s",
        "a request to risk-safety (ESS_TIMEOUT_SECONDS)": f"{default('ess_timeout_seconds'):g} s",
        "keepalives of a connection to the exchange or risk-safety": f"{keepalive_seconds()} s",
        "the user stream's connection": f"{stream.CONNECT_SECONDS:g} s",
        "a pong of the user stream (USER_STREAM_PING_SECONDS)": pings,
        "a task (CELERY_TASK_TIME_LIMIT_SECONDS)": f"{default('celery_task_time_limit_seconds'):g} s",
        "whose turn it is: single duties": "none: asked once",
        "whose turn it is: a trade's exits": f"none: asked once, and of a frozen holder after {turn:g} s again",
        "another process's reading of the account's income": f"{account_income.PATIENCE_SECONDS:g} s",
        "a fill that the user stream is about to report": f"{told.total_seconds():g} s after the exit was answered",
    }


def test_the_page_shows_every_other_bound() -> None:
    assert {cells[0]: cells[1] for cells in rows(PAGE, "## Everything else")} == bounds()
    # The words of the last column that name numbers.
    told = {cells[0]: cells[2] for cells in rows(PAGE, "## Everything else")}
    assert f"after {task_limits.GRACE_SECONDS:g} s more" in told["a task (CELERY_TASK_TIME_LIMIT_SECONDS)"]
    assert tasks.PROTECTOR_PATIENCE.total_seconds() >= own_clock.LOOK_SECONDS


# The clients


def redis_clients() -> dict[str, Redis]:
    makers = {name: made for name, made in vars(wiring).items() if name.endswith("redis_client")}
    return {name: maker() for name, maker in makers.items()}


@pytest.mark.parametrize("name", sorted(name for name in vars(wiring) if name.endswith("redis_client")))
def test_each_client_of_redis_is_bounded(name: str) -> None:
    options = redis_clients()[name].connection_pool.connection_kwargs

    assert 0 < options["socket_timeout"] <= waits.REDIS_SECONDS
    assert 0 < options["socket_connect_timeout"] <= waits.REDIS_SECONDS
    assert options["health_check_interval"] == waits.REDIS_CHECK_SECONDS
    assert options["socket_keepalive"] is True
    assert options["retry"]._retries == 0


def test_a_blocking_read_ends_before_its_time_out() -> None:
    assert consumer.BLOCK_MS / 1000 < waits.REDIS_SECONDS


def test_a_redis_on_a_socket_of_this_machine_needs_no_keepalive() -> None:
    options = redis_connection("unix:///tmp/redis.sock").connection_pool.connection_kwargs

    assert options["socket_timeout"] == 5
    assert "socket_keepalive" not in options


def test_the_broker_is_bounded_and_no_answer_of_it_ends_a_worker() -> None:
    options = app.conf.broker_transport_options

    assert options["socket_timeout"] == options["socket_connect_timeout"] == waits.REDIS_SECONDS
    assert options["health_check_interval"] == waits.REDIS_CHECK_SECONDS
    assert options["socket_keepalive"] is True
    assert app.conf.broker_channel_error_retry is True
    assert app.conf.broker_connection_retry is True
    assert app.conf.broker_connection_max_retries is None


def test_the_database_is_bounded() -> None:
    options = settings.DATABASES["default"]["OPTIONS"]

    assert settings.DATABASES["default"]["ENGINE"] == "execution_project.postgres"
    assert {name: options[name] for name in waits.DATABASE_SOCKET} == waits.DATABASE_SOCKET


def test_connections_to_the_outside_are_kept_alive() -> None:
    session = outgoing.OutgoingSession(peer_rule=outgoing.any_peer, largest_body=1)
    adapter: Any = session.get_adapter("https://fapi.binance.com")

    kept = adapter.poolmanager.connection_pool_kw["socket_options"]
    assert set(outgoing.KEEPALIVE) <= set(kept)
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in outgoing.KEEPALIVE


# The sources


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_connects_but_through_what_is_bounded(path: Path) -> None:
    for name, call in calls(path):
        if name not in BOUNDED_CALLS:
            continue
        place = path.relative_to(ROOT)
        # The client of Redis has one door, and a raw socket is given its seconds.
        is_door = name == "from_url" and place == Path("execution/adapters/redis_bus.py")
        has_seconds = len(call.args) > 1 or any(word.arg == "timeout" for word in call.keywords)
        assert is_door or has_seconds, f"{place}:{call.lineno} {name} without a bound"


def test_every_request_outside_has_its_seconds() -> None:
    # The session reads the time-out before anything else: without one it fails instead of waiting.
    assert 'options["timeout"]' in inspect.getsource(outgoing.OutgoingSession.request)
    session = outgoing.OutgoingSession(peer_rule=outgoing.any_peer, largest_body=1)
    with pytest.raises(KeyError, match="timeout"):
        session.get("http://127.0.0.1:9/")
