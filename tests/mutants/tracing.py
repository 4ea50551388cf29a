"""Which test runs which line, and how long each test takes."""

import ast
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.targets import ROOT

Place = tuple[str, int]
Listener = Callable[[FrameType, str, object], Any]


@dataclass(kw_only=True)
class Trace:
    """The tests, by their number, of every place: a file's line, a piece of SQL, or at line 0 the test's own file."""

    tests: dict[Place, list[int]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[int, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def at(self, places: Sequence[Place]) -> set[int]:
        return {number for place in places for number in self.tests.get(place, ())}


def listener(paths: set[str], current: set[Place]) -> Listener:
    """Return a trace function that adds every line of `paths` that runs."""

    def on_line(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            current.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in paths:
            return None
        current.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    return on_call


def traced(items: Sequence[pytest.Item], paths: set[str], current: set[Place], *, last: Any) -> Trace:
    """Run tests and note what each has run; `current` may be filled by others too, `last` keeps the fixtures."""
    trace, on_call = Trace(), listener(paths, current)
    for number, item in enumerate(items):
        current.clear()
        started = time.process_time()
        threading.settrace(on_call)
        sys.settrace(on_call)
        following = items[number + 1] if number + 1 < len(items) else last
        reports = runtestprotocol(item, log=False, nextitem=following)
        sys.settrace(None)
        threading.settrace(None)
        trace.seconds[number] = time.process_time() - started
        trace.failed += [report.nodeid for report in reports if report.failed]
        for place in {*current, (str(item.path), 0)}:
            trace.tests[place].append(number)
    trace.tests = dict(trace.tests)
    return trace


def readers(items: Sequence[pytest.Item]) -> Mapping[str, set[Place]]:
    """Return where each name is read: lines of our modules, and test files, whose tests have their own place."""
    found: dict[str, set[Place]] = defaultdict(set)
    for path in {*(ROOT / "execution").rglob("*.py"), *(item.path for item in items)}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                found[name] |= {(str(path), node.lineno), (str(path), 0)}
    return found
