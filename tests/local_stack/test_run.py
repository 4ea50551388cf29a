"""`make run` and `make demo` before anything starts: settings, a second stack, taken ports, passwords, the console."""

import io
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.console import Console
from local_stack.credentials import Credentials
from local_stack.lease import Lease
from local_stack.processes import Addresses
from local_stack.settings import Settings
from local_stack.stack import children_environment
from tests.local_stack.helpers import PYTHON, ROOT

ON_TEST_STATE = """
import pathlib, sys
from local_stack import run
from local_stack.console import Console
run.STATE = pathlib.Path(sys.argv[1])
sys.exit(run.main(Console()))
"""
GIVEN = ("DATABASE_URL", "REDIS_URL", "RISK_SAFETY_SERVICE_URL", "BINANCE_BASE_URL", "BINANCE_STREAM_URL")


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take back what the test session set, and read no `.env` of the developer."""
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def make_run(state: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PYTHON, "-c", ON_TEST_STATE, str(state)],
        cwd=state.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_second_stack_on_the_same_state_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lease = Lease.take(state / "stack.lease")
    answer = make_run(state)
    lease.release()

    assert answer.returncode == 1
    assert answer.stderr == (
        "The stack is running already. Stop it with Ctrl-C there, or start a second one with PORT=0.\n"
    )
    # It should not have touched the other's folder.
    assert [path.name for path in state.iterdir()] == ["stack.lease"]


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = make_run(tmp_path / "state", PORT="18040", FLOWER_PORT="18041", PAPER_EXCHANGE_PORT=str(port))

    assert answer.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in answer.stderr
    assert "Choose another PAPER_EXCHANGE_PORT" in answer.stderr


def test_contradicting_settings_are_refused_before_anything_starts(tmp_path: Path) -> None:
    answer = make_run(tmp_path / "state", EXECUTION_MODE="paper", USE_BINANCE_TESTNET="true")

    assert answer.returncode == 1
    assert "USE_BINANCE_TESTNET=true contradicts EXECUTION_MODE=paper" in answer.stderr
    assert not (tmp_path / "state").exists()


def environment_of_children(monkeypatch: pytest.MonkeyPatch, **given: str) -> dict[str, str]:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.read()
    addresses = Addresses(
        host="127.0.0.1",
        web_port=1,
        flower_port=2,
        paper_exchange_port=3 if settings.starts_paper_exchange else 0,
        risk_safety_port=4 if settings.starts_risk_safety else 0,
        database_url=settings.given_database_url or "postgresql://own",
        redis_url=settings.given_redis_url or "redis://own",
    )
    credentials = Credentials(admin_password="a", flower_password="f", secret_key="made")
    return children_environment(settings, addresses, credentials)


def test_children_are_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY")
    env = environment_of_children(monkeypatch)

    told = {
        "EXECUTION_MODE": "paper",
        "DATABASE_URL": "postgresql://own",
        "REDIS_URL": "redis://own",
        "RISK_SAFETY_SERVICE_URL": "http://127.0.0.1:4",
        "BINANCE_BASE_URL": "http://127.0.0.1:3",
        "BINANCE_STREAM_URL": "ws://127.0.0.1:3",
        "BINANCE_API_KEY": "paper",
        "BINANCE_API_SECRET": "paper-secret",
        "HOST": "127.0.0.1",
        "PORT": "1",
        "SECRET_KEY": "made",
    }
    assert {name: env[name] for name in told} == told


def test_what_is_given_is_used_and_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATABASE_URL": "postgresql://me@db/trades",
        "REDIS_HOST": "cache",
        "RISK_SAFETY_SERVICE_URL": "http://risk:8003",
        "BINANCE_BASE_URL": "http://127.0.0.1:9999",
    }
    env = environment_of_children(monkeypatch, **given)

    assert {name: env[name] for name in given} == given
    assert env["REDIS_URL"] == "redis://cache:6379/0"


def test_real_keys_never_reach_the_children_of_a_paper_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    env = environment_of_children(monkeypatch, BINANCE_API_KEY="real", BINANCE_API_SECRET="real-secret")
    assert (env["BINANCE_API_KEY"], env["BINANCE_API_SECRET"]) == ("paper", "paper-secret")


def test_other_modes_have_no_paper_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    env = environment_of_children(
        monkeypatch,
        EXECUTION_MODE="testnet",
        BINANCE_API_KEY="k" * 20,
        BINANCE_API_SECRET="s" * 20,
        EXECUTION_API_KEY="e" * 20,
    )
    assert "BINANCE_BASE_URL" not in env
    assert env["BINANCE_API_KEY"] == "k" * 20


def test_credentials_are_made_once_and_private(tmp_path: Path) -> None:
    made, are_new = Credentials.load_or_create(tmp_path / "credentials")
    again, are_new_again = Credentials.load_or_create(tmp_path / "credentials")

    assert (are_new, are_new_again) == (True, False)
    assert again == made
    assert (tmp_path / "credentials").stat().st_mode & 0o777 == 0o600


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Terminal() as stream:
        yield stream


def test_a_terminal_has_one_changing_line_and_colours(terminal: Terminal) -> None:
    console = Console(stream=terminal)
    console.progress("1 of 2")
    console.log("web", "ready")
    console.end_progress()

    assert terminal.getvalue() == (
        "\r\x1b[2K1 of 2"  # the progress,
        "\r\x1b[2K\x1b[36mweb             |\x1b[0m ready\n1 of 2"  # moved down by a line of log,
        "\r\x1b[2K"  # and gone
    )


def test_a_file_has_plain_lines() -> None:
    stream = io.StringIO()
    console = Console(stream=stream)
    console.progress("1 of 2")
    console.log("web", "\x1b[32mready\x1b[0m")
    console.log("web", "")
    console.end_progress()

    assert stream.getvalue() == "1 of 2\nweb             | ready\n"


class Hand:
    """A clock that is set by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_wait_is_said_again_with_its_age_when_nothing_was_said_for_three_seconds() -> None:
    stream, clock = io.StringIO(), Hand()
    console = Console(stream=stream, clock=clock)
    console.progress("Waiting for web ...")
    for seconds in (2.9, 3.0, 5.9, 6.0):
        clock.seconds = seconds
        console.say_again()
    # It should be silent once nothing is waited for.
    console.end_progress()
    clock.seconds = 60
    console.say_again()

    assert stream.getvalue().splitlines() == [
        "Waiting for web ...",
        "Waiting for web ... (3 s)",
        "Waiting for web ... (6 s)",
    ]


