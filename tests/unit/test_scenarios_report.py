"""The table of the scenarios tells every difference: a figure off in its last digit, missing, or never reached."""

import pytest

from tests.scenarios.report import Verdict, summary, table


def verdict(error: str = "", **got: str) -> Verdict:
    expected = {"exit": "50999.9", "net": "9.493"}
    return Verdict(name="target hit", expected=expected, got=got, seconds=1, error=error)


def test_exact_figures_are_green() -> None:
    right = verdict(exit="50999.9", net="9.493", further="1")

    assert (right.is_green, right.wrong) == (True, [])
    assert "RED" not in table([right])
    assert summary([right]) == "1 of 1 scenarios green in 1 s"


@pytest.mark.parametrize("net", ["9.4930001", "9.4930", "None"])
def test_figure_that_differs_in_its_last_digit_is_red(net: str) -> None:
    wrong = verdict(exit="50999.9", net=net)

    assert (wrong.is_green, wrong.wrong) == (False, ["net"])
    assert table([wrong]).splitlines()[-1].split() == ["net", "9.493", net, "RED"]
    assert summary([wrong]).endswith("RED: target hit")


def test_figure_that_was_not_told_is_red() -> None:
    assert verdict(exit="50999.9").wrong == ["net"]


def test_scenario_that_breaks_off_is_red_and_says_why() -> None:
    broken = verdict(error="AssertionError: not RECORDED but DENIED")

    assert not broken.is_green
    assert "not RECORDED but DENIED" in table([broken])
