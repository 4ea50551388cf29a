"""The ATR from candles: its value, and every reason for which there is none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from execution.domain.candles import Candle
from execution.domain.reasons import Reason
from execution.domain.risk_review import AtrTerms
from execution.domain.true_range import Interval, average_true_range, candles_to_read, judge_candles, length_of

D = Decimal
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TERMS = AtrTerms(interval="1h", period=3)


def candle(number: int, high: str, low: str, close: str) -> Candle:
    return Candle(at=START + number * HOUR, open=D(close), high=D(high), low=D(low), close=D(close))


# True ranges: 12 (high to low), 15 (from the close before, 105, to 90), 9 (from 91 up to 100), 20, 6.
CANDLES = [
    candle(0, "101", "99", "100"),
    candle(1, "110", "98", "105"),
    candle(2, "100", "90", "91"),
    candle(3, "100", "95", "99"),
    candle(4, "115", "95", "110"),
    candle(5, "112", "106", "107"),
]
NOW = START + 6 * HOUR


def test_the_atr_is_wilders() -> None:
    # Mean of the first three (12 + 15 + 9) / 3 = 12, then 12 + (20 - 12) / 3 = 14.666..., then - 8.666... / 3.
    expected = D(12) + D(8) / 3
    expected += (D(6) - expected) / 3
    assert average_true_range(CANDLES, 3) == expected
    assert round(expected, 8) == D("11.77777778")


def test_an_atr_is_named_with_its_numbers() -> None:
    verdict = judge_candles(CANDLES, TERMS, now=NOW)

    assert (verdict.refusal, verdict.numbers) == (None, "interval=1h period=3 candles=6 atr=11.77777778")


@pytest.mark.parametrize(
    ("candles", "now", "problem"),
    [
        ([], NOW, "candles=0 expected>=4"),
        (CANDLES[:3], START + 3 * HOUR, "candles=3 expected>=4"),
        ([*CANDLES[:2], *CANDLES[3:]], NOW, "candles=5 gap_after=2026-01-01T01:00:00+00:00"),
        ([CANDLES[0], CANDLES[0], *CANDLES[1:]], NOW, "candles=7 gap_after=2026-01-01T00:00:00+00:00"),
        (
            [*CANDLES[:5], replace(CANDLES[5], low=D(108))],
            NOW,
            "candles=6 contradicts_itself=2026-01-01T05:00:00+00:00",
        ),
        ([*CANDLES[:5], replace(CANDLES[5], low=D(0))], NOW, "candles=6 contradicts_itself=2026-01-01T05:00:00+00:00"),
        (
            CANDLES,
            NOW + HOUR + timedelta(seconds=31),
            "candles=6 newest_closed_at=2026-01-01T06:00:00+00:00 expected>=2026-01-01T06:00:31+00:00",
        ),
    ],
)
def test_candles_that_cannot_be_relied_on_refuse(candles: list[Candle], now: datetime, problem: str) -> None:
    verdict = judge_candles(candles, TERMS, now=now)

    assert (verdict.refusal, verdict.numbers) == (Reason.ATR_UNAVAILABLE, f"interval=1h period=3 {problem}")


def test_the_newest_candle_may_be_an_interval_and_half_a_minute_old() -> None:
    assert judge_candles(CANDLES, TERMS, now=NOW + HOUR + timedelta(seconds=30)).refusal is None


def test_a_market_that_does_not_move_has_no_atr() -> None:
    still = [candle(number, "100", "100", "100") for number in range(6)]

    verdict = judge_candles(still, TERMS, now=NOW)

    assert (verdict.refusal, verdict.numbers) == (
        Reason.ATR_UNAVAILABLE,
        "interval=1h period=3 candles=6 atr=0",
    )


def test_ten_periods_are_read_in_one_call() -> None:
    assert [candles_to_read(period) for period in (2, 14, 99, 100)] == [21, 141, 991, 999]


def test_each_interval_has_its_length() -> None:
    assert {each.value: length_of(each) / timedelta(minutes=1) for each in Interval} == {
        "1m": 1,
        "3m": 3,
        "5m": 5,
        "15m": 15,
        "30m": 30,
        "1h": 60,
        "2h": 120,
        "4h": 240,
        "6h": 360,
        "8h": 480,
        "12h": 720,
        "1d": 1440,
    }
