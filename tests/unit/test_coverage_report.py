"""The coverage command: figures by room, the bound, the page with its reasons, and a tracer that survives recursion."""

import ast
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.coverage import keep_tracing
from tests.coverage.measure import ROOMS, Report, Score
from tests.coverage.page import counted, page_of
from tests.coverage.reasons import NONE_GIVEN, REASONS, reason_for

ROOT = Path(__file__).resolve().parents[2]


def file_of(covered: int, lines: int, taken: int, branches: int, **functions: Any) -> dict[str, Any]:
    summary = {
        "covered_lines": covered,
        "num_statements": lines,
        "covered_branches": taken,
        "num_branches": branches,
    }
    return {"summary": summary, "functions": functions}


def region(lines: list[int], branches: list[list[int]]) -> dict[str, Any]:
    return {"missing_lines": lines, "missing_branches": branches}


@pytest.fixture
def report() -> Report:
    """Two steps of 98 and 100 lines, of which two lines and three branches were not run."""
    left = region([7], [[6, 7], [8, -5]])
    return Report.model_validate({
        "files": {
            "execution/pipeline/one.py": file_of(97, 98, 17, 20, act=left, well=region([], [])),
            "execution/pipeline/two.py": file_of(100, 100, 80, 80),
            "execution/reconciliation/cycle.py": file_of(0, 50, 0, 10),
            "execution/pipeline_like.py": file_of(0, 1000, 0, 1000),
        }
    })  # fmt: skip


def test_a_room_counts_all_of_its_files_and_no_other(report: Report) -> None:
    score = Score.of("pipeline", list(report.of("pipeline").values()))

    assert list(report.of("pipeline")) == ["execution/pipeline/one.py", "execution/pipeline/two.py"]
    assert (round(score.lines, 3), score.branches) == (99.495, 97.0)


def test_both_lines_and_branches_must_reach_the_bound(report: Report) -> None:
    score = Score.of("pipeline", list(report.of("pipeline").values()))

    assert [score.reaches(least) for least in (97.0, 97.1, 99.4, 99.5)] == [True, False, False, False]


def test_an_empty_room_is_whole(report: Report) -> None:
    scored = Score.of("signals", list(report.of("signals").values()))

    assert scored == Score(room="signals", lines=100.0, branches=100.0)


def test_the_page_names_what_is_left_and_why(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REASONS, ("pipeline/one.py", "act"), "Only a full disk leads here.")
    scores = [Score.of(room, list(report.of(room).values())) for room in ROOMS]

    text = page_of(report, scores, least=98, day=date(2026, 12, 1))

    assert "| pipeline | `execution/pipeline` | 99.49 % | 97.00 % |" in text
    assert "| reconciliation | `execution/reconciliation` | 0.00 % | 0.00 % |" in text
    assert "| `pipeline/one.py` | `act` | 1 line, 2 branches | Only a full disk leads here. |" in text
    # What was run is not named.
    assert "well" not in text
    assert "two.py" not in text


def test_a_branch_to_a_line_that_was_not_run_from_one_that_was_counts() -> None:
    report = Report.model_validate({"files": {"execution/stream/a.py": file_of(1, 2, 0, 2, f=region([], [[3, 5]]))}})
    [(_, left)] = report.files["execution/stream/a.py"].left()

    assert counted(left) == "1 branch"


def functions_of(path: Path) -> Iterator[str]:
    """Return the names of a file's functions as coverage.py writes them: with the names of their classes."""

    def walk(node: ast.AST, before: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                if isinstance(child, ast.FunctionDef):
                    yield before + child.name
                yield from walk(child, f"{before}{child.name}.")

    return walk(ast.parse(path.read_text()), "")


def test_what_has_no_reason_is_said_to_have_none() -> None:
    assert reason_for("pipeline/one.py", "act") == NONE_GIVEN


@pytest.mark.parametrize(("path", "name"), REASONS)
def test_every_reason_is_of_a_function_that_exists(path: str, name: str) -> None:
    assert name in {"(module)", *functions_of(ROOT / "execution" / path)}


def test_a_test_at_the_recursion_limit_does_not_end_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CPython does when calling a trace function fails: it is gone, and nothing says so."""
    before = sys.gettrace()

    def tracer(*_: object) -> None:
        return None

    monkeypatch.setattr(keep_tracing, "_tracer", tracer)
    try:
        sys.settrace(None)
        keep_tracing.pytest_runtest_setup()
        after = sys.gettrace()
    finally:
        sys.settrace(before)

    assert after is tracer
