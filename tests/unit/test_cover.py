"""Times without full cover, told from fills and stops: exact moments of every kind of gap."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from execution.domain.metrics import BEYOND, FILL_TO_STOP
from execution.domain.unprotected_time import Gap, Growth, StopLife, gaps
from execution.store.metrics import additions


def at(second: float) -> datetime:
    return datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=second)


def fill(second: float, quantity: str) -> Growth:
    return Growth(at=at(second), quantity=Decimal(quantity))


def stop(quantity: str, since: float, until: float | None = None) -> StopLife:
    return StopLife(quantity=Decimal(quantity), since=at(since), until=None if until is None else at(until))


def gap(since: float, until: float | None, *, by_stop: bool = True) -> Gap:
    return Gap(since=at(since), until=None if until is None else at(until), by_stop=by_stop and until is not None)


@pytest.mark.parametrize(
    ("fills", "stops", "expected"),
    [
        pytest.param([fill(0, "2")], [stop("2", 1)], [gap(0, 1)], id="covered a second after the fill"),
        pytest.param([fill(0, "2")], [], [gap(0, None)], id="still naked"),
        pytest.param([fill(0, "2"), fill(3, "-2")], [], [gap(0, 3, by_stop=False)], id="closed without a stop"),
        pytest.param([fill(0, "2")], [stop("1", 1)], [gap(0, None)], id="a part is not all"),
        pytest.param([fill(0, "2")], [stop("1", 1), stop("1", 3)], [gap(0, 3)], id="two halves cover it together"),
        pytest.param([fill(0, "2")], [stop("2", 1, 5), stop("2", 4)], [gap(0, 1)], id="replaced, new before old"),
        pytest.param([fill(0, "2")], [stop("2", 1, 5), stop("2", 7)], [gap(0, 1), gap(5, 7)], id="lost and replaced"),
        pytest.param(
            [fill(0, "2"), fill(4, "2")],
            [stop("2", 1, 6), stop("4", 5)],
            [gap(0, 1), gap(4, 5)],
            id="the entry fills further",
        ),
        pytest.param(
            [fill(0, "2"), fill(4, "-1"), fill(6, "-1")], [stop("2", 1, 5), stop("1", 5)], [gap(0, 1)], id="reduced"
        ),
        pytest.param([fill(0, "2")], [stop("2", -1)], [], id="a clock of ours that is behind makes no gap"),
        pytest.param([], [stop("2", 1)], [], id="no position"),
        pytest.param([fill(0, "0.002")], [stop("0.002", 1)], [gap(0, 1)], id="less than a unit"),
        pytest.param([fill(0, "2")], [stop("2", 1, 5)], [gap(0, 1), gap(5, None)], id="lost and not replaced"),
        pytest.param([fill(0, "2")], [stop("2", 0)], [], id="covered with the fill"),
    ],
)
def test_gaps(fills: list[Growth], stops: list[StopLife], expected: list[Gap]) -> None:
    assert gaps(fills, stops) == expected
    # It should not depend on the order in which the rows come.
    assert gaps(reversed(fills), stops[::-1]) == expected


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [(0, "0.025"), (0.025, "0.025"), (0.026, "0.05"), (1.0, "1.0"), (60.0, "60.0"), (60.1, BEYOND)],
)
def test_bucket_is_bounded_inclusively(seconds: float, bound: str) -> None:
    assert FILL_TO_STOP.bucket_of(seconds) == bound


def test_bounds_grow() -> None:
    bounds = [float(bound) for bound in FILL_TO_STOP.bounds]
    assert bounds == sorted(set(bounds))


def test_lengths_of_one_bucket_are_added_up() -> None:
    assert additions([(FILL_TO_STOP, 0.03), (FILL_TO_STOP, 0.04), (FILL_TO_STOP, 3.0)]) == {
        ("fill_to_stop", "", "0.05"): (2, pytest.approx(0.07)),
        ("fill_to_stop", "", "5.0"): (1, 3.0),
    }
