"""Redis that loses everything, refuses to write or dawdles: what PostgreSQL holds goes on, and nothing is doubled."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from redis import Redis
from redis.exceptions import RedisError

from execution import wiring
from execution.adapters.redis_bus import redis_connection
from execution.adapters.stream_names import group_of, stream_of
from execution.models import ExecutionRequest, InboxEvent, OutboxEvent, StreamLoss
from local_stack.server import Server, end_process
from local_stack.valkey import start_valkey
from tests.support.desk import Desk, decision
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn
from tests.support.threads import at_once
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db
AI = "ai.decision.made"
ORDER = {"symbol": "BTCUSDT", "side": "long", "quantity": 0.01}


class OwnValkey:
    """A server of the test's own, that it may kill; its address stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Server = start_valkey(folder / "first", durable=False)
        self.url, self._port = self._server.url, self._server.port

    def lose_everything(self) -> None:
        """Kill it and start another with empty memory."""
        end_process(self._server.process, SIGKILL, 10)
        self._server.stop()
        self._server = start_valkey(self._folder / f"again-{time.monotonic_ns()}", port=self._port, durable=False)

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def desk_on_it(db: None, paper: PaperExchange, risk: RiskSafetyStandIn, own: OwnValkey) -> Desk:  # noqa: ARG001
    desk = Desk(paper=paper, risk=risk, redis=redis_connection(own.url))
    desk.start()
    return desk


def patiently(call: Callable[[], Any]) -> Any:
    """Call as beat does: again until the connection is there again."""

    def attempt() -> Any:
        try:
            return call() or True
        except RedisError as error:
            raise AssertionError(repr(error)) from error

    return eventually(attempt, within=20, what="Redis answers")


# Everything lost


def test_a_redis_without_its_data_is_filled_again_from_the_books(desk_on_it: Desk, own: OwnValkey) -> None:
    desk = desk_on_it
    opened = desk.trade_opened("BTCUSDT")
    desk.publish(AI, decision("SOLUSDT"))
    [waiting] = desk.read_bus().chains
    desk.relay()
    assert desk.mirrored(opened)["status"] == "OPEN"

    own.lose_everything()
    for _ in range(3):
        desk.clock.let_pass(3)
        patiently(desk.cycle)

    # It should have carried on the request whose task was lost, and have the mirror whole.
    assert desk.request(waiting).state == "RECORDED"
    assert {desk.mirrored(pk)["status"] for pk in (opened, waiting)} == {"OPEN"}
    # It should read what comes now, through groups of its own making, and say what it cannot know.
    desk.publish(AI, decision("ETHUSDT"))
    [new] = [*desk.read_bus().chains, *desk.read_bus().chains]
    assert desk.run(new) == "RECORDED"
    groups: Any = desk.redis.xinfo_groups(stream_of(AI))
    assert [group["name"].decode() for group in groups] == [group_of(AI)]
    assert [loss.event_type for loss in StreamLoss.objects.all()] == [AI]
    assert len(desk.ledger.entries_sent) == 3
    desk.check()


