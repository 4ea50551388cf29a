"""A broken setting is one line, whatever is started with it: a command, a process of the stack, make's own."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_stack.credentials import Credentials
from local_stack.processes import Addresses, Program, programs
from tests.local_stack.helpers import PYTHON, ROOT

BROKEN = {"POSITION_MONITOR_INTERVAL_SEC": "soon", "FLOWER_BASIC_AUTH": "admin:a password"}
SAID = "POSITION_MONITOR_INTERVAL_SEC Input should be a valid integer"
COMMANDS = sorted(path.stem for path in (ROOT / "execution/management/commands").glob("[a-z]*.py"))
# Not a part of the service: it has no settings of it.
NEIGHBOURS = {"paper-exchange", "risk-safety"}


def of_the_stack(state: Path) -> tuple[Program, ...]:
    addresses = Addresses(host="127.0.0.1", web_port=1, flower_port=1, database_url="", redis_url="redis://")
    credentials = Credentials(admin_password="a", flower_password="f", secret_key="s")
    return programs(addresses, state, credentials, reset_admin_password=False)


def started(command: tuple[str, ...], **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def test_whatever_is_started_says_it_in_one_line(tmp_path: Path) -> None:
    stack = {each.name: each.command for each in of_the_stack(tmp_path) if each.name not in NEIGHBOURS}
    assert {"web", "worker-orders", "worker-protect", "user-stream", "beat", "flower", "migrate"} <= set(stack)
    commands = {name: (PYTHON, "manage.py", name) for name in (*COMMANDS, "migrate", "check")}
    local = {name: (PYTHON, "-m", "local_stack", name) for name in ("run", "demo")}
    everything = stack | commands | local
    with ThreadPoolExecutor(4) as pool:
        ran = dict(zip(everything, pool.map(lambda words: started(words, **BROKEN), everything.values()), strict=True))

    for name, answer in ran.items():
        text = answer.stdout + answer.stderr
        assert answer.returncode != 0, name
        assert [SAID in line for line in text.splitlines()].count(True) == 1, (name, text)
        assert "Traceback" not in text, (name, text)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"DATABASE_URL": "postgresql://execution@127.0.0.1:1/execution"}, "PostgreSQL does not serve this command"),
        ({"FLOWER_PORT": "x"}, "FLOWER_PORT Input should be a valid integer"),
        ({"PORT": "99999"}, "PORT Input should be less than or equal to 65535"),
    ],
)
def test_an_operators_command_says_what_it_lacks(tmp_path: Path, setting: dict[str, str], sentence: str) -> None:
    answer = started(("./service", "kill_switch"), STATE_DIR=str(tmp_path), **setting)

    assert answer.returncode != 0
    assert sentence in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr
