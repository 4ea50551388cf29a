"""What each cell of the fault matrix is given: its side, its bounds, and the sabotages that it has to notice."""

import re
from pathlib import Path

import pytest

from tests.chaos import rows as stories
from tests.chaos.bounds import (
    CLOSED_INSTEAD,
    HELD_BY_SOFTWARE,
    NOBODY_HEARD,
    OTHERS_GO_ON,
    SOAK,
    USUAL_SECONDS,
    WORST,
    unprotected_seconds,
)
from tests.chaos.cell import LONG, SHORT
from tests.chaos.matrix import EACH, ROWS
from tests.chaos.report import Report, Verdict, page_of
from tests.chaos.runner import side_of
from tests.chaos.sabotage import MUST_CATCH, SAFEGUARDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
CELLS = [(row.number, workers) for row in ROWS.values() for workers in row.workers]
assert stories


def test_rows_with_several_numbers_of_workers_trade_both_sides() -> None:
    sides = {row.number: {side_of(row.number, workers, seed=1) for workers in row.workers} for row in ROWS.values()}
    assert {number for number, found in sides.items() if len(found) == 1} == {
        row.number for row in ROWS.values() if len(row.workers) == 1
    }


def test_half_the_cells_trade_short() -> None:
    sides = [side_of(row, workers, seed=1) for row, workers in CELLS]
    assert abs(sides.count(SHORT) - sides.count(LONG)) <= len(sides) // 10


def test_next_seed_turns_every_cell_round() -> None:
    assert all(side_of(row, workers, seed=1) != side_of(row, workers, seed=2) for row, workers in CELLS)


def test_only_rows_that_kill_or_deafen_who_protects_have_more_than_five_seconds() -> None:
    longer = {row for row, workers in CELLS if unprotected_seconds(row, workers) > USUAL_SECONDS}
    assert longer == {65, *NOBODY_HEARD, *HELD_BY_SOFTWARE}
    assert {row for row, _ in WORST} - {SOAK} == {65}
    assert {unprotected_seconds(row, workers) for row, workers in CELLS if row in NOBODY_HEARD} == {10}
    assert {
        unprotected_seconds(row, workers)
        for row, workers in CELLS
        if row not in {*longer, *CLOSED_INSTEAD, *OTHERS_GO_ON}
    } == {5}


@pytest.mark.parametrize(
    ("row", "workers", "seconds"),
    [(1, 8, 5), (47, 1, 5), (65, 1, 24.5), (65, 8, 24.5), (33, 2, 4), (96, 8, 3), (97, 1, 3)],
)
def test_bound_is_the_published_worst_and_half_as_much_again(row: int, workers: int, seconds: float) -> None:
    assert unprotected_seconds(row, workers) == seconds


def test_page_names_each_bound_and_its_run() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (\d+|soak) \| (\d|each) \|", line)]
    shown = [
        f"| {row or 'soak'} | {workers or 'each'} | {worst.seconds:.2f} ({worst.commit}) "
        f"| {unprotected_seconds(row, workers)} |"
        for (row, workers), worst in WORST.items()
    ]
    assert lines == shown


def test_every_safeguard_is_caught_by_a_cell_that_exists() -> None:
    assert SAFEGUARDS.keys() == MUST_CATCH.keys()
    for safeguard, catches in MUST_CATCH.items():
        assert catches, safeguard
        assert {(catch.row, catch.workers) for catch in catches} <= set(CELLS), safeguard
        assert all(re.compile(catch.text).groups == 0 for catch in catches)


def test_page_lists_every_safeguard_with_its_rows() -> None:
    table = PAGE.read_text().split("| broken |")[1].split("\n\n")[0].splitlines()[2:]
    shown = {cells[0]: re.findall(r"\d+", cells[2]) for cells in (line.strip("| ").split(" | ") for line in table)}
    assert shown == {name: [str(catch.row) for catch in catches] for name, catches in MUST_CATCH.items()}


@pytest.mark.parametrize(("safeguard", "row"), [("stop price", 14), ("planned stop", 14), ("a short's risk", 67)])
def test_what_may_differ_by_side_is_broken_on_both(safeguard: str, row: int) -> None:
    sides = {side_of(row, catch.workers, seed=1) for catch in MUST_CATCH[safeguard]}
    assert sides == {LONG, SHORT}


def test_page_of_results_counts_cells_by_side() -> None:
    cells = [(LONG, 1, "green"), (SHORT, 2, "RED"), (SHORT, 8, "green"), ("both", 8, "green")]
    verdicts = [
        Verdict(row=14, fault="f", workers=workers, side=side, result=result, seconds=1, seen="s")  # type: ignore[arg-type]
        for side, workers, result in cells
    ]
    page = page_of(Report(seed=1, commit="c", at="a", machine="m", seconds=60, verdicts=verdicts))
    assert "long: 1 green, 0 red; short: 1 green, 1 red; both: 1 green, 0 red" in page
    assert "| 14 | f | 2 | short | RED | 1 | s |" in page


def test_numbers_of_workers_are_those_of_the_page() -> None:
    assert EACH == (1, 2, 8)
