"""Reads the figures that all processes have added up."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from execution.domain.metrics import BEYOND, Histogram
from execution.models import Metric


@dataclass(frozen=True, kw_only=True)
class MeasuredFigures:
    """How many, and their sum, by name, kind and bucket."""

    rows: Mapping[tuple[str, str, str], tuple[int, float]]

    def kinds(self, name: str) -> dict[str, int]:
        """Return a counter's kinds."""
        return {kind: count for (row, kind, _), (count, _) in sorted(self.rows.items()) if row == name}

    def cumulative(self, histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
        """Return how many were at most as long as each bound, and how long all were together."""
        bounds = [*histogram.bounds, BEYOND]
        found = [self.rows.get((histogram.name, "", bound), (0, 0.0)) for bound in bounds]
        counts = [float(count) for count in accumulate(count for count, _ in found)]
        return list(zip(bounds, counts, strict=True)), sum(total for _, total in found)


def measured_figures() -> MeasuredFigures:
    """Read all of them, in one statement."""
    rows = Metric.objects.values_list("name", "kind", "bound", "count", "total")
    return MeasuredFigures(rows={(name, kind, bound): (count, total) for name, kind, bound, count, total in rows})
