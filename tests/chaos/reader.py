"""A reader of our events as a neighbour would write it: it reads all streams all the time and drops repeats by id."""

import json
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from redis import Redis, RedisError

from tests.chaos.streams import INCOMING, PREFIX

BLOCK_MS = 100
PAUSE_SECONDS = 0.1
# How often new streams are looked for; what they hold by then is read from its beginning.
DISCOVERY_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Read:
    """One event as first read."""

    event_id: str
    event_type: str
    aggregate: str
    sequence: int
    payload: dict[str, Any]


@dataclass
class BusReader:
    """Context manager around the reading thread; it outlives every failure of Redis."""

    redis_url: str
    first: dict[str, Read] = field(default_factory=dict)
    deliveries: Counter[str] = field(default_factory=Counter)
    # Per stream and trade, in the order of reading.
    order: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus-reader", daemon=True)
        self._last: dict[str, str] = {}
        self._discover_at = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(10)

    def forget(self) -> None:
        """Begin anew, for a bus that was emptied."""
        with self._lock:
            self.first.clear()
            self.deliveries.clear()
            self.order.clear()

    def has(self, event_ids: set[str]) -> bool:
        with self._lock:
            return event_ids <= self.first.keys()

    def snapshot(self) -> tuple[dict[str, Read], Counter[str], dict[tuple[str, str], list[int]]]:
        """Return what was read: first deliveries by id, number of deliveries, and the order per stream and trade."""
        with self._lock:
            return dict(self.first), Counter(self.deliveries), {key: list(found) for key, found in self.order.items()}

    def _run(self) -> None:
        while not self._stopped.is_set():
            with suppress(RedisError), Redis.from_url(self.redis_url, socket_timeout=5) as redis:
                while not self._stopped.is_set():
                    self._read(redis)
            self._stopped.wait(PAUSE_SECONDS)

    def _read(self, redis: "Redis") -> None:
        if time.monotonic() >= self._discover_at:
            self._discover(redis)
        if not self._last:
            self._stopped.wait(PAUSE_SECONDS)
            return
        streams: Any = dict(self._last)
        news: Any = redis.xread(streams, count=500, block=BLOCK_MS)
        for key, entries in news or []:
            for entry_id, fields in entries:
                self._note(fields)
                self._last[key.decode()] = entry_id.decode()

    def _discover(self, redis: "Redis") -> None:
        for key in redis.scan_iter(f"{PREFIX}*", count=1000):
            if key.decode().removeprefix(PREFIX) not in INCOMING:
                self._last.setdefault(key.decode(), "0-0")
        self._discover_at = time.monotonic() + DISCOVERY_SECONDS

    def _note(self, fields: dict[bytes, bytes]) -> None:
        envelope = {name.decode(): value.decode() for name, value in fields.items()}
        event_id = envelope["event_id"]
        with self._lock:
            self.deliveries[event_id] += 1
            if event_id in self.first:
                return
            read = Read(
                event_id=event_id,
                event_type=envelope["event_type"],
                aggregate=envelope["aggregate"],
                sequence=int(envelope["sequence"]),
                payload=json.loads(envelope["payload"]),
            )
            self.first[event_id] = read
            self.order[read.event_type, read.aggregate].append(read.sequence)
