"""Runs tests against mutants of what runs at import: each in a process that has imported nothing of ours before.

The process is forked from one that has the libraries already, which saves most of the time.
"""

import contextlib
import importlib
import importlib.machinery
import io
import marshal
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any

from tests.mutants.mutation import Mutant

LIBRARIES = (
    "django",
    "rest_framework",
    "pydantic",
    "celery",
    "hypothesis",
    "pytest_django",
    "binance.um_futures",
)
LONGEST_CPU_SECONDS = 120
# A mutant, and the test files that run its module.
Job = tuple[Mutant, Sequence[str]]


def warm() -> None:
    """Import the libraries, and nothing of ours."""
    for name in LIBRARIES:
        importlib.import_module(name)


def run_all(
    jobs: Sequence[Job],
    codes: Mapping[str, bytes],
    *,
    workers: int,
    say: Callable[[str], None],
) -> dict[str, bool]:
    """Return of each mutant whether it was killed; `jobs` name the test files, `codes` the changed modules."""
    running: dict[int, str] = {}
    killed: dict[str, bool] = {}
    started = time.monotonic()

    def wait() -> None:
        pid, status = os.wait()
        killed[running.pop(pid)] = os.waitstatus_to_exitcode(status) != 0

    for number, (mutant, files) in enumerate(jobs):
        while len(running) >= workers:
            wait()
        code: CodeType = marshal.loads(codes[mutant.name])  # noqa: S302 -- our own, from the session before
        running[_start(mutant, files, code)] = mutant.name
        if number % 100 == 0:
            say(f"{number} of {len(jobs)} at import after {time.monotonic() - started:.0f} s")
    while running:
        wait()
    return killed


def _start(mutant: Mutant, files: Sequence[str], code: CodeType) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_CPU_SECONDS, LONGEST_CPU_SECONDS + 1))
        status = _tested(mutant, files, code)
    finally:
        os._exit(status)


def _tested(mutant: Mutant, files: Sequence[str], code: CodeType) -> int:
    import pytest  # noqa: PLC0415 -- warm already

    usual = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: Any, fullname: str) -> CodeType | None:
        return code if fullname == mutant.target.module else usual(loader, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *files]))
