"""Writes docs/coverage.md: the figures of the last run by room, and what no test has run, with the reason."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from tests.coverage.measure import ROOMS, ROOT, Region, Report, Score
from tests.coverage.reasons import reason_for

MODULE = "(module)"
PAGE = ROOT / "docs" / "coverage.md"
HEAD = """# Coverage

`make coverage` runs the suite under coverage.py, child processes included (the pools of Celery fork, the others are
started by the tests), and writes this page. It exits 1 below {least} % of the lines or branches of a room.

```
make coverage                                     # the whole suite
make coverage ARGS="tests/unit tests/integration" # a part of it
make coverage ARGS=--report                       # the last run again, without tests
```

A process that a test ends with `kill -9` cannot hand in what it has run; what only such a process runs counts as left.

## Rooms

Measured {day}.

| room | package | lines | branches |
| --- | --- | --- | --- |
"""
LEFT = """
## What is left

| file | function | not run | reason |
| --- | --- | --- | --- |
"""


def page_of(report: Report, scores: Sequence[Score], *, least: float, day: date) -> str:
    """Return the page's text."""
    rooms = [f"| {row.room} | `{ROOMS[row.room]}` | {row.lines:.2f} % | {row.branches:.2f} % |\n" for row in scores]
    left = [f"| `{path}` | `{name}` | {counted(region)} | {why} |\n" for path, name, region, why in all_left(report)]
    return HEAD.format(least=f"{least:g}", day=day.isoformat()) + "".join(rooms) + LEFT + "".join(left)


def all_left(report: Report) -> Iterator[tuple[str, str, Region, str]]:
    """Return file, function, what is missing, and why, of everything that is left in the rooms."""
    for room in ROOMS:
        for path, file in report.of(room).items():
            short = path.removeprefix("execution/")
            for function, region in file.left():
                name = function or MODULE
                yield short, name, region, reason_for(short, name)


def counted(region: Region) -> str:
    """Return how many lines were not run, and how many branches from lines that were."""
    lines = len(region.missing_lines)
    branches = sum(start not in region.missing_lines for start, _ in region.missing_branches)
    found = [
        f"{number} {word}{'' if number == 1 else plural}"
        for number, word, plural in ((lines, "line", "s"), (branches, "branch", "es"))
        if number
    ]
    return ", ".join(found) or "1 branch"


def write_page(text: str, page: Path = PAGE) -> None:
    page.write_text(text)
