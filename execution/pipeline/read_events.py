"""Reads the event bus in slices of a few seconds: store, start what it asks for, then acknowledge."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from execution.crash_points import CrashPoint, reached
from execution.domain.ports import EventBus, StreamEntry
from execution.pipeline.accept_event import accept_entry
from execution.pipeline.heartbeats import beat
from execution.pipeline.intake import IntakeRules
from execution.pipeline.stream_watch import known_places, note_survey

Clock = Callable[[], datetime]
# Of each type at once. Small, because a trip that comes in the meantime waits until these are stored.
BATCH = 8
BLOCK_MS = 500
# An entry that another reader has held for longer than this is taken over; it was killed, or its batch failed.
RECLAIM_IDLE_MS = 10_000


@dataclass(frozen=True, kw_only=True)
class Starters:
    """What to do with an entry after its commit."""

    start_chain: Callable[[UUID], None]
    apply_policy: Callable[[int], None]
    work_off_trip: Callable[[], object]


def read_slice(bus: EventBus, starters: Starters, *, rules: IntakeRules, length: timedelta, clock: Clock) -> int:
    """Read for about `length` and return how many entries were handled.

    A surprise (the database is away, a bug) ends the slice with its batch unacknowledged: it is reclaimed later.
    """
    # Not by the clock on the wall, which may be set back by an hour.
    end = time.monotonic() + length.total_seconds()
    beat("bridge", now=clock(), details={})
    known = known_places()
    note_survey(bus.begin(known), known, now=clock())
    handled = _handle(bus, bus.reclaim(idle_ms=RECLAIM_IDLE_MS, count=BATCH), starters, rules, clock)
    # At least one reading, however long the rest took: a slow database must not starve the bus.
    while True:
        handled += _handle(bus, bus.read(block_ms=BLOCK_MS, count=BATCH), starters, rules, clock)
        if time.monotonic() >= end:
            break
    note_survey(bus.survey(), known, now=clock())
    beat("bridge", now=clock(), details={"entries": handled})
    return handled


def _handle(bus: EventBus, entries: Sequence[StreamEntry], starters: Starters, rules: IntakeRules, clock: Clock) -> int:
    for entry in entries:
        reached(CrashPoint.EVENT_READ)
        accepted = accept_entry(entry, rules=rules, now=clock())
        reached(CrashPoint.EVENT_STORED)
        if accepted.request_id:
            starters.start_chain(accepted.request_id)
        if accepted.policy_inbox_id:
            starters.apply_policy(accepted.policy_inbox_id)
        if accepted.tripped:
            starters.work_off_trip()
        reached(CrashPoint.EVENT_STARTED)
    if entries:
        reached(CrashPoint.EVENTS_HANDLED)
        bus.acknowledge(entries)
        reached(CrashPoint.EVENTS_ACKNOWLEDGED)
    return len(entries)
