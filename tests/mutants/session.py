"""Runs tests against mutants inside one pytest session: collected once, forked for every mutant.

A child swaps the code of the changed function in place, so that whoever has imported it runs the mutant, and ends at
the first test that fails. What runs at import (tables, constants, defaults) is left to `fresh`.
"""

import gc
import marshal
import os
import pickle
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.mutation import Mutant

KILLED, SURVIVED, NOT_APPLIED = 10, 11, 12
LEAST_CPU_SECONDS = 20
MORE_MEMORY = 1 << 31


@dataclass(kw_only=True)
class Trace:
    """Which tests ran which lines, by file and line, and how long each took."""

    tests: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[int, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


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
        self._recent: dict[str, list[int]] = defaultdict(list)
        self._reports: dict[int, int] = {}
        self.outcomes: dict[str, int] = {}
        self.files: dict[str, list[str]] = {}
        self.codes: dict[str, bytes] = {}
        self.mutants: Sequence[Mutant] = ()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Failed("the tests could not be collected")
        self._items = session.items
        self._mutants = self.mutants = self._choose()
        self._modules = {each.target.path: sys.modules[each.target.module] for each in self._mutants}
        self._trace = self._traced()
        if self._trace.failed:
            raise session.Failed(f"tests fail without any mutant: {self._trace.failed[:3]}")
        self.files = self._files_of_targets()
        self._functions = _functions({str(path) for path in self._modules})
        self._run_all()
        self.codes = {
            each.name: marshal.dumps(each.compile(self._modules[each.target.path]))
            for each in self._mutants
            if not each.sql and self.outcomes[each.name] != KILLED
        }
        return True

    def _files_of_targets(self) -> dict[str, list[str]]:
        """Return the test files that run anything of a module, those that run most of it first."""
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for (path, _line), numbers in self._trace.tests.items():
            for number in numbers:
                found[path][str(self._items[number].path)] += 1
        return {path: sorted(counts, key=lambda name: -counts[name]) for path, counts in found.items()}

    def _traced(self) -> Trace:
        """Run all tests once. In a child, so that no cache of this process is warm when a mutant runs."""
        paths = set(map(str, self._modules))
        if self._shared:
            texts = {each.sql[0] for each in self._mutants if each.sql}
            return _trace(self._items, paths, texts, last=self._items[-1])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace"
            child = os.fork()
            if not child:
                path.write_bytes(pickle.dumps(_trace(self._items, paths, set(), last=None)))
                os._exit(0)
            os.waitpid(child, 0)
            return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]  # noqa: S301 -- written above

    def _run_all(self) -> None:
        gc.collect()
        gc.freeze()
        running: dict[int, Mutant] = {}
        started = time.monotonic()
        for number, mutant in enumerate(self._mutants):
            tests = self._tests_of(mutant)
            at_import = mutant.function is None and not mutant.sql
            if at_import or not tests:
                self.outcomes[mutant.name] = NOT_APPLIED if at_import else SURVIVED
                continue
            while len(running) >= self._workers:
                self._wait(running)
            running[self._start(mutant, tests)] = mutant
            if number % 200 == 0:
                self._say(f"{number} of {len(self._mutants)} after {time.monotonic() - started:.0f} s")
        while running:
            self._wait(running)

    def _tests_of(self, mutant: Mutant) -> list[int]:
        """Return the tests that run the statement: those first that have killed lately, then the quick ones."""
        path = str(mutant.target.path)
        places = [(path, line) for line in mutant.lines] + ([(mutant.sql[0], 0)] if mutant.sql else [])
        found = {number for place in places for number in self._trace.tests.get(place, ())}
        lately = self._recent[f"{path}{mutant.function}"]
        first = [number for number in reversed(lately) if number in found]
        rest = sorted(found.difference(first), key=lambda number: self._trace.seconds[number])
        return [*dict.fromkeys(first), *rest]

    def _start(self, mutant: Mutant, tests: Sequence[int]) -> int:
        if self._shared:
            _close_connections()
        report, result = os.pipe()
        child = os.fork()
        if child:
            os.close(result)
            self._reports[child] = report
            return child
        os.close(report)
        code = NOT_APPLIED
        try:
            _bound(sum(self._trace.seconds[number] for number in tests))
            if self._apply(mutant):
                killer = _first_failure([self._items[number] for number in tests], shared=self._shared)
                code = SURVIVED if killer is None else KILLED
                os.write(result, str(tests[killer]).encode() if killer is not None else b"")
        except BaseException:  # noqa: BLE001 -- whatever a mutant does to the machinery is a failed test
            code = KILLED
        os._exit(code)

    def _apply(self, mutant: Mutant) -> bool:
        """Swap the code of the function, or the text of the SQL; False when only an import can bring it about."""
        if mutant.sql:
            _execute_instead(*mutant.sql)
            return True
        if mutant.function is None:
            return False
        module = self._modules[mutant.target.path]
        code = _find(mutant.compile(module), mutant.function)
        functions = self._functions.get((str(mutant.target.path), *mutant.function), [])
        try:
            for function in functions:
                function.__code__ = code
        except ValueError:
            return False
        return bool(functions)

    def _wait(self, running: dict[int, Mutant]) -> None:
        pid, status = os.wait()
        mutant = running.pop(pid)
        report = self._reports.pop(pid)
        killer = os.read(report, 100)
        os.close(report)
        if killer:
            self._recent[f"{mutant.target.path}{mutant.function}"].append(int(killer))
        code = os.waitstatus_to_exitcode(status)
        self.outcomes[mutant.name] = code if code in {SURVIVED, NOT_APPLIED} else KILLED


