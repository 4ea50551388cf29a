"""Events of the outbox: which are to be sent next, and which were sent."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import BigIntegerField, Q, QuerySet
from django.db.models.functions import Cast

from execution.models import OutboxEvent, QuarantinedRow, Trade
from execution.store.quarantine import table_of

# One relay at a time: SKIP LOCKED alone would let a second one overtake an event of the same trade.
RELAY_LOCK = 0x6F757462


def try_relay_lock() -> bool:
    """Take the relay's lock for this transaction, or return False while another process holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [RELAY_LOCK])
        (taken,) = cursor.fetchone()
    return bool(taken)


def wait_for_relay_lock() -> None:
    """Wait for the relay's lock, and hold it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [RELAY_LOCK])


def has_unsent_events() -> bool:
    """Return whether any event waits, by one statement that takes no lock and opens no transaction."""
    return OutboxEvent.objects.filter(sent_at__isnull=True).exists()


def unsent_events(*, but: Collection[str]) -> QuerySet[OutboxEvent]:
    """Return the unsent events but of some types, oldest first and locked for this transaction.

    An aggregate with a quarantined event is left out as a whole, or its readers would see a gap.
    """
    aside = QuarantinedRow.objects.filter(table=table_of(OutboxEvent), released_at__isnull=True)
    keys = aside.annotate(key=Cast("row_id", BigIntegerField())).values("key")
    held_back = OutboxEvent.objects.filter(pk__in=keys, sent_at__isnull=True).values("aggregate")
    unsent = OutboxEvent.objects.filter(sent_at__isnull=True).exclude(aggregate__in=held_back)
    if but:
        unsent = unsent.exclude(event_type__in=sorted(but))
    return unsent.select_for_update(skip_locked=True, of=("self",)).order_by("id")


def events_with(keys: Collection[int]) -> QuerySet[OutboxEvent]:
    """Return the events with these keys, oldest first."""
    return OutboxEvent.objects.filter(pk__in=keys).order_by("id")


def aggregates_of(keys: Collection[int]) -> set[str]:
    """Return the aggregates of the events with these keys."""
    return set(OutboxEvent.objects.filter(pk__in=keys).values_list("aggregate", flat=True))


def mark_sent(keys: Collection[int], *, at: datetime) -> None:
    """Mark these events as sent."""
    OutboxEvent.objects.filter(pk__in=keys).update(sent_at=at)


def sent_events(wanted: Q, *, after: int) -> QuerySet[OutboxEvent]:
    """Return the sent events with ids above `after` that match, oldest first."""
    return OutboxEvent.objects.filter(Q(pk__gt=after, sent_at__isnull=False) & wanted).order_by("pk")


def trades_to_mirror(ids: Collection[str | UUID]) -> QuerySet[Trade]:
    """Return these trades with their requests, as they are now."""
    return Trade.objects.filter(pk__in=ids).select_related("request")
