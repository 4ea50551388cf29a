"""Reads the backlog of the event bus: what the consumer groups have not read or acknowledged yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from execution.outbox.payloads import EVENT_TYPES as EVENTS_OUT
from execution.signals.accept import EVENT_TYPES
from execution.signals.envelope import entry_time
from execution.wiring import RedisClient

STREAM = "quantum:stream:{}"
GROUP = "quantum:group:execution:{}"
# Written by every look at the health: a Redis that can be read only is of no use.
PROBE, PROBE_SECONDS = "execution:health", 60


GroupInfo = TypedDict(
    "GroupInfo",
    {"name": bytes, "lag": int | None, "pending": int | None, "last-delivered-id": bytes},
    total=False,
)
"""What is read of a line of XINFO GROUPS; nothing of a stream without our group."""


class PendingEntry(TypedDict):
    """What is read of a line of XPENDING: the entry's id."""

    message_id: bytes


@dataclass(frozen=True, kw_only=True)
class StreamQueue:
    """What waits of an incoming stream, None where Redis has no answer.

    `lag`: entries undelivered or unacknowledged; `pending`: delivered and unacknowledged, such as those that fail;
    `oldest_at`: when Redis took the oldest of them.
    """

    lag: int | None = None
    pending: int | None = None
    oldest_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Streams:
    """The incoming streams, and the faults of all streams, both by event type."""

    queues: Mapping[str, StreamQueue]
    broken: Mapping[str, str]


def look_at_streams(redis: RedisClient) -> Streams:
    """Return what waits in each incoming stream, and which streams are none, in three round trips.

    Raises:
        wiring.RedisSilentError: Redis did not answer, or takes nothing.

    """
    queues = stream_queues(redis)
    names = sorted({*EVENT_TYPES, *EVENTS_OUT})
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.type(STREAM.format(name))
        replies = pipe.execute(raise_on_error=False)
    found = {name: _not_a_stream(reply) for name, reply in zip(names, replies, strict=True)}
    return Streams(queues=queues, broken={name: error for name, error in found.items() if error})


def _not_a_stream(reply: bytes | Exception) -> str:
    """Return what is wrong with a key by its type.

    A stream that does not exist yet is made when it is needed.
    """
    if isinstance(reply, Exception):
        return str(reply).partition(" ")[0]
    kind = reply.decode()
    return "" if kind in {"stream", "none"} else f"WRONGTYPE: a {kind} lies there"


def stream_queues(redis: RedisClient) -> dict[str, StreamQueue]:
    """Return what waits in each incoming stream, in two round trips.

    Raises:
        wiring.RedisSilentError: Redis did not answer, or takes nothing (memory full, read-only).
            Then no task runs either.

    """
    with redis.pipeline(transaction=False) as pipe:
        pipe.set(PROBE, 1, ex=PROBE_SECONDS)
        for event_type in EVENT_TYPES:
            pipe.xinfo_groups(STREAM.format(event_type))
        written, *replies = pipe.execute(raise_on_error=False)
    if isinstance(written, Exception):
        raise written
    groups = {name: _group(name, reply) for name, reply in zip(EVENT_TYPES, replies, strict=True)}
    return {
        name: _queue(group, oldest)
        for (name, group), oldest in zip(groups.items(), _oldest(redis, groups), strict=True)
    }


def _group(event_type: str, reply: Sequence[GroupInfo] | Exception) -> GroupInfo:
    """Return our group of a stream. A stream that does not exist yet answers with an error."""
    if isinstance(reply, Exception):
        return GroupInfo()
    name = GROUP.format(event_type).encode()
    return next((group for group in reply if group["name"] == name), GroupInfo())


def _oldest(redis: RedisClient, groups: Mapping[str, GroupInfo]) -> list[datetime | None]:
    """Return when the oldest entry was taken that is unacknowledged, or else undelivered."""
    with redis.pipeline(transaction=False) as pipe:
        for event_type, group in groups.items():
            delivered = group.get("last-delivered-id", b"0-0").decode()
            pipe.xpending_range(STREAM.format(event_type), GROUP.format(event_type), "-", "+", 1)
            pipe.xrange(STREAM.format(event_type), f"({delivered}", "+", 1)
        replies = pipe.execute(raise_on_error=False)
    return [_first_of(pending, unread) for pending, unread in zip(replies[::2], replies[1::2], strict=True)]


def _first_of(
    pending: Sequence[PendingEntry] | Exception, unread: Sequence[tuple[bytes, object]] | Exception
) -> datetime | None:
    if isinstance(pending, Exception) or isinstance(unread, Exception):
        return None
    ids = [row["message_id"] for row in pending] or [entry_id for entry_id, _ in unread]
    return entry_time(ids[0].decode()) if ids else None


def _queue(group: GroupInfo, oldest_at: datetime | None) -> StreamQueue:
    undelivered, pending = group.get("lag"), group.get("pending")
    lag = None if undelivered is None or pending is None else int(undelivered) + int(pending)
    return StreamQueue(lag=lag, pending=None if pending is None else int(pending), oldest_at=oldest_at)
