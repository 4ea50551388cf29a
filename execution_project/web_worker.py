"""The web server's worker: a thread never waits for a slow caller, and health and brakes never wait for the crowd.

gunicorn's threaded worker gives a connection to a thread and reads there: as many half-sent requests as threads stop
the API, health and kill switch. Here the event loop looks at what has arrived without taking it (MSG_PEEK), and hands
on a connection when a whole request lies in the kernel's buffer; what is not whole in time is dropped. The address of
the request chooses the threads.
"""

import re
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from execution_project.env import environment
from execution_project.networks import is_within, networks
from execution_project.stopping import STOPPING
from execution_project.web import LONGEST_BODY_BYTES, MOST_STREAMS

# From the first look at a connection, or from the first byte of a further request on it, until the request is whole.
REQUEST_SECONDS = 10.0
# How long a thread may wait for a caller who does not take the answer.
SEND_SECONDS = 5
# Twice what gunicorn accepts as a request line with headers; what is longer is its to refuse.
LONGEST_HEAD_BYTES = 64 * 1024
CONNECTIONS_PER_ADDRESS = 256
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
# The path of a request, whether it is asked for alone or, as proxies may, with scheme and host.
PATH = re.compile(rb"[^ ]+ (?:https?://[^/ ?]*)?([^ ?]*)")
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)


class Lane(StrEnum):
    """Which threads serve a request."""

    HEALTH = "health"
    BRAKES = "brakes"
    FIGURES = "figures"
    STREAMS = "streams"
    HOOKS = "hooks"
    CROWD = "crowd"


LANES = (
    (b"/health", Lane.HEALTH),
    (b"/api/execution/kill-switch", Lane.BRAKES),
    (b"/admin/execution/killswitch/", Lane.BRAKES),
    # The way to the admin's brakes: sign-in, home, and what a browser loads with every page.
    (b"/admin/login/", Lane.BRAKES),
    (b"/admin/ ", Lane.BRAKES),
    (b"/static/", Lane.BRAKES),
    # What alarms are made of is read also while the crowd waits.
    (b"/metrics", Lane.FIGURES),
    # A stream of news holds its thread for a minute.
    (b"/dashboard/stream", Lane.STREAMS),
    # Alerts are answered at once also while orders wait for the exchange: who sends them gives up after seconds.
    (b"/hooks/", Lane.HOOKS),
)
# The crowd has gunicorn's own `threads`. Streams have one more than may be open, which turns away who comes then.
THREADS = {Lane.HEALTH: 4, Lane.BRAKES: 4, Lane.FIGURES: 1, Lane.STREAMS: MOST_STREAMS + 1, Lane.HOOKS: 4}


class Incomplete(Exception):  # noqa: N818 -- not an error: more is to come
    """Not all of the request has arrived."""


class TooLarge(Exception):  # noqa: N818 -- an answer, not a fault
    """The body is longer than any request to this service may be."""


def lane_of(arrived: bytes) -> Lane:
    """Return the threads for a request that has arrived whole.

    Raises:
        Incomplete: more is to come.
        TooLarge: its body is above the limit, or of unknown length and above it already.

    """
    end = arrived.find(HEAD_END)
    if end < 0:
        if len(arrived) < LONGEST_HEAD_BYTES:
            raise Incomplete
        return Lane.CROWD
    _check_body(arrived[: end + 2], body=arrived[end + len(HEAD_END) :])
    target = PATH.match(arrived)
    path = target[1] + b" " if target else b""
    return next((lane for prefix, lane in LANES if path.startswith(prefix)), Lane.CROWD)


def _check_body(head: bytes, *, body: bytes) -> None:
    if CHUNKED.search(head):
        length = len(body) if body.endswith(b"0\r\n\r\n") else len(body) + 1
    else:
        found = LENGTH.search(head)
        length = int(found[1]) if found else 0
    if length > LONGEST_BODY_BYTES:
        raise TooLarge
    if len(body) < length:
        raise Incomplete


