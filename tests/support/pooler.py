"""A pooler of PostgreSQL's sessions as PgBouncer is one: how long a client has a session is the pooler's mode.

`session`: until the client goes. `transaction`: until the transaction has ended. `statement`: until the next answer,
and no transaction at all. It speaks the protocol's version 3 without TLS, to a server that asks for no password.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

HOST = "127.0.0.1"
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
# After these a server answers, and says with its last message whether a transaction is open.
ANSWERED = frozenset({b"Q", b"S", b"F"})
READY, IDLE = b"Z", b"I"
DENIED = (b"SFATAL", b"VFATAL", b"C08P01", b"Mtransaction blocks not allowed in statement pooling mode", b"", b"")
Mode = Literal["session", "transaction", "statement"]


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def read_exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = source.recv(size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def read_message(source: socket.socket) -> tuple[bytes, bytes]:
    kind, size = struct.unpack("!ci", read_exactly(source, 5))
    return kind, read_exactly(source, size - 4)


@dataclass(kw_only=True)
class Pooler:
    """`rotates`: the session that has rested longest goes first, not the one that was used last."""

    server: tuple[str, int]
    mode: Mode
    rotates: bool = False
    port: int = 0
    idle: list[socket.socket] = field(default_factory=list)
    opened: int = 0
    greeting: bytes = b""

    def serve(self, client: socket.socket) -> None:
        """Serve one client until it goes."""
        held: list[socket.socket] = []
        with client, suppress(EOFError, OSError):
            startup = self._startup(client)
            self._greet(client, startup)
            while True:
                kind, body = read_message(client)
                if kind == b"X":
                    break
                if self.mode == "statement" and b"BEGIN" in body.upper():
                    client.sendall(message(b"E", b"\0".join(DENIED)))
                    break
                self._carry(client, held, startup, message(kind, body), answered=kind in ANSWERED)
        self.idle += held

    def _startup(self, client: socket.socket) -> bytes:
        while True:
            (size,) = struct.unpack("!i", read_exactly(client, 4))
            body = read_exactly(client, size - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code not in {SSL_REQUEST, GSS_REQUEST}:
                return struct.pack("!i", size) + body
            client.sendall(b"N")

    def _greet(self, client: socket.socket, startup: bytes) -> None:
        """Welcome a client with a key of our own, as a pooler does that has no session for it yet."""
        if not self.greeting:
            self.idle.append(self._open(startup))
        key = message(b"K", struct.pack("!ii", threading.get_native_id(), 7))
        client.sendall(self.greeting + key + message(READY, IDLE))

    def _open(self, startup: bytes) -> socket.socket:
        server = socket.create_connection(self.server, timeout=10)
        server.sendall(startup)
        self.opened += 1
        greeting = b""
        while (answer := read_message(server))[0] != READY:
            greeting += message(*answer) if answer[0] in {b"R", b"S"} else b""
        self.greeting = greeting
        return server

    def _carry(
        self, client: socket.socket, held: list[socket.socket], startup: bytes, words: bytes, *, answered: bool
    ) -> None:
        if not held:
            held.append(self._take(startup))
        held[0].sendall(words)
        if not answered:
            return
        while True:
            kind, body = read_message(held[0])
            if kind == READY:
                break
            client.sendall(message(kind, body))
        # Handed back before the client hears of it, as by a pooler that does one thing at a time.
        if self.mode != "session" and body == IDLE:
            self.idle.append(held.pop())
        client.sendall(message(READY, body))

    def _take(self, startup: bytes) -> socket.socket:
        if not self.idle:
            return self._open(startup)
        return self.idle.pop(0 if self.rotates else -1)


@contextmanager
def pooler(server: tuple[str, int], mode: Mode, *, rotates: bool = False) -> Iterator[Pooler]:
    """Run a pooler before a server until the block ends."""
    with socket.create_server((HOST, 0)) as listener:
        running = Pooler(server=server, mode=mode, rotates=rotates, port=listener.getsockname()[1])
        threading.Thread(target=_listen, args=(listener, running), daemon=True).start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
    for session in running.idle:
        session.close()


def _listen(listener: socket.socket, running: Pooler) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=running.serve, args=(client,), daemon=True).start()
