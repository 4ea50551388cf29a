"""Payloads of the market streams that show a market as it is now."""

from collections.abc import Callable

from paper_exchange.core.history import DAY, Candle
from paper_exchange.core.market import Market
from paper_exchange.http.render import Json
from paper_exchange.http.routes.market import day_view, levels

View = Callable[[Market, int], Json]


def book_ticker(market: Market, now: int) -> Json:
    symbol, (bid, bid_quantity), (ask, ask_quantity) = market.symbol, market.book.best("BUY"), market.book.best("SELL")
    return {
        "e": "bookTicker",
        "u": market.book.update_id,
        "E": now,
        "T": market.updated,
        "s": symbol.name,
        "ps": symbol.pair,
        "b": symbol.price_text(bid),
        "B": symbol.quantity_text(bid_quantity),
        "a": symbol.price_text(ask),
        "A": symbol.quantity_text(ask_quantity),
        "st": 1,
    }


def mark_price(market: Market, now: int) -> Json:
    mark, index = format(market.mark, ".8f"), format(market.basis.index(market.mark, now), ".8f")
    return {
        "e": "markPriceUpdate",
        "E": now,
        "s": market.symbol.name,
        "p": mark,
        "ap": mark,
        "i": index,
        "P": index,
        "r": format(market.funding_rate, ".8f") if market.symbol.funding_ms else "",
        "T": market.next_funding(now),
        "st": 1,
    }


def mini_ticker(market: Market, now: int) -> Json:
    day = day_view(market, now)
    return {
        "e": "24hrMiniTicker",
        "E": now,
        "s": day["symbol"],
        "c": day["lastPrice"],
        "o": day["openPrice"],
        "h": day["highPrice"],
        "l": day["lowPrice"],
        "v": day["volume"],
        "q": day["quoteVolume"],
        "st": 1,
        "ps": market.symbol.pair,
    }


def ticker(market: Market, now: int) -> Json:
    day = day_view(market, now)
    return {
        **mini_ticker(market, now),
        "e": "24hrTicker",
        "p": day["priceChange"],
        "P": day["priceChangePercent"],
        "w": day["weightedAvgPrice"],
        "Q": day["lastQty"],
        "O": now - DAY,
        "C": now,
        "F": day["firstId"],
        "L": day["lastId"],
        "n": day["count"],
    }


def partial_depth(limit: int) -> View:
    def view(market: Market, now: int) -> Json:
        book = market.book
        return {
            "e": "depthUpdate",
            "E": now,
            "T": market.updated,
            "s": market.symbol.name,
            "ps": market.symbol.pair,
            "U": book.update_id,
            "u": book.update_id,
            "pu": book.update_id - 1,
            "b": levels(market.symbol, book.depth("BUY", limit)),
            "a": levels(market.symbol, book.depth("SELL", limit)),
            "st": 1,
        }

    return view


def kline(market: Market, candle: Candle, interval: str, now: int, *, closed: bool, continuous: bool) -> Json:
    symbol = market.symbol
    body: Json = {
        "t": candle.open_time,
        "T": candle.close_time,
        "s": symbol.name,
        "i": interval,
        "f": candle.first_id,
        "L": candle.last_id,
        "o": symbol.price_text(candle.open),
        "c": symbol.price_text(candle.close),
        "h": symbol.price_text(candle.high),
        "l": symbol.price_text(candle.low),
        "v": symbol.quantity_text(candle.volume),
        "n": candle.count,
        "x": closed,
        "q": format(candle.quote, ".5f"),
        "V": symbol.quantity_text(candle.taker_volume),
        "Q": format(candle.taker_quote, ".5f"),
        "B": "0",
    }
    if continuous:
        return {"e": "continuous_kline", "E": now, "ps": symbol.pair, "ct": symbol.contract_type, "k": body}
    return {"e": "kline", "E": now, "s": symbol.name, "k": body}
