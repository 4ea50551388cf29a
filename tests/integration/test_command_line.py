"""Commands against stores that are not there: one line that says what to look at, and everything by `--traceback`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import create_database, drop_database

ROOT = Path(__file__).resolve().parents[2]
EMPTY = "without_tables"


def manage(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_database_without_tables_names_the_command_that_makes_them() -> None:
    server = os.environ["DATABASE_URL"]
    answer = manage("kill_switch", DATABASE_URL=create_database(server, EMPTY, template="template0"))
    drop_database(server, EMPTY)

    assert answer.returncode == 1
    assert answer.stderr.startswith("The database has no tables yet, run `manage.py migrate`: ")
    assert len(answer.stderr.splitlines()) == 1, answer.stderr


def test_a_database_that_is_away_is_one_line() -> None:
    away = {"DATABASE_URL": "postgresql://execution@127.0.0.1:1/execution"}
    answer = manage("kill_switch", **away)

    assert answer.returncode == 1
    assert answer.stderr.startswith("PostgreSQL does not serve this command (DATABASE_URL): ")
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    # It should show where it broke to who asks.
    assert "Traceback" in manage("kill_switch", "--traceback", **away).stderr


@pytest.mark.django_db
def test_a_redis_that_is_away_is_one_line() -> None:
    answer = manage("release_holds", REDIS_URL="redis://127.0.0.1:1/0")

    assert answer.returncode == 1
    assert "Redis does not answer" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
