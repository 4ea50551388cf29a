"""The event bus on Redis Streams: one stream an event type, read through consumer groups."""

import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import structlog
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.typing import EncodableT, FieldT, KeyT, StreamIdT

from execution.adapters.stream_facts import ask_facts, is_of_one_stream, make_group, rested
from execution.adapters.stream_names import STREAM_PREFIX, group_of, stream_of
from execution.adapters.stream_replies import Batch, Batches, reply
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

# What other rooms call the client and its errors: they get both from `wiring`, and import no redis.
RedisClient: TypeAlias = Redis
RedisSilentError = RedisError
log = structlog.get_logger(__name__)


class WaryPool(ConnectionPool):
    """A pool that closes all idle connections when one comes back broken.

    What has silenced one has most likely silenced all, and each of them would wait for its whole time-out.
    """

    def release(self, connection: Any) -> None:
        super().release(connection)
        if not connection.is_connected:
            self.disconnect(inuse_connections=False)


def redis_connection(url: str, *, timeout_seconds: float = 5.0, check_seconds: int = 5) -> Redis:
    """Return a client with a time-out for every command, which never repeats one by itself.

    A repeated XADD would publish an event twice. `check_seconds`: a connection that was idle for so long is pinged
    before it is used.
    """
    options: dict[str, float | bool] = {"socket_timeout": timeout_seconds, "health_check_interval": check_seconds}
    if not url.startswith("unix:"):
        # A socket of this machine has nothing to lose.
        options |= {"socket_connect_timeout": timeout_seconds, "socket_keepalive": True}
    return Redis.from_pool(WaryPool.from_url(url, retry=Retry(NoBackoff(), 0), **options))


# Returns an entry's fields as they are sent on a stream: with a signature where a key is configured.
Seal = Callable[[str, Mapping[str, str]], Mapping[str, str]]


def plain_entry(_stream: str, message: Mapping[str, str]) -> Mapping[str, str]:
    return message


def signing_as(key_id: str, secret: bytes) -> Seal:
    """Return a seal that signs our own events.

    An event that is sent again is signed anew, with another time and nonce, so that readers take it like a first one.
    """

    def seal(stream: str, message: Mapping[str, str]) -> Mapping[str, str]:
        return sign(
            message, stream=stream, key_id=key_id, secret=secret, at=datetime.now(UTC), nonce=secrets.token_hex(16)
        )

    return seal


