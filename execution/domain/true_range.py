"""The average true range (ATR) that exits are measured by, from closed candles of the exchange. Pure.

The ATR is Wilder's, as charts show it: the mean of the first true ranges, then each further one with a weight of one
period. Ten periods are read, after which the first mean weighs less than a ten-thousandth.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

from execution.domain.candles import Candle
from execution.domain.money import ZERO, plain
from execution.domain.reasons import Reason
from execution.domain.risk_review import AtrTerms, RuleVerdict


class Interval(StrEnum):
    """Intervals of a fixed length, as the exchange names them: its 1m is a minute, and its 1M a month."""

    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"


UNITS: Mapping[str, timedelta] = MappingProxyType(
    {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
)
LEAST_PERIOD, MOST_PERIOD = 2, 100
PERIODS_READ = 10
# One call returns these for half of what more would cost.
MOST_READ = 999
# The exchange closes a candle by its own clock, and writes it a little later.
GRACE = timedelta(seconds=30)


def length_of(interval: str) -> timedelta:
    """Return how long a candle of this interval is."""
    return int(interval[:-1]) * UNITS[interval[-1]]


def candles_to_read(period: int) -> int:
    """Return how many closed candles the ATR of a period is made from: one more than its true ranges."""
    return min(period * PERIODS_READ + 1, MOST_READ)


def judge_candles(candles: Sequence[Candle], terms: AtrTerms, *, now: datetime) -> RuleVerdict:
    """Return whether an ATR can be made from these closed candles, oldest first, with the numbers.

    Too few, a gap, a candle that contradicts itself, or a newest one that closed more than an interval ago refuse.
    """
    length = length_of(terms.interval)
    problem = _problem(candles, terms.period, length, now)
    numbers = f"interval={terms.interval} period={terms.period} candles={len(candles)}"
    if problem:
        return RuleVerdict(rule="atr", numbers=f"{numbers} {problem}", refusal=Reason.ATR_UNAVAILABLE)
    atr = average_true_range(candles, terms.period)
    known = f"{numbers} atr={plain(round(atr, 8))}"
    return RuleVerdict(rule="atr", numbers=known, refusal=None if atr > 0 else Reason.ATR_UNAVAILABLE)


def _problem(candles: Sequence[Candle], period: int, length: timedelta, now: datetime) -> str:
    if len(candles) <= period:
        return f"expected>={period + 1}"
    for before, after in pairwise(candles):
        if after.at != before.at + length:
            return f"gap_after={before.at.isoformat()}"
    for candle in candles:
        if not 0 < candle.low <= candle.close <= candle.high:
            return f"contradicts_itself={candle.at.isoformat()}"
    closed_at = candles[-1].at + length
    if now - closed_at > length + GRACE:
        return f"newest_closed_at={closed_at.isoformat()} expected>={(now - length).isoformat()}"
    return ""


def average_true_range(candles: Sequence[Candle], period: int) -> Decimal:
    """Return Wilder's average of the true ranges of more candles than the period, in the quote asset."""
    ranges = [max(candle.high, before.close) - min(candle.low, before.close) for before, candle in pairwise(candles)]
    average = sum(ranges[:period], ZERO) / period
    for true_range in ranges[period:]:
        average += (true_range - average) / period
    return average
