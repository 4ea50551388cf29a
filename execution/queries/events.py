"""Pages through the recorded events, with a cursor that no late commit can slip behind."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Max, Min, Q

from execution.models import OutboxEvent
from execution.store.event_ids import event_writers, last_event_id
from execution.store.quarantine import read_each

PATIENCE_SECONDS = 1.0
POLL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """Events in the order of their ids. The next page begins behind `next_after`."""

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
    horizon = certain_event_id()
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


@dataclass(frozen=True, kw_only=True)
class IdsAround:
    """Outbox ids around a moment, each None without such an event. `last` is the newest of all."""

    first_after: int | None
    last_up_to: int | None
    last: int | None


def id_of_event(event_id: UUID) -> int:
    """Return the outbox id of an event.

    Raises:
        OutboxEvent.DoesNotExist: no such event is recorded.

    """
    return OutboxEvent.objects.values_list("pk", flat=True).get(event_id=event_id)


def ids_around(moment: datetime) -> IdsAround:
    """Return the ids of the events that were made just before, at and after an aware time."""
    found = OutboxEvent.objects.aggregate(
        first_after=Min("pk", filter=Q(created_at__gt=moment)),
        last_up_to=Max("pk", filter=Q(created_at__lte=moment)),
        last=Max("pk"),
    )
    return IdsAround(first_after=found["first_after"], last_up_to=found["last_up_to"], last=found["last"])


def certain_event_id() -> int | None:
    """Return the highest id given so far, once every writer that may hold a lower one has ended.

    None: a writer has not ended in time, or no event was ever recorded.
    """
    last = last_event_id()
    if last is None:
        return None
    deadline = time.monotonic() + PATIENCE_SECONDS
    waited_for = running = event_writers()
    while waited_for & running:
        if time.monotonic() > deadline:
            return None
        time.sleep(POLL_SECONDS)
        running = event_writers()
    return last


def _oldest() -> int | None:
    oldest: int | None = OutboxEvent.objects.aggregate(oldest=Min("pk"))["oldest"]
    return oldest
