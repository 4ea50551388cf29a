"""The exchange takes no conditional orders: positions are held by stops of our own, and closed at the plan's price."""

from collections.abc import Sequence

from tests.chaos.cell import Bounds, Cell
from tests.chaos.matrix import row
from tests.chaos.rows.exits import HANG_MS
from tests.chaos.rows.triggers import PAST_THE_STOP, assert_flat_in_time, claims, trade_again
from tests.support.ledger import ALGO_ORDER

ALGO_SERVICE = "algo-service"
SOFTWARE, VENUE = "software", "venue"
# Stops of unknown outcome are settled when they can have arrived no more.
OUTAGE = Bounds(settle_seconds=60)
# The API shows a position that the monitor has not seen when the monitor counts as silent.
NAMED_WITHIN_SECONDS = 30
# The longest pause between two tries, one time-out, and one run of the protector.
TAKEN_OVER_WITHIN_SECONDS = 20
MOST_REQUESTS = 1000


def pair(cell: Cell) -> list[str]:
    """Publish decisions for a long and a short, and return their symbols, the long's first."""
    symbols, sides = list(cell.symbols[:2]), ("buy", "sell")
    cell.publish([cell.decision(symbol, side=side) for symbol, side in zip(symbols, sides, strict=True)])
    return symbols


def go_down(cell: Cell, **how: object) -> str:
    """Let the whole Algo Service fail from now on."""
    fields: dict[str, object] = {"count": None} | how
    return cell.fault(ALGO_SERVICE, **fields)  # type: ignore[arg-type] # a rule's fields


def come_back(cell: Cell, rule: str, what: str) -> None:
    cell.struck(what, cell.hits(rule), between=(1, MOST_REQUESTS))
    cell.paper.clear_faults()


def are_protected_by(cell: Cell, symbols: Sequence[str], means: str) -> bool:
    shown = cell.world.call("GET", "/api/execution/positions").json()["positions"]
    found = {each["symbol"]: each["protected_by"] for each in shown}
    return {symbol: found.get(symbol) for symbol in symbols} == dict.fromkeys(symbols, means)


def is_named(cell: Cell) -> bool:
    return any("PROTECTED_BY_SOFTWARE" in reason for reason in cell.world.health().get("reasons") or [])


def pass_the_stops(cell: Cell, symbols: Sequence[str]) -> None:
    """Let the mark price pass every stop; the positions have to be flat within the bound."""
    begun_ms = cell.exchange_ms()
    for symbol in symbols:
        cell.move_price(symbol, fraction=PAST_THE_STOP)
    cell.wait(lambda: not cell.ledger.positions, "the positions are closed", within=15)
    assert_flat_in_time(cell, begun_ms)


def ends_as_stopped(cell: Cell, symbols: Sequence[str]) -> None:
    expected = dict.fromkeys(symbols, "SL")
    cell.wait(lambda: cell.closed() == expected, "the trades are closed as stopped", within=40)
    cell.wait(lambda: not claims(cell), "the symbols are free", within=60)
    trade_again(cell, list(symbols))


@row(93, "Algo Service does not answer at the entry", bounds=OUTAGE, short=True)
def down_at_the_entry(cell: Cell) -> None:
    rule = go_down(cell, action="hang", ms=HANG_MS)
    symbols = pair(cell)
    cell.wait(lambda: cell.ledger.positions.keys() >= set(symbols), "the entries have filled")
    cell.wait(lambda: are_protected_by(cell, symbols, SOFTWARE), "the API names it", within=NAMED_WITHIN_SECONDS)
    cell.wait(lambda: is_named(cell), "health names it")
    assert not cell.ledger.live(), "a conditional order was taken"
    pass_the_stops(cell, symbols)
    come_back(cell, rule, "requests without an answer")
    ends_as_stopped(cell, symbols)


@row(94, "Algo Service goes down (503) while positions rest, and their stops are lost", bounds=OUTAGE)
def down_with_stops_lost(cell: Cell) -> None:
    symbols = held(cell)
    rule = lose_the_stops(cell, symbols)
    cell.wait(lambda: are_protected_by(cell, symbols, SOFTWARE), "the API names it", within=NAMED_WITHIN_SECONDS)
    cell.wait(lambda: is_named(cell), "health names it")
    pass_the_stops(cell, symbols)
    come_back(cell, rule, "requests refused")
    ends_as_stopped(cell, symbols)


@row(95, "Algo Service comes back, and the stops at the exchange take over", bounds=OUTAGE)
def comes_back(cell: Cell) -> None:
    symbols = held(cell)
    rule = lose_the_stops(cell, symbols)
    cell.wait(lambda: are_protected_by(cell, symbols, SOFTWARE), "the API names it", within=NAMED_WITHIN_SECONDS)
    come_back(cell, rule, "requests refused")
    cell.wait(lambda: all_have_one_stop(cell, symbols), "the stops rest", within=TAKEN_OVER_WITHIN_SECONDS)
    cell.wait(lambda: are_protected_by(cell, symbols, VENUE), "the API names the exchange")
    pass_the_stops(cell, symbols)
    ours = [order for order in cell.ledger.orders if order["clientOrderId"].startswith("es1-c")]
    late = [order for order in ours if order["symbol"] in symbols and float(order["executedQty"])]
    assert not late, f"closed by a stop of our own beside that of the exchange: {late}"
    ends_as_stopped(cell, symbols)


def held(cell: Cell) -> list[str]:
    """Open a long and a short, which the monitor has seen with their stops."""
    symbols = [*cell.opened(1, side="buy"), *cell.opened(1, first=1, side="sell")]
    cell.wait(lambda: are_protected_by(cell, symbols, VENUE), "the API names the exchange")
    return symbols


def lose_the_stops(cell: Cell, symbols: Sequence[str]) -> str:
    """Let somebody cancel the stops while none is taken any more, and then the whole service be down."""
    none_taken = cell.fault(ALGO_ORDER, "reply", method="POST", preset="unavailable_503", count=None)
    for symbol in symbols:
        cell.stack.person.sign_request("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": symbol})
    rule = go_down(cell, action="reply", preset="unavailable_503")
    cell.wait(lambda: cell.hits(none_taken) > 0, "the stops are missed")
    cell.struck("stops refused", cell.hits(none_taken), between=(1, MOST_REQUESTS))
    return rule


def all_have_one_stop(cell: Cell, symbols: Sequence[str]) -> bool:
    ledger = cell.ledger
    return all(len(ledger.live("STOP_MARKET", symbol)) == 1 for symbol in symbols)