def test_waits_that_follow_each_other_closely_are_not_all_said() -> None:
    stream, clock = io.StringIO(), Hand()
    console = Console(stream=stream, clock=clock)
    for second, what in enumerate(("web", "orders", "monitor")):
        clock.seconds = second
        console.progress(f"Waiting for {what} ...")
    clock.seconds = 5
    console.say_again()

    assert stream.getvalue().splitlines() == [
        "Waiting for web ...",
        "Waiting for monitor ...",
        "Waiting for monitor ... (3 s)",
    ]


def test_a_held_up_program_still_says_what_it_waits_for() -> None:
    """The event loop does nothing meanwhile: the line comes from a thread."""
    script = (
        "import subprocess, sys\n"
        "from local_stack.console import Console\n"
        "console = Console()\n"
        "with console.never_silent():\n"
        "    console.progress('Waiting for a server ...')\n"
        "    subprocess.run(['sleep', '4'])\n"
    )
    said = subprocess.run([PYTHON, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)

    assert said.stdout.splitlines()[:2] == ["Waiting for a server ...", "Waiting for a server ... (3 s)"]


def test_the_local_stack_knows_two_commands() -> None:
    said = subprocess.run(
        [PYTHON, "-m", "local_stack", "walk"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert (said.returncode, said.stderr) == (2, "usage: python -m local_stack run|demo\n")
