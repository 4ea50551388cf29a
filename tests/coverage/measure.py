"""Runs the suite under coverage.py, child processes included, and reads back what each function has left out."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import coverage
from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "pyproject.toml")
REPORT = ROOT / ".local" / "coverage" / "report.json"
# The rooms that decide about orders and money.
ROOMS = {
    room: f"execution/{room}"
    for room in (
        "pipeline",
        "signals",
        "risk",
        "orders",
        "protection",
        "trades",
        "outbox",
        "reconciliation",
        "user_stream",
        "store",
        "adapters",
    )
}


class Summary(BaseModel):
    """Counts of one file or function, as coverage.py reports them."""

    model_config = ConfigDict(frozen=True)
    covered_lines: int
    num_statements: int
    covered_branches: int
    num_branches: int


class Region(BaseModel):
    """One function, or with an empty name what a module holds outside of its functions."""

    model_config = ConfigDict(frozen=True)
    missing_lines: tuple[int, ...]
    # From one line to another; a negative one is the way out of the function.
    missing_branches: tuple[tuple[int, int], ...]

    @property
    def is_whole(self) -> bool:
        return not self.missing_lines and not self.missing_branches


class File(BaseModel):
    model_config = ConfigDict(frozen=True)
    summary: Summary
    functions: dict[str, Region]

    def left(self) -> Iterator[tuple[str, Region]]:
        """Return the functions of which a line or a branch was never run."""
        return ((name, region) for name, region in self.functions.items() if not region.is_whole)


class Report(BaseModel):
    """coverage.py's JSON report, as far as it is used here."""

    model_config = ConfigDict(frozen=True)
    files: dict[str, File]

    def of(self, room: str) -> dict[str, File]:
        return {path: file for path, file in sorted(self.files.items()) if path.startswith(f"{ROOMS[room]}/")}


@dataclass(frozen=True, kw_only=True)
class Score:
    """How much of a room was run, in percent."""

    room: str
    lines: float
    branches: float

    @classmethod
    def of(cls, room: str, files: Sequence[File]) -> "Score":
        found = [file.summary for file in files]
        return cls(
            room=room,
            lines=_percent(sum(row.covered_lines for row in found), sum(row.num_statements for row in found)),
            branches=_percent(sum(row.covered_branches for row in found), sum(row.num_branches for row in found)),
        )

    def reaches(self, least: float) -> bool:
        return min(self.lines, self.branches) >= least


def _percent(covered: int, total: int) -> float:
    return 100 * covered / total if total else 100.0


def run_suite(arguments: Sequence[str]) -> int:
    """Run pytest under coverage.py with fresh data; return pytest's exit code."""
    coverage.Coverage(config_file=CONFIG).erase()
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-p", "tests.coverage.keep_tracing"]
    return subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode


def read_report() -> Report:
    """Combine what all processes have left behind, and return coverage.py's report.

    Raises:
        coverage.exceptions.NoDataError: nothing was measured.

    """
    measured = coverage.Coverage(config_file=CONFIG)
    measured.combine(keep=True)
    measured.json_report(outfile=str(REPORT))
    return Report.model_validate_json(REPORT.read_text())
