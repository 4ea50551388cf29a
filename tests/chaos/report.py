"""The table of a run: for people, as JSON, and as a page of the documents."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Result = Literal["green", "RED", "not there yet"]
COLUMNS = ("row", "fault", "workers", "side", "result", "s", "seen")
SEEN_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one row at one number of workers; `side` is long, short or both, as its entries were."""

    row: int
    fault: str
    workers: int
    side: str
    result: Result
    seconds: float
    seen: str

    def cells(self) -> tuple[str, ...]:
        workers = str(self.workers or "")
        seconds = f"{self.seconds:.0f}" if workers else ""
        return (str(self.row), self.fault, workers, self.side, self.result, seconds, self.seen)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run: what it was asked, on what it ran, and every cell; a run with broken safeguards wants them red."""

    seed: int
    commit: str
    at: str
    machine: str
    seconds: float
    verdicts: Sequence[Verdict]
    wanted: Result = "green"

    @property
    def ok(self) -> bool:
        missing = self.count("not there yet")
        return 0 < self.count(self.wanted) == len(self.verdicts) - missing

    def count(self, result: Result) -> int:
        return sum(verdict.result == result for verdict in self.verdicts)

    @property
    def summary(self) -> str:
        counts = f"{self.count('green')} green, {self.count('RED')} red, {self.count('not there yet')} not there yet"
        return f"{counts}; seed {self.seed}, commit {self.commit}, {self.seconds / 60:.0f} min"

    @property
    def by_side(self) -> str:
        """Return how many cells traded long, short and both, and how many of these were green."""
        cells = [verdict for verdict in self.verdicts if verdict.result != "not there yet"]
        lines = []
        for side in ("long", "short", "both"):
            results = [verdict.result for verdict in cells if verdict.side == side]
            lines.append(f"{side}: {results.count('green')} green, {results.count('RED')} red")
        return "; ".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self), "summary": self.summary, "by_side": self.by_side}


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as aligned text; the last column is cut."""
    cut = [(*row[:-1], row[-1][:SEEN_WIDTH]) for row in rows]
    widths = [max(len(row[column]) for row in cut) for column in range(len(cut[0]))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in cut)
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def text_of(report: Report) -> str:
    return table([COLUMNS, *(verdict.cells() for verdict in report.verdicts)])


def page_of(report: Report) -> str:
    """Return the page that is kept in docs/."""
    return (
        "# Chaos results\n\n"
        "Written by `make chaos`; how to read it: [chaos.md](chaos.md).\n\n"
        f"{report.summary}. {report.at}, {report.machine}.\n\n"
        f"By the side of the entries: {report.by_side}.\n\n"
        f"{markdown([COLUMNS, *(verdict.cells() for verdict in report.verdicts)])}\n"
    )
