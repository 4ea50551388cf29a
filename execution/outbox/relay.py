"""Last step: hand the outbox to the event bus, at least once and in order per trade, and mirror its trades."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import BigIntegerField, QuerySet
from django.db.models.functions import Cast

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.ports import EventBus, TradeMirror
from execution.domain.states import TRADE_OPEN
from execution.models import OutboxEvent, QuarantinedRow, Trade
from execution.outbox import payloads
from execution.outbox.trade_mirror import CLOSED_KEPT_SECONDS, mirrored
from execution.store.heartbeats import beat
from execution.store.quarantine import ROW_ERRORS, pairs, read_each, table_of

BATCH = 200
PAUSE_SECONDS = 0.05
SCHEMA_VERSION = "1"
SOURCE = "execution"
TRADE_EVENTS = frozenset({payloads.TRADE_OPENED, payloads.TRADE_CLOSED})
# One relay at a time: SKIP LOCKED alone would let a second one overtake an event of the same trade.
RELAY_LOCK = 0x6F757462


def relay_slice(bus: EventBus, mirror: TradeMirror, *, length: timedelta, clock: Clock) -> int:
    """Send for about `length` and return how many events went out."""
    # Not by the clock on the wall, which may be set back by an hour.
    end = time.monotonic() + length.total_seconds()
    beat("relay", now=clock(), details={})
    sent, refused = 0, set[str]()
    while time.monotonic() < end:
        batch = send_batch(bus, mirror, clock=clock, refused=refused)
        sent += batch
        if not batch:
            time.sleep(PAUSE_SECONDS)
    beat("relay", now=clock(), details={"events": sent, "refused": sorted(refused)})
    return sent


def send_batch(bus: EventBus, mirror: TradeMirror, *, clock: Clock, refused: set[str] | None = None) -> int:
    """Send the oldest unsent events; they are marked only after the bus has taken them.

    A crash in between sends them again under the same event ids. A stream that refuses its events keeps back these
    alone: their types are added to `refused`, and what stands there is not read again.
    """
    refused = set() if refused is None else refused
    with transaction.atomic():
        if not _is_the_relay():
            return 0
        batch = _next_batch(refused)
        if not batch:
            return 0
        reached(CrashPoint.OUTBOX_READ)
        refused |= bus.publish([message for _, message in batch])
        events = [event for event, _ in batch if event.event_type not in refused]
        reached(CrashPoint.OUTBOX_PUBLISHED)
        _mirror(mirror, events)
        OutboxEvent.objects.filter(pk__in=[event.pk for event in events]).update(sent_at=clock())
        reached(CrashPoint.OUTBOX_MARKED)
    reached(CrashPoint.OUTBOX_COMMITTED)
    return len(events)


def _next_batch(refused: Collection[str]) -> list[tuple[OutboxEvent, Mapping[str, str]]]:
    """Return the oldest unsent events with their messages; what cannot be sent holds back its own aggregate only."""
    unsent = OutboxEvent.objects.filter(sent_at__isnull=True).exclude(aggregate__in=_held_back())
    if refused:
        unsent = unsent.exclude(event_type__in=sorted(refused))
    oldest = unsent.select_for_update(skip_locked=True, of=("self",)).order_by("id")[:BATCH]
    try:
        return [(event, wrapped(event)) for event in oldest]
    except ROW_ERRORS:
        return _without_unsendable(list(oldest.values_list("pk", flat=True)))


def _without_unsendable(keys: Sequence[int]) -> list[tuple[OutboxEvent, Mapping[str, str]]]:
    """Read one by one; of an aggregate with an event that is set aside nothing is sent, or readers would see a gap."""
    found = list(pairs(read_each(OutboxEvent.objects.filter(pk__in=keys).order_by("id")), wrapped))
    missing = set(keys) - {event.pk for event, _ in found}
    held = set(OutboxEvent.objects.filter(pk__in=missing).values_list("aggregate", flat=True))
    return [(event, message) for event, message in found if event.aggregate not in held]


def _held_back() -> "QuerySet[OutboxEvent, Any]":
    """Return the aggregates of events that are set aside; a query within the query that reads the batch."""
    aside = QuarantinedRow.objects.filter(table=table_of(OutboxEvent), released_at__isnull=True)
    keys = aside.annotate(key=Cast("row_id", BigIntegerField())).values("key")
    return OutboxEvent.objects.filter(pk__in=keys, sent_at__isnull=True).values("aggregate")


def wrapped(event: OutboxEvent) -> Mapping[str, str]:
    """Return an event in the system's wrapper; readers that do not know the further fields ignore them."""
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


def payload_of(event: OutboxEvent) -> dict[str, Any]:
    """Return what readers see of an event wherever they read it."""
    return {**event.payload, "event_id": str(event.event_id), "sequence": event.sequence}


def _is_the_relay() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [RELAY_LOCK])
        (taken,) = cursor.fetchone()
    return bool(taken)


def _mirror(mirror: TradeMirror, events: Sequence[OutboxEvent]) -> None:
    """Write each trade as it is now, not as its event was: a late event must not bring an old state back."""
    told = {event.aggregate for event in events if event.event_type in TRADE_EVENTS}
    if not told:
        return
    trades = read_each(Trade.objects.filter(pk__in=told).select_related("request"))
    still_open = [trade for trade in trades if trade.state in TRADE_OPEN]
    mirror.write(mirrored(still_open), keep_seconds=None)
    ended = [trade for trade in trades if trade.state not in TRADE_OPEN]
    mirror.write(mirrored(ended), keep_seconds=CLOSED_KEPT_SECONDS)
