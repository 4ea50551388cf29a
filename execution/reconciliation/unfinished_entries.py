"""What the chain has begun and not gone on with: whoever did it may be gone, and the broker brings it back late.

The protector asks for it in every run, and runs again when something of it is due, instead of with the next beat.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q

from execution.domain.states import ORDER_UNSETTLED, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import Bracket, ExecutionRequest, Order

# The chain goes on within a fraction of this; it is not to be overtaken while it does.
GRACE = timedelta(seconds=1)
# An entry without an answer arrives within its wait, its time-out and its receive window, or never. Each look-up takes
# a weight of 1 of 2,400 a minute.
IN_DOUBT_FOR, MOST_ASKED = timedelta(seconds=30), 20
# Between the fill and the books.
UNBOOKED = (RequestState.FILLED, RequestState.PROTECTED, RequestState.FLATTENED)
# Long enough that one run or two meet a request that stands still; later it is the monitor's.
SENT_AGAIN_FOR = timedelta(seconds=3)


def entries_in_doubt(now: datetime) -> list[int]:
    """Return the entries of which nobody knows what became of them: whoever sent one may be gone, the stream mute.

    It is asked for here while it may still arrive. What stays in doubt after that is the monitor's.
    """
    unsettled = Order.objects.filter(purpose=OrderPurpose.ENTRY, state__in=sorted(ORDER_UNSETTLED))
    young = unsettled.filter(sent_at__lte=now - GRACE, sent_at__gt=now - IN_DOUBT_FOR)
    return list(young.order_by("sent_at").values_list("pk", flat=True)[:MOST_ASKED])


def unbooked(now: datetime, known: Collection[UUID] = ()) -> list[tuple[UUID, RequestState]]:
    """Return the requests that have stood between fill and books for a moment, each with its state.

    `known`: requests of which it is certain that nobody goes on with them; these need not have stood for long.
    """
    still = Q(moved_at__lte=now - GRACE, moved_at__gt=now - GRACE - SENT_AGAIN_FOR)
    found = ExecutionRequest.objects.filter(still | Q(pk__in=known), state__in=UNBOOKED)
    rows = found.order_by("moved_at").values_list("pk", "state")[:MOST_ASKED]
    return [(request_id, RequestState(state)) for request_id, state in rows]


def next_due_in(now: datetime) -> timedelta | None:
    """Return in what time the first of what the chain does now is ours, if the chain does not go on: one query.

    So is a stop of our own that has just begun to stand in: the exchange is asked again soon.
    """
    sent = Order.objects.filter(
        purpose=OrderPurpose.ENTRY, state__in=sorted(ORDER_UNSETTLED), sent_at__gt=now - GRACE, sent_at__lte=now
    )
    moved = ExecutionRequest.objects.filter(state__in=UNBOOKED, moved_at__gt=now - GRACE, moved_at__lte=now)
    beside = Bracket.objects.filter(software_since__gt=now - GRACE, software_since__lte=now)
    began = sent.values_list(F("sent_at")).union(
        moved.values_list(F("moved_at")), beside.values_list(F("software_since"))
    )
    first = min((at for (at,) in began), default=None)
    return first + GRACE - now if first else None
