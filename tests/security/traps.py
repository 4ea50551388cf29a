"""Servers on loopback that do to a client what an attacker would: send it elsewhere, never end, never stop."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Behaviour = Callable[[socket.socket, bytes], None]
HEAD_END = b"\r\n\r\n"
CLIENT_HELLO = b"\x16\x03"
# No attack takes longer.
LONGEST_SECONDS = 20.0


@dataclass(kw_only=True)
class Trap:
    """A server, what it was sent, connection by connection, and how many connected."""

    port: int
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def trap(behaviour: Behaviour, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Trap]:
    """Listen until the block ends; `behaviour` gets each connection with the head of its first request.

    `tls`: the server's certificate, where it speaks TLS; then only what comes through it is heard.
    """
    with socket.create_server((host, 0)) as server:
        server.settimeout(0.05)
        caught = Trap(port=server.getsockname()[1])
        over = threading.Event()
        threads: list[threading.Thread] = []

        def listen() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                caught.connections += 1
                threads.append(threading.Thread(target=_serve, args=(connection, caught, behaviour, tls), daemon=True))
                threads[-1].start()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield caught
        finally:
            over.set()
            listener.join(LONGEST_SECONDS)
            for thread in threads:
                thread.join(LONGEST_SECONDS)


def _serve(connection: socket.socket, caught: Trap, behaviour: Behaviour, tls: ssl.SSLContext | None) -> None:
    connection.settimeout(LONGEST_SECONDS)
    with connection:
        try:
            connection = tls.wrap_socket(connection, server_side=True) if tls else connection
            head = _head(connection)
            if head:
                caught.heard.append(head)
                behaviour(connection, head)
        except OSError:
            # The client has had enough, as it should.
            return


def _head(connection: socket.socket) -> bytes:
    received = b""
    # What begins like TLS has no such end.
    while HEAD_END not in received and not received.startswith(CLIENT_HELLO):
        piece = connection.recv(65536)
        if not piece:
            return received
        received += piece
    return received


def answering(status: str, *headers: str, body: bytes = b"{}") -> Behaviour:
    """Answer so, once."""

    def behave(connection: socket.socket, _head: bytes) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        connection.sendall("\r\n".join(lines).encode() + HEAD_END + body)

    return behave


def endless(connection: socket.socket, _head: bytes) -> None:
    """Answer with a body that has no end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    piece, end = b'"' + b"x" * 65_000 + b'",', time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        connection.sendall(piece)


def dripping(connection: socket.socket, _head: bytes) -> None:
    """Answer with a body that comes byte by byte, each within the time-out."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        connection.sendall(b" ")
        time.sleep(0.05)
