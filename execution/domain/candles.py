"""Candles around a trade: which interval shows how long a trade, and from when to when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

# What the exchange offers, shortest first, and how it names it.
INTERVALS: tuple[tuple[timedelta, str], ...] = (
    (timedelta(minutes=1), "1m"),
    (timedelta(minutes=5), "5m"),
    (timedelta(minutes=15), "15m"),
    (timedelta(hours=1), "1h"),
    (timedelta(hours=4), "4h"),
    (timedelta(days=1), "1d"),
)
# Enough for a screen, and below the next weight of a call.
MOST_CANDLES = 400
LEAST_MARGIN = timedelta(minutes=30)
MARGIN_SHARE = 4


@dataclass(frozen=True, kw_only=True)
class Candle:
    """The prices of one interval in the quote asset. `at` is its beginning."""

    at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a chart shows: candles of `length`, which the exchange calls `name`, from `since` to `until`."""

    since: datetime
    until: datetime
    length: timedelta
    name: str


def window_of(entry_at: datetime, exit_at: datetime | None, *, now: datetime) -> Window:
    """Return the window around a trade: half an hour or a quarter of its time on both sides, up to now."""
    end = exit_at or now
    margin = max(LEAST_MARGIN, (end - entry_at) / MARGIN_SHARE)
    since, until = entry_at - margin, min(now, end + margin)
    fitting = [each for each in INTERVALS if (until - since) / each[0] <= MOST_CANDLES]
    length, name = fitting[0] if fitting else INTERVALS[-1]
    # A trade of more than a year shows its last part.
    return Window(since=max(since, until - length * MOST_CANDLES), until=until, length=length, name=name)
