"""Publishes recorded events again, unchanged and in their order, for readers that have missed some."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from execution.domain.clocks import Clock
from execution.domain.json_values import JsonValue
from execution.domain.ports import EventBus
from execution.domain.stream_offsets import STREAM_LENGTH
from execution.models import OutboxEvent
from execution.outbox.relay import BATCH, wrapped
from execution.store.outbox import sent_events, wait_for_relay_lock
from execution.store.transitions import log_step


class TooManyEventsError(Exception):
    """More events than a stream keeps: publishing them would push out what its readers have not read yet."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which events: ids above `after` up to `until`, and of one aggregate or one type when named."""

    after: int
    until: int | None = None
    aggregate: str = ""
    event_type: str = ""


def selected(selection: Selection) -> QuerySet[OutboxEvent]:
    """Return the sent events of a selection, oldest first. Unsent events are left to the relay."""
    wanted = Q()
    if selection.until is not None:
        wanted &= Q(pk__lte=selection.until)
    if selection.aggregate:
        wanted &= Q(aggregate=selection.aggregate)
    if selection.event_type:
        wanted &= Q(event_type=selection.event_type)
    return sent_events(wanted, after=selection.after)


def count_events(selection: Selection) -> Mapping[str, int]:
    """Return how many events of each type a selection holds."""
    return dict(selected(selection).order_by().values_list("event_type").annotate(Count("pk")))


def replay_events(selection: Selection, bus: EventBus, *, clock: Clock) -> Mapping[str, int]:
    """Publish the selected events again and return how many there were of each type.

    They keep their `event_id` and `sequence`, so a reader that has them drops them, and carry `redelivered`. When the
    bus fails in the middle, the same call again is harmless.

    Raises:
        TooManyEventsError: nothing was published; choose fewer, or read them over REST.

    """
    counts = count_events(selection)
    crowded = {name: number for name, number in counts.items() if number > STREAM_LENGTH}
    if crowded:
        raise TooManyEventsError(f"a stream keeps about {STREAM_LENGTH} entries; selected: {crowded}")
    done: Counter[str] = Counter()
    while batch := _publish_batch(selection, bus, now=clock()):
        done.update(event.event_type for event in batch)
        selection = Selection(**{**vars(selection), "after": batch[-1].pk})
    return done


def log_replay(selection: Selection, counts: Mapping[str, int], *, reason: str, now: datetime) -> None:
    """Write to the journal which events were published again, and why."""
    details: dict[str, JsonValue] = {**vars(selection), "events": dict(counts)}
    log_step(
        "outbox",
        selection.after,
        to_state="REPLAYED",
        trigger="operator",
        now=now,
        reason=("", reason),
        details=details,
    )


def _publish_batch(selection: Selection, bus: EventBus, *, now: datetime) -> list[OutboxEvent]:
    """Publish the oldest of the selection under the relay's lock: the two must not mix within one trade."""
    with transaction.atomic():
        wait_for_relay_lock()
        events = list(selected(selection)[:BATCH])
        if events:
            bus.publish([{**wrapped(event), "redelivered": "true", "replayed_at": now.isoformat()} for event in events])
    return events
