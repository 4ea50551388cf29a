"""The event bus on Redis Streams: one stream an event type, read through consumer groups."""

import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from execution.adapters.stream_facts import ask_facts, is_of_one_stream, make_group, rested
from execution.adapters.stream_names import STREAM_PREFIX, group_of, stream_of
from execution.adapters.stream_upkeep import forget_readers, shorten
from execution.domain.ports import StreamEntry
from execution.domain.signatures import sign
from execution.domain.stream_offsets import (
    BEGINNING,
    STREAM_LENGTH,
    StreamFacts,
    StreamGap,
    StreamPlace,
    Survey,
    jumped_over,
    trimmed_unread,
)

log = structlog.get_logger(__name__)


class WaryPool(ConnectionPool):
    """A pool in which a connection that comes back broken takes those with it that rest.

    What has silenced one has most likely silenced all, and each of them would wait for its whole time-out.
    """

    def release(self, connection: Any) -> None:
        super().release(connection)
        if not connection.is_connected:
            self.disconnect(inuse_connections=False)


def redis_connection(url: str, *, timeout_seconds: float = 5.0, check_seconds: int = 5) -> Redis:
    """Return a client that neither hangs nor repeats a command behind our back: a repeated XADD would publish twice.

    `check_seconds`: a connection that has rested for so long is asked for a sign of life before it is used.
    """
    options: dict[str, Any] = {"socket_timeout": timeout_seconds, "health_check_interval": check_seconds}
    if not url.startswith("unix:"):
        # A socket of this machine has nothing to lose.
        options |= {"socket_connect_timeout": timeout_seconds, "socket_keepalive": True}
    return Redis.from_pool(WaryPool.from_url(url, retry=Retry(NoBackoff(), 0), **options))


# Returns an entry's fields as they are sent on a stream: with a signature, where we have a key.
Seal = Callable[[str, Mapping[str, str]], Mapping[str, str]]


def plain_entry(_stream: str, message: Mapping[str, str]) -> Mapping[str, str]:
    return message


def signing_as(key_id: str, secret: bytes) -> Seal:
    """Return what signs our own events: anew whenever they are sent, so that readers need not know of repeats."""

    def seal(stream: str, message: Mapping[str, str]) -> Mapping[str, str]:
        return sign(
            message, stream=stream, key_id=key_id, secret=secret, at=datetime.now(UTC), nonce=secrets.token_hex(16)
        )

    return seal


