"""The web server under slow and many callers: threads are for whole requests, health and brakes have their own."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from time import monotonic

import pytest

from execution_project.web import LONGEST_BODY_BYTES, MOST_STREAMS, threads
from execution_project.web_worker import (
    CONNECTIONS_PER_ADDRESS,
    REQUEST_SECONDS,
    SEND_SECONDS,
    Incomplete,
    Lane,
    TooLarge,
    lane_of,
)
from local_stack.server import end_process, free_port, spawn
from tests.local_stack.slow_application import WAITS
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
# What `impatient_web` gives a caller.
PATIENCE_SECONDS = 1
# Every answer is due at once; the bound only ends a test that has failed.
ANSWER_SECONDS = 20.0
ORDER = f"POST {WAITS} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
KILL_SWITCH = b"POST /api/execution/kill-switch HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = b"GET /dashboard/stream HTTP/1.1\r\nHost: x\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
TRADES = b"GET /api/execution/trades HTTP/1.1\r\nHost: x\r\n\r\n"


class Web:
    """gunicorn with our configuration in front of a small application."""

    def __init__(self, port: int, release: Path) -> None:
        self.port = port
        self._release = release
        self._open = ExitStack()

    def send(self, sent: bytes, *, within: float = ANSWER_SECONDS) -> socket.socket:
        """Open a connection, send, and leave it open."""
        sock = self._open.enter_context(socket.create_connection(("127.0.0.1", self.port), within))
        sock.sendall(sent)
        return sock

    def ask(self, sent: bytes) -> str:
        """Return the status line and the body of an answer."""
        return answer(self.send(sent))

    def release(self) -> None:
        """Let the orders that wait be answered."""
        self._release.touch()

    def close(self) -> None:
        self._open.close()


def answer(sock: socket.socket) -> str:
    """Read one answer; "" when the server closes the connection instead."""
    read = b""
    while b"\r\n\r\n" not in read:
        # A server that closes with bytes unread resets the connection.
        more = b""
        with suppress(ConnectionResetError):
            more = sock.recv(4096)
        if not more:
            return ""
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    while not body.endswith(b"0\r\n\r\n") and b"chunked" in head:
        body += sock.recv(4096)
    status, _, _ = head.decode().partition("\r\n")
    return f"{status} {body.decode()}"


@contextmanager
def gunicorn(folder: Path, config: str) -> Iterator[tuple[int, Path]]:
    """Run the small application; its port, and the file that lets waiting orders go on."""
    port, release, log = free_port(), folder / "release", folder / "web.log"
    command = [
        *(sys.executable, "-m", "gunicorn", "tests.local_stack.slow_application:application"),
        *("--config", f"python:{config}", "--bind", f"127.0.0.1:{port}"),
    ]
    with log.open("wb") as output:
        process = spawn(command, output=output, env={"RELEASE_FILE": str(release), "PATH": "/usr/bin"}, cwd=ROOT)
    try:
        eventually(lambda: is_up(port), within=20, what=f"gunicorn listens: {log}")
        yield port, release
    finally:
        release.touch()
        end_process(process, SIGTERM, 10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    with gunicorn(tmp_path_factory.mktemp("web"), "execution_project.web") as running:
        yield running


@pytest.fixture
def web(server: tuple[int, Path]) -> Iterator[Web]:
    port, release = server
    release.unlink(missing_ok=True)
    running = Web(port, release)
    yield running
    running.release()
    running.close()


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Give the same server a second of patience, so that a test need not wait for as long as a real caller may."""
    assert (REQUEST_SECONDS, SEND_SECONDS) == (10, 5)
    with gunicorn(tmp_path_factory.mktemp("impatient"), "tests.local_stack.impatient_web") as (port, release):
        running = Web(port, release)
        yield running
        running.close()


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_open_streams_take_no_thread_from_anything_else(web: Web) -> None:
    streams = [web.send(STREAM) for _ in range(MOST_STREAMS)]
    assert [stream.recv(4096)[:15] for stream in streams] == [b"HTTP/1.1 200 OK"] * MOST_STREAMS

    for request in (TRADES, HEALTH, KILL_SWITCH, METRICS):
        assert "200 OK" in web.ask(request)
    # It should have a thread left that turns away who comes beyond the bound.
    assert web.send(STREAM).recv(4096)[:15] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("half", [b"", ORDER[:1], ORDER[:40], ORDER[:-1], KILL_SWITCH[:-1], HEALTH[:-2]])
def test_half_sent_requests_take_no_thread(web: Web, half: bytes) -> None:
    for _ in range(threads * 4):
        web.send(half)

    assert "200 OK" in web.ask(TRADES)
    assert "200 OK" in web.ask(HEALTH)
    assert "200 OK" in web.ask(KILL_SWITCH)


