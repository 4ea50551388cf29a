"""Finds what the chain has begun and not carried on.

Its worker may be gone, and the broker redelivers late.

The protector asks for it in every run, and runs again when something of it is due, instead of with the next beat.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from execution.domain.states import RequestState
from execution.store.unfinished_entries import first_begun, unbooked_requests, unsettled_entries_sent

# The chain goes on within a fraction of this; it is not to be overtaken while it does.
GRACE = timedelta(seconds=1)
# An entry without an answer arrives within its wait, its time-out and its receive window, or never. Each look-up takes
# a weight of 1 of 2,400 a minute.
IN_DOUBT_FOR, MOST_ASKED = timedelta(seconds=30), 20

# Long enough that one run or two meet a request that stands still; later it is the monitor's.
SENT_AGAIN_FOR = timedelta(seconds=3)


def entries_in_doubt(now: datetime) -> list[int]:
    """Return the entries whose outcome is unknown: their sender may be gone, and the stream silent.

    They are looked up here while they may still arrive. What stays in doubt after that is left to reconciliation.
    """
    return unsettled_entries_sent(after=now - IN_DOUBT_FOR, until=now - GRACE, most=MOST_ASKED)


def unbooked(now: datetime, known: Collection[UUID] = ()) -> list[tuple[UUID, RequestState]]:
    """Return the requests that have stood between fill and books for a moment, each with its state.

    `known`: requests that no process carries on. These need not have stood for long.
    """
    standing_since = now - GRACE
    return unbooked_requests(
        moved_after=standing_since - SENT_AGAIN_FOR, moved_until=standing_since, also=known, most=MOST_ASKED
    )


def next_due_in(now: datetime) -> timedelta | None:
    """Return in what time the first step that the chain has begun becomes the protector's: one query.

    A software stop that has just begun counts too: the exchange is asked for an order in its place soon.
    """
    first = first_begun(after=now - GRACE, until=now)
    return first + GRACE - now if first else None
