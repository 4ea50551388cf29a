"""Command line of the mutants: `python -m tests.mutants`; `make mutants`, `make mutants ARGS=--short`.

It prints the kill rate of every module and the survivors, writes `.local/mutants.json` and, after a whole run or with
`--page`, `docs/mutants-results.md`, and exits 1 when the tests kill less than 95 of 100 mutants, when a survivor in a
strict module is not listed as equivalent, or when a listed one is no longer there or is killed.
"""

import argparse
import importlib
import json
import os
import pickle
import random
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.mutants import fresh
from tests.mutants.mutation import Mutant, mutants_of
from tests.mutants.report import Report, Run, read_equivalents
from tests.mutants.session import KILLED, Forked
from tests.mutants.sql import sql_mutants_of
from tests.mutants.targets import DATABASE_TESTS, ROOT, Target, database_targets, pure_targets, unit_tests

OUT = os.dup(1)
PAGE = ROOT / "docs" / "mutants-results.md"
WRITTEN = ROOT / ".local" / "mutants.json"
# How many mutants the short form draws: of pure code that is forked, of what runs at import, of the database's.
SHORT_FORKED, SHORT_AT_IMPORT, SHORT_DATABASE = 300, 20, 25


@dataclass(kw_only=True)
class Stage:
    """What one stage found: `existing` are all mutants there are, `left` those that want a fresh process."""

    existing: set[str] = field(default_factory=set)
    killed: dict[str, bool] = field(default_factory=dict)
    left: list[tuple[Mutant, Sequence[str]]] = field(default_factory=list)
    codes: dict[str, bytes] = field(default_factory=dict)


def main() -> int:
    options = parser().parse_args()
    day, started = datetime.now(UTC).date(), time.monotonic()
    fresh.warm()
    stages = []
    if options.part != "database":
        stages.append(pure(options))
    if options.part != "pure":
        stages.append(in_child(lambda: database(options)))
    report = Report(
        killed={name: killed for stage in stages for name, killed in stage.killed.items()},
        existing={name for stage in stages for name in stage.existing},
        equivalents=read_equivalents(),
        whole=not (options.short or options.only or options.part or options.tests),
    )
    seconds = round(time.monotonic() - started)
    say(f"\n{report.text(verbose=options.survivors)}\n\nseed {options.seed}, {seconds} s: {report.verdict}.")
    WRITTEN.parent.mkdir(exist_ok=True)
    WRITTEN.write_text(json.dumps({"seconds": seconds, "seed": options.seed, **report.as_json()}, indent=2))
    if report.whole or options.page:
        run = Run(command=command(sys.argv[1:]), day=day, commit=commit(), seconds=seconds)
        PAGE.write_text(report.page(run), encoding="utf-8")
    return 0 if report.ok else 1


def command(arguments: Sequence[str]) -> str:
    """Return what has to be typed for the same run."""
    return f'make mutants ARGS="{shlex.join(arguments)}"' if arguments else "make mutants"


def commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def pure(options: argparse.Namespace) -> Stage:
    """Hold the pure modules with the unit tests; what runs at import, or could not be swapped, in fresh processes."""
    stage: Stage = in_child(lambda: forked(options, pure_targets(), options.tests or unit_tests(), options.workers))
    stage.killed |= fresh.run_all(stage.left, stage.codes, workers=options.workers, say=say)
    return stage


def database(options: argparse.Namespace) -> Stage:
    """Hold the SQL of the limits, and the code around it, with tests on a real PostgreSQL."""
    present = [name for name in DATABASE_TESTS if (ROOT / name).exists()]
    return forked(options, database_targets(), present, 0)


def forked(options: argparse.Namespace, targets: Sequence[Target], tests: Sequence[str], workers: int) -> Stage:
    """Run one session of tests over the mutants of some modules; without workers its tests share their servers."""
    stage = Stage()

    def choose() -> Sequence[Mutant]:
        found = [mutant for target in targets for mutant in every(target)]
        stage.existing = {mutant.name for mutant in found}
        chosen = [each for each in found if not options.only or any(part in each.name for part in options.only)]
        return drawn(chosen, options.seed, database=not workers) if options.short else chosen

    plugin = Forked(choose, workers=workers or 1, say=say, shared=not workers)
    os.chdir(ROOT)
    plugin.listen({str(target.path) for target in targets})
    status = pytest.main(["-q", "-p", "no:cacheprovider", "--no-header", "--no-summary", *tests], plugins=[plugin])
    if plugin.red:
        raise SystemExit(f"tests fail without any mutant: {', '.join(plugin.red)}")
    if status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise SystemExit(f"pytest ended with {status}")
    stage.killed = {name: outcome == KILLED for name, outcome in plugin.outcomes.items()}
    if workers:
        survivors = [each for each in plugin.mutants if each.name in plugin.codes]
        stage.left = [(each, plugin.files[each.name]) for each in survivors]
        stage.codes = plugin.codes
    return stage


def every(target: Target) -> list[Mutant]:
    module = importlib.import_module(target.module)
    return [*mutants_of(target, module), *sql_mutants_of(target)]


def drawn(mutants: Sequence[Mutant], seed: int, *, database: bool) -> Sequence[Mutant]:
    """Draw the short form's mutants: the same for a seed while the code is the same."""
    lots = random.Random(seed)  # noqa: S311 -- a drawing that can be repeated
    if database:
        return lots.sample(mutants, min(SHORT_DATABASE, len(mutants)))
    inside = [each for each in mutants if each.function]
    outside = [each for each in mutants if not each.function]
    few = lots.sample(inside, min(SHORT_FORKED, len(inside)))
    return [*few, *lots.sample(outside, min(SHORT_AT_IMPORT, len(outside)))]


def in_child(work: Callable[[], Stage]) -> Stage:
    """Do something in a forked process, so that this one imports nothing of ours; return its result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result"
        child = os.fork()
        if not child:
            status = 1
            try:
                path.write_bytes(pickle.dumps(work()))
                status = 0
            except BaseException:  # noqa: BLE001 -- the process ends here, and its parent says so
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit("a stage of the mutants ended early; what it printed says why")
        return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]  # noqa: S301 -- written above


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.mutants", description="Change the code, expect a red test.")
    found.add_argument("--short", action="store_true", help="a drawn part of the mutants, for continuous integration")
    found.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1), help="what the short form draws")
    found.add_argument("--only", action="append", default=[], metavar="TEXT", help="mutants whose name contains this")
    found.add_argument("--part", choices=["pure", "database"], help="one of the two parts")
    found.add_argument("--tests", action="append", default=[], help="for a closer look: these unit tests alone")
    found.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    found.add_argument("--page", action="store_true", help="write the page of results, also after a part of a run")
    found.add_argument("--survivors", action="store_true", help="print every survivor, also the listed ones")
    return found


def say(text: str) -> None:
    """Print, also while pytest captures what is printed."""
    os.write(OUT, f"{text}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
