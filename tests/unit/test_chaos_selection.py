"""Which cells of the fault matrix run: what is asked for and not there is named, and an empty run fails."""

import sys
from typing import Any

import pytest

from tests.chaos import __main__ as command
from tests.chaos.matrix import BOUNDS, EACH, ONCE, Row
from tests.chaos.runner import absent, chosen


def a_row(number: int, workers: tuple[int, ...]) -> Row:
    return Row(number=number, fault=f"fault {number}", story=print, workers=workers, bounds=BOUNDS, short=False)


ROWS = [a_row(901, EACH), a_row(902, ONCE), a_row(903, (1, 2))]


@pytest.mark.parametrize(
    ("numbers", "workers", "lines"),
    [
        ([901], [8], []),
        ([901, 902], [1], []),
        ([902], [8], ["Row 902 has no cell for 8 workers, only for 1: fault 902"]),
        ([901, 903], [2, 8], ["Row 903 has no cell for 8 workers, only for 1 and 2: fault 903"]),
        ([902], [2, 8], ["Row 902 has no cell for 2 and 8 workers, only for 1: fault 902"]),
        ([902], [], []),
        ([901, 999], [1], ["Row 999 does not exist."]),
        # Of all rows, those that lack one of several numbers still run.
        ([], [1, 8], []),
        (
            [],
            [8],
            [
                "Row 902 has no cell for 8 workers, only for 1: fault 902",
                "Row 903 has no cell for 8 workers, only for 1 and 2: fault 903",
            ],
        ),
    ],
)
def test_what_is_not_there_is_named(numbers: list[int], workers: list[int], lines: list[str]) -> None:
    rows = [row for row in ROWS if not numbers or row.number in numbers]
    assert absent(rows, numbers, workers) == lines


@pytest.mark.parametrize("words", [["--rows", "38", "--workers", "8"], ["--rows", "9999"], ["--workers", "5"]])
def test_nothing_to_run_fails(monkeypatch: Any, capsys: Any, words: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["chaos", *words])
    # It should start no stores and no processes for it.
    monkeypatch.setattr(command, "World", None)
    assert command.main() == 1
    said = capsys.readouterr().out
    assert said.endswith("Nothing to run: the matrix has no such cell.\n")
    assert words[-1] in said


def test_whole_matrix_lacks_nothing() -> None:
    assert absent(chosen([], short=False), [], ()) == []
    assert absent(chosen([], short=True), [], (2,)) == []
