import pytest

from execution.domain.ess import BLOCKING_STATES, PERMITTING_STATES, permits


@pytest.mark.parametrize("state", ["ARMED", "DISABLED", "NORMAL", "CAUTION", "armed", "Normal"])
def test_a_permitting_state_lets_entries_pass_with_the_flag_only(state: str) -> None:
    assert permits(state, can_execute=True)
    # It should block when the flag is false, and when it is missing
    assert not permits(state, can_execute=False)
    assert not permits(state, can_execute=None)


@pytest.mark.parametrize("state", ["CRITICAL", "TRIPPED", "COOLING_DOWN", "tripped", "", "MISSING", "ACTIVE", "OK"])
def test_a_blocking_or_unknown_state_blocks_whatever_the_flag_says(state: str) -> None:
    assert not permits(state, can_execute=True)


def test_no_state_both_blocks_and_permits() -> None:
    assert BLOCKING_STATES.isdisjoint(PERMITTING_STATES)
