"""Exits that the exchange refuses or does not answer: protected or flat within the bound, and never past flat."""

from collections.abc import Sequence
from decimal import Decimal

from tests.chaos.cell import Bounds, Cell
from tests.chaos.matrix import ONCE, row
from tests.chaos.rows.neighbours import move_kill_switch
from tests.chaos.rows.protection import place
from tests.support.ledger import ALGO_ORDER, ORDER

LEVEL_PASSED, HELD, NOTHING_TO_REDUCE = -2021, -4118, -2022
# A close without an answer is settled when it can have arrived no more; until then its symbol is not given back.
DOUBTS = Bounds(settle_seconds=60)
LATE_MS, HANG_MS = 1_200, 20_000
# Long enough for a position to have its stop and target.
TIME_EXIT_SECONDS = 6
POSITIONS = 4


def opened_without_stop(cell: Cell, symbols: Sequence[str], **loss: object) -> tuple[list[str], list[str]]:
    """Decide for these symbols; every stop is refused, and the first close of each is lost. Return both rules' ids."""
    stops = [refuse_stops(cell, symbol) for symbol in symbols]
    closes = [lose_close(cell, symbol, **loss) for symbol in symbols]
    cell.decide(len(symbols), first=list(cell.symbols).index(symbols[0]))
    return stops, closes


def refuse_stops(cell: Cell, symbol: str) -> str:
    match = {"symbol": symbol, "type": "STOP_MARKET"}
    return cell.fault(ALGO_ORDER, "refuse", method="POST", code=LEVEL_PASSED, match=match, count=None)


def lose_close(cell: Cell, symbol: str, **loss: object) -> str:
    """Lose the next order of the closing side; the entry is of the other one."""
    match = {"symbol": symbol, "side": "SELL" if cell.entry_side == "buy" else "BUY"}
    return cell.fault(ORDER, method="POST", match=match, **loss)  # type: ignore[arg-type] # a rule's fields


def flat(cell: Cell, symbols: Sequence[str], *, within: float = 15.0) -> None:
    """Wait until these positions were opened and are out."""
    cell.wait(lambda: were_held(cell) >= set(symbols), "the entries have filled")
    cell.wait(lambda: not cell.ledger.positions.keys() & set(symbols), "the positions are closed", within=within)


def were_held(cell: Cell) -> set[str]:
    return {fill["symbol"] for fill in cell.ledger.fills}


def closed_for(cell: Cell, symbols: Sequence[str], reason: str) -> None:
    cell.wait(lambda: cell.closed() == dict.fromkeys(symbols, reason), "the trades are closed", within=40)


def lost_closes(cell: Cell, what: str, **loss: object) -> None:
    """Tell the story of rows 76 to 78: the stop is refused for good, and the one close gets no answer."""
    symbols = list(cell.symbols[:POSITIONS])
    stops, closes = opened_without_stop(cell, symbols, **loss)
    flat(cell, symbols)
    cell.struck("stops refused", sum(map(cell.hits, stops)), between=(POSITIONS, 40))
    cell.struck(what, sum(map(cell.hits, closes)), exactly=POSITIONS)
    closed_for(cell, symbols, "SL")
    cell.settle()
    cell.wait(lambda: not doubts(cell), "nothing is in doubt any more", within=DOUBTS.settle_seconds)


def doubts(cell: Cell) -> int:
    [(number,)] = cell.rows("SELECT count(*) FROM execution_order WHERE state IN ('UNKNOWN', 'SUBMITTING')")
    return int(number)


@row(76, "stop refused (-2021), and the close dropped before it is sent", bounds=DOUBTS)
def close_dropped(cell: Cell) -> None:
    lost_closes(cell, "closes dropped", action="drop_before")


@row(77, "stop refused (-2021), and the close answered 503, not executed", bounds=DOUBTS)
def close_answered_503(cell: Cell) -> None:
    lost_closes(cell, "closes answered 503", action="reply", preset="unknown_503")


@row(78, "stop refused (-2021), and the close hangs", bounds=DOUBTS)
def close_hangs(cell: Cell) -> None:
    lost_closes(cell, "closes hung", action="hang", ms=HANG_MS)


@row(79, "stop refused (-2021), and the close arrives after the one that followed it", bounds=DOUBTS)
def close_arrives_late(cell: Cell) -> None:
    symbols = list(cell.symbols[:POSITIONS])
    stops, closes = opened_without_stop(cell, symbols, action="late", ms=LATE_MS)
    flat(cell, symbols)
    cell.struck("stops refused", sum(map(cell.hits, stops)), between=(POSITIONS, 40))
    cell.struck("closes late", sum(map(cell.hits, closes)), exactly=POSITIONS)
    closed_for(cell, symbols, "SL")
    # It should have closed each position once, whichever of the two came first: the other found nothing to reduce.
    cell.wait(lambda: idle_closes(cell) >= 1, "a close has found nothing to reduce")
    cell.struck("closes that found nothing to reduce", idle_closes(cell), between=(1, 3 * POSITIONS))
    cell.settle()
    cell.wait(lambda: not doubts(cell), "nothing is in doubt any more", within=DOUBTS.settle_seconds)


