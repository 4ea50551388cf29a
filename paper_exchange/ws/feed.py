"""Market streams: for each subscribed name a publisher of what is new since it was last asked."""

import re
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import Final, Protocol

from paper_exchange.core.exchange import Exchange
from paper_exchange.core.history import INTERVALS, candle_start
from paper_exchange.core.market import Market
from paper_exchange.core.orders import Side
from paper_exchange.http.render import Json
from paper_exchange.http.routes.extras import asset_rows
from paper_exchange.http.routes.market import levels
from paper_exchange.ws.views import View, book_ticker, kline, mark_price, mini_ticker, partial_depth, ticker

_CONTINUOUS: Final = frozenset({"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL"})
DIFF_LEVELS: Final = 1000
_DEPTH: Final = re.compile(r"depth(5|10|20)?(?:@(100|250|500)ms)?|(rpiDepth)@500ms")
_ONE_SYMBOL: Final = re.compile(r"([^@!]+)@(.+)")


class Publisher(Protocol):
    def poll(self, now: int) -> list[object]: ...


class Timer:
    """True once per period."""

    def __init__(self, period_ms: int) -> None:
        self._period = period_ms
        self._next = 0

    def is_due(self, now: int) -> bool:
        if now < self._next:
            return False
        self._next = now // self._period * self._period + self._period
        return True


class Snapshot:
    """A view of one market, at most once per period and only when it changed."""

    def __init__(self, market: Callable[[], Market], view: View, period_ms: int, *, always: bool = False) -> None:
        self._market = market
        self._view = view
        self._timer = Timer(period_ms)
        self._always = always
        self._seen: object = None

    def poll(self, now: int) -> list[object]:
        if not self._timer.is_due(now):
            return []
        market = self._market()
        version = (id(market), market.book.update_id, market.history.last_id)
        if version == self._seen and not self._always:
            return []
        self._seen = version
        return [self._view(market, now)]


class Candles:
    """The running candle when it changed, and each candle once more when it is complete."""

    def __init__(self, market: Callable[[], Market], interval: str, *, continuous: bool) -> None:
        self._market = market
        self._interval = interval
        self._continuous = continuous
        self._timer = Timer(250)
        self._running: int | None = None
        self._seen: object = None

    def poll(self, now: int) -> list[object]:
        if not self._timer.is_due(now):
            return []
        market, start = self._market(), candle_start(now, self._interval)
        before, self._running = self._running, start
        payloads = []
        if before is not None and before < start:
            payloads.append(self._view(market, before, now, closed=True))
        version = (start, market.history.last_id)
        if version != self._seen:
            self._seen = version
            payloads.append(self._view(market, start, now, closed=False))
        return payloads

    def _view(self, market: Market, start: int, now: int, *, closed: bool) -> object:
        [candle] = market.history.candles(self._interval, start, 1, start)
        return kline(market, candle, self._interval, now, closed=closed, continuous=self._continuous)


class AllMarkets:
    """One array with a view of every market per period."""

    def __init__(self, exchange: Exchange, view: View, period_ms: int) -> None:
        self._exchange = exchange
        self._view = view
        self._timer = Timer(period_ms)

    def poll(self, now: int) -> list[object]:
        if not self._timer.is_due(now):
            return []
        return [[self._view(market, now) for market in self._exchange.state.markets.values()]]


class EachMarket:
    """One message per market and period, as !bookTicker sends them."""

    def __init__(self, exchange: Exchange, view: View, period_ms: int) -> None:
        self._exchange = exchange
        self._view = view
        self._timer = Timer(period_ms)

    def poll(self, now: int) -> list[object]:
        if not self._timer.is_due(now):
            return []
        return [self._view(market, now) for market in self._exchange.state.markets.values()]


class Prints:
    """Every public trade once."""

    def __init__(self, market: Callable[[], Market], *, aggregated: bool) -> None:
        self._market = market
        self._aggregated = aggregated
        self._last_id = market().history.last_id

    def poll(self, now: int) -> list[object]:
        market = self._market()
        history, symbol = market.history, market.symbol
        fresh = min(history.last_id - self._last_id, len(history.trades))
        self._last_id = history.last_id
        rows: list[object] = []
        for trade in islice(history.trades, len(history.trades) - fresh, None):
            price, quantity = symbol.price_text(trade.price), symbol.quantity_text(trade.quantity)
            row: Json = {"e": "aggTrade" if self._aggregated else "trade", "E": now, "s": symbol.name}
            if self._aggregated:
                row |= {"a": trade.trade_id, "p": price, "q": quantity, "nq": quantity}
                row |= {"f": trade.trade_id, "l": trade.trade_id, "T": trade.time}
            else:
                row |= {"T": trade.time, "t": trade.trade_id, "p": price, "q": quantity, "X": "MARKET"}
            rows.append(row | {"m": trade.buyer_is_maker, "st": 1})
        return rows


