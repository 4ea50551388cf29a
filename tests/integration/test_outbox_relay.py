"""Events out: one transaction with the fact, in order per trade, at least once and by one relay at a time."""

from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from redis.exceptions import RedisError

from execution.adapters.mirror import RedisTradeMirror
from execution.adapters.redis_bus import RedisEventBus, redis_connection
from execution.adapters.stream_names import stream_of
from execution.models import Heartbeat, OutboxEvent, OutboxSequence
from execution.outbox.relay import relay_slice, send_batch
from execution.outbox.trade_mirror import mirrored
from execution.signals.accept import EVENT_TYPES
from execution.store.atomic_write import Write
from tests.support.desk import Desk
from tests.support.threads import at_once


def emit(desk: Desk, aggregate: str, *event_types: str) -> None:
    events = [(event_type, {"n": number}) for number, event_type in enumerate(event_types)]
    assert Write().emit(aggregate, events, trace_id="t", now=desk.clock()).run()


def unsent() -> int:
    return OutboxEvent.objects.filter(sent_at__isnull=True).count()


def numbers(desk: Desk, event_type: str, aggregate: str) -> list[int]:
    return [int(event["sequence"]) for event in desk.stream(event_type) if event["aggregate"] == aggregate]


def test_events_go_out_once_and_in_order(desk: Desk) -> None:
    for _ in range(3):
        emit(desk, "a", "order.placed", "order.placed")
        emit(desk, "b", "order.placed")

    assert desk.relay() == 9

    assert numbers(desk, "order.placed", "a") == [1, 2, 3, 4, 5, 6]
    assert numbers(desk, "order.placed", "b") == [1, 2, 3]
    assert (unsent(), desk.relay()) == (0, 0)
    ids = [event["event_id"] for event in desk.stream("order.placed")]
    assert len(set(ids)) == 9


def test_event_of_a_fact_that_is_rolled_back_is_never_sent_and_leaves_no_gap(desk: Desk) -> None:
    emit(desk, "a", "order.placed")
    with transaction.atomic():
        emit(desk, "a", "order.failed")
        transaction.set_rollback(True)
    emit(desk, "a", "order.placed")

    desk.relay()

    assert (numbers(desk, "order.placed", "a"), desk.stream("order.failed")) == ([1, 2], [])
    assert OutboxSequence.objects.get().last == 2


def test_events_wait_while_the_bus_is_away_and_keep_their_ids(desk: Desk) -> None:
    emit(desk, "a", "order.placed", "order.filled")
    ids = set(OutboxEvent.objects.values_list("event_id", flat=True))
    nobody = redis_connection("redis://127.0.0.1:9/0", timeout_seconds=0.5)

    with pytest.raises(RedisError):
        send_batch(RedisEventBus(nobody, EVENT_TYPES), RedisTradeMirror(nobody), clock=desk.clock)

    assert unsent() == 2
    assert desk.relay() == 2
    sent = desk.stream("order.placed") + desk.stream("order.filled")
    assert {event["event_id"] for event in sent} == {str(event_id) for event_id in ids}


@pytest.mark.django_db(transaction=True)
def test_two_relays_at_once_send_nothing_twice_and_keep_the_order(desk: Desk) -> None:
    for _ in range(60):
        for aggregate in ("a", "b", "c"):
            emit(desk, aggregate, "order.placed", "order.filled")
    desks = [desk, desk.another()]

    def drain(one: Desk) -> int:
        sent = 0
        while unsent():
            sent += one.relay()
        return sent

    sent = at_once([lambda one=one: drain(one) for one in desks])  # type: ignore[misc]

    assert sum(sent) == 360
    assert desk.redis.xlen(stream_of("order.placed")) == desk.redis.xlen(stream_of("order.filled")) == 180
    for aggregate in ("a", "b", "c"):
        assert numbers(desk, "order.placed", aggregate) == list(range(1, 121, 2))
        assert numbers(desk, "order.filled", aggregate) == list(range(2, 121, 2))


