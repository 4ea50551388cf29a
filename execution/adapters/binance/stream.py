"""The exchange's user-data stream: listen keys over REST, events over one WebSocket connection a time."""

import time
from collections.abc import Callable
from datetime import datetime

import websocket

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.stream_events import read_event
from execution.domain.ports import StreamClosedError, StreamConnection
from execution.domain.stream import SettingNews, StreamNews

Clock = Callable[[], datetime]
CONNECT_SECONDS = 10.0
# Unanswered pings in a row after which the other side is taken for dead.
PINGS_WITHOUT_ANSWER = 3
# A proxy of the environment would learn the key.
NO_PROXY = ["*"]


class BinanceUserStream:
    """Opens connections on the route for private events; without it the exchange connects and stays silent."""

    def __init__(self, *, exchange: BinanceExchange, stream_url: str, ping_seconds: float, clock: Clock) -> None:
        self._exchange = exchange
        self._stream_url = stream_url.rstrip("/")
        self._ping_seconds = ping_seconds
        self._clock = clock

    def open_key(self) -> str:
        return self._exchange.open_listen_key()

    def renew_key(self, key: str) -> bool:
        return self._exchange.renew_listen_key(key)

    def connect(self, key: str) -> StreamConnection:
        try:
            socket = websocket.create_connection(
                f"{self._stream_url}/private/ws/{key}", timeout=CONNECT_SECONDS, http_no_proxy=NO_PROXY
            )
        except (websocket.WebSocketException, OSError) as error:
            # Only its kind: its text may hold the address, and with it the key.
            raise StreamClosedError(f"cannot connect: {type(error).__name__}") from None
        return BinanceStreamConnection(
            socket, ping_seconds=self._ping_seconds, clock=self._clock, note_setting=self._exchange.note_setting
        )


class BinanceStreamConnection:
    """One connection, used by one thread. It pings by itself: the exchange's own pings come minutes apart."""

    def __init__(
        self,
        socket: websocket.WebSocket,
        *,
        ping_seconds: float,
        clock: Clock,
        note_setting: Callable[[str, int], None],
    ) -> None:
        self._socket = socket
        self._note_setting = note_setting
        self._ping_seconds = ping_seconds
        self._clock = clock
        self._pinged_at = self._heard_at = time.monotonic()
        self.last_sign_at = clock()

    def receive(self, *, within_seconds: float) -> StreamNews | None:
        try:
            self._ping_when_due()
            self._socket.settimeout(within_seconds)
            # Also answers pings. What has arrived of a message when the time is over is kept for the next call.
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise StreamClosedError(type(error).__name__) from None
        self._heard_at, self.last_sign_at = time.monotonic(), self._clock()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise StreamClosedError("closed by the exchange")
        return self._read(frame.data) if opcode == websocket.ABNF.OPCODE_TEXT else None

    def _read(self, frame: bytes) -> StreamNews:
        news = read_event(frame)
        if isinstance(news, SettingNews) and news.symbol:
            # What entries believe of this symbol is no longer so, in any process.
            self._note_setting(news.symbol, news.leverage)
        return news

    def close(self) -> None:
        self._socket.shutdown()  # type: ignore[no-untyped-call]

    def _ping_when_due(self) -> None:
        now = time.monotonic()
        if now - self._heard_at > self._ping_seconds * PINGS_WITHOUT_ANSWER:
            raise StreamClosedError(f"no sign for {now - self._heard_at:.0f}s")
        if now - self._pinged_at >= self._ping_seconds:
            self._pinged_at = now
            # A full buffer of a dead connection must not hold us for longer than reading would.
            self._socket.settimeout(self._ping_seconds)
            self._socket.ping()
