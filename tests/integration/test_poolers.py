"""A pooler that hands round PostgreSQL's sessions is refused at each process's start; one that does not is used."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from local_stack.processes import CELERY, PYTHON
from tests.support.pooler import HOST, pooler
from tests.support.stack import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

CHECK = (PYTHON, "manage.py", "check", "--tag", "execution", "--database", "default")
STARTS = {
    "check": CHECK,
    "worker": (*CELERY, "worker", "--pool=solo", "-Q", "nobody"),
    "beat": (*CELERY, "beat", "--schedule", "{folder}/schedule"),
    "stream": (PYTHON, "manage.py", "stream_user_data"),
    "web": (
        *(PYTHON, "-m", "gunicorn", "execution_project.wsgi:application"),
        *("--config", "python:execution_project.web", "--bind", "127.0.0.1:0"),
    ),
}


def server() -> tuple[str, int]:
    url = urlsplit(os.environ["DATABASE_URL"])
    return url.hostname or HOST, url.port or 5432


def through(port: int) -> str:
    url = urlsplit(os.environ["DATABASE_URL"])
    login = url.netloc.rpartition("@")[0]
    return url._replace(netloc=f"{login}@{HOST}:{port}").geturl()


def start(words: tuple[str, ...], port: int) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "DATABASE_URL": through(port)}
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.parametrize("rotates", [False, True], ids=["last used first", "longest at rest first"])
@pytest.mark.parametrize("others", [0, 1, 2, 3])
def test_a_pooler_that_hands_sessions_round_is_refused(rotates: bool, others: int) -> None:  # noqa: FBT001 -- a parameter
    with pooler(server(), "transaction", rotates=rotates) as running, ExitStack() as undo:
        leave_sessions(others, running.port, undo)
        told = start(CHECK, running.port)

    is_refused(told)


def test_a_pooler_that_knows_no_transactions_is_refused() -> None:
    with pooler(server(), "statement") as running:
        is_refused(start(CHECK, running.port))


def is_refused(told: "subprocess.CompletedProcess[str]") -> None:
    assert told.returncode != 0
    [line] = [line for line in told.stderr.splitlines() if "execution.E036" in line]
    assert "pool_mode" in line
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("rotates", [False, True], ids=["last used first", "longest at rest first"])
@pytest.mark.parametrize("others", [0, 1, 3])
def test_a_pooler_that_keeps_sessions_apart_is_used(rotates: bool, others: int) -> None:  # noqa: FBT001 -- as above
    with pooler(server(), "session", rotates=rotates) as running, ExitStack() as undo:
        leave_sessions(others, running.port, undo)
        told = start(CHECK, running.port)
        assert running.opened >= 2

    assert told.returncode == 0, told.stderr
    assert "E036" not in told.stderr


def leave_sessions(number: int, port: int, undo: ExitStack) -> None:
    """Let the pooler have sessions of other clients, which are connected and rest."""
    clients = [undo.enter_context(psycopg.connect(through(port), autocommit=True)) for _ in range(number)]
    with ExitStack() as busy:
        for client in clients:
            # Each has one of its own while the others' are taken.
            busy.enter_context(client.transaction())
            client.execute("SELECT 1", prepare=False)


@pytest.mark.parametrize("process", STARTS)
def test_no_process_starts_behind_it(process: str, tmp_path: Path) -> None:
    words = tuple(word.format(folder=tmp_path) for word in STARTS[process])
    with pooler(server(), "transaction") as running:
        told = start(words, running.port)

    is_refused(told)


def test_postgresql_itself_is_used() -> None:
    told = start(CHECK, server()[1])

    assert told.returncode == 0, told.stderr


def test_a_database_that_does_not_answer_is_no_pooler() -> None:
    told = start(CHECK, 9)

    assert "E036" not in told.stderr