class RedisEventBus:
    """Reads the given event types, each from its own stream, and publishes events.

    Its consumer is named after host and process.
    """

    def __init__(self, redis: Redis, event_types: Sequence[str], *, seal: Seal = plain_entry) -> None:
        self._redis = redis
        self._seal = seal
        self._event_types = tuple(event_types)
        self._consumer = f"execution_{socket.gethostname()}_{os.getpid()}"
        # The newest entry seen of each stream: the wait for new ones starts behind it. Empty: groups not made yet.
        self._seen: dict[str, str] = {}
        # Of the slice that runs: where lost groups go on, what was known at its beginning, what came since.
        self._known: Mapping[str, StreamPlace] = {}
        self._before: dict[str, StreamFacts] = {}
        self._delivered: Counter[str] = Counter()
        self._gaps: list[StreamGap] = []
        # Streams that refused us in this slice: each fails alone, and is tried anew in the next one.
        self._broken: set[str] = set()

    def begin(self, known: Mapping[str, StreamPlace]) -> Survey:
        """Begin a slice of reading: create missing groups at the known places, and report trimmed entries."""
        self._known, self._delivered = known, Counter()
        if self._broken:
            # An operator who repairs a stream may have created it anew, without our group.
            self._broken, self._seen = set(), {}
        self._ensure_groups()
        facts = ask_facts(self._redis, self._event_types)
        trimmed = [gap for name, fact in facts.items() if (gap := trimmed_unread(name, fact))]
        self._before = dict(facts)
        for gap in trimmed:
            # Redis counts them as read as soon as we read on.
            seen = facts[gap.event_type]
            read = (seen.entries_read or 0) + (gap.entries or 0)
            self._before[gap.event_type] = replace(seen, entries_read=read)
        return Survey(places=_places(facts), gaps=[*self._take_gaps(), *trimmed])

    def survey(self) -> Survey:
        """End a slice: return how far each stream is handled, and what has vanished in the meantime."""
        facts = ask_facts(self._redis, self._event_types)
        jumps = [
            gap
            for name, before in self._before.items()
            if name in facts
            and (gap := jumped_over(name, before, facts[name], delivered=self._delivered[name])) is not None
        ]
        return Survey(places=_places(facts), gaps=[*self._take_gaps(), *jumps])

    def read(self, *, block_ms: int, count: int) -> list[StreamEntry]:
        """Return new entries, at most `count` a stream.

        Waits up to `block_ms` for the first one. Keep it under 2 s, which is below the connection's time-out.
        """
        self._ensure_groups()
        entries = self._new(count)
        if entries or not self._seen:
            return entries
        # Each group is of one stream, so one blocking group read cannot wait for all: a plain XREAD wakes us instead.
        waited_for: dict[KeyT, StreamIdT] = {
            stream_of(name): seen for name, seen in self._seen.items() if name not in self._broken
        }
        news: Batches = reply(self._redis.xread(waited_for, count, block_ms)) if waited_for else []
        if not news:
            return []
        for stream, batch in news:
            self._note(stream.decode().removeprefix(STREAM_PREFIX), batch)
        return self._new(count)

    def reclaim(self, *, pause_ms: Callable[[int], int], count: int) -> list[StreamEntry]:
        """Claim entries that a consumer was given and never acknowledged, each after its pause.

        `pause_ms` is how long an entry rests after so many deliveries. At most `count` entries a stream are claimed.
        """
        self._ensure_groups()
        entries: list[StreamEntry] = []
        for event_type in self._readable():
            try:
                entries += self._claim(event_type, pause_ms, count)
            except ResponseError as error:
                if self._fails_alone(event_type, error):
                    continue
                self._regroup(error)
                return entries
        return entries

    def _claim(self, event_type: str, pause_ms: Callable[[int], int], count: int) -> list[StreamEntry]:
        stream, group = stream_of(event_type), group_of(event_type)
        due = rested(self._redis, event_type, pause_ms, count)
        if not due:
            return []
        # The pause is asked for again: another reader may have been faster.
        claimed: Batch = reply(self._redis.xclaim(stream, group, self._consumer, pause_ms(1), list(due)))
        entries = [replace(entry, deliveries=due[entry.entry_id] + 1) for entry in _entries(event_type, claimed)]
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
        for entry, answer in zip(entries, replies, strict=True):
            if isinstance(answer, Exception) and not self._fails_alone(entry.event_type, answer):
                raise answer

    def publish(self, messages: Sequence[Mapping[str, str]]) -> frozenset[str]:
        """Append the messages in order and return the event types whose stream has refused them.

        Raises:
            redis.RedisError: Redis has not taken the others either. The caller sends all of them again.

        """
        with self._redis.pipeline(transaction=True) as pipe:
            for message in messages:
                stream = stream_of(message["event_type"])
                fields: dict[FieldT, EncodableT] = dict(self._seal(stream, message).items())
                pipe.xadd(stream, fields, maxlen=STREAM_LENGTH, approximate=True)
            replies = pipe.execute(raise_on_error=False)
        refused = set()
        for message, answer in zip(messages, replies, strict=True):
            if isinstance(answer, Exception):
                if not is_of_one_stream(answer):
                    raise answer
                refused.add(message["event_type"])
        return frozenset(refused)

    def tidy(self) -> Mapping[str, int]:
        """Trim incoming streams that their producers do not trim, and delete consumers that are long gone."""
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
        """Read every group in one round trip. A lost group does not cost the entries of the others."""
        readable = self._readable()
        with self._redis.pipeline(transaction=False) as pipe:
            for event_type in readable:
                pipe.xreadgroup(group_of(event_type), self._consumer, {stream_of(event_type): ">"}, count)
            replies = pipe.execute(raise_on_error=False)
        entries: list[StreamEntry] = []
        for event_type, answer in zip(readable, replies, strict=True):
            if isinstance(answer, Exception):
                if not self._fails_alone(event_type, answer):
                    self._regroup(answer)
                continue
            for _, batch in answer or []:
                self._note(event_type, batch)
                self._delivered[event_type] += len(batch)
                entries += _entries(event_type, batch)
        return entries

    def _note(self, event_type: str, batch: Batch) -> None:
        if batch and self._seen:
            self._seen[event_type] = batch[-1][0].decode()

    def _ensure_groups(self) -> None:
        """Create missing groups, so that no entry is skipped and as few as possible are read again."""
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
        """Leave out a stream that refuses us, for the rest of the slice. False when the refusal concerns all."""
        if not is_of_one_stream(error):
            return False
        if event_type not in self._broken:
            log.error("stream_refuses", event_type=event_type, error=str(error))
        self._broken.add(event_type)
        return True

    def _newest(self, event_type: str) -> str:
        newest: Batch = reply(self._redis.xrevrange(stream_of(event_type), count=1))
        return newest[0][0].decode() if newest else BEGINNING

    def _regroup(self, error: Exception) -> None:
        """Create a lost stream or group anew on the next read.

        Redis has lost it by a flush, or by a restart without its data. Any other error is raised.
        """
        if "NOGROUP" not in str(error):
            raise error
        # What was counted was counted by the lost group.
        self._seen, self._before = {}, {}

    def _take_gaps(self) -> list[StreamGap]:
        gaps, self._gaps = self._gaps, []
        return gaps


def _places(facts: Mapping[str, StreamFacts]) -> dict[str, StreamPlace]:
    """Return the places up to which everything is handled: of streams without unacknowledged entries."""
    return {
        name: StreamPlace(entry_id=fact.delivered_to, entries_read=fact.entries_read)
        for name, fact in facts.items()
        if not fact.pending and fact.entries_read is not None and fact.delivered_to != BEGINNING
    }


def _entries(event_type: str, batch: Batch) -> list[StreamEntry]:
    return [
        StreamEntry(
            stream=stream_of(event_type), event_type=event_type, entry_id=entry_id.decode(), fields=fields or {}
        )
        for entry_id, fields in batch
        # An entry that was trimmed after it was delivered has no fields: there is nothing left to execute.
        if fields is not None
    ]