def test_events_that_were_lost_with_redis_are_published_again(
    desk_on_it: Desk, own: OwnValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_on_it
    desk.trade_opened("BTCUSDT")
    desk.relay()
    before = {event["event_id"] for event in desk.stream("order.placed")}
    last = OutboxEvent.objects.order_by("-pk").values_list("pk", flat=True)[0]
    own.lose_everything()
    patiently(desk.cycle)
    desk.relay()
    assert before & {event["event_id"] for event in desk.stream("order.placed")} == set()

    monkeypatch.setattr(wiring, "event_bus", lambda: desk.bus)
    call_command("replay_events", after="0", until=str(last))

    assert {event["event_id"] for event in desk.stream("order.placed")} == before
    assert len(desk.stream("trade.opened")) == 1


@pytest.mark.django_db(transaction=True)
def test_flushed_again_and_again_under_load_doubles_and_invents_nothing(desk: Desk) -> None:
    reader = desk.another()
    # A loss is known from the first place on that was noted: without one, a fast flush would leave nothing to tell by.
    published = [desk.publish(AI, decision("S0USDT", event_id="id-0"))]
    first = reader.read_bus().chains

    def publish() -> list[Any]:
        for number in range(1, 60):
            event = decision(f"S{number}USDT", event_id=f"id-{number}")
            published.append(desk.publish(AI, event))
            time.sleep(0.005)
        return []

    def read() -> list[Any]:
        chains: list[Any] = []
        while len(published) < 60:
            chains += reader.read_bus().chains
        return [*chains, *reader.read_bus().chains, *reader.read_bus().chains]

    def flush() -> list[Any]:
        for place in (15, 30, 45):
            eventually(lambda place=place: len(published) >= place, within=30, what="events come in")  # type: ignore[misc]
            desk.redis.flushdb()
        return []

    _, others, _ = at_once([publish, read, flush])
    chains = [*first, *others]

    stored = list(InboxEvent.objects.values_list("identity", flat=True))
    # It should have stored what it read, each once, and started what it stored, each once.
    assert len(stored) == len(set(stored)) == len(chains) == len(set(chains)) == ExecutionRequest.objects.count()
    assert set(chains) == set(ExecutionRequest.objects.values_list("pk", flat=True))
    # It should have read everything after the last flush, and told of the losses when anything was lost.
    left: Any = desk.redis.xrange(stream_of(AI))
    assert {json.loads(fields[b"payload"])["event_id"] for _, fields in left} <= {
        identity.removeprefix("event:") for identity in stored
    }
    if len(stored) < 60:
        assert StreamLoss.objects.filter(event_type=AI).exists()


# Writes refused


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


@contextmanager
def read_only(redis: Redis) -> Iterator[None]:
    redis.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        redis.config_set("min-replicas-to-write", 0)


REFUSING: list[Any] = [
    pytest.param(full, "OutOfMemoryError", id="memory-full"),
    pytest.param(read_only, "ResponseError", id="no-writes"),
]


@pytest.mark.parametrize(("refusing", "name"), REFUSING)
def test_an_order_over_rest_survives_a_redis_that_takes_nothing(
    desk: Desk, client: Client, refusing: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "health_redis_client", lambda: desk.redis)
    with refusing(desk.redis):
        answer = client.post("/api/execution/order", json.dumps(ORDER), content_type="application/json")
        cache.clear()
        health = client.get("/health").json()

    # It should be stored, and not have been promised more than that.
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    [request] = ExecutionRequest.objects.all()
    assert str(request.pk) == answer.json()["request_id"]
    # It should be seen at once.
    assert f"event_bus: {name}" in health["reasons"]
    assert health["status"] == "DOWN"

    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.request(request.pk).state == "RECORDED"
    desk.check()


@pytest.mark.parametrize(("refusing", "_name"), REFUSING)
def test_events_wait_for_a_redis_that_takes_nothing(desk: Desk, refusing: Any, _name: str) -> None:
    desk.trade_opened()
    with refusing(desk.redis), pytest.raises(RedisError):
        desk.relay()

    assert not OutboxEvent.objects.filter(sent_at__isnull=False).exists()
    assert not desk.redis.exists(stream_of("trade.opened"))
    assert desk.relay() == 6
    assert [event["sequence"] for event in desk.stream("trade.opened")] == ["6"]


@pytest.mark.parametrize(("refusing", "_name"), REFUSING)
def test_a_position_is_covered_and_closed_while_redis_takes_nothing(desk: Desk, refusing: Any, _name: str) -> None:
    """The stop needs no Redis: the limiter has a share for exits without it. Reading the fills can wait."""
    request_id = desk.decide()
    desk.run(request_id, until="place_order")

    with refusing(desk.redis):
        desk.run(request_id)
        assert len(desk.ledger.live_stops) == 1
    # The limiter asks Redis again after a pause.
    eventually(lambda: desk.run(request_id) == "RECORDED", within=20, what="the entry's fills are booked")
    with refusing(desk.redis):
        desk.paper.set_price("BTCUSDT", "40000")
    eventually(lambda: desk.cycle() and desk.trade(request_id).state == "CLOSED", within=20, what="the exit is booked")

    desk.relay()
    desk.check()


def test_a_slow_redis_delays_and_loses_nothing(desk: Desk) -> None:
    desk.publish(AI, decision())
    desk.redis.client_pause(1500)

    [request_id] = desk.read_bus().chains

    assert desk.run(request_id) == "RECORDED"
    desk.redis.client_pause(1500)
    assert desk.relay() == 6
    desk.check()
