"""PostgreSQL and Valkey of the chaos runner, on fixed ports, so that a cell can stop, kill and start them again."""

import fcntl
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from redis import Redis

from local_stack.postgres import start_postgres
from local_stack.server import HOST, Server, StartError, end_process
from local_stack.valkey import start_valkey
from tests.support.waiting import eventually

# Below the range that the kernel gives to outgoing connections: nobody takes a port while its server is down.
PORTS = range(19500, 19600)
LOADING_SECONDS = 30.0
Start = Callable[[int], Server]


@dataclass(kw_only=True)
class Store:
    """One server that goes down and comes back with the data that it kept."""

    name: str
    start: Start
    port: int
    server: Server = field(init=False)

    def __enter__(self) -> Self:
        self.server = self.start(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        # Stopped by a signal of SIGSTOP, it would not hear any other.
        with suppress(ProcessLookupError):
            self.server.process.send_signal(signal.SIGCONT)
        self.server.stop()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def pid(self) -> int:
        """The process that serves now; another one after a restart."""
        return int(self.server.process.pid)

    def stop(self) -> None:
        """Stop it in its orderly way."""
        self.server.stop()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it at once; for PostgreSQL, SIGQUIT is its `immediate` mode."""
        end_process(self.server.process, number, 10)
        self.server.stop()

    def start_again(self) -> None:
        """Start it on its port and its data."""
        self.server = self.start(self.port)


def postgres(folder: Path) -> Store:
    return Store(name="postgres", start=lambda port: start_postgres(folder / "postgres", port=port), port=free_port())


def valkey(folder: Path) -> Store:
    return Store(
        name="valkey", start=lambda port: _loaded(start_valkey(folder / "valkey", port=port)), port=free_port()
    )


def _loaded(server: Server) -> Server:
    """Wait until it has read its data: it answers before, but only that it is busy."""
    with Redis.from_url(server.url) as redis:
        eventually(lambda: not redis.info("persistence")["loading"], within=LOADING_SECONDS, what="Valkey has loaded")
    return server


# Locked for as long as this process lives: two runs at once must not take the same port while its server is down.
_locks: list[IO[bytes]] = []


def free_port() -> int:
    """Return a port that no other run of ours has, and that nobody listens on."""
    for port in PORTS:
        lock = (Path(tempfile.gettempdir()) / f"execution-chaos-{port}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        # Kept also when somebody else listens there: we need not ask again.
        _locks.append(lock)
        if _is_free(port):
            return port
    raise StartError(f"No free port between {PORTS.start} and {PORTS.stop - 1}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
