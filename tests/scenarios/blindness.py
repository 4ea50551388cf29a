"""Scenarios in which the exchange shows less than there is, or trades nothing: what protects must stay untouched.

Each ends as "target hit" does: 9.998 less fees of 0.505.
"""

from execution.domain.money import plain
from tests.scenarios.scenario import D, Figures, books, move, opened, scenario, stops, targets, watch
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

BLIND_CYCLES = 4
ALGO_READS = ("/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders", ALGO_ORDER)


@scenario(
    "algo blindness",
    least_cover_while_blind="0.01",
    state_while_blind="OPEN",
    stops_afterwards="0.01@49000",
    targets_afterwards="0.01@51000",
    ended="TP",
    net="9.493",
    wallet="10009.493",
    left="nothing",
)
def algo_blindness(desk: Desk) -> Figures:
    """Four cycles long, every reading of the Algo Service lacks our orders."""
    request_id = opened(desk, take_profit="51000")
    for path in ALGO_READS:
        desk.paper.add_fault(path=path, method="GET", action="hide", count=None)
    covers = []
    for _ in range(BLIND_CYCLES):
        watch(desk, seconds=10)
        covers.append(max((D(row["quantity"]) for row in desk.ledger.live_stops), default=D(0)))
    state = desk.trade(request_id).state
    desk.paper.clear_faults()
    watch(desk, BLIND_CYCLES, seconds=10)
    afterwards = {"stops_afterwards": stops(desk), "targets_afterwards": targets(desk)}
    move(desk, "51000")
    return {
        "least_cover_while_blind": plain(min(covers)),
        "state_while_blind": state,
        **afterwards,
        **books(desk, request_id),
    }


@scenario(
    "empty positions answer for one reading",
    cancels_sent="0",
    state_afterwards="OPEN",
    stops_afterwards="0.01@49000",
    targets_afterwards="0.01@51000",
    ended="TP",
    net="9.493",
    wallet="10009.493",
    left="nothing",
)
def empty_positions_answer(desk: Desk) -> Figures:
    request_id = opened(desk, take_profit="51000")
    desk.paper.add_fault(path="/fapi/v3/positionRisk", method="GET", action="hide", count=1)
    watch(desk, 2, seconds=10)
    cancels = [row for row in desk.ledger.requests if row["method"] == "DELETE"]
    afterwards = {"stops_afterwards": stops(desk), "targets_afterwards": targets(desk)}
    state = desk.trade(request_id).state
    move(desk, "51000")
    return {"cancels_sent": len(cancels), "state_afterwards": state, **afterwards, **books(desk, request_id)}


@scenario(
    "symbol halted",
    stops_during_the_halt="0.01@49000",
    targets_during_the_halt="0.01@51000",
    new_decision="DENIED SYMBOL_NOT_TRADING",
    entries_sent="1",
    ended="TP",
    net="9.493",
    wallet="10009.493",
    left="nothing",
)
def symbol_halted(desk: Desk) -> Figures:
    """A halt of the position's symbol, and of another one on which a decision comes meanwhile."""
    request_id = opened(desk, take_profit="51000")
    desk.exchange.rules("ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        desk.paper.control("POST", "symbols", {"symbol": symbol, "status": "BREAK"})
    watch(desk, 2, seconds=10)
    during = {"stops_during_the_halt": stops(desk), "targets_during_the_halt": targets(desk)}
    refused = desk.signal(symbol="ETHUSDT", quantity="0.1")
    state = desk.run(refused)
    during["new_decision"] = [f"{state} {desk.request(refused).reason_code}"]
    during["entries_sent"] = [str(len(desk.ledger.entries_sent))]
    desk.paper.control("POST", "symbols", {"symbol": "BTCUSDT", "status": "TRADING"})
    move(desk, "51000")
    return {**during, **books(desk, request_id)}
