"""The event bus on Redis Streams: one stream an event type, read through consumer groups."""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from execution.adapters.stream_upkeep import forget_readers, shorten
from execution.domain.ports import StreamEntry
from execution.domain.streams import STREAM_LENGTH

STREAM_PREFIX = "quantum:stream:"


def redis_connection(url: str, *, timeout_seconds: float = 5.0) -> Redis:
    """Return a client that neither hangs nor repeats a command behind our back: a repeated XADD would publish twice."""
    return Redis.from_url(
        url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds, retry=Retry(NoBackoff(), 0)
    )


def stream_of(event_type: str) -> str:
    return f"{STREAM_PREFIX}{event_type}"


def group_of(event_type: str, service: str = "execution") -> str:
    return f"quantum:group:{service}:{event_type}"


class RedisEventBus:
    """Reads the given event types in one call each; the consumer is named after the host, so that it stays the same."""

    def __init__(self, redis: Redis, event_types: Sequence[str]) -> None:
        self._redis = redis
        self._event_types = tuple(event_types)
        self._consumer = f"execution_{socket.gethostname()}_{os.getpid()}"
        # The newest entry seen of each stream: the wait for news starts behind it. Empty: groups not made yet.
        self._seen: dict[str, str] = {}

    def read(self, *, block_ms: int, count: int) -> list[StreamEntry]:
        """Return new entries, at most `count` a stream; waits up to `block_ms` for the first (keep it under 2 s)."""
        self._ensure_groups()
        entries = self._new(count)
        if entries or not self._seen:
            return entries
        # Each group is of one stream, so one blocking group read cannot wait for all: a plain XREAD wakes us instead.
        news: Any = self._redis.xread({stream_of(name): seen for name, seen in self._seen.items()}, count, block_ms)
        if not news:
            return []
        for stream, batch in _streams(news):
            self._note(stream.decode().removeprefix(STREAM_PREFIX), batch)
        return self._new(count)

    def reclaim(self, *, idle_ms: int, count: int) -> list[StreamEntry]:
        """Take over entries that a reader was given and never acknowledged."""
        self._ensure_groups()
        entries: list[StreamEntry] = []
        for event_type in self._event_types:
            try:
                reply: Any = self._redis.xautoclaim(
                    stream_of(event_type), group_of(event_type), self._consumer, idle_ms, "0-0", count=count
                )
            except ResponseError as error:
                self._regroup(error)
                return entries
            entries += _entries(event_type, reply[1])
        return entries

    def acknowledge(self, entries: Sequence[StreamEntry]) -> None:
        if not entries:
            return
        with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xack(entry.stream, group_of(entry.event_type), entry.entry_id)
            pipe.execute()

    def publish(self, messages: Sequence[Mapping[str, str]]) -> None:
        """Append the messages in order.

        Raises:
            redis.RedisError: not all of them were taken; the caller sends them again.

        """
        with self._redis.pipeline(transaction=True) as pipe:
            for message in messages:
                pipe.xadd(
                    stream_of(message["event_type"]), dict[Any, Any](message), maxlen=STREAM_LENGTH, approximate=True
                )
            pipe.execute()

    def tidy(self) -> Mapping[str, int]:
        """Shorten incoming streams that nobody else shortens, and forget readers that are long gone."""
        trimmed = {}
        for event_type in self._event_types:
            forget_readers(self._redis, stream_of(event_type), group_of(event_type))
            if gone := shorten(self._redis, stream_of(event_type)):
                trimmed[event_type] = gone
        return trimmed

    def _new(self, count: int) -> list[StreamEntry]:
        """Read every group in one round trip; what one lost group hides must not be lost with it."""
        with self._redis.pipeline(transaction=False) as pipe:
            for event_type in self._event_types:
                pipe.xreadgroup(group_of(event_type), self._consumer, {stream_of(event_type): ">"}, count)
            replies = pipe.execute(raise_on_error=False)
        entries: list[StreamEntry] = []
        for event_type, reply in zip(self._event_types, replies, strict=True):
            if isinstance(reply, Exception):
                self._regroup(reply)
                continue
            for _, batch in _streams(reply):
                self._note(event_type, batch)
                entries += _entries(event_type, batch)
        return entries

    def _note(self, event_type: str, batch: Any) -> None:
        if batch and self._seen:
            self._seen[event_type] = batch[-1][0].decode()

    def _ensure_groups(self) -> None:
        """Create the groups from the beginning of each stream: the old expires with a record, nothing is skipped."""
        if self._seen:
            return
        for event_type in self._event_types:
            try:
                self._redis.xgroup_create(stream_of(event_type), group_of(event_type), id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        self._seen = {event_type: self._newest(event_type) for event_type in self._event_types}

    def _newest(self, event_type: str) -> str:
        newest: Any = self._redis.xrevrange(stream_of(event_type), count=1)
        return newest[0][0].decode() if newest else "0-0"

    def _regroup(self, error: Exception) -> None:
        """Redis has lost a stream or its group (flushed, restarted without its data): make it anew on the next read."""
        if "NOGROUP" not in str(error):
            raise error
        self._seen = {}


def _streams(reply: Any) -> list[tuple[bytes, Any]]:
    return list(reply or [])


def _entries(event_type: str, batch: Any) -> list[StreamEntry]:
    return [
        StreamEntry(
            stream=stream_of(event_type), event_type=event_type, entry_id=entry_id.decode(), fields=fields or {}
        )
        for entry_id, fields in batch
        # An entry that was trimmed after it was delivered has no fields: there is nothing left to execute.
        if fields is not None
    ]
