"""Writes events into the outbox, in the transaction that makes the fact, numbered without gaps per aggregate."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from execution.models import OutboxEvent

# One statement takes the numbers and the aggregate's row lock, which holds later writers until this one commits.
TAKE_NUMBERS = """
    INSERT INTO execution_outboxsequence (aggregate, last) VALUES (%s, %s)
    ON CONFLICT (aggregate) DO UPDATE SET last = execution_outboxsequence.last + EXCLUDED.last
    RETURNING last
"""

Event = tuple[str, Mapping[str, Any]]


def emit(aggregate: object, events: Sequence[Event], *, trace_id: str, now: datetime) -> None:
    """Store events (type, payload) of one aggregate in the given order. Call it in the transaction of the fact."""
    if not events:
        return
    with connection.cursor() as cursor:
        cursor.execute(TAKE_NUMBERS, [str(aggregate), len(events)])
        (last,) = cursor.fetchone()
    first = last - len(events) + 1
    OutboxEvent.objects.bulk_create(
        OutboxEvent(
            event_type=event_type,
            aggregate=str(aggregate),
            sequence=first + offset,
            payload=dict(payload),
            trace_id=trace_id,
            created_at=now,
        )
        for offset, (event_type, payload) in enumerate(events)
    )
