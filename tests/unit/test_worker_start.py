"""What a worker loads when it starts: how soon a killed one is back hangs on it."""

import subprocess
import sys

import pytest

LOAD = """
import sys
from execution_project.celery import app
app.loader.import_default_modules()
import execution.tasks
print(*sorted(sys.modules))
"""
WEB = ("execution.admin", "execution.api", "drf_spectacular.openapi", "unfold.admin")
FREEZES = """
import gc
from celery.signals import worker_init
from execution_project import celery, start_checks
from execution_project.processes import NEW_OBJECTS
start_checks.refuse_unsafe_start = lambda: None
assert gc.get_threshold()[0] == NEW_OBJECTS
assert gc.get_freeze_count() == 0
worker_init.send(sender=None)
print(gc.get_freeze_count() > 10_000, gc.isenabled())
"""


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"EXECUTION_MODE": "paper"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return set(python(LOAD).split())


@pytest.mark.parametrize("module", WEB)
def test_a_worker_loads_nothing_that_only_answers_requests(loaded: set[str], module: str) -> None:
    assert module not in loaded


def test_a_worker_loads_its_tasks(loaded: set[str]) -> None:
    assert {"execution.tasks", "execution.models", "execution.pipeline.place_order"} <= loaded


def test_what_is_loaded_is_looked_at_no_more() -> None:
    assert python(FREEZES) == "True True\n"
