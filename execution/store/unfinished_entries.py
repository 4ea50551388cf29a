"""Rows of entries that the chain has begun and not carried on, for the protector."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import F, Q

from execution.domain.states import ORDER_UNSETTLED, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import Bracket, ExecutionRequest, Order

# Between the fill and the books.
UNBOOKED = (RequestState.FILLED, RequestState.PROTECTED, RequestState.FLATTENED)


def unsettled_entries_sent(*, after: datetime, until: datetime, most: int) -> list[int]:
    """Return the entries without an outcome that were sent in this time, oldest first."""
    unsettled = Order.objects.filter(purpose=OrderPurpose.ENTRY, state__in=sorted(ORDER_UNSETTLED))
    young = unsettled.filter(sent_at__lte=until, sent_at__gt=after)
    return list(young.order_by("sent_at").values_list("pk", flat=True)[:most])


def unbooked_requests(
    *, moved_after: datetime, moved_until: datetime, also: Collection[UUID], most: int
) -> list[tuple[UUID, RequestState]]:
    """Return requests between fill and books, oldest first.

    They have last moved in this time, or are among `also`.
    """
    still = Q(moved_at__lte=moved_until, moved_at__gt=moved_after)
    found = ExecutionRequest.objects.filter(still | Q(pk__in=also), state__in=UNBOOKED)
    rows = found.order_by("moved_at").values_list("pk", "state")[:most]
    return [(request_id, RequestState(state)) for request_id, state in rows]


def first_begun(*, after: datetime, until: datetime) -> datetime | None:
    """Return when the first of what has begun in this time began: one statement.

    That is an entry that was sent and has no outcome, a fill that is not booked, or a software stop.
    """
    sent = Order.objects.filter(
        purpose=OrderPurpose.ENTRY, state__in=sorted(ORDER_UNSETTLED), sent_at__gt=after, sent_at__lte=until
    )
    moved = ExecutionRequest.objects.filter(state__in=UNBOOKED, moved_at__gt=after, moved_at__lte=until)
    beside = Bracket.objects.filter(software_since__gt=after, software_since__lte=until)
    began = sent.values_list(F("sent_at")).union(
        moved.values_list(F("moved_at")), beside.values_list(F("software_since"))
    )
    return min((at for (at,) in began), default=None)
