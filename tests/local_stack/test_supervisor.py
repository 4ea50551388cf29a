"""The supervisor on small programs: order of start and stop, deaths, stubborn children, and its own sudden end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from local_stack.lease import Lease
from local_stack.processes import Program
from local_stack.server import free_port
from local_stack.supervisor import StackError, Supervisor
from tests.local_stack.helpers import PYTHON, ROOT, descendants, is_alive
from tests.support.waiting import eventually

SERVE = """
import http.server, signal, sys, time
name, port, exit_delay = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
def stop(*_):
    print("stopping", flush=True); time.sleep(exit_delay); print("stopped", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("started", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
Lines = list[tuple[str, str]]


def server(name: str, *, after: tuple[str, ...] = (), exit_delay: float = 0, grace: float = 5) -> Program:
    port = free_port()
    return Program(
        name=name,
        command=(PYTHON, "-I", "-S", "-c", SERVE, name, str(port), str(exit_delay)),
        after=after,
        ready_url=f"http://127.0.0.1:{port}/",
        stop_grace_seconds=grace,
    )


def once(name: str, code: str) -> Program:
    return Program(name=name, command=(PYTHON, "-I", "-S", "-c", code), runs_once=True)


def supervise(folder: Path, act: Callable[[Supervisor], Awaitable[None]]) -> Lines:
    """Run `act` with a supervisor, stop it, and return the log lines in the order in which they came."""
    lines: Lines = []

    async def run() -> None:
        lease = Lease.take(folder / "stack.lease")
        supervisor = Supervisor(
            cwd=folder,
            env=os.environ,
            logs=folder / "logs",
            lease=lease,
            log_line=lambda name, line: lines.append((name, line)),
        )
        try:
            await act(supervisor)
        finally:
            await supervisor.stop()
            lease.release()

    asyncio.run(run())
    return lines


def test_starts_by_need_and_stops_in_reverse(tmp_path: Path) -> None:
    async def act(supervisor: Supervisor) -> None:
        await supervisor.start(
            [
                server("web", after=("migrate", "absent")),
                once("migrate", "print('migrated')"),
                server("flower", after=("web",), exit_delay=0.1),
            ]
        )

    # It should start each when what it needs is ready (who is not in the stack is not waited for), and stop it before.
    assert supervise(tmp_path, act) == [
        ("migrate", "migrated"),
        ("web", "started"),
        ("flower", "started"),
        ("flower", "stopping"),
        ("flower", "stopped"),
        ("web", "stopping"),
        ("web", "stopped"),
    ]
    # It should keep each log in a file of its own.
    assert (tmp_path / "logs/web.log").read_text() == "started\nstopping\nstopped\n"


def test_a_death_is_reported_with_name_code_and_last_words(tmp_path: Path) -> None:
    async def act(supervisor: Supervisor) -> None:
        await supervisor.start([server("web")])
        process = supervisor.children["web"].process
        assert process is not None
        process.kill()
        death = await asyncio.wait_for(supervisor.death, 5)
        assert death == "web was ended by signal 9. Its last lines:\nstarted"

    supervise(tmp_path, act)


def test_a_program_that_fails_to_start_is_reported(tmp_path: Path) -> None:
    async def act(supervisor: Supervisor) -> None:
        broken = once("migrate", "import sys; sys.exit('no such table')")
        start = asyncio.ensure_future(supervisor.start([broken, server("web", after=("migrate",))]))
        death = await asyncio.wait_for(supervisor.death, 5)
        assert death == "migrate ended with exit code 1. Its last lines:\nno such table"
        # What needs it should never have been started.
        assert supervisor.children["web"].process is None
        start.cancel()

    supervise(tmp_path, act)


def test_one_that_is_never_ready_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.supervisor.READY_SECONDS", 0.3)
    silent = Program(
        name="web",
        command=(PYTHON, "-I", "-S", "-c", "import time; print('busy', flush=True); time.sleep(60)"),
        ready_file=tmp_path / "never",
    )

    async def act(supervisor: Supervisor) -> None:
        with pytest.raises(StackError, match=r"web was not ready within 0 s\. Its last lines:\nbusy"):
            await supervisor.start([silent])

    supervise(tmp_path, act)


def test_one_that_does_not_stop_in_its_grace_is_killed(tmp_path: Path) -> None:
    async def act(supervisor: Supervisor) -> None:
        await supervisor.start([server("stubborn", exit_delay=60, grace=0.2)])

    assert supervise(tmp_path, act) == [("stubborn", "started"), ("stubborn", "stopping")]


def test_a_child_of_a_child_does_not_outlive_the_stop(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(ready)!r}).write_text(str(child.pid))
time.sleep(60)
"""
    parent = Program(name="parent", command=(PYTHON, "-c", code), ready_file=ready)

    async def act(supervisor: Supervisor) -> None:
        await supervisor.start([parent])

    supervise(tmp_path, act)
    grandchild = int(ready.read_text())
    eventually(lambda: not is_alive(grandchild), what="the grandchild is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_kill_of_the_supervisor_leaves_nothing_alive(tmp_path: Path) -> None:
    code = f"""
import asyncio, pathlib
from tests.local_stack.test_supervisor import server, supervise
async def act(supervisor):
    await supervisor.start([server("web", exit_delay=60), server("flower", after=("web",))])
    print("ready", flush=True)
    await asyncio.Event().wait()
supervise(pathlib.Path({str(tmp_path)!r}), act)
"""
    with subprocess.Popen([PYTHON, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "ready\n"
        family = descendants(supervisor.pid)
        assert len(family) == 2
        supervisor.send_signal(signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, family)), what="all children are gone")
