"""Offsets of the event bus's streams, and what they show about entries that were never read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The length that the system's own bus keeps of each stream, approximately: older entries are gone.
STREAM_LENGTH = 10_000
BEGINNING = "0-0"


@dataclass(frozen=True, kw_only=True)
class StreamPlace:
    """Up to which entry everything of a stream is handled, and how many entries that were since it began."""

    entry_id: str
    entries_read: int


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """Redis's report of a stream and of our group on it. `first_id` is None when it is empty."""

    first_id: str | None
    last_id: str
    entries_added: int
    length: int
    delivered_to: str = BEGINNING
    # None: Redis does not know.
    entries_read: int | None = 0
    pending: int = 0


@dataclass(frozen=True, kw_only=True)
class StreamGap:
    """Entries that are gone unread: those behind `after` and before `before`.

    `entries` is None when their number is not known. `before` is empty when the whole stream was lost.
    """

    event_type: str
    after: str
    before: str = ""
    entries: int | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """How far each stream is handled, where that is certain, and what was found to be gone."""

    places: Mapping[str, StreamPlace]
    gaps: Sequence[StreamGap]


def order_of(entry_id: str) -> tuple[int, int]:
    """Return an entry's id as numbers that compare as Redis compares."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def continues(place: StreamPlace, facts: StreamFacts, *, entry_is_there: bool) -> bool:
    """Whether a stream is the one in which the place was noted, and not a new one after a loss.

    While all of a stream is newer than the place, it must have had as many entries before; else the place's own entry
    must still be there.
    """
    if order_of(facts.last_id) < order_of(place.entry_id):
        return False
    if facts.first_id is not None and order_of(facts.first_id) <= order_of(place.entry_id):
        return entry_is_there
    return facts.entries_added - facts.length >= place.entries_read


def trimmed_unread(event_type: str, facts: StreamFacts) -> StreamGap | None:
    """Return the entries that were taken off the front of a stream before our group was given them.

    All entries there ever were = those read + those that wait + those that are gone. While the oldest that is left is
    newer than the last one read, all that are left wait.
    """
    nothing_new = order_of(facts.last_id) <= order_of(facts.delivered_to)
    waiting_begins_later = facts.first_id is not None and order_of(facts.first_id) <= order_of(facts.delivered_to)
    if facts.entries_read is None or nothing_new or waiting_begins_later:
        return None
    gone = facts.entries_added - facts.length - facts.entries_read
    if gone <= 0:
        return None
    return StreamGap(event_type=event_type, after=facts.delivered_to, before=facts.first_id or "", entries=gone)


def jumped_over(event_type: str, before: StreamFacts, now: StreamFacts, *, delivered: int) -> StreamGap | None:
    """Return the entries that vanished while we were reading.

    Redis counts them as read, and our group was not given them.
    """
    if before.entries_read is None or now.entries_read is None:
        return None
    gone = now.entries_read - before.entries_read - delivered
    if gone <= 0:
        return None
    return StreamGap(event_type=event_type, after=before.delivered_to, before=now.delivered_to, entries=gone)
