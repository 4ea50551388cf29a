"""One WebSocket connection: what it subscribed to, and the queue from which its messages are written."""

import asyncio
import contextlib
from collections.abc import Collection
from typing import Final

import orjson
from aiohttp import ClientConnectionError, web

from paper_exchange.ws.names import Path

_QUEUE_LIMIT: Final = 20_000
# Messages written in one go; then orders get their turn, whatever is still queued.
_AT_ONCE: Final = 16


class Connection:
    """Messages are queued without waiting. A reader too slow for its queue is cut off."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        path: Path,
        *,
        combined: bool,
        now: int,
    ) -> None:
        self.socket = socket
        self._transport = transport
        self.path = path
        self.combined = combined
        self.opened = now
        self.last_ping = now
        self.last_pong = now
        self.streams: set[str] = set()
        # Event types wanted per listen key; a key that is not here gets all.
        self.events: dict[str, Collection[str]] = {}
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE_LIMIT)

    def send(self, text: str) -> None:
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.cut()

    def send_json(self, message: object) -> None:
        self.send(orjson.dumps(message).decode())

    def wants(self, stream: str, event: str) -> bool:
        """Return whether a user event passes the filter given at connect."""
        return stream not in self.events or event in self.events[stream]

    def close(self) -> None:
        """End the connection after what is queued was written."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    def cut(self) -> None:
        """End the connection at once, without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Write queued messages until the end. Runs as a task of its own."""
        written = 0
        with contextlib.suppress(ClientConnectionError, ConnectionError):
            while (text := await self._queue.get()) is not None:
                await self.socket.send_str(text)
                written += 1
                if written % _AT_ONCE == 0:
                    await asyncio.sleep(0)
        with contextlib.suppress(ClientConnectionError, ConnectionError):
            await self.socket.close()
