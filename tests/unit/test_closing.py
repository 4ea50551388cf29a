"""How long an order that closes is waited for, and how soon the next may follow one that nobody answered."""

from datetime import timedelta

import pytest

from execution.domain.closing import (
    CLEARS_ALL,
    LONGEST_PAUSE_IN_DOUBT,
    LOOK_UPS_SECONDS,
    MAKES_WAY_FOR,
    MOST_CLOSES_IN_A_RUN,
    MOST_DOUBLINGS,
    NOTHING_TO_REDUCE,
    QUANTITY_HELD,
    pause_in_doubt,
    protective_seconds,
)
from execution.domain.reasons import CloseReason


@pytest.mark.parametrize(
    ("usual", "bound", "expected"),
    [(5.0, 20.0, 5.0), (5.0, 16.0, 4.0), (5.0, 5.0, 1.25), (5.0, 2.0, 1.0), (0.5, 20.0, 0.5), (5.0, 0.0, 1.0)],
)
def test_what_protects_waits_for_a_quarter_of_the_bound(usual: float, bound: float, expected: float) -> None:
    assert protective_seconds(usual, timedelta(seconds=bound)) == expected


def test_the_pause_behind_unanswered_closes_doubles_up_to_eight_seconds() -> None:
    pauses = [pause_in_doubt(unanswered).total_seconds() for unanswered in range(8)]

    assert pauses == [1, 1, 1, 2, 4, 8, 8, 8]


def test_the_numbers_of_a_close_are_as_documented() -> None:
    assert LOOK_UPS_SECONDS == (0.2, 0.5, 1.0)
    assert (timedelta(seconds=2), 3) == (MAKES_WAY_FOR, MOST_CLOSES_IN_A_RUN)
    # Either alone keeps the pauses from growing further.
    assert (timedelta(seconds=8), 3) == (LONGEST_PAUSE_IN_DOUBT, MOST_DOUBLINGS)
    # ReduceOnly is rejected, and the side of a hedge holds nothing; with a position, less than the smallest notional.
    assert (frozenset({-2022, -4118}), frozenset({-2022, -4118, -4164})) == (NOTHING_TO_REDUCE, QUANTITY_HELD)
    assert {CloseReason.KILL_SWITCH, CloseReason.ESS_TRIP} == CLEARS_ALL