def timed_exits(cell: Cell, symbols: Sequence[str], *, usd: int = 100) -> list[str]:
    """Open positions over REST, because decisions of the bus bring no time exit; each is to be closed soon after."""
    for symbol in symbols:
        place(cell, symbol, usd=usd, time_exit_seconds=TIME_EXIT_SECONDS)
    cell.wait(lambda: set(cell.entries()) >= set(symbols), "the entries are there")
    return list(symbols)


def idle_closes(cell: Cell) -> int:
    return sum(row["done_code"] == NOTHING_TO_REDUCE for row in cell.ledger.requests)


@row(80, "stops and targets hang", bounds=DOUBTS)
def legs_hang(cell: Cell) -> None:
    symbols = list(cell.symbols[:POSITIONS])
    halves = {"STOP_MARKET": symbols[:2], "TAKE_PROFIT_MARKET": symbols[2:]}
    faults = {kind: [hang(cell, symbol, kind) for symbol in half] for kind, half in halves.items()}
    cell.decide(len(symbols))
    cell.settle()
    # It should have a stop and a target for each position, or have closed it.
    cell.wait(lambda: all(is_covered_or_closed(cell, symbol) for symbol in symbols), "each is covered or closed")
    for kind, rules in faults.items():
        cell.struck(f"{kind} hung", sum(map(cell.hits, rules)), exactly=len(rules))
    assert cell.outcomes() == {"RECORDED": POSITIONS}, cell.outcomes()


def hang(cell: Cell, symbol: str, kind: str) -> str:
    match = {"symbol": symbol, "type": kind}
    return cell.fault(ALGO_ORDER, "hang", method="POST", match=match, ms=HANG_MS)


def is_covered_or_closed(cell: Cell, symbol: str) -> bool:
    ledger = cell.ledger
    return symbol not in ledger.positions or bool(ledger.live("STOP_MARKET", symbol))


@row(81, "the entry's answer is lost, it executes later, and the stream is mute", bounds=DOUBTS)
def entry_unheard(cell: Cell) -> None:
    mute = cell.stream_fault("silent", count=None)
    late, hung = cell.symbols[:2], cell.symbols[2:4]
    faults = [cell.fault(ORDER, "late", method="POST", match={"symbol": name}, ms=LATE_MS) for name in late]
    # These execute at once, and their answer never comes.
    faults += [
        cell.fault(ORDER, "hang", method="POST", match={"symbol": name}, ms=HANG_MS, execute=True) for name in hung
    ]
    cell.decide(4)
    cell.wait(lambda: have_stops(cell, (*late, *hung)), "all have their stops", within=40)
    cell.struck("answers of entries lost", sum(map(cell.hits, faults)), exactly=4)
    cell.struck("events unheard", cell.hits(mute), between=(4, 200))
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    cell.paper.control("DELETE", "streams/faults")


def have_stops(cell: Cell, symbols: Sequence[str]) -> bool:
    ledger = cell.ledger
    return all(ledger.live("STOP_MARKET", name) for name in symbols)


@row(82, "a close refused -4118 while our orders rest, for a time exit and for flatten")
def closes_held_back(cell: Cell) -> None:
    fault = cell.fault(ORDER, "refuse_reducing", method="POST", code=HELD, count=None)
    timed = timed_exits(cell, cell.symbols[:2])
    closed_for(cell, timed, "TIME")
    # What rests is the target and the stop: each gives way before the close that follows it.
    cell.struck("closes refused for a time exit", cell.hits(fault), between=(2 * len(timed), 12))
    flattened = cell.opened(2, first=2)
    assert move_kill_switch(cell, "flatten").status_code < 300
    expected = dict.fromkeys(timed, "TIME") | dict.fromkeys(flattened, "KILL_SWITCH")
    cell.wait(lambda: cell.closed() == expected, "the positions are flat, and booked")
    cell.wait(lambda: not cell.ledger.live(), "nothing rests", within=5)
    cell.struck("closes refused in all", cell.hits(fault), between=(4 * len(timed), 24))
    assert move_kill_switch(cell, "released").status_code < 300


@row(83, "hedge mode, market lots: parts of a close are lost", workers=ONCE, bounds=DOUBTS)
def parts_lost_in_hedge_mode(cell: Cell) -> None:
    cell.paper.control("POST", "settings", {"dual_side": True})
    with cell.world.with_settings(BINANCE_POSITION_MODE="hedge"):
        symbols = list(cell.symbols[:2])
        timed = timed_exits(cell, symbols, usd=400)
        cell.wait(lambda: len(cell.ledger.held) == len(symbols), "the positions are open")
        for symbol in symbols:
            cell.paper.control("POST", "symbols", {"symbol": symbol, "market_max_quantity": third_of(cell, symbol)})
        lost = [lose_close(cell, symbol, action="drop_before") for symbol in symbols]
        closed_for(cell, timed, "TIME")
        cell.struck("parts of closes lost", sum(map(cell.hits, lost)), exactly=2)
        cell.settle()
        cell.wait(lambda: not doubts(cell), "nothing is in doubt any more", within=DOUBTS.settle_seconds)
    cell.paper.control("POST", "settings", {"dual_side": False})


def third_of(cell: Cell, symbol: str) -> str:
    """Return a third of what is held of a symbol, on its step, one at least."""
    held = next(abs(amount) for (name, _), amount in cell.ledger.held.items() if name == symbol)
    step = Decimal(cell.world.terms[symbol]["MARKET_LOT_SIZE"]["stepSize"])
    return format(max(held / 3 // step, Decimal(1)) * step, "f")
