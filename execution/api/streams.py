"""How far the service is behind on the event bus: what its consumer groups have not read and not acknowledged yet."""

from collections.abc import Mapping
from typing import Any

from redis import Redis

from execution.pipeline.accept_event import EVENT_TYPES

STREAM = "quantum:stream:{}"
GROUP = "quantum:group:execution:{}"
# Written by every look at the health: a Redis that can be read only is of no use.
PROBE, PROBE_SECONDS = "execution:health", 60


def stream_lags(redis: Redis) -> dict[str, int | None]:
    """Return how many entries of each incoming stream wait; None when Redis cannot tell (no group, or entries trimmed).

    Raises:
        redis.RedisError: Redis did not answer, or takes nothing (memory full, read-only): then no task runs either.

    """
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(PROBE, 1, ex=PROBE_SECONDS)
        for event_type in EVENT_TYPES:
            pipe.xinfo_groups(STREAM.format(event_type))
        written, *replies = pipe.execute(raise_on_error=False)
    if isinstance(written, Exception):
        raise written
    return {event_type: _lag(event_type, reply) for event_type, reply in zip(EVENT_TYPES, replies, strict=True)}


def _lag(event_type: str, reply: Any) -> int | None:
    """Return undelivered plus unacknowledged; a stream that does not exist yet answers with an error."""
    if isinstance(reply, Exception):
        return None
    name = GROUP.format(event_type).encode()
    group: Mapping[str, Any] = next((group for group in reply if group["name"] == name), {})
    undelivered = group.get("lag")
    return None if undelivered is None else int(undelivered) + int(group["pending"])
