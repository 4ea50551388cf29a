"""Candles around trades: read from the exchange, and kept with each trade that has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from execution.domain.candles import LEAST_MARGIN, Candle, Window, window_of
from execution.domain.ports import ExchangeUnavailableError, MarketData
from execution.models import Trade
from execution.store.charts import candles_in, ended_at, find_chart, save_chart, trade_without_chart

# A trade that ended longer ago gets its chart when its page is opened.
LOOKED_BACK = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class TradeCandles:
    """The candles of a window, oldest first. `note` is empty, or names why there are none."""

    window: Window
    candles: Sequence[Candle]
    note: str = ""


def candles_of(trade: Trade, exchange: MarketData, *, now: datetime) -> TradeCandles:
    """Return the candles around a trade. Those of a trade that has ended are kept, and not read again.

    What is kept also stands in for an exchange that does not answer.
    """
    window = window_of(trade.entry_at, ended_at(trade), now=now)
    kept = find_chart(trade.pk)
    if kept and kept.interval == window.name and kept.read_at >= window.until:
        return _shown(window, candles_in(kept))
    try:
        found = exchange.candles(trade.symbol, window)
    except ExchangeUnavailableError:
        note = "The exchange does not answer: no candles."
        return _shown(window, candles_in(kept)) if kept else TradeCandles(window=window, candles=(), note=note)
    if found and ended_at(trade):
        save_chart(trade.pk, window, found, now=now)
    return _shown(window, found)


def _shown(window: Window, candles: Sequence[Candle]) -> TradeCandles:
    note = "" if candles else "The exchange has no candles of this time."
    return TradeCandles(window=window, candles=candles, note=note)


def keep_next_chart(exchange: MarketData, *, now: datetime) -> bool:
    """Keep the candles of the oldest trade that has ended and has none yet, False when there is none.

    One call of the exchange at most. A trade whose symbol has no candles any more gets an empty chart, so that it is
    not asked for again.

    Raises:
        ExchangeUnavailableError: nothing was kept.

    """
    trade = trade_without_chart(since=now - LOOKED_BACK, before=now - LEAST_MARGIN)
    if trade is None:
        return False
    window = window_of(trade.entry_at, ended_at(trade), now=now)
    save_chart(trade.pk, window, exchange.candles(trade.symbol, window), now=now)
    return True
