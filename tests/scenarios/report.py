"""The table of a run: a line for every figure, with what was computed by hand and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("scenario", "figure", "expected", "got", "")
MISSING = "not told"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one scenario; `error`: it broke off with this."""

    name: str
    expected: Mapping[str, str]
    got: Mapping[str, str]
    seconds: float
    error: str = ""

    @property
    def is_green(self) -> bool:
        return not self.error and not self.wrong

    @property
    def wrong(self) -> list[str]:
        return [figure for figure, value in self.expected.items() if self.got.get(figure, MISSING) != value]

    def rows(self) -> list[tuple[str, ...]]:
        name = [self.name, *[""] * len(self.expected)]
        figures = [] if self.error else list(self.expected)
        rows = [(figure, self.expected[figure], self.got.get(figure, MISSING)) for figure in figures]
        if self.error:
            rows.append(("", "its end", self.error))
        wrong = {"", *self.wrong}
        return [(first, *row, "RED" if row[0] in wrong else "") for first, row in zip(name, rows, strict=False)]

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.name,
            "ok": self.is_green,
            "expected": dict(self.expected),
            "got": {figure: self.got.get(figure, MISSING) for figure in self.expected},
            "wrong": self.wrong,
            "error": self.error,
            "seconds": round(self.seconds, 2),
        }


def table(verdicts: Sequence[Verdict]) -> str:
    rows = [COLUMNS, *(row for verdict in verdicts for row in verdict.rows())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def summary(verdicts: Sequence[Verdict]) -> str:
    red = [verdict.name for verdict in verdicts if not verdict.is_green]
    seconds = sum(verdict.seconds for verdict in verdicts)
    counts = f"{len(verdicts) - len(red)} of {len(verdicts)} scenarios green in {seconds:.0f} s"
    return f"{counts}; RED: {', '.join(red)}" if red else counts
