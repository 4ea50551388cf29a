"""The WebSocket side of the server: addresses, subscriptions, pings, life time."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import WSMsgType, web

from paper_exchange.core.clock import Clock
from paper_exchange.ws.connection import Connection
from paper_exchange.ws.hub import MAX_STREAMS, Hub
from paper_exchange.ws.names import Path, path_of

PING_EVERY_MS: Final = 180_000
PONG_WITHIN_MS: Final = 600_000
MESSAGES_PER_SECOND: Final = 10
MAX_ID_LENGTH: Final = 36


@dataclass(slots=True)
class Address:
    """What a connection asks for by its path and query."""

    path: Path
    combined: bool
    streams: list[str]
    events: dict[str, list[str]]
    # Those of the streams that stand in the path.
    by_path: frozenset[str] = frozenset()


class BadMessageError(ValueError):
    """A control message that is refused. `code` is one of the four documented ones."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def read_address(raw_path: str) -> Address | None:
    """Read /ws, /ws/<streams>, /stream?streams= and the listen key forms, each with or without a route."""
    place, _, query = raw_path.partition("?")
    parts = [part for part in unquote(place).split("/") if part]
    path = Path.UNROUTED
    if parts and parts[0] in {"public", "market", "private"}:
        path = Path(parts.pop(0))
    if not parts or parts[0] not in {"ws", "stream"}:
        return None
    combined = parts[0] == "stream"
    # ccxt distinguishes its connections by a lone number.
    streams = [part for part in parts[1:] if not part.isdigit()]
    in_path = frozenset(streams)
    events: dict[str, list[str]] = {}
    for name, value in parse_qsl(query):
        if name == "streams":
            streams += [stream for stream in value.split("/") if stream]
        elif name == "listenKey":
            streams.append(value)
        elif name == "events" and streams:
            events[streams[-1]] = value.split("/")
    return Address(path, combined, streams, events, in_path)


class StreamServer:
    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        *,
        enforce_limits: bool,
        life_ms: int,
        is_path_silent: Callable[[], bool] = lambda: False,
    ) -> None:
        """Serve the hub's streams. `is_path_silent`: whether user streams by path send nothing."""
        self._hub = hub
        self._is_path_silent = is_path_silent
        self._clock = clock
        self._enforce_limits = enforce_limits
        self._life_ms = life_ms

    async def serve(self, http: web.BaseRequest, address: Address) -> web.WebSocketResponse:
        """Serve one connection to its end."""
        socket = web.WebSocketResponse(autoping=False, max_msg_size=1 << 16)
        await socket.prepare(http)
        connection = Connection(
            socket, http.transport, address.path, combined=address.combined, now=self._clock.now_ms()
        )
        connection.events.update(address.events)
        # The route that was introduced with it; what `--legacy-streams` serves beside it is older.
        if address.path is Path.PRIVATE and self._is_path_silent():
            connection.events.update({name: [] for name in address.by_path if path_of(name) is Path.PRIVATE})
        self._hub.connections.add(connection)
        for stream in address.streams[:MAX_STREAMS]:
            self._hub.subscribe(connection, stream)
        writer = asyncio.create_task(connection.write())
        try:
            await self._read(connection)
        finally:
            self._hub.leave(connection)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket

    async def tend(self, now: int) -> None:
        """Ping connections, and end those that are too old or too silent."""
        for connection in list(self._hub.connections):
            if now - connection.opened >= self._life_ms or now - connection.last_pong >= PONG_WITHIN_MS:
                connection.close()
            elif now - connection.last_ping >= PING_EVERY_MS:
                connection.last_ping = now
                with contextlib.suppress(ConnectionError):
                    await connection.socket.ping(str(now).encode())

    def close_all(self) -> None:
        for connection in list(self._hub.connections):
            connection.close()

    async def _read(self, connection: Connection) -> None:
        recent: deque[int] = deque(maxlen=MESSAGES_PER_SECOND)
        async for message in connection.socket:
            now = self._clock.now_ms()
            if self._enforce_limits and len(recent) == recent.maxlen and now - recent[0] < 1000:
                return
            recent.append(now)
            if message.type is WSMsgType.PING:
                await connection.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                connection.last_pong = now
            elif message.type is WSMsgType.TEXT:
                self._answer(connection, message.data)

    def _answer(self, connection: Connection, text: str) -> None:
        identity: int | str | None = None
        try:
            message = _decode(text)
            identity = _identity(message)
            connection.send_json({"result": self._perform(connection, message), "id": identity})
        except BadMessageError as error:
            refusal: dict[str, object] = {"code": error.code, "msg": str(error)}
            connection.send_json(refusal if identity is None else refusal | {"id": identity})

    def _perform(self, connection: Connection, message: dict[str, object]) -> object:
        method, params = message.get("method"), message.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return sorted(connection.streams)
        if not isinstance(params, list):
            raise BadMessageError(2, "Invalid request: params must be an array")
        match method:
            case "SUBSCRIBE":
                self._subscribe(connection, params)
            case "UNSUBSCRIBE":
                for stream in _names(params):
                    self._hub.unsubscribe(connection, stream)
            case "SET_PROPERTY":
                _set_property(connection, params)
            case "GET_PROPERTY":
                return _get_property(connection, params)
            case _:
                raise BadMessageError(
                    2,
                    "Invalid request: unknown variant, expected one of SUBSCRIBE, UNSUBSCRIBE, "
                    "LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY",
                )
        return None

    def _subscribe(self, connection: Connection, params: list[object]) -> None:
        names = _names(params)
        if len(connection.streams | set(names)) > MAX_STREAMS:
            raise BadMessageError(2, f"Invalid request: more than {MAX_STREAMS} streams")
        for stream in names:
            self._hub.subscribe(connection, stream)


def _decode(text: str) -> dict[str, object]:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadMessageError(3, f"Invalid JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadMessageError(2, "Invalid request: expected an object")
    return message


def _identity(message: dict[str, object]) -> int | str:
    identity = message.get("id")
    # Documented is a number, but the official SDK sends UUIDs.
    if isinstance(identity, str) and 0 < len(identity) <= MAX_ID_LENGTH:
        return identity
    if not isinstance(identity, int) or isinstance(identity, bool) or identity < 0:
        raise BadMessageError(2, "Invalid request: request ID must be an unsigned integer")
    return identity


def _names(params: list[object]) -> list[str]:
    names = [name for name in params if isinstance(name, str)]
    if len(names) != len(params) or not names:
        raise BadMessageError(2, "Invalid request: params must be stream names")
    return names


def _set_property(connection: Connection, params: list[object]) -> None:
    name, value = [*params, None, None][:2]
    if name != "combined":
        raise BadMessageError(0, "Unknown property")
    if not isinstance(value, bool):
        raise BadMessageError(1, "Invalid value type: expected Boolean")
    connection.combined = value


def _get_property(connection: Connection, params: list[object]) -> object:
    if params[:1] != ["combined"]:
        raise BadMessageError(0, "Unknown property")
    return connection.combined