def _trace(items: Sequence[pytest.Item], paths: set[str], texts: set[str], *, last: pytest.Item | None) -> Trace:
    """Run tests; note the lines of `paths` and those of the `texts` of SQL that each of them has executed."""
    trace = Trace()
    current: set[tuple[str, int]] = set()

    def on_line(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            current.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in paths:
            return None
        current.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    if texts:
        _note_executed(lambda sql: current.update((text, 0) for text in texts if text in sql))
    for number, item in enumerate(items):
        current.clear()
        started = time.process_time()
        threading.settrace(on_call)
        sys.settrace(on_call)
        following = items[number + 1] if number + 1 < len(items) else last
        reports = runtestprotocol(item, log=False, nextitem=following)
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        trace.seconds[number] = time.process_time() - started
        trace.failed += [report.nodeid for report in reports if report.failed]
        for place in current:
            trace.tests[place].append(number)
    trace.tests = dict(trace.tests)
    return trace


def _first_failure(items: Sequence[pytest.Item], *, shared: bool) -> int | None:
    """Run tests until one fails and return its number; `shared`: fixtures of the session stay for the next mutant."""
    for number, item in enumerate(items):
        following = items[number + 1] if number + 1 < len(items) else item if shared else None
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return number
    return None


def _bound(usual_seconds: float) -> None:
    """Let a mutant that runs for ever end: it is killed by its processor time and by its memory, not by the clock."""
    seconds = LEAST_CPU_SECONDS + int(10 * usual_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    sys.stdout.flush()
    with suppress(OSError):
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)


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


def _execute_instead(text: str, other: str) -> None:
    """Exchange a piece of SQL in every statement."""
    from django.db.backends.utils import CursorWrapper  # noqa: PLC0415 -- as above

    usual = CursorWrapper.execute
    CursorWrapper.execute = lambda self, sql, params=None: usual(  # type: ignore[method-assign]
        self, sql.replace(text, other) if isinstance(sql, str) else sql, params
    )


def _note_executed(note: Callable[[str], None]) -> None:
    """Hear of every statement; it stays so, because the session ends with the mutants."""
    from django.db.backends.utils import CursorWrapper  # noqa: PLC0415 -- as above

    usual = CursorWrapper.execute

    def execute(self: Any, sql: Any, params: Any = None) -> Any:
        note(str(sql))
        return usual(self, sql, params)

    CursorWrapper.execute = execute  # type: ignore[method-assign]
