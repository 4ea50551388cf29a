"""Runs tests against mutants inside one pytest session, which collects them once.

A forked child takes a few mutants of one function after the other: it swaps the function's code in place, so that
whoever has imported it runs the mutant, runs the tests that run the changed line, and stops at the first that fails.
When it is done, the tests that have killed must pass without a mutant: else each of its mutants gets its own child.
What runs at import (tables, constants, defaults) is changed by `at_import`, and what that cannot change by `fresh`.
"""

import gc
import json
import marshal
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants import at_import
from tests.mutants.mutation import Mutant
from tests.mutants.tracing import Place, Trace, listener, readers, traced

KILLED, SURVIVED, NOT_APPLIED = "killed", "survived", "not applied"
LARGEST_GROUP = 20
# A mutant that runs for ever, or takes ever more memory, fails its test by these.
LEAST_CPU_SECONDS, TIMES_SLOWER = 2.0, 3
MORE_MEMORY = 1 << 31


class OutOfTimeError(BaseException):
    """A mutant has run for much longer than the code: nothing of ours may catch it."""


class Forked:
    """The plugin: after the collection it runs every mutant, and pytest's own loop is left out."""

    def __init__(
        self, choose: Callable[[], Sequence[Mutant]], *, workers: int, say: Callable[[str], None], shared: bool = False
    ) -> None:
        """`choose` names the mutants once ours can be imported; `shared`: the tests share servers, one at a time."""
        self._choose = choose
        self._workers = 1 if shared else workers
        self._say = say
        self._shared = shared
        self._recent: dict[tuple[Path, object], list[int]] = defaultdict(list)
        self._run_at_import: set[Place] = set()
        self.outcomes: dict[str, str] = {}
        self.files: dict[str, list[str]] = {}
        self.codes: dict[str, bytes] = {}
        self.mutants: Sequence[Mutant] = ()
        # The tests that fail without any mutant.
        self.red: list[str] = []

    def listen(self, paths: set[str]) -> None:
        """Note which lines of `paths` run while everything is imported: until the tests begin."""
        sys.settrace(listener(paths, self._run_at_import))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.settrace(None)
        if session.testsfailed:
            raise session.Failed("the tests could not be collected")
        self._items = session.items
        # What pytest is told to run next: with the session itself, its fixtures stay for the next mutant.
        self._last: Any = session if self._shared else None
        self.mutants = self._choose()
        self._modules = {each.target.path: sys.modules[each.target.module] for each in self.mutants}
        self._trace = self._traced()
        self.red = self._trace.failed
        if self.red:
            return True
        self._functions = _functions({str(path) for path in self._modules})
        self._readers = readers(self._items)
        self._run_all()
        left = [each for each in self.mutants if self._wants_fresh(each)]
        self.codes = {each.name: marshal.dumps(each.compile(self._modules[each.target.path])) for each in left}
        self.files |= {each.name: self._files_of(each) for each in left}
        return True

    def _files_of(self, mutant: Mutant) -> list[str]:
        """Return the test files for a fresh process: those whose tests run or read what is changed, the quick first."""
        tests = self._tests_of(mutant) or range(len(self._items))
        return list(dict.fromkeys(str(self._items[number].path) for number in tests))

    def _wants_fresh(self, mutant: Mutant) -> bool:
        """Whether a mutant that lives may change what has run already, when the modules were imported."""
        if mutant.sql or self._shared or self.outcomes[mutant.name] == KILLED:
            return False
        at_import = {(str(mutant.target.path), line) for line in mutant.lines} & self._run_at_import
        return mutant.function is None or self.outcomes[mutant.name] == NOT_APPLIED or bool(at_import)

    def _traced(self) -> Trace:
        """Run all tests once. In a child, so that no cache of this process is warm when a mutant runs."""
        paths = set(map(str, self._modules))
        if self._shared:
            texts = {each.sql[0] for each in self.mutants if each.sql}
            current: set[Place] = set()
            _note_executed(lambda sql: current.update((text, 0) for text in texts if text in sql))
            return traced(self._items, paths, current, last=self._last)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace"
            child = os.fork()
            if not child:
                path.write_bytes(pickle.dumps(traced(self._items, paths, set(), last=None)))
                os._exit(0)
            os.waitpid(child, 0)
            return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]  # noqa: S301 -- written above

    def _run_all(self) -> None:
        gc.collect()
        gc.freeze()
        running: dict[int, tuple[Sequence[Mutant], Path]] = {}
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            waiting = self._groups()
            while waiting or running:
                if waiting and len(running) < self._workers:
                    group, result = waiting.pop(), Path(folder) / f"{len(waiting)}-{time.monotonic_ns()}"
                    running[self._start(group, result)] = (group, result)
                    continue
                pid, _ = os.wait()
                waiting += self._settle(*running.pop(pid))
                done = len(self.outcomes)
                if not done % 50:
                    self._say(f"{done} of {len(self.mutants)} after {time.monotonic() - started:.0f} s")

    def _groups(self) -> list[Sequence[Mutant]]:
        """Return what each child takes, the last first: a few mutants of one function, or one of anything else."""
        groups: list[list[Mutant]] = []
        for mutant in self.mutants:
            last = groups[-1][-1] if groups else None
            alike = last and mutant.function and not self._shared and last.target == mutant.target
            if alike and last and last.function == mutant.function and len(groups[-1]) < LARGEST_GROUP:
                groups[-1].append(mutant)
            else:
                groups.append([mutant])
        return list(reversed(groups))

    def _start(self, group: Sequence[Mutant], result: Path) -> int:
        if self._shared:
            _close_connections()
        child = os.fork()
        if child:
            return child
        try:
            gc.disable()
            _be_quiet_and_bounded()
            with result.open("w", encoding="utf-8") as report:
                self._run_group(group, report)
        finally:
            os._exit(0)

    def _run_group(self, group: Sequence[Mutant], report: Any) -> None:
        """Run mutants one after the other, and then the tests that have killed them without any."""
        killers: list[int] = []
        for mutant in group:
            tests = [*reversed(killers), *self._tests_of(mutant)]
            killer, applied = self._killer_of(mutant, list(dict.fromkeys(tests)))
            killers += [] if killer is None else [killer]
            report.write(json.dumps([mutant.name, applied, killer]) + "\n")
            report.flush()
        clean = len(group) == 1 or self._first_failure(list(dict.fromkeys(killers))) is None
        report.write(json.dumps(["clean", clean, None]) + "\n")

    def _killer_of(self, mutant: Mutant, tests: Sequence[int]) -> tuple[int | None, bool]:
        """Apply a mutant, run tests, and take it back; return the number of the test that fails."""
        allowed = set(self._trace.at(list(self._places(mutant))))
        undo = self._apply(mutant)
        if undo is None:
            return None, False
        try:
            return self._first_failure([number for number in tests if number in allowed]), True
        finally:
            undo()

    def _first_failure(self, tests: Sequence[int]) -> int | None:
        """Run tests until one fails; on shared servers the session's fixtures stay for the next mutant."""
        signal.setitimer(
            signal.ITIMER_PROF, LEAST_CPU_SECONDS + TIMES_SLOWER * sum(self._trace.seconds[each] for each in tests)
        )
        items = [self._items[number] for number in tests]
        try:
            for number, item in enumerate(items):
                following = items[number + 1] if number + 1 < len(items) else self._last
                if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
                    return tests[number]
        except OutOfTimeError:
            return tests[0]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return None

    def _settle(self, group: Sequence[Mutant], result: Path) -> list[Sequence[Mutant]]:
        """Note what a child has found; return what has to be run again, each alone."""
        rows = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()] if result.exists() else []
        clean = bool(rows) and rows[-1][0] == "clean" and rows[-1][1]
        if not clean and len(group) > 1:
            return [[mutant] for mutant in group]
        found = {name: (applied, killer) for name, applied, killer in rows}
        for mutant in group:
            # A child that has died was killed by its mutant.
            applied, killer = found.get(mutant.name, (True, -1))
            self.outcomes[mutant.name] = NOT_APPLIED if not applied else SURVIVED if killer is None else KILLED
            if killer is not None and killer >= 0:
                self._recent[mutant.target.path, mutant.function].append(killer)
            if self.outcomes[mutant.name] == SURVIVED and not self._wants_fresh(mutant):
                self._say(f"lives: {mutant.name}")
        return []

    def _tests_of(self, mutant: Mutant) -> list[int]:
        """Return the tests that run the statement: those first that have killed lately, then the quick ones."""
        found = self._trace.at(list(self._places(mutant)))
        first = [each for each in reversed(self._recent[mutant.target.path, mutant.function]) if each in found]
        return [*dict.fromkeys(first), *sorted(found.difference(first), key=lambda each: self._trace.seconds[each])]

    def _places(self, mutant: Mutant) -> Iterator[Place]:
        """Yield what a test has to run to notice a mutant; of a name, the lines that read it in any module."""
        if mutant.sql:
            yield mutant.sql[0], 0
        elif mutant.function:
            yield from ((str(mutant.target.path), line) for line in mutant.lines)
        else:
            module = self._modules[mutant.target.path]
            for name in at_import.name_of(mutant, mutant.tree(module)):
                yield from self._readers[name]

    def _apply(self, mutant: Mutant) -> Callable[[], None] | None:
        """Bring a mutant about and return how to take it back; None when only an import can bring it about."""
        if mutant.sql:
            return _execute_instead(*mutant.sql)
        module = self._modules[mutant.target.path]
        if mutant.function is None:
            return _nothing if at_import.apply(mutant, module) else None
        functions = self._functions.get((str(mutant.target.path), *mutant.function), [])
        code = _find(mutant.compile(module), mutant.function)
        if not functions or code.co_freevars != functions[0].__code__.co_freevars:
            return None
        usual = functions[0].__code__

        def swap(other: CodeType) -> None:
            for function in functions:
                function.__code__ = other

        swap(code)
        return lambda: swap(usual)


