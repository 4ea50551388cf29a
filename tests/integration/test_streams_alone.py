"""Each stream of the bus fails alone: what another type of key, or a missing right, does to one stops no other."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from execution.adapters.redis_bus import RedisEventBus
from execution.adapters.stream_names import stream_of
from execution.domain.ports import StreamEntry
from execution.models import OutboxEvent
from execution.outbox.payloads import EVENT_TYPES as EVENTS_OUT
from execution.outbox.relay import send_batch
from execution.signals.accept import EVENT_TYPES
from execution.store.atomic_write import emit
from tests.support.desk import Desk

KEYS: Mapping[str, Any] = {"string": "x", "hash": {"a": "b"}, "list": ["x"]}


def put_in_place(redis: Redis, key: str, kind: str) -> None:
    redis.delete(key)
    if kind == "string":
        redis.set(key, "x")
    elif kind == "hash":
        redis.hset(key, mapping={"a": "b"})
    else:
        redis.rpush(key, "x")


def slice_of(bus: RedisEventBus) -> list[StreamEntry]:
    """Read one slice as the bridge does."""
    bus.begin({})
    entries = [*bus.reclaim(pause_ms=lambda _: 0, count=8), *bus.read(block_ms=10, count=8)]
    bus.acknowledge(entries)
    bus.survey()
    return entries


@pytest.mark.parametrize("kind", list(KEYS))
@pytest.mark.parametrize("broken", EVENT_TYPES)
def test_reading_goes_on_beside_a_stream_that_is_none(redis: Redis, broken: str, kind: str) -> None:
    bus = RedisEventBus(redis, EVENT_TYPES)
    slice_of(bus)
    put_in_place(redis, stream_of(broken), kind)
    others = [name for name in EVENT_TYPES if name != broken]
    for name in others:
        redis.xadd(stream_of(name), {"a": "b"})

    assert sorted(entry.event_type for entry in slice_of(bus)) == sorted(others)
    assert bus.tidy() == {}
    # It should be so for a process that begins now, too.
    for name in others:
        redis.xadd(stream_of(name), {"a": "b"})
    assert sorted(entry.event_type for entry in slice_of(RedisEventBus(redis, EVENT_TYPES))) == sorted(others)
    # It should read the stream when it is one again.
    redis.delete(stream_of(broken))
    redis.xadd(stream_of(broken), {"a": "b"})
    assert [entry.event_type for entry in slice_of(bus)] == [broken]


def test_a_stream_that_breaks_between_reading_and_acknowledging(redis: Redis) -> None:
    bus, (first, second, *_) = RedisEventBus(redis, EVENT_TYPES), EVENT_TYPES
    bus.begin({})
    for name in (first, second):
        redis.xadd(stream_of(name), {"a": "b"})
    entries = bus.read(block_ms=10, count=8)
    put_in_place(redis, stream_of(first), "string")

    bus.acknowledge(entries)

    assert redis.xpending(stream_of(second), f"quantum:group:execution:{second}")["pending"] == 0


@pytest.mark.django_db
@pytest.mark.parametrize("broken", EVENTS_OUT)
def test_sending_goes_on_beside_a_stream_that_is_none(desk: Desk, broken: str) -> None:
    put_in_place(desk.redis, stream_of(broken), "string")
    trades = [str(uuid4()) for _ in range(3)]
    for trade_id in trades:
        emit(trade_id, [(name, {}) for name in EVENTS_OUT], trace_id="", now=desk.clock())
    refused: set[str] = set()

    first = send_batch(desk.bus, desk.mirror, clock=desk.clock, refused=refused)
    again = send_batch(desk.bus, desk.mirror, clock=desk.clock, refused=refused)

    # It should send each of the others once, and not look at the broken one's again in this slice.
    assert (first, again, refused) == (3 * (len(EVENTS_OUT) - 1), 0, {broken})
    assert [desk.redis.xlen(stream_of(name)) for name in EVENTS_OUT if name != broken] == [3] * (len(EVENTS_OUT) - 1)
    assert set(OutboxEvent.objects.filter(sent_at=None).values_list("event_type", flat=True)) == {broken}
    # It should send them late, in their order, when the stream is one again.
    desk.redis.delete(stream_of(broken))
    assert send_batch(desk.bus, desk.mirror, clock=desk.clock) == 3
    assert [row["aggregate"] for row in desk.stream(broken)] == trades


def test_a_redis_that_takes_nothing_is_no_fault_of_one_stream(redis: Redis) -> None:
    bus = RedisEventBus(redis, EVENT_TYPES)
    redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(Exception, match="NOREPLICAS"):
            bus.publish([{"event_type": "trade.opened"}])
    finally:
        redis.config_set("min-replicas-to-write", 0)
