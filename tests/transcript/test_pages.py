"""The command blocks of the pages do what the pages say, against a running stack."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from local_stack.server import free_port
from tests.local_stack.started import DECIDED, Run, running
from tests.support.waiting import eventually
from tests.transcript.blocks import COMMANDS, ROOT, Block, Command, blocks_of, pages

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="the stack's processes are told apart through /proc"),
]
ALL = [block for page in pages() for block in blocks_of(page)]
RUN = [block for block in ALL if block.language in COMMANDS and not block.skipped]
CHECKED = [block for block in ALL if block.skipped and block.skipped.options_checked]
BIN = Path(sys.executable).parent
# These go on until they are stopped; each says so when it is ready.
STAYING = re.compile(r"^(make paper-exchange|\.venv/bin/python -m paper_exchange(?!.*--help))")
READY = "paper exchange ready on "
SILENCE_SECONDS = 5.0
COMMAND_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who types what the pages say into a shell, beside a stack that `make run` has started."""

    stack: Run
    state: Path
    # What the pages call by name, here.
    meant: Mapping[str, str]

    def types(self, command: Command) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(command.text)],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def here(self, text: str) -> str:
        """Return the text with the addresses and ids of this stack in the place of the pages'."""
        for said, meant in self.meant.items():
            text = text.replace(said, meant)
        return text

    def environment(self) -> dict[str, str]:
        usual = {name: value for name, value in os.environ.items() if name not in DECIDED}
        own = {"STATE_DIR": str(self.state), "CURL_HOME": str(self.state.parent), "PORT": "0"}
        return {**usual, **own, "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("transcript")
    # A refused request is a failed command.
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 30\n")
    state = folder / "state"
    with running(folder, STATE_DIR=str(state), LOG_LEVEL="INFO") as stack:
        eventually(lambda: "sample decisions" in stack.text(), within=150, what="the stack is up")
        service = stack.find(r"Service +(\S+)/health")
        trades = f"{service}/api/execution/trades"
        eventually(lambda: requests.get(trades, timeout=5).json()["trades"], within=30, what="a trade")
        meant = {
            "http://localhost:8002": service,
            "http://127.0.0.1:8002": service,
            "http://127.0.0.1:8700": stack.find(r"Paper exchange +(\S+)"),
            "/opt/execution": str(ROOT),
            "/etc/execution": str(folder / "etc"),
            "<trade id>": requests.get(trades, timeout=5).json()["trades"][0]["trade_id"],
        }
        yield Reader(stack=stack, state=state, meant=meant)


def test_every_fence_says_what_it_is() -> None:
    """A block without a language would be run by nobody."""
    assert [block.name for block in ALL if not block.language] == []
    assert {block.language for block in ALL} <= COMMANDS | {"text", "nginx", "json", "ini", "yaml"}
    # It should know commands of the block when one of them is not run.
    for block in ALL:
        present = {command.text.partition(" #")[0].strip() for command in block.commands()} if block in RUN else set()
        assert block.skipped_commands <= present or block not in RUN, block.name
    assert len(RUN) > 5


def test_a_start_is_a_few_lines(reader: Reader) -> None:
    before, _, _ = reader.stack.text().partition("Service  ")
    lines = before.strip().splitlines()

    # A slow machine says again and again how long it has waited for the same.
    assert len([line for line in lines if not re.search(r"\(\d+ s\)$", line)]) <= 15, before
    assert re.search(r"usually \d+ s. What the processes say is in \S+/logs$", before, flags=re.MULTILINE)
    assert [line for line in lines if "Applying" in line or "superuser" in line] == []
    # It should keep what it does not show.
    assert "Applying execution.0001_initial" in (reader.state / "logs/migrate.log").read_text()


def test_every_printed_link_answers(reader: Reader) -> None:
    printed = set(re.findall(r"http://[^\s·]+", reader.stack.text().partition("Ctrl-C stops")[0]))

    assert len(printed) >= 5
    for link in sorted(printed):
        assert requests.get(link, timeout=10).status_code < 500, link


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_a_block_runs_as_it_is_written(reader: Reader, block: Block) -> None:
    for command in block.commands():
        text = command.text.partition(" #")[0].strip()
        if text in block.skipped_commands:
            continue
        if text == "make run":
            # It is what the reader sits beside.
            assert reader.stack.process.poll() is None
        elif text == "make demo":
            watch_demo(reader)
        elif STAYING.match(text):
            watch_server(reader, command)
        else:
            check(reader, block, command)


def check(reader: Reader, block: Block, command: Command) -> None:
    if block.language == "python":
        command = Command(text=f"python - <<'END'\n{command.text}\nEND", shown="")
    ran = reader.types(command)
    said = f"{block.name}: {command.text}\nended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
    assert ran.returncode == 0, said
    assert "Traceback" not in ran.stderr, said
    if command.shown:
        shown = re.escape(reader.here(command.shown)).replace(r"\.\.\.", ".*")
        assert re.fullmatch(shown, ran.stdout.strip(), flags=re.DOTALL), f"{said}\nthe page shows:\n{command.shown}"


def watch_demo(reader: Reader) -> None:
    """Run the demo with a clock on its lines: whoever watches it never waits for a line for more than 5 s."""
    process = subprocess.Popen(
        # As from a shell: inside another make it would say which folder it enters.
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT,
        env=reader.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = [(time.monotonic(), "make demo")]
    seen += [(time.monotonic(), line.rstrip()) for line in process.stdout]
    assert process.wait(30) == 0, "\n".join(line for _, line in seen)
    assert seen[-1][1].endswith("The demo succeeded.")
    waits = [(after - before, line) for (before, _), (after, line) in pairwise(seen)]
    # Three times the promise, which `make cold-demo` measures: other tests run beside it.
    assert max(waits)[0] <= 3 * SILENCE_SECONDS, max(waits)


def watch_server(reader: Reader, command: Command) -> None:
    """Start a server of a page on a free port, see it ready, and stop it as Ctrl-C does."""
    port = str(free_port())
    text = command.text.partition(" #")[0].strip()
    words = text if text.startswith("make") or "--port" in text else f"{text} --port {port}"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {words}"],
        cwd=ROOT,
        env={**reader.environment(), "PAPER_EXCHANGE_PORT": port},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert any(READY in line for line in process.stdout), text
    finally:
        os.killpg(process.pid, 2)
        process.communicate(timeout=20)


@pytest.mark.parametrize("block", CHECKED, ids=lambda block: block.name)
def test_the_options_of_what_takes_long_exist(block: Block) -> None:
    for command in block.commands():
        asked = subprocess.run(
            ["bash", "-euc", f"make -n {command.text.removeprefix('make ')}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert asked.returncode == 0, f"{block.name}: {command.text}: {asked.stderr}"
        variables = set(re.findall(r"\b([A-Z_]+)=", command.text))
        assert variables <= set(re.findall(r"\(([A-Z_]+)[),]", (ROOT / "Makefile").read_text())), command.text
        [*_, last] = asked.stdout.strip().splitlines()
        module = re.search(r"-m (tests\.\w+)", last)
        if module:
            assert set(re.findall(r"--[a-z-]+", command.text)) <= options_of(module[1]), command.text


@cache
def options_of(module: str) -> frozenset[str]:
    """Return the options that a program of ours declares, read and not run: some take seconds to load."""
    place = ROOT / module.replace(".", "/")
    sources = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    return frozenset(word for source in sources for word in re.findall(r'"(--[a-z-]+)"', source.read_text()))


def test_what_prose_names_exists() -> None:
    """Commands in a sentence: each make target, each command of the service and each script is there."""
    text = "\n".join(page.read_text() for page in pages())
    inline = re.findall(r"`([^`\n]+)`", text)
    targets = {word for each in inline for word in re.findall(r"^make ([a-z-]+)", each)}
    commands = {word for each in inline for word in re.findall(r"(?:\./service|manage\.py) ([a-z_]+)", each)}
    present = {path.stem for path in (ROOT / "execution/management/commands").glob("*.py")}

    assert targets
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert commands - {"migrate", "check", "help", "makemigrations", "test"} <= present
