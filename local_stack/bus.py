"""Puts an event on the bus as the neighbours do: one Redis stream per event type, the payload as JSON in a wrapper."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

STREAM_LENGTH = 10_000

Field = bytes | bytearray | memoryview | str | int | float


def connect(redis_url: str) -> "redis.Redis":
    """Return a client that does not repeat a command silently: a repeated XADD would publish twice."""
    return redis.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), socket_timeout=10, decode_responses=True)


def stream_key(event_type: str) -> str:
    return f"quantum:stream:{event_type}"


def utc_now() -> str:
    return datetime.now(UTC).isoformat()


def wrapped(event_type: str, payload: Mapping[str, object], *, source: str, trace_id: str = "") -> dict[Field, Field]:
    """Return the stream entry; its own `timestamp` is naive UTC on this bus, the payload's carries an offset."""
    naive_now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    return {
        "event_type": event_type,
        "payload": json.dumps(payload),
        "trace_id": trace_id,
        "timestamp": naive_now,
        "source": source,
    }


async def find_payload(bus: "redis.Redis", event_type: str, trace_id: str) -> dict[str, Any] | None:
    """Return the payload of the first event of this type and trace, if there is one."""
    entries: Any = await bus.xrange(stream_key(event_type))
    for _, entry in entries:
        if entry["trace_id"] == trace_id:
            payload: dict[str, Any] = json.loads(entry["payload"])
            return payload
    return None
