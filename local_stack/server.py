"""What the local PostgreSQL and Valkey have in common: a child process that listens, is waited for and is stopped."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import IO, Literal

from local_stack.lease import Lease, signal_group

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 15.0
PORT_ATTEMPTS = 3
TETHER = Path(__file__).with_name("tether.py")

Identity = Literal["same", "namespace", "nobody"]


class StartError(RuntimeError):
    """A server could not be found or did not get ready; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server that belongs to this process and ends with it."""

    name: str
    url: str
    port: int
    log: Path
    process: "subprocess.Popen[bytes]"
    lease: Lease = field(repr=False)
    stop_signal: Signals = SIGTERM

    def stop(self) -> None:
        """Stop the server in its orderly way and wait for it; a second call does nothing."""
        end_process(self.process, self.stop_signal, STOP_SECONDS)
        self.lease.release()


def tethered(command: Sequence[str], death_signal: Signals = SIGKILL, identity: Identity = "same") -> list[str]:
    """Return the command line that runs `command` and ends it with this process.

    Start it from the main thread: Linux sends the signal when the *thread* that started the child ends.
    """
    return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), str(int(death_signal)), identity, *command]


def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    death_signal: Signals = SIGKILL,
    identity: Identity = "same",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a tethered child in a session of its own, so that Ctrl-C reaches only us and we keep the order."""
    return subprocess.Popen(  # noqa: S603 - our own programs, no shell
        tethered(command, death_signal, identity),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def end_process(process: "subprocess.Popen[bytes]", number: Signals, grace_seconds: float) -> None:
    """Ask the child to end, wait, and kill what is left of its process group."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        signal_group(process.pid, SIGKILL)
        process.wait()


def wheel_folders(*names: str) -> Iterator[Path]:
    """Find the folders of installed packages without importing them: we want their programs, not their Python."""
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent


def private_folder(path: Path) -> None:
    """Make a folder that only its owner can enter, or make an existing one so: logs and data show every trade."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def private_file(path: Path) -> IO[bytes]:
    """Open a file for writing, anew, that only its owner can read from the first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    # One that existed keeps its mode otherwise.
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def listen_on(host: str, port: int) -> socket.socket:
    """Listen on an address of either family, for servers that get the socket handed over, and to see whether one could.

    Raises:
        OSError: somebody else does, or the machine has no such address.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), port), family=family)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def start_on_port(port: int, start: Callable[[int], Server]) -> Server:
    """Start on `port`, or for 0 on a free one, again when somebody else took that in the meantime."""
    if port:
        return start(port)
    for _ in range(PORT_ATTEMPTS - 1):
        try:
            return start(free_port())
        except StartError:
            continue
    return start(free_port())


def wait_until_ready(process: "subprocess.Popen[bytes]", is_ready: Callable[[], bool], name: str, log: Path) -> None:
    """Poll until the server answers; raises StartError with the end of its log when it ends or stays silent."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        if is_ready():
            return
        if time.monotonic() > deadline:
            end_process(process, SIGKILL, STOP_SECONDS)
            break
        time.sleep(0.01)
    raise StartError(f"{name} did not start. The end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
