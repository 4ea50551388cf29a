"""The user-data stream: its key expires, it falls silent, it breaks, it tells things doubled and out of order."""

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.matrix import ONCE, row
from tests.chaos.world import SIZES

LISTEN_KEY = "/fapi/v1/listenKey"
CUTS = 4
SHUFFLED, DOUBLED, LATE = 30, 10, 10
ORDER_EVENTS = frozenset({"ORDER_TRADE_UPDATE", "ALGO_UPDATE"})
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
    cell.paper.control("POST", "streams/expire", {})
    stopped_out(cell, symbols)
    cell.wait(lambda: cell.sent("POST", LISTEN_KEY) == 1, "a new key is asked for", within=20)
    cell.struck("key replaced when it ended", cell.sent("POST", LISTEN_KEY), exactly=1)
    cell.wait(lambda: streams(cell), "the stream is there again", within=20)
    # The next renewal, after 5 s, is refused: there is no such key.
    fault = cell.fault(LISTEN_KEY, "refuse", method="PUT", code=-1125)
    cell.wait(lambda: cell.hits(fault) == 1, "the renewal is refused", within=20)
    cell.struck("renewal refused", cell.hits(fault), exactly=1)
    cell.wait(lambda: cell.sent("POST", LISTEN_KEY) == 2, "another key is asked for", within=20)
    cell.wait(lambda: streams(cell), "the stream is there again", within=20)
    assert cell.sent("POST", LISTEN_KEY) == 2, f"{cell.sent('POST', LISTEN_KEY)} listen keys"
    assert cell.outcomes() == {"RECORDED": 2}, cell.outcomes()


@row(49, "user stream silent, its socket alive", workers=ONCE, bounds=POLLED)
def stream_silent(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    symbols = cell.opened(3)
    known = figure_of(cell, "silences")
    fault = cell.stream_fault("silent", count=None)
    stopped_out(cell, symbols)
    cell.decide(2, first=3)
    cell.settle()
    # Three stops and two trades: an order's events, its fills', its legs' and the account's.
    cell.struck("events lost", cell.hits(fault), between=(3 + 2 * 4, 200))
    cell.wait(lambda: figure_of(cell, "silences") > known, "the silence is noticed")
    cell.struck("silences noticed", figure_of(cell, "silences") - known, between=(1, 5))
    cell.paper.control("DELETE", "streams/faults")
    # A stream that was silent is believed when it tells something, and what it kept to itself may yet be missed.
    for number in (5, 6, 7):
        pause(PATIENCE_SECONDS)
        cell.decide(1, first=number)
        cell.settle()
    cell.wait(lambda: streams(cell), "the stream is there again", within=30)
    assert cell.outcomes() == {"RECORDED": 8}, cell.outcomes()


@row(50, "user stream closed, again and again", bounds=POLLED)
def stream_closed_again_and_again(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    symbols = cell.opened(2)
    # It connects again after a pause that grows: each cut waits for something to cut.
    cuts = sum(cell.wait(lambda: cut(cell), "there is a connection to cut", within=30) for _ in range(CUTS))
    cell.struck("connections cut", cuts, exactly=CUTS)
    cell.decide(2, first=2)
    stopped_out(cell, symbols)
    cell.settle()
    asked = cell.sent("POST", LISTEN_KEY)
    assert asked <= 3, f"{asked} listen keys for {cuts} cuts"
    cell.wait(lambda: streams(cell), "the stream is there again", within=30)
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()


def cut(cell: Cell) -> int:
    """Cut the user stream's connections; return how many there were."""
    return int(cell.paper.control("POST", "streams/drop", {})["dropped"])


@row(51, "user events out of order, doubled, late", short=True)
def user_events_shuffled(cell: Cell) -> None:
    cell.wait(lambda: streams(cell), "the stream is there")
    before = events_of_orders(cell)
    shuffled = cell.stream_fault("shuffle", count=SHUFFLED)
    doubled = cell.stream_fault("duplicate", count=DOUBLED)
    parts = cell.portion(parts=3, every_ms=50, count=4)
    symbols = cell.opened(4)
    cell.struck("entries in three parts", cell.hits(parts), exactly=4)
    late = cell.stream_fault("delay", ms=500, count=LATE)
    # Only the stream is to learn of the fills now.
    monitors = cell.stack.kill(*(name for name in cell.stack.workers if "monitor" in name or "protect" in name))
    cell.struck("processes that poll, ended", ended(monitors), exactly=2 * SIZES[cell.world.workers].others)
    stopped_out(cell, symbols)
    cell.struck("events shuffled", cell.hits(shuffled), exactly=SHUFFLED)
    cell.struck("doubled", cell.hits(doubled), exactly=DOUBLED)
    cell.struck("late", cell.hits(late), between=(1, LATE))
    cell.struck("stops settled by the stream", stops_settled_by(cell, "stream"), exactly=4)
    # Each entry has four events at least, each stop two; the heartbeat counts them a moment later.
    least = 4 * 6
    cell.wait(lambda: events_of_orders(cell) - before >= least, "the heartbeat counts what was read", within=5)
    cell.struck("events of orders applied", events_of_orders(cell) - before, between=(least, 500))
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()


def figure_of(cell: Cell, figure: str) -> int:
    """Return a figure of the stream's heartbeat."""
    rows = cell.rows("SELECT details->%s FROM execution_heartbeat WHERE part = 'user_stream'", figure)
    return int(rows[0][0] or 0) if rows else 0


def events_of_orders(cell: Cell) -> int:
    """Return how many events of orders the stream's heartbeat has counted."""
    rows = cell.rows("SELECT details->'events' FROM execution_heartbeat WHERE part = 'user_stream'")
    return sum(int(number) for kind, number in rows[0][0].items() if kind in ORDER_EVENTS) if rows else 0


def stops_settled_by(cell: Cell, source: str) -> int:
    """Return how many stops were found to have filled by a source of evidence."""
    query = "SELECT count(*) FROM execution_order WHERE purpose = 'STOP' AND state = 'FILLED' AND last_evidence LIKE %s"
    [(found,)] = cell.rows(query, f"{source}:%")
    return int(found)
