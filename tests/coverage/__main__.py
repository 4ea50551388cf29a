"""Command line of the measurement: `python -m tests.coverage [--report] [PYTEST ARGUMENTS]`; `make coverage ARGS=...`.

It prints the share of lines and branches by room, writes docs/coverage.md, and exits 1 below the bound.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from local_stack.console import Console
from tests.bench.report import print_table
from tests.coverage.measure import ROOMS, Report, Score, read_report, run_suite
from tests.coverage.page import PAGE, all_left, counted, page_of, write_page
from tests.coverage.reasons import NONE_GIVEN

LEAST_PERCENT = 98.0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.coverage", description="Measure which lines the tests run.")
    found.add_argument("--report", action="store_true", help="read the last run again instead of running tests")
    found.add_argument("--no-page", action="store_true", help="leave docs/coverage.md as it is")
    return found


def main(arguments: Sequence[str]) -> int:
    """Return 0 when every room reaches the bound and no test failed."""
    options, for_pytest = parser().parse_known_args(arguments)
    failed = 0 if options.report else run_suite(for_pytest)
    report = read_report()
    scores = [Score.of(room, list(report.of(room).values())) for room in ROOMS]
    console = Console()
    show(console, report, scores)
    if not options.no_page:
        write_page(page_of(report, scores, least=LEAST_PERCENT, day=datetime.now(UTC).date()))
        console.line(f"\nWritten to {PAGE}.")
    return 1 if failed or not all(score.reaches(LEAST_PERCENT) for score in scores) else 0


def show(console: Console, report: Report, scores: Sequence[Score]) -> None:
    """Print the rooms, and what is left without a reason."""
    rows = [
        (score.room, f"{score.lines:.2f} %", f"{score.branches:.2f} %", "yes" if score.reaches(LEAST_PERCENT) else "NO")
        for score in scores
    ]
    print_table(console, [("room", "lines", "branches", f"at least {LEAST_PERCENT:g} %"), *rows])
    bare = [(path, name, region) for path, name, region, why in all_left(report) if why == NONE_GIVEN]
    for path, name, region in bare:
        lines = ", ".join(map(str, region.missing_lines))
        branches = ", ".join(f"{start}->{end}" for start, end in region.missing_branches)
        console.line(f"left without a reason: {path} {name}: {counted(region)} (lines {lines}; branches {branches})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
