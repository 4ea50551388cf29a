"""A line to a store that can be cut without a word: what is connected falls silent, and whoever comes anew is served.

So a firewall forgets its connections, and so a machine looks that has gone without closing them. Neither end is told:
the server keeps the session, with its locks, and the client waits. A line to Redis can also answer in its place.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PIECE = 65_536
CONNECT_SECONDS = 5.0
# How a command of Redis begins: an array of bulk strings.
COMMAND = re.compile(rb"\*\d+\r\n\$")


@dataclass(kw_only=True)
class _Pair:
    """A caller and the server's end of the line."""

    caller: socket.socket
    server: socket.socket
    silent: threading.Event = field(default_factory=threading.Event)

    def carry(self, source: socket.socket, target: socket.socket, refusal: Callable[[], bytes]) -> None:
        """Carry one direction; silence keeps both ends open, and whatever comes is lost."""
        with suppress(OSError):
            while piece := source.recv(PIECE):
                if said := refusal():
                    # What the server answers to a command of before is replaced, too.
                    self.caller.sendall(said * (len(COMMAND.findall(piece)) if source is self.caller else 1))
                elif not self.silent.is_set():
                    target.sendall(piece)
        if not self.silent.is_set():
            self.end()

    def end(self) -> None:
        for end in (self.caller, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class HalfOpenProxy:
    """Listens on a port of its own for a server elsewhere."""

    def __init__(self, port: int, *, host: str = HOST) -> None:
        self._server = (host, port)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._refusal = b""
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> int:
        """Let every connection that stands now fall silent for good; return how many those are."""
        with self._lock:
            standing = [pair for pair in self._pairs if not pair.silent.is_set() and pair.caller.fileno() >= 0]
            for pair in standing:
                pair.silent.set()
        return len(standing)

    def refuse(self, sentence: str) -> None:
        """Answer every command with an error of Redis, such as `READONLY ...`; empty: carry them again."""
        self._refusal = f"-{sentence}\r\n".encode() if sentence else b""

    def _refuse(self) -> bytes:
        self.refused += bool(self._refusal)
        return self._refusal

    def close(self) -> None:
        self._listener.close()
        with self._lock:
            for pair in self._pairs:
                pair.silent.set()
                pair.end()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._join(caller)

    def _join(self, caller: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server, CONNECT_SECONDS)
        except OSError:
            caller.close()
            return
        server.settimeout(None)
        for end in (caller, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(caller=caller, server=server)
        with self._lock:
            self._pairs.append(pair)
        for source, target in ((caller, server), (server, caller)):
            threading.Thread(target=pair.carry, args=(source, target, self._refuse), daemon=True).start()


@contextmanager
def half_open(port: int) -> Iterator[HalfOpenProxy]:
    """Run a line to a port of this machine."""
    proxy = HalfOpenProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
