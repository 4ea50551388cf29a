"""The recorded events page by page, for readers that missed some: a cursor that no late commit can slip behind."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Min

from execution.models import OutboxEvent
from execution.store.quarantine import read_each

# A writer holds this lock from its first insert to its commit, which is milliseconds later.
WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'execution_outboxevent'::regclass AND mode = 'RowExclusiveLock'
      AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LAST_ID = "SELECT pg_sequence_last_value(pg_get_serial_sequence('execution_outboxevent', 'id')::regclass)"
PATIENCE_SECONDS = 1.0
POLL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """Events in the order of their ids; the next page begins behind `next_after`."""

    events: Sequence[OutboxEvent]
    next_after: int
    has_more: bool
    # The oldest event that retention has left; a reader whose cursor is older may have missed some for good.
    oldest_id: int | None


def events_after(cursor: int, *, limit: int, event_type: str = "", aggregate: str = "") -> EventPage:
    """Return the next events behind a cursor. A page is empty while nothing new is certain.

    Ids are given at the insert and seen at the commit, so that a lower id may appear after a higher one. Therefore
    only ids are shown below which every writer has ended.
    """
    horizon = _certain_id()
    if horizon is None or horizon <= cursor:
        return EventPage(events=(), next_after=cursor, has_more=False, oldest_id=_oldest())
    wanted = OutboxEvent.objects.filter(pk__gt=cursor, pk__lte=horizon).order_by("pk")
    if event_type:
        wanted = wanted.filter(event_type=event_type)
    if aggregate:
        wanted = wanted.filter(aggregate=aggregate)
    found = read_each(wanted[: limit + 1])
    page, more = found[:limit], len(found) > limit
    return EventPage(events=page, next_after=page[-1].pk if more else horizon, has_more=more, oldest_id=_oldest())


def _certain_id() -> int | None:
    """Return the highest id given so far, once all who may have taken one up to it have ended; None: they have not."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_ID)
        (last,) = cursor.fetchone()
        if last is None:
            return None
        deadline = time.monotonic() + PATIENCE_SECONDS
        waited_for = running = _writers()
        while waited_for & running:
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_SECONDS)
            running = _writers()
    return int(last)


def _writers() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(WRITERS)
        return {str(row[0]) for row in cursor.fetchall()}


def _oldest() -> int | None:
    oldest: int | None = OutboxEvent.objects.aggregate(oldest=Min("pk"))["oldest"]
    return oldest
