"""Every code that can end a decision has a remedy, with its numbers where the reason has them."""

import pytest

from execution.domain.reasons import Reason
from execution.domain.remedies import REMEDIES, remedy

# What is done about a position, after its decision has become a trade.
OF_POSITIONS = {
    Reason.STOP_LEVEL_PASSED,
    Reason.TARGET_LEVEL_PASSED,
    Reason.STOP_NOT_CONFIRMED,
    Reason.STOP_OVERDUE,
    Reason.SOFTWARE_STOP_REACHED,
    Reason.POSITION_BELOW_MINIMUM,
}


def test_every_code_of_a_decision_has_one() -> None:
    assert set(REMEDIES) == set(Reason) - OF_POSITIONS


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ("expected<=50bps actual=79bps planned=1", " The rule asks for at most 50bps, and the value was 79bps."),
        ("expected>=0.6 actual=0.5", " The rule asks for at least 0.6, and the value was 0.5."),
        ("expected<0.09 actual=0.1", " The rule asks for less than 0.09, and the value was 0.1."),
        ("expected>0 actual=unknown", " The rule asks for more than 0, and the value was unknown."),
        ("expected=0.1%..5% actual=7%", " The rule asks for within 0.1%..5%, and the value was 7%."),
        ("no numbers", ""),
    ],
)
def test_it_names_bound_and_value(numbers: str, sentence: str) -> None:
    code = Reason.SLIPPAGE_EXCEEDS_LIMIT

    assert remedy(code, f"{code}: {numbers}") == REMEDIES[code] + sentence


def test_without_a_remedy_it_is_empty() -> None:
    assert remedy("", "") == remedy("SOMETHING_ELSE", "expected<=1 actual=2") == ""