@pytest.mark.django_db(transaction=True)
def test_writers_of_one_aggregate_at_once_are_numbered_without_gaps(desk: Desk) -> None:
    def write() -> None:
        for _ in range(25):
            emit(desk, "a", "order.placed")

    at_once([write] * 4)

    rows = OutboxEvent.objects.filter(aggregate="a").order_by("id")
    assert [row.sequence for row in rows] == list(range(1, 101))


@pytest.mark.django_db(transaction=True)
def test_event_that_is_not_committed_yet_is_not_overtaken_by_a_later_one(desk: Desk) -> None:
    """A writer that is slow to commit holds back its own aggregate only."""
    written, may_commit = Event(), Event()

    def slow() -> None:
        with transaction.atomic():
            emit(desk, "a", "order.placed")
            written.set()
            assert may_commit.wait(10)

    def fast() -> None:
        assert written.wait(10)
        emit(desk, "b", "order.placed")
        desk.another().relay()
        may_commit.set()
        emit(desk, "a", "order.filled")

    at_once([slow, fast])
    desk.relay()

    assert numbers(desk, "order.placed", "b") == [1]
    assert (numbers(desk, "order.placed", "a"), numbers(desk, "order.filled", "a")) == ([1], [2])


def test_a_relay_with_nothing_to_send_asks_one_statement_at_a_time(desk: Desk) -> None:
    relay_slice(desk.bus, desk.mirror, length=timedelta(), clock=desk.clock)
    with CaptureQueriesContext(connection) as idle:
        relay_slice(desk.bus, desk.mirror, length=timedelta(seconds=0.3), clock=desk.clock)
    emit(desk, "a", "order.placed")
    with CaptureQueriesContext(connection) as busy:
        assert relay_slice(desk.bus, desk.mirror, length=timedelta(seconds=0.01), clock=desk.clock) == 1

    looks = [row["sql"] for row in idle if "execution_outboxevent" in row["sql"]]
    rest = [row["sql"] for row in idle if "execution_heartbeat" not in row["sql"]]
    # It should look at least once, take no lock and open no transaction for it; the way that sends does both.
    assert looks
    assert [sql for sql in rest if "advisory" in sql or "FOR UPDATE" in sql] == []
    assert len(set(looks)) == 1
    assert [row["sql"] for row in busy if "advisory" in row["sql"]]


def test_slice_beats_for_health(desk: Desk) -> None:
    emit(desk, "a", "order.placed")

    sent = relay_slice(desk.bus, desk.mirror, length=timedelta(seconds=0.05), clock=desk.clock)

    heartbeat = Heartbeat.objects.get(part="relay")
    assert (sent, heartbeat.healthy) == (1, True)


def test_a_trade_that_was_read_before_its_close_does_not_open_again_in_the_mirror(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    [read_before] = mirrored([desk.trade(request_id)])
    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()
    desk.relay()

    desk.mirror.write([read_before], keep_seconds=None)

    assert desk.mirrored(request_id)["status"] == "CLOSED"
    # It should be opened again by what is newer: a fill of its entry that was shown late.
    reopened = {**read_before, "updated_at": (desk.clock() + timedelta(seconds=1)).isoformat()}
    desk.mirror.write([reopened], keep_seconds=None)
    assert desk.mirrored(request_id) == reopened


def test_a_close_is_mirrored_also_when_the_clock_was_set_back(desk: Desk) -> None:
    request_id = desk.trade_opened()
    [opened] = mirrored([desk.trade(request_id)])
    earlier = (desk.clock() - timedelta(hours=1)).isoformat()

    desk.mirror.write([opened], keep_seconds=None)
    desk.mirror.write([{**opened, "status": "CLOSED", "updated_at": earlier}], keep_seconds=60)

    assert desk.mirrored(request_id)["status"] == "CLOSED"


def test_closed_trade_leaves_the_mirror_after_its_time(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    desk.relay()
    lifetime: Any = desk.redis.ttl(f"trade:{request_id}")
    assert lifetime == -1

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()
    desk.relay()

    lifetime = desk.redis.ttl(f"trade:{request_id}")
    assert 29 * 24 * 3600 < lifetime <= 30 * 24 * 3600