class Connection(TConn):  # type: ignore[misc]
    """A connection that counts for its address until it is closed."""

    deadline: float
    seen = 0
    lane = Lane.CROWD

    def __init__(self, *arguments: Any, on_close: Callable[[], None]) -> None:
        super().__init__(*arguments)
        self._on_close: Callable[[], None] | None = on_close

    def close(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 -- gunicorn's signature
        if self._on_close is not None:
            self._on_close()
            self._on_close = None
        super().close(graceful)


class WholeRequestWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, with arrival, lanes and limits of ours in front of its threads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.arriving: dict[Connection, None] = {}
        self.by_address: Counter[str] = Counter()
        self.pools: dict[Lane, ThreadPoolExecutor] = {}
        # A proxy's connections are many callers'; limiting those is its own duty.
        self.proxies = networks(environment().trusted_proxies)

    def init_process(self) -> None:
        # After the fork: threads do not survive it.
        self.pools = {lane: ThreadPoolExecutor(number, f"{lane}") for lane, number in THREADS.items()}
        super().init_process()

    # Arrival: in the event loop, never blocking

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        host = str(address[0]) if address else ""
        if self.by_address[host] >= CONNECTIONS_PER_ADDRESS and not is_within(host, self.proxies):
            client.close()
            return
        self.by_address[host] += 1
        self.nr_conns += 1
        conn = Connection(self.cfg, client, address, listener.getsockname(), on_close=partial(self._forget, host))
        timeout = struct.pack("ll", SEND_SECONDS, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._make_room()
        self._await_request(conn)

    def _forget(self, host: str) -> None:
        self.by_address[host] -= 1
        if not self.by_address[host]:
            del self.by_address[host]

    def _make_room(self) -> None:
        """Drop who has kept us waiting longest rather than stop accepting: health must stay reachable."""
        if self.nr_conns < self.worker_connections:
            return
        if self.arriving:
            self._drop(next(iter(self.arriving)))
        elif self.keepalived_conns:
            self.keepalived_conns[0].timeout = 0
            self.murder_keepalived()

    def _await_request(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        conn.seen, conn.deadline = 0, time.monotonic() + REQUEST_SECONDS
        self.arriving[conn] = None
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._look, conn))

    def _look(self, conn: Connection, _sock: socket.socket) -> None:
        """Hand the connection on when its request is whole; otherwise sleep until there is more than now."""
        try:
            arrived = conn.sock.recv(LONGEST_HEAD_BYTES + LONGEST_BODY_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._drop(conn)
            return
        # Readable without more bytes than before: the caller has closed his side.
        if len(arrived) <= conn.seen:
            self._drop(conn)
            return
        try:
            conn.lane = lane_of(arrived)
        except Incomplete:
            self._wait_for_more(conn, arrived)
        except TooLarge:
            self._refuse(conn)
        else:
            self._leave_loop(conn)
            self.enqueue_req(conn)

    def _wait_for_more(self, conn: Connection, arrived: bytes) -> None:
        if EXPECTS.search(arrived) and not EXPECTS.search(arrived[: conn.seen]):
            conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.seen = len(arrived)
        # What has been looked at stays in the buffer: without this the loop would spin on it.
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, conn.seen + 1)

    def _refuse(self, conn: Connection) -> None:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body = f'{{"detail": "the body is longer than {LONGEST_BODY_BYTES} bytes"}}'
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        conn.sock.send(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        self._leave_loop(conn)
        self.nr_conns -= 1
        conn.close(graceful=True)

    def _leave_loop(self, conn: Connection) -> None:
        del self.arriving[conn]
        self.poller.unregister(conn.sock)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _drop(self, conn: Connection) -> None:
        self._leave_loop(conn)
        self.nr_conns -= 1
        conn.close()

    # gunicorn's own places, which our rules replace

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Take a kept-alive connection back to the arrivals: its next request must come whole, too."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_request(conn)

    def enqueue_req(self, conn: Connection) -> None:
        # Its bytes are here: gunicorn need not wait for them.
        conn.data_ready = True
        job = self._pool_of(conn.lane).submit(self.handle, conn)
        job.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _pool_of(self, lane: Lane) -> ThreadPoolExecutor:
        found: ThreadPoolExecutor = self.tpool
        return self.pools.get(lane, found)

    def murder_pending(self) -> None:
        """Drop requests that are late; a worker that stops waits for nobody who has not begun to send."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [each for each in self.arriving if now > each.deadline or not (self.alive or each.seen)]:
            self._drop(conn)

    def handle_exit(self, sig: int, frame: Any) -> None:
        STOPPING.set()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        STOPPING.set()
        for pool in self.pools.values():
            pool.shutdown(wait=False)
        super().handle_quit(sig, frame)
