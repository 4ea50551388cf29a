"""Ages under clocks that are set."""

from datetime import UTC, datetime, timedelta

import pytest

from execution.domain.clocks import LONG_AGO, age_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "age"),
    [
        pytest.param(10.0, timedelta(seconds=10), id="past"),
        pytest.param(-60.0, timedelta(seconds=-60), id="another-host-is-ahead"),
        pytest.param(-60.1, LONG_AGO, id="set-back-since"),
        pytest.param(-3600.0, LONG_AGO, id="set-back-by-an-hour"),
    ],
)
def test_what_lies_in_the_future_was_long_ago(ago: float, age: timedelta) -> None:
    assert age_of(NOW - timedelta(seconds=ago), NOW) == age