class RedisEventBus:
    """Reads the given event types in one call each; the consumer is named after the host, so that it stays the same."""

    def __init__(self, redis: Redis, event_types: Sequence[str], *, seal: Seal = plain_entry) -> None:
        self._redis = redis
        self._seal = seal
        self._event_types = tuple(event_types)
        self._consumer = f"execution_{socket.gethostname()}_{os.getpid()}"
        # The newest entry seen of each stream: the wait for news starts behind it. Empty: groups not made yet.
        self._seen: dict[str, str] = {}
        # Of the slice that runs: where lost groups go on, what was known at its beginning, what came since.
        self._known: Mapping[str, StreamPlace] = {}
        self._before: dict[str, StreamFacts] = {}
        self._delivered: Counter[str] = Counter()
        self._gaps: list[StreamGap] = []
        # Streams that refused us in this slice: each fails alone, and is tried anew in the next one.
        self._broken: set[str] = set()

    def begin(self, known: Mapping[str, StreamPlace]) -> Survey:
        """Begin a slice: make groups that are missing, from the places that are known, and look for what is gone."""
        self._known, self._delivered = known, Counter()
        if self._broken:
            # Whoever mends a stream may have made it anew, without our group.
            self._broken, self._seen = set(), {}
        self._ensure_groups()
        facts = ask_facts(self._redis, self._event_types)
        trimmed = [gap for name, fact in facts.items() if (gap := trimmed_unread(name, fact))]
        self._before = dict(facts)
        for gap in trimmed:
            # Redis counts them as read as soon as we read on.
            self._before[gap.event_type] = _with_read(facts[gap.event_type], gap.entries or 0)
        return Survey(places=_places(facts), gaps=[*self._take_gaps(), *trimmed])

    def survey(self) -> Survey:
        """End a slice: how far everything is handled, and what has vanished in the meantime."""
        facts = ask_facts(self._redis, self._event_types)
        jumps = [
            gap
            for name, before in self._before.items()
            if name in facts
            and (gap := jumped_over(name, before, facts[name], delivered=self._delivered[name])) is not None
        ]
        return Survey(places=_places(facts), gaps=[*self._take_gaps(), *jumps])

    def read(self, *, block_ms: int, count: int) -> list[StreamEntry]:
        """Return new entries, at most `count` a stream; waits up to `block_ms` for the first (keep it under 2 s)."""
        self._ensure_groups()
        entries = self._new(count)
        if entries or not self._seen:
            return entries
        # Each group is of one stream, so one blocking group read cannot wait for all: a plain XREAD wakes us instead.
        waited_for: dict[Any, Any] = {
            stream_of(name): seen for name, seen in self._seen.items() if name not in self._broken
        }
        news: Any = self._redis.xread(waited_for, count, block_ms) if waited_for else []
        if not news:
            return []
        for stream, batch in _streams(news):
            self._note(stream.decode().removeprefix(STREAM_PREFIX), batch)
        return self._new(count)

    def reclaim(self, *, pause_ms: Callable[[int], int], count: int) -> list[StreamEntry]:
        """Take over entries that a reader was given and never acknowledged, each after its pause; `count` a stream."""
        self._ensure_groups()
        entries: list[StreamEntry] = []
        for event_type in self._readable():
            try:
                entries += self._take_over(event_type, pause_ms, count)
            except ResponseError as error:
                if self._fails_alone(event_type, error):
                    continue
                self._regroup(error)
                return entries
        return entries

    def _take_over(self, event_type: str, pause_ms: Callable[[int], int], count: int) -> list[StreamEntry]:
        stream, group = stream_of(event_type), group_of(event_type)
        due = rested(self._redis, event_type, pause_ms, count)
        if not due:
            return []
        # The pause is asked for again: another reader may have been faster.
        reply: Any = self._redis.xclaim(stream, group, self._consumer, pause_ms(1), list(due))
        entries = [replace(entry, deliveries=due[entry.entry_id] + 1) for entry in _entries(event_type, reply)]
        # Trimmed after they were given to a reader; Redis has just forgotten them.
        self._gaps += [
            StreamGap(event_type=event_type, after=entry_id, before=entry_id, entries=1)
            for entry_id in due.keys() - {entry.entry_id for entry in entries}
            if not self._redis.xrange(stream, entry_id, entry_id)
        ]
        return entries

    def acknowledge(self, entries: Sequence[StreamEntry]) -> None:
        if not entries:
            return
        with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xack(entry.stream, group_of(entry.event_type), entry.entry_id)
            replies = pipe.execute(raise_on_error=False)
        for entry, reply in zip(entries, replies, strict=True):
            if isinstance(reply, Exception) and not self._fails_alone(entry.event_type, reply):
                raise reply

    def publish(self, messages: Sequence[Mapping[str, str]]) -> frozenset[str]:
        """Append the messages in order; return the event types whose stream has refused its own.

        Raises:
            redis.RedisError: others were not taken either; the caller sends all of them again.

        """
        with self._redis.pipeline(transaction=True) as pipe:
            for message in messages:
                stream = stream_of(message["event_type"])
                sealed = self._seal(stream, message)
                pipe.xadd(stream, dict[Any, Any](sealed), maxlen=STREAM_LENGTH, approximate=True)
            replies = pipe.execute(raise_on_error=False)
        refused = set()
        for message, reply in zip(messages, replies, strict=True):
            if isinstance(reply, Exception):
                if not is_of_one_stream(reply):
                    raise reply
                refused.add(message["event_type"])
        return frozenset(refused)

    def tidy(self) -> Mapping[str, int]:
        """Shorten incoming streams that nobody else shortens, and forget readers that are long gone."""
        trimmed = {}
        for event_type in self._event_types:
            try:
                forget_readers(self._redis, stream_of(event_type), group_of(event_type))
                if gone := shorten(self._redis, stream_of(event_type)):
                    trimmed[event_type] = gone
            except ResponseError as error:
                if not is_of_one_stream(error):
                    raise
        return trimmed

    def _new(self, count: int) -> list[StreamEntry]:
        """Read every group in one round trip; what one lost group hides must not be lost with it."""
        readable = self._readable()
        with self._redis.pipeline(transaction=False) as pipe:
            for event_type in readable:
                pipe.xreadgroup(group_of(event_type), self._consumer, {stream_of(event_type): ">"}, count)
            replies = pipe.execute(raise_on_error=False)
        entries: list[StreamEntry] = []
        for event_type, reply in zip(readable, replies, strict=True):
            if isinstance(reply, Exception):
                if not self._fails_alone(event_type, reply):
                    self._regroup(reply)
                continue
            for _, batch in _streams(reply):
                self._note(event_type, batch)
                self._delivered[event_type] += len(batch)
                entries += _entries(event_type, batch)
        return entries

    def _note(self, event_type: str, batch: Any) -> None:
        if batch and self._seen:
            self._seen[event_type] = batch[-1][0].decode()

    def _ensure_groups(self) -> None:
        """Create the groups that are missing: nothing is skipped, and no more is read again than must be."""
        if self._seen:
            return
        for event_type in self._event_types:
            try:
                if gap := make_group(self._redis, event_type, self._known.get(event_type)):
                    self._gaps.append(gap)
            except ResponseError as error:
                if not self._fails_alone(event_type, error):
                    raise
        self._seen = {event_type: self._newest(event_type) for event_type in self._readable()}

    def _readable(self) -> list[str]:
        return [event_type for event_type in self._event_types if event_type not in self._broken]

    def _fails_alone(self, event_type: str, error: Exception) -> bool:
        """Leave out a stream that refuses us, for the rest of the slice; False when the refusal concerns all."""
        if not is_of_one_stream(error):
            return False
        if event_type not in self._broken:
            log.error("stream_refuses", event_type=event_type, error=str(error))
        self._broken.add(event_type)
        return True

    def _newest(self, event_type: str) -> str:
        newest: Any = self._redis.xrevrange(stream_of(event_type), count=1)
        return newest[0][0].decode() if newest else BEGINNING

    def _regroup(self, error: Exception) -> None:
        """Redis has lost a stream or its group (flushed, restarted without its data): make it anew on the next read."""
        if "NOGROUP" not in str(error):
            raise error
        # What was counted was counted by the lost group.
        self._seen, self._before = {}, {}

    def _take_gaps(self) -> list[StreamGap]:
        gaps, self._gaps = self._gaps, []
        return gaps


def _places(facts: Mapping[str, StreamFacts]) -> dict[str, StreamPlace]:
    """Return the places up to which everything is handled: only where nothing is in the hands of a reader."""
    return {
        name: StreamPlace(entry_id=fact.delivered_to, entries_read=fact.entries_read)
        for name, fact in facts.items()
        if not fact.pending and fact.entries_read is not None and fact.delivered_to != BEGINNING
    }


def _with_read(facts: StreamFacts, more: int) -> StreamFacts:
    return replace(facts, entries_read=(facts.entries_read or 0) + more)


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
