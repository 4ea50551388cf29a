"""Candles and public trades of a symbol: recorded since the start, invented but repeatable before it."""

import math
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Final

from paper_exchange.core.money import ZERO
from paper_exchange.core.prices import DEVIATION
from paper_exchange.core.symbols import Symbol

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 86_400_000
# How many recorded minutes and hours are kept; minutes that are older live on in their hours.
_MINUTES_KEPT: Final = 3 * 1440
_HOURS_KEPT: Final = 100 * 24
INTERVALS: Final[dict[str, int]] = {
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": 60 * MINUTE,
    "2h": 120 * MINUTE,
    "4h": 240 * MINUTE,
    "6h": 360 * MINUTE,
    "8h": 480 * MINUTE,
    "12h": 720 * MINUTE,
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": 7 * DAY,
    "1M": 30 * DAY,
}
# The epoch was a Thursday; weekly candles open on Mondays.
_WEEK_SHIFT: Final = 4 * DAY


@dataclass(slots=True)
class Candle:
    open_time: int
    close_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    quote: Decimal = ZERO
    count: int = 0
    taker_volume: Decimal = ZERO
    taker_quote: Decimal = ZERO
    first_id: int = 0
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class PublicTrade:
    trade_id: int
    price: Decimal
    quantity: Decimal
    time: int
    buyer_is_maker: bool


def candle_start(time: int, interval: str) -> int:
    """Return the opening time of the candle that holds a moment (ms)."""
    if interval == "1M":
        moment = datetime.fromtimestamp(time / 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp() * 1000)
    if interval == "1w":
        return (time - _WEEK_SHIFT) // INTERVALS["1w"] * INTERVALS["1w"] + _WEEK_SHIFT
    return time // INTERVALS[interval] * INTERVALS[interval]


def candle_end(start: int, interval: str) -> int:
    """Return the opening time of the next candle (ms)."""
    return candle_start(start + 32 * DAY, "1M") if interval == "1M" else start + INTERVALS[interval]


class History:
    """One symbol's past.

    Recorded candles of minutes, and of hours where those are old, are the base of all others.
    """

    def __init__(self, symbol: Symbol, seed: int, first_trade_id: int) -> None:
        self.symbol = symbol
        self.trades: deque[PublicTrade] = deque(maxlen=1000)
        self._minutes: deque[Candle] = deque()
        self._hours: deque[Candle] = deque(maxlen=_HOURS_KEPT)
        self._phase = (seed % 997) + sum(symbol.name.encode())
        self._trade_id = first_trade_id
        # Opening of the first recorded minute; before it the past is invented.
        self._began = 0

    def begin(self, time: int, price: Decimal) -> None:
        """Let the running minute close at the price with which trading starts, before anything has traded."""
        self._began = self._running(time, price).open_time

    @property
    def last_id(self) -> int:
        return self._trade_id

    def next_trade_id(self) -> int:
        self._trade_id += 1
        return self._trade_id

    def record(self, trade: PublicTrade) -> None:
        """Add a print to the trades and to the running minute."""
        self.trades.append(trade)
        candle = self._running(trade.time, trade.price)
        candle.high, candle.low = max(candle.high, trade.price), min(candle.low, trade.price)
        candle.close = trade.price
        quote = trade.price * trade.quantity
        candle.volume += trade.quantity
        candle.quote += quote
        candle.count += 1
        candle.last_id = trade.trade_id
        candle.first_id = candle.first_id or trade.trade_id
        if not trade.buyer_is_maker:
            candle.taker_volume += trade.quantity
            candle.taker_quote += quote

    def candles(self, interval: str, first: int, count: int, until: int) -> list[Candle]:
        """Return at most `count` candles that open from `first` on and not after `until` (ms)."""
        start = candle_start(first, interval)
        if start < first:
            start = candle_end(start, interval)
        live, recorded = self._live(interval), [*self._hours, *self._minutes]
        opened = [row.open_time for row in recorded]
        found: list[Candle] = []
        while start <= until and len(found) < count:
            end = candle_end(start, interval)
            before = bisect_left(opened, start) - 1
            found.append(live.get(start) or self._quiet(start, end, recorded[before] if before >= 0 else None))
            start = end
        return found

    def price_at(self, time: int) -> Decimal:
        """Invented price of a moment before the exchange started: smooth, repeatable, around the centre."""
        turn = time / MINUTE + self._phase * 17
        wave = math.sin(turn / 3.1) + math.sin(turn / 11.7) + math.sin(turn / 97.0) + math.sin(turn / 1013.0)
        raw = float(self.symbol.price) * (1 + DEVIATION * wave / 2)
        return self.symbol.tick * max(1, round(raw / float(self.symbol.tick)))

    def _running(self, time: int, price: Decimal) -> Candle:
        start = time // MINUTE * MINUTE
        last = self._minutes[-1] if self._minutes else None
        if last is not None and last.open_time == start:
            return last
        # The first candle joins the invented past.
        opening = last.close if last else self.price_at(start)
        candle = Candle(start, start + MINUTE - 1, opening, max(opening, price), min(opening, price), price)
        self._minutes.append(candle)
        if len(self._minutes) > _MINUTES_KEPT:
            self._roll(self._minutes.popleft())
        return candle

    def _roll(self, minute: Candle) -> None:
        """Let an old minute live on in its hour."""
        start = candle_start(minute.open_time, "1h")
        if self._hours and self._hours[-1].open_time == start:
            _add(self._hours[-1], minute)
        else:
            self._hours.append(replace(minute, open_time=start, close_time=start + HOUR - 1))

    def _quiet(self, start: int, end: int, before: Candle | None) -> Candle:
        """Return a candle without recorded trades: invented before the start, later flat at the last close."""
        if before is None or start <= self._began:
            return self._invented(start, end)
        price = before.close
        return Candle(start, end - 1, price, price, price, price)

    def _live(self, interval: str) -> dict[int, Candle]:
        merged: dict[int, Candle] = {}
        for minute in self._minutes if INTERVALS[interval] < HOUR else chain(self._hours, self._minutes):
            start = candle_start(minute.open_time, interval)
            known = merged.get(start)
            if known is None:
                merged[start] = self._opening(minute, start, candle_end(start, interval))
            else:
                _add(known, minute)
        return merged

    def _opening(self, minute: Candle, start: int, end: int) -> Candle:
        if start >= self._began:
            return replace(minute, open_time=start, close_time=end - 1)
        head = self._invented(start, self._began)
        head.close_time = end - 1
        _add(head, minute)
        return head

    def _invented(self, start: int, end: int) -> Candle:
        opening, closing = self.price_at(start), self.price_at(end)
        swing = self.symbol.tick * max(1, int(abs(opening - closing) / self.symbol.tick) // 4)
        high, low = max(opening, closing) + swing, min(opening, closing) - swing
        minutes = max(1, (end - start) // MINUTE)
        volume = self.symbol.step * (minutes * 1000 + start // MINUTE % 97)
        quote = volume * (opening + closing) / 2
        return Candle(start, end - 1, opening, high, low, closing, volume, quote, minutes * 60, volume / 2, quote / 2)


def _add(total: Candle, minute: Candle) -> None:
    total.high, total.low = max(total.high, minute.high), min(total.low, minute.low)
    total.close = minute.close
    total.volume += minute.volume
    total.quote += minute.quote
    total.count += minute.count
    total.taker_volume += minute.taker_volume
    total.taker_quote += minute.taker_quote
    total.first_id = total.first_id or minute.first_id
    total.last_id = minute.last_id or total.last_id
