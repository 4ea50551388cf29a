"""Command line of the fault matrix: `python -m tests.chaos [--rows 1,5] [--workers 1,2]`; `make chaos ARGS=...`.

It prints the table, writes it as JSON (`.local/chaos.json`, `chaos-soak.json`, `chaos-broken.json`) and, after a whole
run of the matrix, as `docs/chaos-results.md`, and exits 1 when a cell is red or none is left to run; with
`--broken`, when one is not red. Rows and cells that are asked for and that the matrix does not have are named first.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import rows as stories
from tests.chaos.cell import Bounds
from tests.chaos.matrix import EACH, Row
from tests.chaos.nemesis import strike
from tests.chaos.report import Report, Result, Verdict, page_of, text_of
from tests.chaos.runner import absent, break_one_by_one, chosen, not_there_yet, run
from tests.chaos.sabotage import MUST_CATCH
from tests.chaos.world import World

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
PAGE = ROOT / "docs" / "chaos-results.md"
DEFAULT_SEED = 1
__all__ = ["main", "stories"]


def main() -> int:
    options = parser().parse_args()
    if options.soak:
        return soak(options)
    if options.broken is not None:
        return show_that_it_can_fail(options)
    return matrix(options)


def matrix(options: argparse.Namespace) -> int:
    """Run the rows that are asked for; a whole run writes its page. What is not in the matrix is named, not dropped."""
    started = time.monotonic()
    rows = chosen(options.rows, short=options.short)
    workers = options.workers or ((2,) if options.short else EACH)
    # Where no number of workers is chosen, every row runs with those that it is made for.
    for line in absent(rows, options.rows, workers if options.workers or options.short else ()):
        say(line)
    if not any(number in row.workers for row in rows for number in workers):
        say("Nothing to run: the matrix has no such cell.")
        return 1
    with folder() as state, World(state) as world:
        verdicts = list(run(world, rows, workers, seed=options.seed, say=say))
    verdicts += [] if options.short else not_there_yet(options.rows)
    report = told("chaos", verdicts, started, options.seed)
    if not (options.rows or options.workers or options.short):
        PAGE.write_text(page_of(report))
    return 0 if report.ok else 1


def soak(options: argparse.Namespace) -> int:
    """Strike at random for a long time; any violation is an exit code."""
    started = time.monotonic()
    workers = options.workers or [8]
    long = Row(
        number=0,
        fault=f"soak of {options.soak:g} minutes",
        story=lambda cell: strike(cell, seconds=options.soak * 60, thorough=False),
        workers=tuple(workers),
        bounds=Bounds(settle_seconds=120),
        short=False,
    )
    with folder() as state, World(state) as world:
        verdicts = list(run(world, [long], workers, seed=options.seed, say=say))
    return 0 if told("chaos-soak", verdicts, started, options.seed).ok else 1


def show_that_it_can_fail(options: argparse.Namespace) -> int:
    """Break the safeguards one by one; a row that stays green, or is red for another reason, has not looked."""
    started = time.monotonic()
    with folder() as state, World(state) as world:
        found = list(break_one_by_one(world, options.broken or list(MUST_CATCH), seed=options.seed, say=say))
    report = told("chaos-broken", [verdict for verdict, _ in found], started, options.seed, wanted="RED")
    unseen = [f"{verdict.fault} in row {verdict.row}" for verdict, noticed in found if not noticed]
    if unseen:
        say(f"Not noticed, or red for another reason: {', '.join(unseen)}")
        return 1
    say("Every broken safeguard turned its rows red, for its own reason.")
    return 0 if report.ok else 1


def told(name: str, verdicts: Sequence[Verdict], started: float, seed: int, *, wanted: Result = "green") -> Report:
    """Print a run's table and write it as `.local/<name>.json`."""
    report = Report(
        seed=seed,
        commit=commit(),
        at=datetime.now(UTC).isoformat(timespec="minutes"),
        machine=machine(),
        seconds=round(time.monotonic() - started),
        verdicts=sorted(verdicts, key=lambda verdict: (verdict.row, verdict.workers)),
        wanted=wanted,
    )
    say(f"\n{text_of(report)}\n\n{report.summary}")
    LOCAL.mkdir(exist_ok=True)
    (LOCAL / f"{name}.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return report


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.chaos", description="Run the fault matrix.")
    found.add_argument("--rows", type=numbers, default=[], help="only these rows: 1,5,12 or 40-65")
    found.add_argument("--workers", type=numbers, default=[], help="only these numbers of workers: 1,2,8")
    found.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or DEFAULT_SEED))
    found.add_argument(
        "--broken", nargs="*", choices=list(MUST_CATCH), help="break our safeguards, all or these, and expect red"
    )
    found.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="random strikes under load")
    found.add_argument("--short", action="store_true", help="the selection for every commit")
    return found


def numbers(text: str) -> list[int]:
    """Read `1,5,12` and `40-65`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@contextmanager
def folder() -> Iterator[Path]:
    """Give a run a folder of its own; what a failure left there (logs, tracebacks) is kept."""
    state = Path(tempfile.mkdtemp(prefix="execution-chaos-"))
    yield state
    left = [*state.glob("row-*.txt")]
    if left:
        say(f"Kept for a look: {state}")
    else:
        shutil.rmtree(state, ignore_errors=True)


def commit() -> str:
    """Return what was tested; `+` when files were changed since."""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain") else "")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def machine() -> str:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return f"{cpus} processors, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end"


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
