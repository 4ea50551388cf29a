"""The user-data stream: its key expires, it falls silent, it breaks, it tells things doubled and out of order."""

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import ONCE, row

LISTEN_KEY = "/fapi/v1/listenKey"
KICKS = 20
PATIENCE_SECONDS = 2.5
# Without the stream an order of unknown outcome waits for the monitor.
POLLED = Bounds(settle_seconds=40)


def streams(cell: Cell) -> bool:
    """Whether the service says that the stream tells of fills."""
    return bool(cell.world.health()["components"]["user_stream"]["healthy"])


def stopped_out(cell: Cell, symbols: list[str]) -> None:
    """Let the price reach the stops, and wait until the books say so."""
    for symbol in symbols:
        cell.move_price(symbol, fraction=-0.05)
    cell.wait(lambda: all(cell.closed().get(symbol) == "SL" for symbol in symbols), "the stops are booked", within=20)


@row(48, "listen key expires, and cannot be renewed", workers=ONCE, bounds=POLLED)
def listen_key_expires(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    symbols = cell.opened(2)
    cell.fault(LISTEN_KEY, "refuse", method="PUT", code=-1125, count=2)
    cell.paper.control("POST", "streams/expire", {})
    stopped_out(cell, symbols)
    cell.wait(lambda: cell.sent("POST", LISTEN_KEY) >= 1, "a new key is asked for", within=20)
    cell.wait(lambda: streams(cell), "the stream is there again", within=20)
    asked = cell.sent("POST", LISTEN_KEY)
    cell.saw(f"{asked} listen keys")
    assert 1 <= asked <= 3, f"{asked} listen keys"


@row(49, "user stream silent, its socket alive", workers=ONCE, bounds=POLLED)
def stream_silent(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    symbols = cell.opened(3)
    cell.paper.control("POST", "streams/faults", {"action": "silent", "count": None})
    stopped_out(cell, symbols)
    cell.decide(2, first=3)
    cell.settle()
    cell.paper.control("DELETE", "streams/faults")
    # A stream that was silent is believed when it tells something, and what it kept to itself may yet be missed.
    for number in (5, 6, 7):
        pause(PATIENCE_SECONDS)
        cell.decide(1, first=number)
        cell.settle()
    cell.wait(lambda: streams(cell), "the stream is there again", within=30)


@row(50, "user stream closed, again and again", bounds=POLLED)
def stream_closed_again_and_again(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    symbols = cell.opened(2)
    for _ in range(KICKS):
        cell.paper.control("POST", "streams/drop", {})
        pause(0.1)
    cell.decide(2, first=2)
    stopped_out(cell, symbols)
    cell.settle()
    asked = cell.sent("POST", LISTEN_KEY)
    assert asked <= 3, f"{asked} listen keys for {KICKS} cuts"
    cell.wait(lambda: streams(cell), "the stream is there again", within=30)


@row(51, "user events out of order, doubled, late", short=True)
def user_events_shuffled(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    cell.paper.control("POST", "streams/faults", {"action": "shuffle", "count": 30})
    cell.paper.control("POST", "streams/faults", {"action": "duplicate", "count": 10})
    cell.paper.control("POST", "portions", {"parts": 3, "every_ms": 50, "count": 4})
    symbols = cell.opened(4)
    cell.paper.control("POST", "streams/faults", {"action": "delay", "ms": 500, "count": 10})
    stopped_out(cell, symbols)