class DiffDepth:
    """Changes of the book: absolute quantities, zero removes, each event linked to the one before."""

    def __init__(self, market: Callable[[], Market], period_ms: int, *, with_rpi: bool = False) -> None:
        self._market = market
        self._with_rpi = with_rpi
        self._timer = Timer(period_ms)
        self._update_id = market().book.update_id
        self._sides: dict[Side, dict[Decimal, Decimal]] = {side: self._levels(side) for side in ("BUY", "SELL")}

    def poll(self, now: int) -> list[object]:
        market = self._market()
        if market.book.update_id == self._update_id or not self._timer.is_due(now):
            return []
        before, self._update_id = self._update_id, market.book.update_id
        return [
            {
                "e": "depthUpdate",
                "E": now,
                "T": market.updated,
                "s": market.symbol.name,
                "ps": market.symbol.pair,
                "U": before + 1,
                "u": self._update_id,
                "pu": before,
                "b": levels(market.symbol, self._changes("BUY")),
                "a": levels(market.symbol, self._changes("SELL")),
                "st": 1,
            }
        ]

    def _changes(self, side: Side) -> list[tuple[Decimal, Decimal]]:
        old, new = self._sides[side], self._levels(side)
        self._sides[side] = new
        gone = [(price, Decimal(0)) for price in old if price not in new]
        return gone + [(price, quantity) for price, quantity in new.items() if old.get(price) != quantity]

    def _levels(self, side: Side) -> dict[Decimal, Decimal]:
        return dict(self._market().book.depth(side, DIFF_LEVELS, with_rpi=self._with_rpi))


class AssetIndexes:
    """Prices of the margin assets, once a second."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._timer = Timer(1000)

    def poll(self, now: int) -> list[object]:
        if not self._timer.is_due(now):
            return []
        return [[_asset_row(row, now) for row in asset_rows(self._exchange.state, now)]]


_ASSET_FIELDS: Final = {
    "s": "symbol",
    "i": "index",
    "b": "bidBuffer",
    "a": "askBuffer",
    "B": "bidRate",
    "A": "askRate",
    "q": "autoExchangeBidBuffer",
    "g": "autoExchangeAskBuffer",
    "Q": "autoExchangeBidRate",
    "G": "autoExchangeAskRate",
}


def _asset_row(row: Json, now: int) -> Json:
    return {"e": "assetIndexUpdate", "E": now, **{short: row[name] for short, name in _ASSET_FIELDS.items()}}


_ARRAYS: Final[dict[str, tuple[View, int]]] = {
    "!markPrice@arr": (mark_price, 3000),
    "!markPrice@arr@1s": (mark_price, 1000),
    "!miniTicker@arr": (mini_ticker, 1000),
    "!ticker@arr": (ticker, 1000),
}
_VIEWS: Final[dict[str, tuple[View, int, bool]]] = {
    "bookTicker": (book_ticker, 1, False),
    "markPrice": (mark_price, 3000, True),
    "markPrice@1s": (mark_price, 1000, True),
    "miniTicker": (mini_ticker, 2000, False),
    "ticker": (ticker, 2000, False),
}


def make_publisher(exchange: Exchange, stream: str) -> Publisher | None:
    """Return the publisher of a stream name, or None for a name that the exchange does not know."""
    if stream in _ARRAYS:
        view, period = _ARRAYS[stream]
        return AllMarkets(exchange, view, period)
    if stream == "!assetIndex@arr":
        return AssetIndexes(exchange)
    if stream == "!bookTicker":
        return EachMarket(exchange, book_ticker, 5000)
    found = _ONE_SYMBOL.fullmatch(stream)
    return _symbol_publisher(exchange, found[1], found[2]) if found else None


def _symbol_publisher(exchange: Exchange, name: str, kind: str) -> Publisher | None:
    pair, _, contract_type = name.upper().partition("_")
    continuous = contract_type in _CONTINUOUS
    symbol = name.upper()

    def find() -> Market | None:
        if not continuous:
            return exchange.state.markets.get(symbol)
        return _contract_of(exchange, pair, contract_type)

    known = find()
    if known is None:
        return None
    latest = known

    def market() -> Market:
        # Asked anew each time: a reset of the exchange replaces its markets. One that is no longer listed stands still.
        nonlocal latest
        latest = find() or latest
        return latest

    if kind in _VIEWS:
        view, period, always = _VIEWS[kind]
        return Snapshot(market, view, period, always=always)
    if kind in {"aggTrade", "trade"}:
        return Prints(market, aggregated=kind == "aggTrade")
    if depth := _DEPTH.fullmatch(kind):
        return _depth_publisher(market, depth)
    prefix, _, interval = kind.partition("_")
    if interval in INTERVALS and prefix == ("continuousKline" if continuous else "kline"):
        return Candles(market, interval, continuous=continuous)
    return None


def _contract_of(exchange: Exchange, pair: str, contract_type: str) -> Market | None:
    """Return the market of the contract of a pair that has a type now."""
    for market in exchange.state.markets.values():
        if (market.symbol.pair, market.symbol.contract_type) == (pair, contract_type):
            return market
    return None


def _depth_publisher(market: Callable[[], Market], depth: re.Match[str]) -> Publisher:
    levels_shown, period, rpi = depth.groups()
    if rpi:
        return DiffDepth(market, 500, with_rpi=True)
    period_ms = int(period or 250)
    return (
        Snapshot(market, partial_depth(int(levels_shown)), period_ms) if levels_shown else DiffDepth(market, period_ms)
    )