def test_a_request_that_comes_in_pieces_is_served(web: Web) -> None:
    sock = web.send(KILL_SWITCH[:10])
    for place in range(10, len(KILL_SWITCH)):
        sock.sendall(KILL_SWITCH[place : place + 1])

    assert "/api/execution/kill-switch 2" in answer(sock)


def test_brakes_and_health_do_not_wait_behind_orders(web: Web) -> None:
    waiting = [web.send(ORDER) for _ in range(threads * 4)]

    assert "200 OK" in web.ask(KILL_SWITCH)
    assert "200 OK" in web.ask(HEALTH)
    # It should be the orders that wait, and each should be answered in the end.
    web.release()
    assert [f"{WAITS} 2" in answer(sock) for sock in waiting] == [True] * len(waiting)


def test_a_late_request_is_dropped(impatient: Web) -> None:
    begun = monotonic()
    late = impatient.send(ORDER[:-1])
    # It should serve who is in time meanwhile, and drop the other no sooner than it says.
    assert "200 OK" in impatient.ask(TRADES)
    assert answer(late) == ""
    assert monotonic() - begun >= PATIENCE_SECONDS


def test_one_address_holds_a_limited_number_of_connections(web: Web) -> None:
    first = [web.send(HEALTH[:-2]) for _ in range(CONNECTIONS_PER_ADDRESS)]
    assert answer(web.send(b"")) == ""
    # It should count what is open, not what has ever been.
    first[0].close()
    eventually(lambda: "200 OK" in web.ask(HEALTH), within=ANSWER_SECONDS, what="the place is free again")


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(web: Web) -> None:
    said = web.ask(f"POST {WAITS} HTTP/1.1\r\nHost: x\r\nContent-Length: {LONGEST_BODY_BYTES + 1}\r\n\r\n".encode())

    assert said.startswith("HTTP/1.1 413 ")
    assert f'{{"detail": "the body is longer than {LONGEST_BODY_BYTES} bytes"}}' in said


def test_a_body_at_the_limit_is_taken(web: Web) -> None:
    head = f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {LONGEST_BODY_BYTES}\r\n\r\n".encode()

    assert f"/x {LONGEST_BODY_BYTES}" in web.ask(head + b"x" * LONGEST_BODY_BYTES)


def test_a_caller_who_does_not_read_frees_its_thread(impatient: Web) -> None:
    for _ in range(threads):
        impatient.send(b"POST /long HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n64")

    assert "200 OK" in answer(impatient.send(TRADES))


HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("arrived", "lane"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", Lane.HEALTH),
        (b"GET /health/live HTTP/1.1\r\n\r\n", Lane.HEALTH),
        (b"PATCH /api/execution/kill-switch HTTP/1.1\r\n\r\n", Lane.BRAKES),
        (b"GET /admin/execution/killswitch/ HTTP/1.1\r\n\r\n", Lane.BRAKES),
        (b"POST http://host:8002/api/execution/kill-switch HTTP/1.1\r\n\r\n", Lane.BRAKES),
        (b"GET https://host/health?full=1 HTTP/1.1\r\n\r\n", Lane.HEALTH),
        (b"GET /admin/login/?next=/admin/ HTTP/1.1\r\n\r\n", Lane.BRAKES),
        (b"GET /admin/ HTTP/1.1\r\n\r\n", Lane.BRAKES),
        (b"GET /static/execution/admin.css HTTP/1.1\r\n\r\n", Lane.BRAKES),
        (b"GET /admin/execution/trade/ HTTP/1.1\r\n\r\n", Lane.CROWD),
        (b"GET /metrics HTTP/1.1\r\n\r\n", Lane.FIGURES),
        (b"POST /hooks/hook_x?dry_run=1 HTTP/1.1\r\n\r\n", Lane.HOOKS),
        (b"GET /api/execution/trades?x=/health HTTP/1.1\r\n\r\n", Lane.CROWD),
        (b"nonsense\r\n\r\n", Lane.CROWD),
        (HEAD + b"content-length: 2\r\n\r\n{}", Lane.CROWD),
        (HEAD + b"Content-Length:2\r\n\r\n{}more", Lane.CROWD),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Lane.CROWD),
    ],
)
def test_a_whole_request_has_a_lane(arrived: bytes, lane: Lane) -> None:
    assert lane_of(arrived) is lane


@pytest.mark.parametrize(
    "arrived",
    [
        b"GET /health HTTP/1.1\r\n",
        HEAD + b"Content-Length: 3\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
)
def test_more_is_to_come(arrived: bytes) -> None:
    with pytest.raises(Incomplete):
        lane_of(arrived)


@pytest.mark.parametrize(
    "arrived",
    [
        HEAD + f"Content-Length: {LONGEST_BODY_BYTES + 1}\r\n\r\n".encode(),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"x" * (LONGEST_BODY_BYTES + 1),
    ],
)
def test_too_large(arrived: bytes) -> None:
    with pytest.raises(TooLarge):
        lane_of(arrived)