def _nothing() -> None:
    """Take nothing back: the process ends after this mutant."""


def _be_quiet_and_bounded() -> None:
    """Let a mutant that runs for ever end by its processor time and by its memory, and print nothing."""

    def out_of_time(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError

    signal.signal(signal.SIGPROF, out_of_time)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _functions(paths: set[str]) -> Mapping[tuple[str, str, int], list[FunctionType]]:
    """Return every function of the files that exists now, by file, qualified name and first line."""
    found: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename in paths:
            code = each.__code__
            found[code.co_filename, code.co_qualname, code.co_firstlineno].append(each)
    return found


def _find(code: CodeType, function: tuple[str, int]) -> CodeType:
    """Return the code of a function within the code of its module."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            if (each.co_qualname, each.co_firstlineno) == function:
                return each
            if function[0].startswith(f"{each.co_qualname}."):
                return _find(each, function)
    raise LookupError(function)


def _close_connections() -> None:
    """Leave no connection to the database for a child to share."""
    from django.db import connections  # noqa: PLC0415 -- Django is set up by the session

    connections.close_all()


def _execute_instead(text: str, other: str) -> Callable[[], None]:
    """Exchange a piece of SQL in every statement; return how to end that."""
    from django.db.backends.utils import CursorWrapper  # noqa: PLC0415 -- as above

    usual = CursorWrapper.execute

    def execute(self: Any, sql: Any, params: Any = None) -> Any:
        return usual(self, sql.replace(text, other) if isinstance(sql, str) else sql, params)

    CursorWrapper.execute = execute  # type: ignore[method-assign]
    return lambda: setattr(CursorWrapper, "execute", usual)


def _note_executed(note: Callable[[str], None]) -> None:
    """Hear of every statement; it stays so, because the session ends with the mutants."""
    from django.db.backends.utils import CursorWrapper  # noqa: PLC0415 -- as above

    usual = CursorWrapper.execute

    def execute(self: Any, sql: Any, params: Any = None) -> Any:
        note(str(sql))
        return usual(self, sql, params)

    CursorWrapper.execute = execute  # type: ignore[method-assign]
