"""The soak's table: figures with what is demanded of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

COLUMNS = ("figure", "got", "aim", "ok")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a run; without an aim it is for information."""

    name: str
    got: str
    aim: str = ""
    ok: bool = True

    def cells(self) -> tuple[str, ...]:
        return (self.name, self.got, self.aim, ("yes" if self.ok else "NO") if self.aim else "")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def table(figures: Sequence[Figure]) -> str:
    """Return the figures of which something is demanded as a table, and the others below it, a line each."""
    rows = [COLUMNS, *(figure.cells() for figure in figures if figure.aim)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    others = [f"{figure.name}: {figure.got}" for figure in figures if not figure.aim]
    return "\n".join([*(line.rstrip() for line in lines), "", *others])
