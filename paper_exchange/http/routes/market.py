"""Public market data: time, listing, prices, book, candles and trades."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final

from paper_exchange.core.history import DAY, INTERVALS, Candle, PublicTrade
from paper_exchange.core.market import Market
from paper_exchange.core.symbols import Symbol
from paper_exchange.errors import refuse
from paper_exchange.http.calls import KEYED, PUBLIC, Call, Route, RouteTable, per_symbol
from paper_exchange.http.params import Params
from paper_exchange.http.render import Json
from paper_exchange.http.routes.listing import exchange_info
from paper_exchange.http.routes.pages import Span, after_id, cut, has_times, within

_HOUR_MS: Final = 3_600_000
_DEPTH_WEIGHTS: Final = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}


def ping(_: Call) -> object:
    return {}


def server_time(call: Call) -> object:
    return {"serverTime": call.exchange.clock.shown_ms()}


def each(view: Callable[[Market, int], Json]) -> Callable[[Call], object]:
    """Answer one object for the symbol that was asked for, or a list for all."""

    def answer(call: Call) -> object:
        chosen = call.chosen_market()
        if chosen is not None:
            return view(chosen, call.now)
        return [view(market, call.now) for market in call.exchange.state.markets.values()]

    return answer


def price_view(market: Market, _: int) -> Json:
    return {"symbol": market.symbol.name, "price": market.symbol.price_text(market.last), "time": market.updated}


def book_view(market: Market, _: int) -> Json:
    symbol, (bid, bid_quantity), (ask, ask_quantity) = market.symbol, market.book.best("BUY"), market.book.best("SELL")
    return {
        "symbol": symbol.name,
        "bidPrice": symbol.price_text(bid),
        "bidQty": symbol.quantity_text(bid_quantity),
        "askPrice": symbol.price_text(ask),
        "askQty": symbol.quantity_text(ask_quantity),
        "time": market.updated,
        "lastUpdateId": market.book.update_id,
    }


def premium_view(market: Market, now: int) -> Json:
    index, is_funded = format(market.basis.index(market.mark, now), ".8f"), bool(market.symbol.funding_ms)
    return {
        "symbol": market.symbol.name,
        "markPrice": format(market.mark, ".8f"),
        "indexPrice": index,
        "estimatedSettlePrice": index,
        "lastFundingRate": format(market.funding_rate, ".8f") if is_funded else "",
        "interestRate": "0.00010000" if is_funded else "",
        "nextFundingTime": market.next_funding(now),
        "time": now,
    }


def day_view(market: Market, now: int) -> Json:
    symbol, history = market.symbol, market.history
    candles = history.candles("1h", now - DAY, 25, now)
    opening = candles[0].open
    volume, quote = sum(c.volume for c in candles), sum(c.quote for c in candles)
    trades = history.trades
    change = market.last - opening
    return {
        "symbol": symbol.name,
        "priceChange": symbol.price_text(change),
        "priceChangePercent": format(change / opening * 100, ".3f"),
        "weightedAvgPrice": symbol.price_text(Decimal(quote / volume)) if volume else "0",
        "lastPrice": symbol.price_text(market.last),
        "lastQty": symbol.quantity_text(trades[-1].quantity) if trades else "0",
        "openPrice": symbol.price_text(opening),
        "highPrice": symbol.price_text(max(market.last, *(c.high for c in candles))),
        "lowPrice": symbol.price_text(min(market.last, *(c.low for c in candles))),
        "volume": symbol.quantity_text(Decimal(volume)),
        "quoteVolume": format(quote, ".2f"),
        "openTime": now - DAY,
        "closeTime": now,
        "firstId": trades[0].trade_id if trades else -1,
        "lastId": trades[-1].trade_id if trades else -1,
        "count": sum(c.count for c in candles),
    }


def depth(call: Call) -> object:
    market, limit = call.market(), depth_limit(call.params)
    return {
        "lastUpdateId": market.book.update_id,
        "E": call.now,
        "T": market.updated,
        "bids": levels(market.symbol, market.book.depth("BUY", limit)),
        "asks": levels(market.symbol, market.book.depth("SELL", limit)),
    }


def levels(symbol: Symbol, rows: list[tuple[Decimal, Decimal]]) -> list[list[str]]:
    return [[symbol.price_text(price), symbol.quantity_text(quantity)] for price, quantity in rows]


def depth_limit(params: Params) -> int:
    limit = params.integer("limit")
    if limit is None:
        return 500
    if limit not in _DEPTH_WEIGHTS:
        raise refuse(-4021, limit=limit)
    return limit


def klines(call: Call) -> object:
    market, found = candles(call)
    return [candle_row(market.symbol, candle) for candle in found]


def candles(call: Call) -> tuple[Market, list[Candle]]:
    """Return the market and the candles that a call of the klines family asks for."""
    market, params = call.market(), call.params
    interval = params.required("interval")
    if interval not in INTERVALS:
        raise refuse(-1120)
    count = call.limit(500, 1500)
    start, end = params.integer("startTime"), params.integer("endTime")
    until = min(end if end is not None else call.now, call.now)
    if start is None:
        start = until - count * INTERVALS[interval]
    elif end is not None and start > end:
        raise refuse(-1023)
    return market, market.history.candles(interval, max(start, market.symbol.onboard_ms), count, until)


def candle_row(symbol: Symbol, candle: Candle) -> list[object]:
    return [
        candle.open_time,
        symbol.price_text(candle.open),
        symbol.price_text(candle.high),
        symbol.price_text(candle.low),
        symbol.price_text(candle.close),
        symbol.quantity_text(candle.volume),
        candle.close_time,
        format(candle.quote, ".5f"),
        candle.count,
        symbol.quantity_text(candle.taker_volume),
        format(candle.taker_quote, ".5f"),
        "0",
    ]


def trades(call: Call) -> object:
    market, limit = call.market(), call.limit(500, 1000)
    return [trade_row(market.symbol, trade) for trade in _last(market, limit)]


def old_trades(call: Call) -> object:
    """Public trades from an id on, or the most recent ones."""
    market, limit, first = call.market(), call.limit(100, 500), call.params.integer("fromId")
    if first is None:
        return [trade_row(market.symbol, trade) for trade in _last(market, limit)]
    rows = after_id(list(market.history.trades), first, _trade_id)
    return [trade_row(market.symbol, trade) for trade in rows[:limit]]


def trade_row(symbol: Symbol, trade: PublicTrade) -> Json:
    return {
        "id": trade.trade_id,
        "price": symbol.price_text(trade.price),
        "qty": symbol.quantity_text(trade.quantity),
        "quoteQty": format(trade.price * trade.quantity, ".2f"),
        "time": trade.time,
        "isBuyerMaker": trade.buyer_is_maker,
        "isRPITrade": False,
    }


def agg_trades(call: Call) -> object:
    """Every print is its own aggregate."""
    market, params = call.market(), call.params
    limit, first = call.limit(500, 1000), params.integer("fromId")
    rows: Sequence[PublicTrade] = list(market.history.trades)
    if first is None:
        page = _timed(call, rows, limit)
    elif has_times(call) and call.exchange.state.assumptions.first_id_with_times == "refuse":
        raise refuse(-1128)
    else:
        page = list(after_id(rows, first, _trade_id)[:limit])
    return [agg_row(market.symbol, trade) for trade in page]


def _timed(call: Call, rows: Sequence[PublicTrade], limit: int) -> list[PublicTrade]:
    """Rows between the times of a call, an hour apart at most. Without times the most recent."""
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    if start is not None and end is not None:
        if start > end:
            raise refuse(-1023)
        if end - start > _HOUR_MS:
            raise refuse(-1127, hours=1)
    span = Span(0 if start is None else start, call.now if end is None else end, keeps_newest=start is None)
    return cut(within(rows, span, lambda row: row.time), span, limit)


def agg_row(symbol: Symbol, trade: PublicTrade) -> Json:
    return {
        "a": trade.trade_id,
        "p": symbol.price_text(trade.price),
        "q": symbol.quantity_text(trade.quantity),
        "nq": symbol.quantity_text(trade.quantity),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.time,
        "m": trade.buyer_is_maker,
    }


def _trade_id(trade: PublicTrade) -> int:
    return trade.trade_id


def _last(market: Market, limit: int) -> list[PublicTrade]:
    rows = market.history.trades
    return list(islice(rows, max(0, len(rows) - limit), None))


def _depth_weight(params: Params) -> int:
    return _DEPTH_WEIGHTS.get(params.integer("limit") or 500, 10)


def kline_weight(params: Params) -> int:
    count = params.integer("limit") or 500
    return 1 if count < 100 else 2 if count < 500 else 5 if count <= 1000 else 10


_PRICE: Final = Route(handler=each(price_view), security=PUBLIC, weight=per_symbol(1, 2))

ROUTES: RouteTable = {
    ("GET", "/fapi/v1/ping"): Route(handler=ping, security=PUBLIC),
    ("GET", "/fapi/v1/time"): Route(handler=server_time, security=PUBLIC),
    ("GET", "/fapi/v1/exchangeInfo"): Route(handler=exchange_info, security=PUBLIC),
    ("GET", "/fapi/v1/ticker/price"): _PRICE,
    ("GET", "/fapi/v2/ticker/price"): _PRICE,
    ("GET", "/fapi/v1/ticker/bookTicker"): Route(handler=each(book_view), security=PUBLIC, weight=per_symbol(2, 5)),
    ("GET", "/fapi/v1/ticker/24hr"): Route(handler=each(day_view), security=PUBLIC, weight=per_symbol(1, 40)),
    ("GET", "/fapi/v1/premiumIndex"): Route(handler=each(premium_view), security=PUBLIC, weight=per_symbol(1, 10)),
    ("GET", "/fapi/v1/depth"): Route(handler=depth, security=PUBLIC, weight=_depth_weight),
    ("GET", "/fapi/v1/klines"): Route(handler=klines, security=PUBLIC, weight=kline_weight),
    ("GET", "/fapi/v1/trades"): Route(handler=trades, security=PUBLIC, weight=5),
    ("GET", "/fapi/v1/aggTrades"): Route(handler=agg_trades, security=PUBLIC, weight=20),
    ("GET", "/fapi/v1/historicalTrades"): Route(handler=old_trades, security=KEYED, weight=200),
}
