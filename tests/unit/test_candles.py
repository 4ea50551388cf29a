"""Which candles a chart shows: the finest that fit, with room on both sides, never beyond the present."""

from datetime import UTC, datetime, timedelta

import pytest

from execution.domain.candles import INTERVALS, MOST_CANDLES, window_of

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "name"),
    [
        (timedelta(minutes=3), "1m"),
        (timedelta(hours=4), "1m"),
        (timedelta(hours=20), "5m"),
        (timedelta(days=2), "15m"),
        (timedelta(days=9), "1h"),
        (timedelta(days=40), "4h"),
        (timedelta(days=200), "1d"),
        (timedelta(days=2000), "1d"),
    ],
)
def test_an_interval_fits_the_length_of_the_trade(age: timedelta, name: str) -> None:
    window = window_of(NOW - age, None, now=NOW)

    assert (window.name, window.until) == (name, NOW)
    assert (window.until - window.since) / window.length <= MOST_CANDLES
    assert {name: length for length, name in INTERVALS}[name] == window.length


def test_a_trade_that_has_ended_has_room_on_both_sides() -> None:
    window = window_of(NOW - timedelta(hours=9), NOW - timedelta(hours=1), now=NOW + timedelta(days=9))

    assert (window.since, window.until) == (NOW - timedelta(hours=11), NOW + timedelta(hours=1))
