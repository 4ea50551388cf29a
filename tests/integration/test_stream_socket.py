"""When a socket of the user-data stream is taken for dead: by pings without an answer, never by our own slowness."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import websocket

from execution.adapters.binance.stream import PINGS_WITHOUT_ANSWER, BinanceStreamConnection
from execution.domain.ports import StreamClosedError
from execution.domain.stream import KeyExpired

PING_SECONDS = 15.0
# A frame of text as servers send it: unmasked, and an event of few bytes.
EVENT = b'{"e":"listenKeyExpired","E":1,"listenKey":"k"}'
PONG, TEXT = b"\x8a\x00", bytes([0x81, len(EVENT)]) + EVENT
PING_OPCODE = 0x89


class Peer:
    """The other side of one connection: it sees the pings, and answers when the test lets it."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        client = websocket.WebSocket()
        client.sock, client.connected = ours, True
        self.client, self.now = client, 1000.0
        self.connection = BinanceStreamConnection(
            client,
            ping_seconds=PING_SECONDS,
            clock=lambda: datetime(2026, 3, 2, tzinfo=UTC),
            note_setting=lambda _symbol, _leverage: None,
            monotonic=lambda: self.now,
        )

    def read(self, *, after: float = 0.0) -> object:
        """Read once, when this many seconds have passed."""
        self.now += after
        return self.connection.receive(within_seconds=0.001)

    def pings(self) -> int:
        """Return how many pings have arrived since the last call."""
        self.theirs.setblocking(False)
        try:
            # Six bytes each: opcode, length, and a mask of four.
            received = self.theirs.recv(4096)
        except BlockingIOError:
            return 0
        assert set(received[::6]) == {PING_OPCODE}
        return len(received) // 6


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.client.shutdown()  # type: ignore[no-untyped-call]
    made.theirs.close()


def test_it_pings_each_time_that_it_is_due(peer: Peer) -> None:
    assert (peer.read(after=PING_SECONDS - 0.01), peer.pings()) == (None, 0)
    assert (peer.read(after=0.01), peer.pings()) == (None, 1)
    assert (peer.read(after=PING_SECONDS - 0.01), peer.pings()) == (None, 0)
    assert (peer.read(after=0.01), peer.pings()) == (None, 1)


def test_a_side_that_answers_no_ping_is_dead_after_three(peer: Peer) -> None:
    for _ in range(PINGS_WITHOUT_ANSWER):
        assert peer.read(after=PING_SECONDS) is None
    assert (PINGS_WITHOUT_ANSWER, peer.pings()) == (3, 3)
    assert peer.read(after=PING_SECONDS - 0.01) is None

    with pytest.raises(StreamClosedError, match="no sign for 60s"):
        peer.read(after=0.01)


@pytest.mark.parametrize(("sign", "news"), [(PONG, None), (TEXT, KeyExpired)])
def test_any_sign_begins_the_count_anew(peer: Peer, sign: bytes, news: type | None) -> None:
    for _ in range(5):
        for _ in range(PINGS_WITHOUT_ANSWER):
            assert peer.read(after=PING_SECONDS) is None
        peer.theirs.sendall(sign)
        # The answer lay there when the pings had been without one for too long.
        found = peer.read(after=PING_SECONDS)
        assert (type(found) if found else None) == news


def test_a_process_that_did_not_read_for_long_does_not_take_the_other_side_for_dead(peer: Peer) -> None:
    peer.theirs.sendall(TEXT)

    # Ten minutes in which this process was busy, and the event waited to be read.
    assert isinstance(peer.read(after=600), KeyExpired)
    assert peer.read(after=600) is None
    assert peer.read() is None


def test_an_end_by_the_other_side_is_told(peer: Peer) -> None:
    peer.theirs.close()

    with pytest.raises(StreamClosedError, match="WebSocketConnectionClosedException"):
        peer.read()
