"""Reads the event bus in slices of seconds: store each entry, start its tasks, acknowledge it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.ports import EventBus, StreamEntry
from execution.signals.accept import AcceptedEvent, accept_entry, give_up
from execution.signals.inbox import IntakeRules
from execution.signals.stream_offsets import known_places, note_survey
from execution.store.answering import database_answers
from execution.store.heartbeats import beat

log = structlog.get_logger(__name__)
# Of each type at once. Small, because a trip that comes in the meantime waits until these are stored.
BATCH = 8
BLOCK_MS = 500
# An entry that another reader has held for longer than this is taken over; it was killed, or the entry failed.
RECLAIM_IDLE_MS = 10_000
# The pause doubles with each delivery, up to this.
LONGEST_PAUSE_MS = 300_000
# An entry that fails unforeseen is tried so often.
MOST_TRIES = 5
# An entry whose readers die with it: more, because another entry may have killed them.
MOST_DELIVERIES = 20


@dataclass(frozen=True, kw_only=True)
class EventStarters:
    """Callbacks that start the tasks of an accepted entry, after its commit."""

    start_chain: Callable[[UUID], None]
    apply_policy: Callable[[int], None]
    work_off_trip: Callable[[], object]


def read_slice(bus: EventBus, starters: EventStarters, *, rules: IntakeRules, length: timedelta, clock: Clock) -> int:
    """Read for about `length` and return how many entries were handled.

    Each entry is tried on its own. An entry that fails is delivered again after a pause, at most MOST_TRIES times, and
    then kept as a dead letter. An outage of the database ends the slice; unacknowledged entries are reclaimed later.
    """
    # The wall clock may be set back by an hour.
    end = time.monotonic() + length.total_seconds()
    beat("bridge", now=clock(), details={})
    known = known_places()
    note_survey(bus.begin(known), known, now=clock())
    handled = _handle(bus, bus.reclaim(pause_ms=pause_ms, count=BATCH), starters, rules, clock)
    # At least one reading, however long the rest took: a slow database must not starve the bus.
    while True:
        handled += _handle(bus, bus.read(block_ms=BLOCK_MS, count=BATCH), starters, rules, clock)
        if time.monotonic() >= end:
            break
    note_survey(bus.survey(), known, now=clock())
    beat("bridge", now=clock(), details={"entries": handled})
    return handled


def pause_ms(deliveries: int) -> int:
    """Return how long an entry rests after so many deliveries."""
    # The exponent is bounded, because the number of deliveries is not.
    return min(RECLAIM_IDLE_MS << min(deliveries - 1, 10), LONGEST_PAUSE_MS)


def _handle(
    bus: EventBus, entries: Sequence[StreamEntry], starters: EventStarters, rules: IntakeRules, clock: Clock
) -> int:
    done: list[StreamEntry] = []
    try:
        for entry in entries:
            reached(CrashPoint.EVENT_READ)
            accepted = _accept_or_give_up(entry, rules, clock)
            if accepted:
                reached(CrashPoint.EVENT_STORED)
                if accepted.request_id:
                    starters.start_chain(accepted.request_id)
                if accepted.policy_inbox_id:
                    starters.apply_policy(accepted.policy_inbox_id)
                if accepted.tripped:
                    starters.work_off_trip()
                reached(CrashPoint.EVENT_STARTED)
                done.append(entry)
    finally:
        if done:
            reached(CrashPoint.EVENTS_HANDLED)
            bus.acknowledge(done)
            reached(CrashPoint.EVENTS_ACKNOWLEDGED)
    return len(done)


def _accept_or_give_up(entry: StreamEntry, rules: IntakeRules, clock: Clock) -> AcceptedEvent | None:
    """Accept an entry or keep it as a dead letter, or return None when it is to be tried again later.

    Raises:
        OperationalError: the database does not answer.
        InterfaceError: the same.

    """
    if entry.deliveries > MOST_DELIVERIES:
        return give_up(entry, "no reader has lived to tell its outcome", rules=rules, now=clock())
    try:
        return accept_entry(entry, rules=rules, now=clock())
    except Exception as error:
        # A bug about one entry must not keep the others of its batch from being executed.
        if isinstance(error, OperationalError | InterfaceError) and not database_answers():
            raise
        log.exception("entry_failed", stream=entry.stream, entry_id=entry.entry_id, deliveries=entry.deliveries)
        if entry.deliveries < MOST_TRIES:
            return None
        return give_up(entry, f"{type(error).__name__}: {error}", rules=rules, now=clock())
