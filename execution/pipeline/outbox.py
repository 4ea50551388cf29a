"""Writes events into the outbox, in the transaction that makes the fact, numbered without gaps per aggregate."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.db import connection

# One statement takes the numbers and the aggregate's row lock, which holds later writers until this one commits.
STORE = """
    WITH taken AS (
        INSERT INTO execution_outboxsequence (aggregate, last) VALUES (%s, %s)
        ON CONFLICT (aggregate) DO UPDATE SET last = execution_outboxsequence.last + EXCLUDED.last
        RETURNING aggregate, last
    )
    INSERT INTO execution_outboxevent (event_id, event_type, aggregate, sequence, payload, trace_id, created_at)
    SELECT events.event_id::uuid, events.event_type, taken.aggregate, taken.last - events.after, events.payload::jsonb,
           %s, %s
    FROM taken, (VALUES {events}) AS events (event_id, event_type, after, payload) ORDER BY events.after DESC
"""

Event = tuple[str, Mapping[str, Any]]


def emit(aggregate: object, events: Sequence[Event], *, trace_id: str, now: datetime) -> None:
    """Store events (type, payload) of one aggregate in the given order. Call it in the transaction of the fact."""
    if not events:
        return
    parameters: list[Any] = [str(aggregate), len(events), trace_id, now]
    for place, (event_type, payload) in enumerate(events, start=1):
        parameters += [str(uuid4()), event_type, len(events) - place, json.dumps(dict(payload))]
    with connection.cursor() as cursor:
        cursor.execute(STORE.format(events=", ".join("(%s, %s, %s, %s)" for _ in events)), parameters)
