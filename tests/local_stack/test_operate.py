"""`./service` finds the stack that runs on its folder, and believes no file of one that has ended."""

import json
import os
import stat
import subprocess
from pathlib import Path

from local_stack.operate import HELP, environment_of, keep_environment
from tests.local_stack.helpers import ROOT

DECIDED = {"DATABASE_URL": "postgresql://execution@127.0.0.1:1/execution"}


def test_a_running_stack_lends_its_addresses(tmp_path: Path) -> None:
    path = keep_environment(tmp_path, DECIDED)

    assert environment_of(tmp_path) == DECIDED
    # Keys are among it.
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_stack_lends_nothing(tmp_path: Path) -> None:
    assert environment_of(tmp_path) == {}


def test_the_file_of_a_killed_stack_leads_nowhere(tmp_path: Path) -> None:
    path = keep_environment(tmp_path, DECIDED)
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"owner": ended.pid}))

    assert environment_of(tmp_path) == {}


def test_alone_it_lists_commands_that_there_are() -> None:
    shown = subprocess.run(["./service"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout

    assert shown.strip() == HELP
    named = {line.split()[1] for line in HELP.splitlines() if line.startswith("  ./service")}
    present = {path.stem for path in (ROOT / "execution/management/commands").glob("*.py")}
    assert named - {"help"} <= present
    assert {"explain", "kill_switch", "release_holds"} <= named


def test_a_wrong_command_says_so_without_a_traceback() -> None:
    env = os.environ | {"STATE_DIR": "/nonexistent", "EXECUTION_MODE": "paper"}
    ran = subprocess.run(
        ["./service", "explian"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert ran.returncode == 1
    assert "Did you mean explain?" in ran.stderr
    assert "Traceback" not in ran.stderr
