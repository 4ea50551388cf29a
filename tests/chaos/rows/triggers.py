"""Stops that do not execute when their price is reached: they hang, stay as they are, end without an order, or rest."""

import time
from dataclasses import dataclass

from tests.chaos.bounds import USUAL_SECONDS
from tests.chaos.cell import Cell
from tests.chaos.matrix import row
from tests.support.ledger import ORDER

RELEASE, RELEASE_SECONDS, USUAL_RELEASE_SECONDS = "execution.symbol_release_sec", 5, 30
# Against the position, far past a stop at 2.5 %.
PAST_THE_STOP = -0.05
# So long the close takes, that health can be seen to name what it is for.
CLOSE_MS = 500
# The close, the booking of its fills, the bound of the symbol, and a monitor cycle.
FREE_WITHIN_SECONDS = RELEASE_SECONDS + 15
SENTENCE = "STOP_OVERDUE"
# Of two positions: who finds the first close under way sends no second.
MOST_CLOSES, MOST_EVENTS = 6, 1000


@dataclass(frozen=True, kw_only=True)
class Ways:
    """What happens at the trigger. `undead`: the order does not end. `lives`: it is there when its position closes."""

    action: str
    undead: bool = False
    lives: bool = True
    mute: bool = False


def end_without_a_fill(cell: Cell, ways: Ways) -> None:
    """Let the stops of a long and a short trade be passed, and hold what follows against the bounds."""
    cell.risk.change_policy(RELEASE, str(RELEASE_SECONDS))
    # Sooner free is looser, which stays said for an hour.
    cell.told_by_health.append(f"policy: loosened: {RELEASE}")
    try:
        end_and_trade_again(cell, ways)
    finally:
        cell.risk.change_policy(RELEASE, str(USUAL_RELEASE_SECONDS))


def end_and_trade_again(cell: Cell, ways: Ways) -> None:
    symbols = [*cell.opened(1, side="buy"), *cell.opened(1, first=1, side="sell")]
    begun_ms = pass_the_stops(cell, symbols, ways)
    assert_flat_in_time(cell, begun_ms)
    expected = dict.fromkeys(symbols, "SL")
    cell.wait(lambda: cell.closed() == expected, "the trades are closed as stopped", within=FREE_WITHIN_SECONDS)
    cell.wait(lambda: not claims(cell), "the symbols are free", within=FREE_WITHIN_SECONDS)
    if ways.undead:
        let_go(cell, symbols)
    cell.paper.clear_faults()
    cell.paper.control("DELETE", "streams/faults")
    trade_again(cell, symbols)


def pass_the_stops(cell: Cell, symbols: list[str], ways: Ways) -> int:
    """Let the mark price pass the stops, and wait until the positions are closed; return when it passed them (ms)."""
    rules = [cell.trigger(action=ways.action, symbol=symbol, count=1) for symbol in symbols]
    muted = cell.stream_fault("silent", count=None) if ways.mute else ""
    slow = cell.fault(ORDER, "delay", method="POST", match={"type": "MARKET"}, ms=CLOSE_MS, count=None)
    told_before, begun_ms = told_unprotected(cell), cell.exchange_ms()
    for symbol in symbols:
        cell.move_price(symbol, fraction=PAST_THE_STOP)
    if ways.undead:
        # One that its cancel ends is named for moments, and an answer of health is kept for one.
        cell.wait(lambda: is_named(cell), "a stop that did not execute is named", within=USUAL_SECONDS + 1)
    if ways.lives:
        cell.wait(lambda: told_unprotected(cell) >= told_before + len(symbols), "an event tells of each position")
    cell.wait(lambda: not cell.ledger.positions, "the positions are closed", within=15)
    cell.struck("stops that did not execute", sum(map(cell.hits, rules)), exactly=len(symbols))
    cell.struck("closes seen under way", cell.hits(slow), between=(1, MOST_CLOSES))
    if muted:
        cell.struck("events kept back", cell.hits(muted), between=(1, MOST_EVENTS))
    return begun_ms


