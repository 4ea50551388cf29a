"""Writes a trade's chart for the script that draws it.

Numbers are for a screen, times in seconds on the grid of the candles.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import TypedDict

from execution.domain.money import plain
from execution.queries.charts import LegPath
from execution.queries.trade_now import TradeNow
from execution.trades.charts import TradeCandles


class Point(TypedDict):
    """A value from a time on, in seconds since 1970."""

    time: int
    value: float


class Mark(TypedDict):
    """A fill beside its candle."""

    time: int
    price: float
    quantity: str
    buyer: bool
    entry: bool


def chart_json(shown: TradeCandles, levels: Iterable[LegPath], now: TradeNow) -> dict[str, object]:
    """Return candles, fills, levels and mark price."""
    length = int(shown.window.length.total_seconds())

    def on_grid(at: datetime) -> int:
        return int(at.timestamp()) // length * length

    return {
        "candles": [
            {
                "time": int(each.at.timestamp()),
                "open": float(each.open),
                "high": float(each.high),
                "low": float(each.low),
                "close": float(each.close),
            }
            for each in shown.candles
        ],
        "fills": [
            Mark(
                time=on_grid(fill.filled_at),
                price=float(fill.price),
                quantity=f"{fill.quantity.normalize():f}",
                buyer=fill.buyer,
                entry=fill.entry,
            )
            for fill in now.fills
        ],
        "levels": [
            {
                "name": level.name,
                "points": points_of(level, length),
                # All of them, also those within one candle.
                "steps": [f"{plain(price)} at {at:%H:%M:%S}" for at, price in level.steps],
            }
            for level in levels
        ],
        "mark": float(now.position.mark_price) if now.position else None,
        "note": shown.note,
    }


def points_of(level: LegPath, length: int) -> list[Point]:
    """Return where a level lay, one point a candle at most: of two moves within one, the later."""
    values: dict[int, Decimal] = {int(at.timestamp()) // length * length: price for at, price in level.steps}
    last = int(level.until.timestamp()) // length * length
    values.setdefault(max(last, *values), level.steps[-1][1])
    return [Point(time=time, value=float(price)) for time, price in sorted(values.items())]
