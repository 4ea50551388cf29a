"""Figures with their bounds: the table for people, the JSON for machines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local_stack.console import Console
from tests.bench.bounds import BOUNDS, Bound

COLUMNS = ("figure", "measured", "floor", "ratio", "aim", "ok")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number; `floor` is what the same thing costs without us, in the same unit and run."""

    name: str
    value: float
    unit: str
    floor: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def bound(self) -> Bound | None:
        return BOUNDS.get(self.name)

    @property
    def is_ok(self) -> bool:
        """Whether the bound holds; a figure without one is for information."""
        if self.bound is None:
            return True
        number = self.ratio if self.bound.of == "ratio" else self.value
        return number is not None and self.bound.holds(number)

    def as_json(self) -> dict[str, Any]:
        bound = self.bound
        return {
            "figure": self.name,
            "measured": round(self.value, 3),
            "unit": self.unit,
            "floor": None if self.floor is None else round(self.floor, 3),
            "ratio": None if self.ratio is None else round(self.ratio, 2),
            "aim": str(bound) if bound else None,
            "reason": bound.reason if bound else None,
            "ok": self.is_ok,
        }

    def cells(self) -> tuple[str, ...]:
        return (
            self.name,
            f"{self.value:.2f} {self.unit}" if self.unit else f"{self.value:g}",
            "" if self.floor is None else f"{self.floor:.2f} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.1f}x",
            str(self.bound or ""),
            ("yes" if self.is_ok else "NO") if self.bound else "",
        )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile, a value that was really measured."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def print_table(console: Console, rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        console.line("  ".join((first, *others)).rstrip())


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one section found: figures, what each step took (ms a decision), and what it ran on."""

    figures: Sequence[Figure]
    profile: dict[str, dict[str, float]]
    conditions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        steps = {
            load: {step: round(value, 3) for step, value in medians.items()} for load, medians in self.profile.items()
        }
        figures = [figure.as_json() for figure in self.figures]
        return {"figures": figures, "profile_ms": steps, "conditions": self.conditions}
