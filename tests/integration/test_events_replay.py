"""Recorded events go to the bus again: the same ids and numbers, in order, marked, and never too many."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from execution import wiring
from execution.models import AuditEvent, OutboxEvent
from execution.outbox import replay as step
from execution.store.atomic_write import emit
from tests.support.desk import Desk
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _bus(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "event_bus", lambda: desk.bus)


def replay(**options: Any) -> str:
    out = io.StringIO()
    call_command("replay_events", stdout=out, **options)
    return out.getvalue().strip()


def told(desk: Desk, event_type: str = "order.placed") -> list[tuple[str, str, str]]:
    events = desk.stream(event_type)
    return [(event["aggregate"], event["sequence"], event.get("redelivered", "")) for event in events]


def three_of_two(desk: Desk) -> None:
    for aggregate in ("a", "b", "a"):
        emit(aggregate, [("order.placed", {})], trace_id="", now=desk.clock())
        desk.clock.let_pass(60)
    desk.relay()


def test_a_lost_stream_is_filled_again_with_the_same_events(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.relay()
    before = {name: desk.stream(name) for name in ("order.placed", "order.filled", "trade.opened")}
    desk.redis.flushdb()

    assert replay(after="0") == (
        "6 events published again: 1 order.executed, 1 order.filled, 3 order.placed, 1 trade.opened"
    )

    for event_type, lost in before.items():
        found = desk.stream(event_type)
        assert [event.pop("redelivered") for event in found] == ["true"] * len(lost)
        assert all(event.pop("replayed_at") for event in found)
        assert found == lost
    # It should have changed nothing else, and stand in the log.
    assert desk.events(request_id)[-1] == "trade.opened"
    assert AuditEvent.objects.get(entity="outbox").details["events"]["order.placed"] == 3
    assert desk.relay() == 0


def test_a_range_is_named_by_id_event_or_time(desk: Desk) -> None:
    three_of_two(desk)
    first, second, third = OutboxEvent.objects.order_by("pk")
    again = [("b", "1", "true"), ("a", "2", "true")]

    for after in (str(first.pk), str(first.event_id), (first.created_at + timedelta(seconds=1)).isoformat()):
        desk.redis.flushdb()
        replay(after=after)
        assert told(desk) == again
    for until in (str(second.pk), str(second.event_id), second.created_at.replace(tzinfo=None).isoformat()):
        desk.redis.flushdb()
        replay(after=str(first.pk), until=until)
        assert told(desk) == again[:1]
    desk.redis.flushdb()
    replay(after="0", aggregate="a")
    assert told(desk) == [("a", "1", "true"), ("a", "2", "true")]
    # It should find nothing behind the newest.
    assert replay(after=str(third.pk)) == "0 events published again"
    assert replay(after=(third.created_at + timedelta(days=1)).isoformat()) == "0 events published again"


def test_counting_publishes_nothing(desk: Desk) -> None:
    three_of_two(desk)
    desk.redis.flushdb()

    assert replay(after="0", count=True) == "3 events selected: 3 order.placed"

    assert (told(desk), AuditEvent.objects.filter(entity="outbox").count()) == ([], 0)


def test_what_was_never_sent_is_left_to_the_relay(desk: Desk) -> None:
    three_of_two(desk)
    emit("b", [("order.placed", {})], trace_id="", now=desk.clock())

    replay(after="0", aggregate="b")

    assert told(desk)[-1] == ("b", "1", "true")
    assert desk.relay() == 1
    assert told(desk)[-1] == ("b", "2", "")


@pytest.mark.parametrize("after", ["yesterday", "6d222a9c-fc3c-4c4a-b411-9ac76fcc751d"])
def test_an_unknown_place_is_an_error(desk: Desk, after: str) -> None:  # noqa: ARG001
    with pytest.raises(CommandError, match=after):
        replay(after=after)


def test_more_than_a_stream_holds_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing them would trim the oldest of them away, and with them what readers have not read."""
    three_of_two(desk)
    desk.redis.flushdb()
    monkeypatch.setattr(step, "STREAM_LENGTH", 2)

    with pytest.raises(CommandError, match=r"Nothing was published: .*'order.placed': 3"):
        replay(after="0")

    assert told(desk) == []


@pytest.mark.django_db(transaction=True)
def test_replay_and_relay_at_once_keep_the_order_of_a_trade(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take turns: each keeps its own order, and neither loses an event."""
    monkeypatch.setattr(step, "BATCH", 10)
    for _ in range(60):
        emit("a", [("order.placed", {})], trace_id="", now=desk.clock())
    desk.relay()
    desk.redis.flushdb()

    def relay() -> None:
        other = desk.another()
        for _ in range(60):
            emit("a", [("order.placed", {})], trace_id="", now=other.clock())
            other.relay()

    def again() -> None:
        replay(after="0", until=str(OutboxEvent.objects.filter(sent_at__isnull=False).order_by("pk")[59].pk))

    at_once([relay, again])
    desk.relay()

    numbers = told(desk)
    assert [number for _, number, mark in numbers if mark] == [str(n) for n in range(1, 61)]
    assert [number for _, number, mark in numbers if not mark] == [str(n) for n in range(61, 121)]
