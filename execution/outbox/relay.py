"""Last step: send the outbox to the event bus, and mirror its trades.

Each event is sent at least once, and in order per trade.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from django.db import transaction

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.json_values import JsonValue
from execution.domain.ports import EventBus, TradeMirror
from execution.domain.states import TRADE_OPEN
from execution.models import OutboxEvent
from execution.outbox import payloads
from execution.outbox.trade_mirror import CLOSED_KEPT_SECONDS, mirrored
from execution.store.heartbeats import beat
from execution.store.outbox import (
    aggregates_of,
    events_with,
    has_unsent_events,
    mark_sent,
    trades_to_mirror,
    try_relay_lock,
    unsent_events,
)
from execution.store.quarantine import ROW_ERRORS, pairs, read_each

BATCH = 200
PAUSE_SECONDS = 0.05
SCHEMA_VERSION = "1"
SOURCE = "execution"
TRADE_EVENTS = frozenset({payloads.TRADE_OPENED, payloads.TRADE_CLOSED})


def relay_slice(bus: EventBus, mirror: TradeMirror, *, length: timedelta, clock: Clock) -> int:
    """Send for about `length` and return how many events went out."""
    # The wall clock may be set back by an hour.
    end = time.monotonic() + length.total_seconds()
    beat("relay", now=clock(), details={})
    sent, refused = 0, set[str]()
    while time.monotonic() < end:
        # Most of the time nothing waits, and a look costs one statement.
        batch = send_batch(bus, mirror, clock=clock, refused=refused) if has_unsent_events() else 0
        sent += batch
        if not batch:
            time.sleep(PAUSE_SECONDS)
    beat("relay", now=clock(), details={"events": sent, "refused": sorted(refused)})
    return sent


def send_batch(bus: EventBus, mirror: TradeMirror, *, clock: Clock, refused: set[str] | None = None) -> int:
    """Send the oldest unsent events, and mark them after the bus has taken them.

    A crash in between sends them again under the same event ids. When a stream refuses its events, their type is added
    to `refused`; events of these types are not read again, and all others go on.
    """
    refused = set() if refused is None else refused
    with transaction.atomic():
        if not try_relay_lock():
            return 0
        batch = _next_batch(refused)
        if not batch:
            return 0
        reached(CrashPoint.OUTBOX_READ)
        refused |= bus.publish([message for _, message in batch])
        events = [event for event, _ in batch if event.event_type not in refused]
        reached(CrashPoint.OUTBOX_PUBLISHED)
        _mirror(mirror, events)
        mark_sent([event.pk for event in events], at=clock())
        reached(CrashPoint.OUTBOX_MARKED)
    reached(CrashPoint.OUTBOX_COMMITTED)
    return len(events)


def _next_batch(refused: Collection[str]) -> list[tuple[OutboxEvent, Mapping[str, str]]]:
    """Return the oldest unsent events with their messages.

    An unusable event holds back its own aggregate only.
    """
    oldest = unsent_events(but=refused)[:BATCH]
    try:
        return [(event, wrapped(event)) for event in oldest]
    except ROW_ERRORS:
        return _without_unsendable(list(oldest.values_list("pk", flat=True)))


def _without_unsendable(keys: Sequence[int]) -> list[tuple[OutboxEvent, Mapping[str, str]]]:
    """Read events one by one, and leave out each aggregate with an unusable event.

    Its readers would see a gap.
    """
    found = list(pairs(read_each(events_with(keys)), wrapped))
    held = aggregates_of(set(keys) - {event.pk for event, _ in found})
    return [(event, message) for event, message in found if event.aggregate not in held]


def wrapped(event: OutboxEvent) -> Mapping[str, str]:
    """Return an event in the system's wrapper. Readers ignore the fields that they do not know."""
    return {
        "event_type": event.event_type,
        "payload": json.dumps(payload_of(event)),
        "trace_id": event.trace_id,
        "timestamp": event.created_at.isoformat(),
        "source": SOURCE,
        "event_id": str(event.event_id),
        "aggregate": event.aggregate,
        "sequence": str(event.sequence),
        "schema_version": SCHEMA_VERSION,
        "correlation_id": event.trace_id,
    }


def payload_of(event: OutboxEvent) -> dict[str, JsonValue]:
    """Return an event's payload as readers get it, on the bus and over REST."""
    return {**event.payload, "event_id": str(event.event_id), "sequence": event.sequence}


def _mirror(mirror: TradeMirror, events: Sequence[OutboxEvent]) -> None:
    """Write each trade as it is now: a late event must not bring an old state back."""
    concerned = {event.aggregate for event in events if event.event_type in TRADE_EVENTS}
    if not concerned:
        return
    trades = read_each(trades_to_mirror(concerned))
    still_open = [trade for trade in trades if trade.state in TRADE_OPEN]
    mirror.write(mirrored(still_open), keep_seconds=None)
    ended = [trade for trade in trades if trade.state not in TRADE_OPEN]
    mirror.write(mirrored(ended), keep_seconds=CLOSED_KEPT_SECONDS)
