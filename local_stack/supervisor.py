"""Runs the programs of the local stack: starts them by need, waits for readiness, notices a death, stops them all.

Nothing is restarted: a process that ends by itself is an error that must be seen, so it stops the stack. All children
are started from the main thread, because Linux ends a tethered child with the thread that started it.
"""

import asyncio
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

import aiohttp

from local_stack.lease import Lease, signal_group
from local_stack.processes import Program
from local_stack.server import Server, private_file, private_folder, tail, tethered
from local_stack.waiting import poll, together

READY_SECONDS = 120.0
LAST_WORDS_SECONDS = 0.5

LogLine = Callable[[str, str], None]


class StackError(RuntimeError):
    """The stack cannot go on; the message names the process and what it said last."""


@dataclass(kw_only=True)
class Child:
    """A program that was asked for, and its process once it runs."""

    program: Program
    log: Path
    process: Process | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(kw_only=True)
class Supervisor:
    """Holds the children of one stack, from `start` to `stop`."""

    cwd: Path
    env: Mapping[str, str]
    logs: Path
    lease: Lease
    log_line: LogLine
    on_ready: Callable[[str], None] = lambda _name: None
    children: dict[str, Child] = field(default_factory=dict)
    ready: dict[str, asyncio.Event] = field(default_factory=dict)
    _stopping: bool = False
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.death: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self, programs: Sequence[Program]) -> None:
        """Start all programs and return when all are ready; raises StackError for one that does not get ready."""
        private_folder(self.logs)
        self.children = {item.name: Child(program=item, log=self.logs / f"{item.name}.log") for item in programs}
        self.ready = {name: asyncio.Event() for name in self.children}
        await together(*map(self._start, self.children.values()))

    async def _start(self, child: Child) -> None:
        for name in child.program.after:
            if name in self.ready:
                await self.ready[name].wait()
        if child.program.ready_file is not None:
            child.program.ready_file.unlink(missing_ok=True)
        child.process = await asyncio.create_subprocess_exec(
            *tethered(child.program.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=self.cwd,
            env={**self.env, **child.program.env},
            # A session of its own: Ctrl-C reaches only us, and the whole group can be killed.
            start_new_session=True,
        )
        self.lease.record(child.process.pid)
        log = asyncio.create_task(self._pass_log_on(child, child.process))
        self._tasks += [log, asyncio.create_task(self._report_end(child, child.process, log))]
        await self._wait_until_ready(child)
        self.ready[child.program.name].set()
        self.on_ready(child.program.name)

    async def _pass_log_on(self, child: Child, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for by PIPE
        with private_file(child.log) as log:
            rest = b""
            while chunk := await process.stdout.read(65536):
                log.write(chunk)
                log.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.log_line(child.program.name, line.decode(errors="replace"))

    async def _report_end(self, child: Child, process: Process, log: "asyncio.Task[None]") -> None:
        """Report an end that nobody asked for, with the last of the log."""
        code = await exit_code(process)
        # Not until the log ends: a child of the dead one may hold it open.
        await asyncio.wait({log}, timeout=LAST_WORDS_SECONDS)
        if not self._stopping and not (child.program.runs_once and code == 0) and not self.death.done():
            self.death.set_result(describe_end(child, code))

    async def _wait_until_ready(self, child: Child) -> None:
        try:
            await poll(lambda: is_ready(child), seconds=READY_SECONDS)
        except TimeoutError:
            message = f"{child.program.name} was not ready within {READY_SECONDS:.0f} s. Its last lines:"
            raise StackError(f"{message}\n{tail(child.log)}") from None

    async def stop(self) -> None:
        """Stop each child after those that need it: SIGTERM, then SIGKILL when its grace is over."""
        self._stopping = True
        await asyncio.gather(*(self._stop(child) for child in self.children.values()))
        if self._tasks:
            _, endless = await asyncio.wait(self._tasks, timeout=LAST_WORDS_SECONDS)
            for task in endless:
                task.cancel()

    async def _stop(self, child: Child) -> None:
        for other in self.children.values():
            if child.program.name in other.program.after:
                await other.stopped.wait()
        if child.process is not None:
            await end(child.process, child.program.stop_grace_seconds)
        child.stopped.set()


async def end(process: Process, grace_seconds: float) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(exit_code(process), grace_seconds)
    # Also after an orderly end: a group member that outlived its leader has no one left to stop it.
    signal_group(process.pid, SIGKILL)
    await exit_code(process)


async def exit_code(process: Process) -> int:
    """Wait for the process itself; asyncio's own wait also waits for whoever else holds its output open."""
    while process.returncode is None:  # noqa: ASYNC110 - there is no such event
        await asyncio.sleep(0.02)
    return process.returncode


async def is_ready(child: Child) -> bool:
    program = child.program
    if program.runs_once:
        return child.process is not None and child.process.returncode == 0
    if program.ready_file is not None:
        return program.ready_file.exists()
    return not program.ready_url or await answers(program.ready_url, status=program.ready_status)


async def answers(url: str, *, status: int = 200) -> bool:
    """Whether a GET of `url` is answered with this status; a redirect is an answer, and is not followed."""
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return response.status == status
    except (aiohttp.ClientError, TimeoutError):
        return False


def describe_end(child: Child, code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{child.program.name} {how}. Its last lines:\n{tail(child.log)}"


async def watch_servers(running: Callable[[], Iterable[Server]]) -> str:
    """Return when PostgreSQL or Valkey ends by itself, with a sentence that says which."""
    while True:
        for server in running():
            if server.process.poll() is not None:
                return f"{server.name} ended with exit code {server.process.returncode}. Its log: {server.log}"
        await asyncio.sleep(0.5)
