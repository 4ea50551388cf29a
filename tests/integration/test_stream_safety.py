"""Streams that are flushed, trimmed or lose their group: nothing is skipped or doubled, and no loss is silent."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from execution.adapters.redis_bus import RedisEventBus
from execution.adapters.stream_names import group_of, stream_of
from execution.models import DeadLetter, ExecutionRequest, InboxEvent, StreamLoss, StreamPosition
from execution.signals.accept import EVENT_TYPES
from tests.support import builders
from tests.support.desk import Desk, decision
from tests.support.log_lines import log_lines

pytestmark = pytest.mark.django_db
AI = "ai.decision.made"
STREAM, GROUP = stream_of(AI), group_of(AI)


def publish(desk: Desk, number: int) -> list[str]:
    return [desk.publish(AI, decision(position_size_usd=100.0 + place)) for place in range(number)]


def place() -> tuple[str, int]:
    row = StreamPosition.objects.get(event_type=AI)
    return row.entry_id, row.entries_read


def losses() -> list[tuple[str, str, int | None]]:
    return list(StreamLoss.objects.order_by("pk").values_list("after_id", "before_id", "entries"))


def stored() -> list[str]:
    """Return the entries that became decisions, as often as they did."""
    return sorted(InboxEvent.objects.filter(event_type=AI).values_list("entry_id", flat=True))


def new_process(desk: Desk) -> None:
    desk.bus = RedisEventBus(desk.redis, EVENT_TYPES)


# Where reading goes on


def test_the_place_is_what_is_stored_and_acknowledged(desk: Desk) -> None:
    ids = publish(desk, 3)
    desk.read_bus()
    assert place() == (ids[-1], 3)

    def broker_is_away(_request_id: object) -> None:
        raise ConnectionError("broker")

    publish(desk, 1)
    with pytest.raises(ConnectionError):
        desk.read_bus(start=broker_is_away)
    desk.read_bus()

    # It should not move past an entry that is still in the hands of a reader.
    assert place() == (ids[-1], 3)


def test_a_lost_group_goes_on_where_it_was_and_reads_nothing_twice(desk: Desk) -> None:
    publish(desk, 5)
    desk.read_bus()
    desk.redis.xgroup_destroy(STREAM, GROUP)
    late = publish(desk, 2)
    new_process(desk)

    # It should have asked for the two new ones only: the others are not even looked at again.
    assert len(desk.read_bus().chains) == 2
    assert stored()[-2:] == late
    groups: Any = desk.redis.xinfo_groups(STREAM)
    assert [group["entries-read"] for group in groups] == [7]
    assert losses() == []


def test_a_lost_group_skips_nothing_that_was_given_and_not_stored(desk: Desk) -> None:
    """A reader died with entries in its hands, a later one has read on: the highest id says nothing about those."""
    first = publish(desk, 1)
    desk.read_bus()
    held = publish(desk, 2)
    dead = RedisEventBus(desk.redis, EVENT_TYPES)
    dead._consumer = "execution_elsewhere_1"
    assert [entry.entry_id for entry in dead.read(block_ms=10, count=10)] == held
    after = publish(desk, 1)
    desk.read_bus()
    assert stored() == sorted(first + after)

    desk.redis.xgroup_destroy(STREAM, GROUP)
    desk.read_bus()
    desk.read_bus()

    assert stored() == sorted(first + held + after)
    assert ExecutionRequest.objects.count() == 4


def test_a_stream_that_was_flushed_is_read_from_its_beginning_and_the_loss_is_told(desk: Desk) -> None:
    ids = publish(desk, 3)
    desk.read_bus()
    desk.redis.flushdb()
    # The clock of Redis was set back meanwhile: the new ids are lower than those that were read.
    desk.redis.xadd(STREAM, {"payload": "{}"}, id="1000-0")

    with log_lines() as logs:
        desk.read_bus()
        desk.read_bus()

    assert DeadLetter.objects.get().entry_id == "1000-0"
    assert losses() == [(ids[-1], "", None)]
    assert [line["log_level"] for line in logs if line["event"] == "stream_lost"] == ["error"]
    assert place() == ("1000-0", 1)


def test_everything_lost_at_once_reads_on_without_an_operator(desk: Desk) -> None:
    publish(desk, 2)
    desk.read_bus()
    for _ in range(5):
        desk.redis.flushdb()
        publish(desk, 2)
        desk.read_bus()
        desk.read_bus()

    assert ExecutionRequest.objects.count() == 12


# Trimmed unread


def test_a_stream_that_is_trimmed_before_it_is_read_raises_the_alarm(desk: Desk, client: Client) -> None:
    first = publish(desk, 3)
    desk.read_bus()
    gone = publish(desk, 6)
    left = publish(desk, 4)
    desk.redis.xtrim(STREAM, maxlen=4, approximate=False)

    with log_lines() as logs:
        desk.read_bus()

    # It should trade what is left, and say how many are gone and between which ids.
    assert stored() == sorted(first + left)
    assert losses() == [(first[-1], left[0], 6)]
    told = {"after": first[-1], "before": left[0], "entries": 6, "event_type": AI}
    assert {"event": "stream_trimmed_unread", "log_level": "error"} | told in logs
    assert gone[0] > first[-1]

    cache.clear()
    reasons = client.get("/health").json()["reasons"]
    sentence = f"6 entries of {AI} gone unread behind {first[-1]} before {left[0]}"
    assert f"event_bus: {sentence}" in [reason for reason in reasons if "gone unread" in reason]
    figures = client.get("/metrics").content.decode()
    assert f'execution_stream_entries_lost{{event_type="{AI}"}} 6.0' in figures
    assert f'execution_stream_losses{{event_type="{AI}"}} 1.0' in figures

    # It should not tell of it again.
    publish(desk, 1)
    desk.read_bus()
    assert StreamLoss.objects.count() == 1


def test_a_stream_that_is_trimmed_to_nothing_is_noticed_too(desk: Desk) -> None:
    [first] = publish(desk, 1)
    desk.read_bus()
    publish(desk, 2)
    desk.redis.xtrim(STREAM, maxlen=0, approximate=False)

    desk.read_bus()
    desk.read_bus()

    assert losses() == [(first, "", 2)]


def test_trimming_what_was_read_is_no_loss(desk: Desk) -> None:
    for _ in range(4):
        publish(desk, 5)
        desk.read_bus()
        desk.redis.xtrim(STREAM, maxlen=0, approximate=False)
    new_process(desk)
    desk.read_bus()

    assert losses() == []


def test_entries_that_vanish_while_we_read_are_noticed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two readings of one slice, which sees both ends of the gap only by the counts."""
    first = publish(desk, 1)
    read = RedisEventBus.read

    def reading(bus: RedisEventBus, **options: Any) -> Any:
        entries = read(bus, **options)
        if not trimmed:
            trimmed.extend(publish_and_trim(desk))
            entries += read(bus, **options)
        return entries

    trimmed: list[str] = []
    monkeypatch.setattr(RedisEventBus, "read", reading)

    desk.read_bus()

    assert stored() == sorted(first + trimmed[-1:])
    assert [entries for _, _, entries in losses()] == [3]


def publish_and_trim(desk: Desk) -> list[str]:
    ids = publish(desk, 4)
    desk.redis.xtrim(STREAM, maxlen=1, approximate=False)
    return ids


def test_an_entry_that_is_trimmed_in_the_hands_of_a_dead_reader_is_told(desk: Desk) -> None:
    known = publish(desk, 1)
    desk.read_bus()
    held = publish(desk, 2)
    dead = RedisEventBus(desk.redis, EVENT_TYPES)
    dead._consumer = "execution_elsewhere_1"
    dead.read(block_ms=10, count=10)
    # One of the two it had stored, and died before it could acknowledge it.
    builders.inbox(entry_id=held[0])
    desk.redis.xclaim(STREAM, GROUP, "execution_elsewhere_1", 0, list[Any](held), idle=11_000, retrycount=1)
    desk.redis.xtrim(STREAM, maxlen=0, approximate=False)

    desk.read_bus()

    assert losses() == [(held[1], held[1], 1)]
    assert stored() == sorted([*known, held[0]])
