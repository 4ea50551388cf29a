"""The exchange's user-data stream: listen keys over REST, events over a WebSocket connection."""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import websocket

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.stream_events import READERS, ignored_news, read_event
from execution.adapters.outgoing import KEEPALIVE, PeerRule, any_peer, checked
from execution.domain.clocks import Clock
from execution.domain.ports import StreamClosedError, StreamConnection
from execution.domain.stream import SettingNews, StreamNews

CONNECT_SECONDS = 10.0
# Unanswered pings in a row after which the other side is taken for dead.
PINGS_WITHOUT_ANSWER = 3
# The largest honest message is an account snapshot of some hundred positions.
LARGEST_MESSAGE = 4 * 1024 * 1024
# What the stream is asked for: all that we read, but for what repeats it.
WANTED = tuple(kind for kind, reader in READERS.items() if reader is not ignored_news)
PORTS = {"ws": 80, "wss": 443}


class BinanceUserStream:
    """Opens connections on the route for private events.

    On other routes the exchange connects and stays silent.
    """

    def __init__(
        self,
        *,
        exchange: BinanceExchange,
        stream_url: str,
        ping_seconds: float,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        peer_rule: PeerRule = any_peer,
    ) -> None:
        self._exchange = exchange
        self._peer_rule = peer_rule
        self._stream_url = stream_url.rstrip("/")
        self._ping_seconds = ping_seconds
        self._clock = clock
        self._monotonic = monotonic

    def open_key(self) -> str:
        return self._exchange.open_listen_key()

    def renew_key(self, key: str) -> bool:
        return self._exchange.renew_listen_key(key)

    def connect(self, key: str) -> StreamConnection:
        try:
            opened = open_socket(f"{self._stream_url}{user_stream_path(key)}", self._peer_rule)
        except (websocket.WebSocketException, OSError) as error:
            # Only its kind: its text may hold the address, and with it the key.
            raise StreamClosedError(f"cannot connect: {type(error).__name__}") from None
        return BinanceStreamConnection(
            opened,
            ping_seconds=self._ping_seconds,
            clock=self._clock,
            note_setting=self._exchange.note_setting,
            monotonic=self._monotonic,
        )


def user_stream_path(key: str) -> str:
    """Return the path of a key's user stream, naming the events that are wanted.

    Production is reported to send nothing on `/private/ws/KEY`, while both testnets do:
    https://github.com/ccxt/ccxt/issues/28091, https://github.com/adshao/go-binance/issues/812.
    """
    return f"/private/ws?listenKey={key}&events={'/'.join(WANTED)}"


def open_socket(url: str, peer_rule: PeerRule) -> websocket.WebSocket:
    """Connect without proxy or redirect, to an allowed address: the URL holds the listen key.

    Raises:
        websocket.WebSocketException: the handshake failed, or asked us to go elsewhere.
        OSError: no connection, or one that ended where it must not.

    """
    connection = _connected(url, peer_rule)
    try:
        return websocket.create_connection(
            url, timeout=CONNECT_SECONDS, class_=BoundedWebSocket, socket=connection, redirect_limit=0
        )
    except BaseException:
        connection.close()
        raise


def _connected(url: str, peer_rule: PeerRule) -> socket.socket:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = checked(
        socket.create_connection((host, parts.port or PORTS[parts.scheme]), CONNECT_SECONDS), peer_rule
    )
    for option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *KEEPALIVE):
        connection.setsockopt(*option)
    if parts.scheme == "ws":
        return connection
    try:
        context = ssl.create_default_context()
        # Only the certificate's list of names is verified by its issuer. Its subject can contain any text.
        context.hostname_checks_common_name = False
        return context.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


class BoundedWebSocket(websocket.WebSocket):
    """Refuses a message that is longer than any honest one, before it is read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frame_buffer = BoundedFrames(self._recv, skip_utf8_validation=False)


class BoundedFrames(websocket.frame_buffer):
    """Counts the bytes of a message over its frames."""

    _before = 0

    def recv_length(self) -> None:
        super().recv_length()
        if self._before + (self.length or 0) > LARGEST_MESSAGE:
            raise websocket.WebSocketPayloadException(f"a message of more than {LARGEST_MESSAGE} bytes")

    def recv_frame(self) -> websocket.ABNF:
        frame = super().recv_frame()
        if frame.opcode in {websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CONT}:
            self._before = 0 if frame.fin else self._before + len(frame.data)
        return frame


class BinanceStreamConnection:
    """One connection, used by one thread. It sends pings: the exchange's own come minutes apart."""

    def __init__(
        self,
        socket: websocket.WebSocket,
        *,
        ping_seconds: float,
        clock: Clock,
        note_setting: Callable[[str, int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = socket
        self._note_setting = note_setting
        self._ping_seconds = ping_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._pinged_at = self._heard_at = monotonic()
        # Pings sent since the last sign of the other side.
        self._unanswered = 0
        self.last_sign_at = clock()

    def receive(self, *, within_seconds: float) -> StreamNews | None:
        text = self.receive_text(within_seconds=within_seconds)
        return None if text is None else self._read(text)

    def receive_text(self, *, within_seconds: float) -> bytes | None:
        """Return the next message as it came, or None when there was none in time.

        Raises:
            StreamClosedError: the connection has ended, or gives no sign of life.

        """
        try:
            self._ping_when_due()
            self._socket.settimeout(within_seconds)
            # Also answers pings. What has arrived of a message when the time is over is kept for the next call.
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
        except websocket.WebSocketTimeoutException:
            self._give_up_when_dead()
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise StreamClosedError(type(error).__name__) from None
        self._heard_at, self.last_sign_at, self._unanswered = self._monotonic(), self._clock(), 0
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise StreamClosedError("closed by the exchange")
        return bytes(frame.data) if opcode == websocket.ABNF.OPCODE_TEXT else None

    def _read(self, frame: bytes) -> StreamNews:
        news = read_event(frame)
        if isinstance(news, SettingNews) and news.symbol:
            # The cached settings of this symbol are outdated, in every process.
            self._note_setting(news.symbol, news.leverage)
        return news

    def close(self) -> None:
        self._socket.shutdown()  # type: ignore[no-untyped-call]

    def _ping_when_due(self) -> None:
        now = self._monotonic()
        if now - self._pinged_at >= self._ping_seconds and self._unanswered < PINGS_WITHOUT_ANSWER:
            self._pinged_at, self._unanswered = now, self._unanswered + 1
            # A full buffer of a dead connection must not hold us for longer than reading would.
            self._socket.settimeout(self._ping_seconds)
            self._socket.ping()

    def _give_up_when_dead(self) -> None:
        """Close after pings without an answer.

        Time in which this process did not read does not count as silence.

        Raises:
            StreamClosedError: as many pings in a row were not answered, the last one for as long as between two.

        """
        now = self._monotonic()
        if self._unanswered >= PINGS_WITHOUT_ANSWER and now - self._pinged_at >= self._ping_seconds:
            raise StreamClosedError(f"no sign for {now - self._heard_at:.0f}s")