def assert_flat_in_time(cell: Cell, begun_ms: int) -> None:
    last_ms = max(int(fill["time"]) for fill in cell.ledger.fills)
    lasted = (last_ms - begun_ms) / 1000
    cell.saw(f"flat after {lasted:.2f} s")
    assert lasted <= USUAL_SECONDS, f"I4: flat {lasted:.2f} s after the mark price has passed the stops"


def is_named(cell: Cell) -> bool:
    """Whether health, whose answer may be a second old, or the list of positions names the stop."""
    positions = cell.world.call("GET", "/api/execution/positions").json()["positions"]
    reasons = cell.world.health().get("reasons") or []
    return any(SENTENCE in reason for reason in reasons) or any(held["overdue_stops"] for held in positions)


def told_unprotected(cell: Cell) -> int:
    """Return how many events have told of a position with an overdue stop."""
    query = (
        "SELECT FROM execution_outboxevent WHERE event_type = 'position.updated'"
        " AND payload->'protected' = 'false' AND jsonb_array_length(payload->'overdue_stops') > 0"
    )
    return len(cell.rows(query))


def claims(cell: Cell) -> int:
    return len(cell.rows("SELECT FROM execution_positionslot"))


def let_go(cell: Cell, symbols: list[str]) -> None:
    """Let what hangs execute after all: it finds no position, and opens none."""
    fills = len(cell.ledger.fills)
    held = cell.paper.control("POST", "triggers/release")["released"]
    cell.struck("stops that went on after the close", len(held), exactly=len(symbols))
    cell.wait(lambda: not unfinished(cell), "the orders are over in the books")
    assert len(cell.ledger.fills) == fills, "a stop has executed past flat"
    assert not cell.ledger.positions, cell.ledger.positions


def unfinished(cell: Cell) -> int:
    query = "SELECT FROM execution_order WHERE state IN ('ACCEPTED', 'TRIGGERED', 'PARTIALLY_FILLED', 'UNKNOWN')"
    return len(cell.rows(query))


def trade_again(cell: Cell, symbols: list[str]) -> None:
    """Open a trade in each symbol again: nothing of the last one is in its way."""
    # What a process has read of the mark price a moment ago, the guard believes.
    time.sleep(1.5)
    known = cell.outcomes()["RECORDED"]
    cell.publish([cell.decision(symbol, side=side) for symbol, side in zip(symbols, ("buy", "sell"), strict=True)])
    cell.wait(lambda: cell.outcomes()["RECORDED"] == known + len(symbols), "the symbols are traded again")
    # The next cell would take for strangers what a cycle under way has read of these.
    for symbol in symbols:
        cell.paper.control("POST", "position", {"symbol": symbol, "amount": "0"})
    closed_by_hand = dict.fromkeys(symbols, "MANUAL")
    cell.wait(lambda: closed_last(cell) == closed_by_hand, "the trades are closed by hand")
    cell.wait(lambda: not cell.ledger.live(), "the legs are cancelled", within=5)


def closed_last(cell: Cell) -> dict[str, str]:
    """Return the close reason of the newest trade of each symbol, empty while it is open."""
    query = "SELECT DISTINCT ON (symbol) symbol, close_reason FROM execution_trade ORDER BY symbol, entry_at DESC"
    return dict(cell.rows(query))


@row(70, "stop hangs in TRIGGERING, its cancel answers -2011", short=True)
def stop_hangs(cell: Cell) -> None:
    end_without_a_fill(cell, Ways(action="STICK", undead=True))


@row(71, "stop expires at its trigger")
def stop_expires(cell: Cell) -> None:
    end_without_a_fill(cell, Ways(action="EXPIRE", lives=False))


@row(72, "order of a triggered stop rests unfilled")
def stop_rests(cell: Cell) -> None:
    end_without_a_fill(cell, Ways(action="REST"))


@row(73, "stop is FINISHED without an order")
def stop_finished(cell: Cell) -> None:
    end_without_a_fill(cell, Ways(action="FINISH", lives=False))


@row(74, "stop stays NEW although its price is passed")
def stop_ignored(cell: Cell) -> None:
    end_without_a_fill(cell, Ways(action="IGNORE"))


@row(75, "stop hangs in TRIGGERING while the user stream is mute")
def stop_hangs_unheard(cell: Cell) -> None:
    end_without_a_fill(cell, Ways(action="STICK", undead=True, mute=True))
