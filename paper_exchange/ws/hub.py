"""The hub between what happens and who listens: streams, their subscribers and their publishers."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import orjson

from paper_exchange.ws.connection import Connection
from paper_exchange.ws.feed import Publisher
from paper_exchange.ws.names import Path, is_served, path_of

MAX_STREAMS: Final = 1024
# Publishers asked in one go.
_AT_ONCE: Final = 16
Json = dict[str, object]


class Hub:
    def __init__(self, make_publisher: Callable[[str], Publisher | None], *, legacy: bool = False) -> None:
        self._make_publisher = make_publisher
        self._legacy = legacy
        self._subscribers: dict[str, set[Connection]] = defaultdict(set)
        self._publishers: dict[str, Publisher] = {}
        self.connections: set[Connection] = set()

    def subscribe(self, connection: Connection, stream: str) -> None:
        """Take a stream in.

        A name that is unknown or belongs to another route is accepted and stays silent.
        """
        connection.streams.add(stream)
        if not is_served(stream, connection.path, legacy=self._legacy):
            return
        self._subscribers[stream].add(connection)
        if path_of(stream) is not Path.PRIVATE and stream not in self._publishers:
            publisher = self._make_publisher(stream)
            if publisher is not None:
                self._publishers[stream] = publisher

    def unsubscribe(self, connection: Connection, stream: str) -> None:
        connection.streams.discard(stream)
        subscribers = self._subscribers.get(stream)
        if subscribers is None:
            return
        subscribers.discard(connection)
        if not subscribers:
            del self._subscribers[stream]
            self._publishers.pop(stream, None)

    def awaken(self) -> None:
        """Begin to publish streams that were subscribed to before their contract was listed."""
        for stream in self._subscribers.keys() - self._publishers.keys():
            publisher = self._make_publisher(stream) if path_of(stream) is not Path.PRIVATE else None
            if publisher is not None:
                self._publishers[stream] = publisher

    def leave(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self.connections.discard(connection)
        for stream in list(connection.streams):
            self.unsubscribe(connection, stream)

    def has_listeners(self, stream: str) -> bool:
        return stream in self._subscribers

    def listeners(self, stream: str) -> list[Connection]:
        return list(self._subscribers.get(stream, ()))

    def publish(self, stream: str, payload: object, event: str = "") -> None:
        """Send a payload to all subscribers of a stream, wrapped for those on combined connections."""
        subscribers = self._subscribers.get(stream)
        if not subscribers:
            return
        raw = orjson.dumps(payload).decode()
        wrapped = f'{{"stream":"{stream}","data":{raw}}}'
        for connection in subscribers:
            if not event or connection.wants(stream, event):
                connection.send(wrapped if connection.combined else raw)

    async def poll(self, now: int) -> None:
        """Publish whatever the market streams have new. Orders get their turn in between."""
        for number, (stream, publisher) in enumerate(list(self._publishers.items()), start=1):
            for payload in publisher.poll(now):
                self.publish(stream, payload)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
