"""How long a hold may last, by its kind, whatever somebody has asked for."""

import math

import pytest

from execution.domain.holds import HOLD_CAPS, hold_length, probe_pause
from execution.domain.outcomes import Waits


@pytest.mark.parametrize("who", HOLD_CAPS)
def test_a_hold_lasts_as_asked_up_to_its_cap(who: Waits) -> None:
    cap = HOLD_CAPS[who]

    asked = [-math.inf, -1.0, 0.0, 0.5, 1.0, cap - 0.5, cap, cap + 0.5, math.inf]
    assert [hold_length(who, seconds) for seconds in asked] == [0.0, 0.0, 0.0, 0.5, 1.0, cap - 0.5, cap, cap, cap]


@pytest.mark.parametrize("who", HOLD_CAPS)
def test_what_is_no_number_holds_nobody(who: Waits) -> None:
    assert hold_length(who, math.nan) == 0.0


def test_probes_go_at_intervals_that_double_up_to_a_quarter_of_an_hour() -> None:
    assert [probe_pause(probes) for probes in (0, 1, 2, 5, 6, 7, 1000)] == [15, 30, 60, 480, 900, 900, 900]
