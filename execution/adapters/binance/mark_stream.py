"""The exchange's public stream of mark prices: all symbols in one message a second, without a key."""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

import websocket

from execution.adapters.binance.rows import Row
from execution.adapters.binance.stream import BinanceStreamConnection, open_socket
from execution.adapters.outgoing import PeerRule, any_peer
from execution.domain.clocks import Clock
from execution.domain.ports import MarkConnection, StreamClosedError

ROUTE = "/market/ws/!markPrice@arr@1s"
# Since the integration of both products the arrays hold rows of COIN-M contracts, too.
USDT_MARGINED = 1
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, InvalidOperation)


class BinanceMarkStream:
    """Opens connections on the route for market data."""

    def __init__(
        self,
        *,
        stream_url: str,
        ping_seconds: float,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        peer_rule: PeerRule = any_peer,
    ) -> None:
        self._url = stream_url.rstrip("/") + ROUTE
        self._peer_rule = peer_rule
        self._ping_seconds = ping_seconds
        self._clock = clock
        self._monotonic = monotonic

    def connect(self) -> MarkConnection:
        try:
            opened = open_socket(self._url, self._peer_rule)
        except (websocket.WebSocketException, OSError) as error:
            raise StreamClosedError(f"cannot connect: {type(error).__name__}") from None
        return BinanceMarkConnection(
            BinanceStreamConnection(
                opened,
                ping_seconds=self._ping_seconds,
                clock=self._clock,
                note_setting=lambda _symbol, _leverage: None,
                monotonic=self._monotonic,
            )
        )


class BinanceMarkConnection:
    """One connection, used by one thread."""

    def __init__(self, connection: BinanceStreamConnection) -> None:
        self._connection = connection

    def receive(self, *, within_seconds: float) -> Mapping[str, Decimal] | None:
        text = self._connection.receive_text(within_seconds=within_seconds)
        return (read_marks(text) or None) if text is not None else None

    def close(self) -> None:
        self._connection.close()


def read_marks(text: str | bytes) -> dict[str, Decimal]:
    """Read one message, plain or wrapped with its stream's name. A row that cannot be read is left out."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if isinstance(rows, dict):
        rows = rows.get("data", [rows])
    found = [_mark(row) for row in rows] if isinstance(rows, list) else []
    return dict(pair for pair in found if pair is not None)


def _mark(row: Row) -> tuple[str, Decimal] | None:
    try:
        if row["e"] != "markPriceUpdate" or row.get("st", USDT_MARGINED) != USDT_MARGINED:
            return None
        price = Decimal(row["p"])
    except UNREADABLE:
        return None
    return (str(row["s"]), price) if price.is_finite() and price > 0 else None
