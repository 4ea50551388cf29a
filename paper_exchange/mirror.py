"""A mirror: the public streams of another exchange, real or paper, set the prices of this one.

Messages are collected as they come and applied together a few times a second, each through the journal like any change.
When the source is silent nothing is applied: prices stand still until it speaks again.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from paper_exchange.core.exchange import Exchange

logger = logging.getLogger(__name__)
SILENT_AFTER_S: Final = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_APPLY_EVERY_S: Final = 0.05
# A source that bursts beyond this while we are busy loses its oldest trades.
_MOST_TRADES: Final = 10_000
# Route of the stream address, and the streams of one symbol there.
_ROUTES: Final = {"public": ("bookTicker",), "market": ("markPrice@1s", "aggTrade")}


class Mirror:
    """Follows one source for all listed symbols. `run` ends only by cancellation."""

    def __init__(self, exchange: Exchange, url: str) -> None:
        self._exchange = exchange
        self._url = url.rstrip("/")
        self._heard: float | None = None
        self._connected: set[str] = set()
        self._reconnects = 0
        self._trades: deque[tuple[str, str, str]] = deque(maxlen=_MOST_TRADES)
        # Only the newest of these counts.
        self._marks: dict[str, str] = {}
        self._quotes: dict[str, tuple[str, str]] = {}

    async def run(self) -> None:
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
            for route in _ROUTES:
                group.create_task(self._follow(http, route))
            group.create_task(self._apply_regularly())

    def status(self) -> dict[str, object]:
        """Return where prices come from, and whether they stand still because the source is silent."""
        silence = None if self._heard is None else time.monotonic() - self._heard
        return {
            "url": self._url,
            "connected": len(self._connected) == len(_ROUTES),
            "silent": silence is None or silence > SILENT_AFTER_S,
            "silent_ms": None if silence is None else int(silence * 1000),
            "reconnects": self._reconnects,
        }

    async def _follow(self, http: aiohttp.ClientSession, route: str) -> None:
        """Read one connection for ever. Each failure in a row doubles the pause before the next attempt."""
        pause = _FIRST_PAUSE_S
        while True:
            heard = self._heard
            try:
                await self._read(http, route)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                logger.warning("Mirror lost %s: %s", route, error)
            finally:
                self._connected.discard(route)
            pause = _FIRST_PAUSE_S if self._heard != heard else min(pause * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)
            self._reconnects += 1

    async def _read(self, http: aiohttp.ClientSession, route: str) -> None:
        kinds, symbols = _ROUTES[route], self._exchange.state.symbols
        streams = "/".join(f"{quote(name.lower())}@{kind}" for name in symbols for kind in kinds)
        async with http.ws_connect(f"{self._url}/{route}/stream?streams={streams}", heartbeat=10) as socket:
            self._connected.add(route)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._heard = time.monotonic()
                    with contextlib.suppress(KeyError, TypeError, orjson.JSONDecodeError):
                        self._take(orjson.loads(message.data)["data"])

    def _take(self, data: dict[str, Any]) -> None:
        match data["e"]:
            case "aggTrade":
                self._trades.append((data["s"], data["p"], data["q"]))
            case "markPriceUpdate":
                self._marks[data["s"]] = data["p"]
            case "bookTicker":
                self._quotes[data["s"]] = data["b"], data["a"]

    async def _apply_regularly(self) -> None:
        while True:
            await asyncio.sleep(_APPLY_EVERY_S)
            try:
                self.apply()
            except Exception:
                # One faulty message must not stop the others for good.
                logger.exception("Mirror failed to apply")

    def apply(self) -> None:
        """Apply what has come since the last time to the markets: trades in order, then marks and quotes."""
        trades, marks, quotes = list(self._trades), self._marks, self._quotes
        self._trades.clear()
        self._marks, self._quotes = {}, {}
        for symbol, price, volume in trades:
            self._perform("trade", symbol, price, volume)
        for symbol, mark in marks.items():
            self._perform("mark", symbol, mark, mark)
        for symbol, (bid, ask) in quotes.items():
            self._perform("quote", symbol, bid, ask)

    def _perform(self, kind: str, symbol: str, first: str, second: str) -> None:
        note: dict[str, object] = {"k": "mirror", "e": kind, "s": symbol, "v": [first, second]}
        try:
            values = Decimal(first), Decimal(second)
        except InvalidOperation:
            return
        if symbol in self._exchange.state.markets and all(value.is_finite() and value > 0 for value in values):
            self._exchange.perform(note, lambda: self._exchange.mirror(kind, symbol, *values))
