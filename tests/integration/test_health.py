"""/health, /health/live, /health/ready: the truth about the service, cheaply, for everybody."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from redis import Redis

from execution import wiring
from execution.adapters import redis_bus, stream_names
from execution.api import streams
from execution.models import AccountLease, EntryHold, Heartbeat
from execution.signals.accept import EVENT_TYPES
from execution.store.heartbeats import QUEUES
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db

NOWHERE = "redis://127.0.0.1:9/0"


@pytest.fixture(autouse=True)
def _at_nine_thirty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cache.clear()
    monkeypatch.setattr(wiring, "STARTED_AT", NOW - timedelta(hours=1))
    with time_machine.travel(NOW, tick=False):
        yield
    cache.clear()


@pytest.fixture
def bus(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """The streams and groups as the bridge makes them."""
    monkeypatch.setattr(wiring, "health_redis_client", lambda: redis)
    for event_type in EVENT_TYPES:
        redis.xgroup_create(stream_names.stream_of(event_type), stream_names.group_of(event_type), "0", mkstream=True)
    return redis


@pytest.fixture
def _running(bus: Redis) -> None:  # noqa: ARG001 -- the groups are part of it
    """A service in which every part has just run."""
    builders.lease(wiring.stack())
    for part in ("monitor", "bridge", "relay", "user_stream", "protector"):
        builders.heartbeat(part)


def get(client: Client, path: str = "/health") -> tuple[int, dict[str, Any]]:
    answer = client.get(path)
    return answer.status_code, answer.json()


@pytest.mark.usefixtures("_running")
def test_a_healthy_service(client: Client) -> None:
    builders.ess()
    builders.position()
    builders.inbox(received_at=NOW - timedelta(seconds=4))
    builders.outbox_event(created_at=NOW - timedelta(seconds=59))
    builders.outbox_event(created_at=NOW - timedelta(seconds=61))

    code, health = get(client)

    components = health.pop("components")
    assert code == 200
    assert health == {
        "service": "execution",
        "version": "1.0.0",
        "status": "OK",
        "healthy": True,
        "running": True,
        "mode": "paper",
        "reasons": [],
        "covering": "stream",
        "active_positions": 1,
        "orders_last_minute": 1,
        "consumer_started": True,
        "consumer_lag": 0,
        "consumer_lag_by_stream": dict.fromkeys(EVENT_TYPES, 0),
        "last_event_age_sec": 4.0,
        "monitor_last_run_age_sec": 0.0,
        "timestamp": "2026-03-02T09:30:00+00:00",
    }
    # It should have the parts that the system's health service knows, each in its shape.
    parts = [
        "binance",
        "event_bus",
        "trade_store",
        "rate_limiter",
        "circuit_breaker",
        "ess",
        "policy",
        "entries",
        "terms",
        "positions",
        "outbox",
        "user_stream",
        "protector",
        "orders",
        "queues",
        "decisions",
        "exits",
        "books",
        "rows",
        "journal",
        "oracle",
    ]
    assert list(components) == parts
    assert components["binance"] == {"healthy": True, "error": None, "latency_ms": 3.5, "details": None}
    limiter = components["rate_limiter"]["details"]
    # Nothing has been asked of the exchange: what this minute has used is unknown, and counts as nearly all.
    assert (limiter["tokens_available"], limiter["rpm_limit"], limiter["waiting"]) == (120, 1200, 0)
    assert limiter["counters"]["weight"] == {
        "limit": 2400,
        "used": 2160,
        "reported_by_exchange": 0,
        "expected_of_others": 0,
        "known": False,
    }
    assert limiter["held_seconds"] == {"everybody": 0.0, "orders": 0.0, "entries": 0.0}
    assert components["ess"]["details"] == {"state": "ARMED", "can_execute": True, "age_seconds": 0.0}
    assert components["trade_store"]["details"] == {"backend": "postgresql"}
    assert components["trade_store"]["latency_ms"] >= 0


@pytest.mark.usefixtures("_running")
def test_lag_is_what_was_not_read_and_what_was_not_acknowledged(client: Client, bus: Redis) -> None:
    stream, group = stream_names.stream_of("ai.decision.made"), stream_names.group_of("ai.decision.made")
    for _ in range(3):
        bus.xadd(stream, {"payload": "{}"})
    bus.xreadgroup(group, "somebody", {stream: ">"}, count=2)
    bus.xadd(stream_names.stream_of("signal.execute"), {"payload": "{}"})

    _, health = get(client)

    # Two are delivered and not acknowledged, one is undelivered; one more waits in the other stream.
    assert health["consumer_lag_by_stream"] == dict.fromkeys(EVENT_TYPES, 0) | {
        "ai.decision.made": 3,
        "signal.execute": 1,
    }
    assert health["consumer_lag"] == 4


@pytest.mark.usefixtures("_running")
@pytest.mark.parametrize("delivered", [True, False])
def test_an_entry_that_waits_for_long_is_named(client: Client, bus: Redis, *, delivered: bool) -> None:
    stream, group = stream_names.stream_of("ai.decision.made"), stream_names.group_of("ai.decision.made")
    bus.xadd(stream, {"payload": "{}"}, id=f"{int((NOW - timedelta(seconds=75)).timestamp() * 1000)}-0")
    if delivered:
        bus.xreadgroup(group, "reader", {stream: ">"}, count=1)

    code, health = get(client)

    assert (code, health["status"]) == (200, "DEGRADED")
    assert health["reasons"] == ["event_bus: oldest entry ai.decision.made=75s expected<=30s"]
    assert health["components"]["event_bus"]["details"]["oldest_seconds"]["ai.decision.made"] == 75.0


def test_the_streams_are_those_that_the_bridge_reads() -> None:
    for event_type in EVENT_TYPES:
        assert streams.STREAM.format(event_type) == stream_names.stream_of(event_type)
        assert streams.GROUP.format(event_type) == stream_names.group_of(event_type)


@pytest.mark.usefixtures("bus")
def test_a_service_that_has_just_begun_is_starting(client: Client) -> None:
    code, health = get(client)

    assert (code, health["status"], health["healthy"], health["running"]) == (503, "STARTING", False, False)
    assert health["reasons"] == [
        "binance: monitor has not run yet",
        "event_bus: bridge has not run yet",
        "entries: no monitor cycle has compared the books with the exchange yet",
        "outbox: relay has not run yet",
        "user_stream: has not run yet; polling covers",
        "protector: has not run yet",
    ]
    assert (health["consumer_started"], health["monitor_last_run_age_sec"]) == (False, None)

    # It should be healthy as soon as monitor and bridge have run once.
    builders.heartbeat("monitor")
    builders.heartbeat("bridge")
    cache.clear()
    code, health = get(client)
    assert (code, health["status"]) == (200, "DEGRADED")
    builders.heartbeat("relay")
    builders.heartbeat("user_stream")
    builders.heartbeat("protector")
    builders.lease(wiring.stack())
    cache.clear()
    assert get(client)[1]["status"] == "OK"


@pytest.mark.usefixtures("_running")
def test_a_monitor_that_cannot_read_the_exchange_is_unhealthy(client: Client) -> None:
    Heartbeat.objects.filter(part="monitor").update(healthy=False, details={"error": "timed out"})

    code, health = get(client)

    assert (code, health["status"], health["healthy"]) == (503, "DOWN", False)
    assert health["reasons"] == ["binance: timed out"]
    # It should still be ready: what is in the books can be read.
    assert get(client, "/health/ready")[0] == 200


@pytest.mark.usefixtures("_running")
def test_a_stale_bridge_is_unhealthy_and_not_ready(client: Client) -> None:
    Heartbeat.objects.filter(part="bridge").update(at=NOW - timedelta(seconds=16))

    code, health = get(client)
    assert (code, health["consumer_started"]) == (503, False)

    code, ready = get(client, "/health/ready")
    assert code == 503
    assert ready == {
        "status": "not_ready",
        "service": "execution",
        "version": "1.0.0",
        "healthy": False,
        "reasons": ["bridge: last run 16s ago, expected<=15s"],
    }


@pytest.mark.usefixtures("_running")
def test_a_ready_service(client: Client) -> None:
    assert get(client, "/health/ready") == (
        200,
        {"status": "ready", "service": "execution", "version": "1.0.0", "healthy": True, "reasons": []},
    )


@pytest.mark.usefixtures("_running")
def test_a_stack_is_ready_only_after_its_first_full_cycle(client: Client) -> None:
    AccountLease.objects.update(reconciled_at=wiring.STARTED_AT - timedelta(seconds=1))

    code, ready = get(client, "/health/ready")

    said = "entries: no monitor cycle has compared the books with the exchange since the start"
    assert (code, ready["reasons"]) == (503, [said])
    code, health = get(client)
    assert (code, health["status"], health["reasons"]) == (200, "DEGRADED", [said])

    # It should stay ready later on when a cycle fails: what is in the books can be read.
    AccountLease.objects.update(reconciled_at=NOW, renewed_at=NOW - timedelta(seconds=31))
    cache.clear()
    assert get(client, "/health/ready")[0] == 200
    assert get(client)[1]["reasons"] == ["entries: the last monitor cycle ended 31s ago, expected<=30s"]


@pytest.mark.usefixtures("_running")
def test_held_entries_are_seen(client: Client) -> None:
    times = {"since": NOW, "seen_at": NOW}
    EntryHold.objects.create(scope="ACCOUNT", reason_code="FOREIGN_ORDERS", reason="FOREIGN_ORDERS: open=1", **times)

    code, health = get(client)

    assert (code, health["status"]) == (200, "DEGRADED")
    assert health["reasons"] == ["entries: ACCOUNT held: FOREIGN_ORDERS: open=1"]
    assert health["components"]["entries"]["details"] == {"held": {"ACCOUNT": "FOREIGN_ORDERS"}}


@pytest.mark.usefixtures("_running")
def test_another_stack_on_the_account_is_seen(client: Client) -> None:
    AccountLease.objects.update(settings="c" * 64, holder="elsewhere", fence=4)

    code, health = get(client)

    ours = wiring.stack().settings[:8]
    numbers = f"theirs=cccccccc ours={ours} holder=elsewhere fence=4 renewed 0s ago"
    assert (code, health["reasons"]) == (200, [f"entries: ACCOUNT_LEASED_BY_OTHERS: {numbers}"])
    assert get(client, "/health/ready")[0] == 503


@pytest.mark.usefixtures("_running")
def test_a_silent_emergency_stop_degrades(client: Client) -> None:
    builders.ess(unanswered=2)

    code, health = get(client)

    assert (code, health["status"], health["healthy"]) == (200, "DEGRADED", True)
    assert health["reasons"] == ["ess: unanswered=2 fail_mode=open"]


@pytest.mark.usefixtures("_running")
def test_redis_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "health_redis_client", lambda: redis_bus.redis_connection(NOWHERE, timeout_seconds=0.2))

    code, health = get(client)

    assert (code, health["status"]) == (503, "DOWN")
    assert health["reasons"] == [
        "event_bus: ConnectionError",
        "rate_limiter: ConnectionError",
        "circuit_breaker: ConnectionError",
    ]
    assert health["consumer_lag"] is None
    assert get(client, "/health/ready")[1]["reasons"] == ["redis: ConnectionError"]


@pytest.mark.usefixtures("bus")
def test_the_database_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("could not connect to server at db.internal, user execution")

    monkeypatch.setattr("execution.api.health.health_rows", fail)

    code, health = get(client)

    assert (code, health["status"], health["active_positions"]) == (503, "DOWN", None)
    # It should not tell everybody where the database is.
    assert health["components"]["trade_store"]["error"] == "OperationalError"
    assert "db.internal" not in json.dumps(health)
    assert get(client, "/health/ready")[0] == 503
    # It should be alive all the same: a restart would not bring the database back.
    assert get(client, "/health/live") == (200, {"status": "ok", "service": "execution", "version": "1.0.0"})


@pytest.mark.usefixtures("_running")
def test_health_is_measured_once_a_second(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    get(client)

    # It should not have asked anybody again, whichever address is read.
    with django_assert_num_queries(0):
        get(client)
        get(client, "/health/ready")

    with time_machine.travel(NOW + timedelta(seconds=1.1), tick=False), django_assert_num_queries(23):
        assert get(client)[1]["monitor_last_run_age_sec"] == 1.1


@pytest.mark.usefixtures("bus")
def test_a_probe_does_not_fill_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    assert get(client)[0] == 503
    assert get(client, "/health/ready")[0] == 503

    assert caplog.records == []


@pytest.mark.usefixtures("_running")
def test_a_queue_of_which_nothing_is_finished_is_named(client: Client) -> None:
    for queue in QUEUES:
        builders.heartbeat(f"queue:{queue}", at=NOW - timedelta(seconds=16 if queue == "orders" else 14))

    code, health = get(client)

    assert (code, health["status"]) == (200, "DEGRADED")
    assert health["reasons"] == ["queues: orders: last run 16s ago, expected<=15s"]
    assert health["components"]["queues"]["details"]["age_seconds"] == {
        "orders": 16.0,
        "monitor": 14.0,
        "protect": 14.0,
        "bridge": 14.0,
    }


@pytest.mark.usefixtures("_running")
def test_a_queue_that_never_proved_anything_beside_others_is_named(client: Client) -> None:
    builders.heartbeat("queue:bridge")

    _, health = get(client)

    names = [f"{queue}: has not run yet" for queue in QUEUES if queue != "bridge"]
    assert health["reasons"] == [f"queues: {'; '.join(names)}"]


@pytest.mark.usefixtures("_running")
def test_when_no_queue_is_worked_off_beat_is_named(client: Client) -> None:
    for queue in QUEUES:
        builders.heartbeat(f"queue:{queue}", at=NOW - timedelta(seconds=16))

    assert get(client)[1]["reasons"][0].endswith("; beat sends nothing, or no worker runs")


@pytest.mark.usefixtures("_running")
@pytest.mark.parametrize(("state", "named"), [("RECEIVED", True), ("APPROVED", True), ("SUBMITTING", False)])
def test_the_oldest_decision_that_waits_is_a_figure(client: Client, state: str, *, named: bool) -> None:
    builders.request(state=state, received_at=NOW - timedelta(seconds=11))

    _, health = get(client)

    assert health["reasons"] == (["decisions: the oldest waits 11s, expected<=10s"] if named else [])
    shown = client.get("/metrics").content.decode()
    assert f"execution_oldest_decision_seconds {11.0 if named else 0.0}" in shown


@pytest.mark.usefixtures("_running")
@pytest.mark.parametrize("event_type", ["ess.tripped", "trade.closed"])
def test_a_stream_that_is_none_is_named(client: Client, redis: Redis, event_type: str) -> None:
    redis.delete(stream_names.stream_of(event_type))
    redis.set(stream_names.stream_of(event_type), "x")

    code, health = get(client)

    part = "event_bus" if event_type == "ess.tripped" else "outbox"
    assert (code, health["status"]) == (200, "DEGRADED")
    assert health["reasons"] == [f"{part}: stream {event_type} WRONGTYPE: a string lies there"]
