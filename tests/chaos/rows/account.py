"""The account and the contracts change under us, or others trade on it."""

import time
from decimal import Decimal

from tests.chaos.cell import Cell, pause
from tests.chaos.matrix import ONCE, row
from tests.chaos.world import TOLD_WITHIN_SECONDS
from tests.support.ledger import ORDER

# Precision, price not on the tick, quantity not on the step, filter failure.
FILTER_CODES = frozenset({-1111, -4014, -4023, -1013})
NOT_TRADING, OTHER_MODE, KEY_REFUSED = -1122, -4061, -2015


@row(38, "foreign position and order appear", workers=ONCE)
def foreign_position(cell: Cell) -> None:
    foreign, own = cell.symbols[0], cell.symbols[1]
    cell.foreign.add(foreign)
    quantity = cell.base_quantity(foreign)
    cell.paper.control("POST", "position", {"symbol": foreign, "amount": quantity})
    price = format(cell.price(foreign) * 9 // 10, "f")
    order = {"symbol": foreign, "side": "BUY", "quantity": quantity, "price": price, "client_id": "somebody"}
    cell.paper.control("POST", "orders", order)
    cell.opened(1, first=1)
    pause(5)
    # It should be shown, and never touched.
    shown = cell.world.call("GET", "/api/execution/positions").json()["positions"]
    assert {row["symbol"]: bool(row["trade_id"]) for row in shown} == {foreign: False, own: True}
    ledger = cell.ledger
    theirs = [order["symbol"] for order in ledger.orders if not order["clientOrderId"].startswith("es1-")]
    cell.struck("foreign orders", theirs.count(foreign), exactly=2)
    assert ledger.positions[foreign] == Decimal(quantity)
    assert [order["status"] for order in ledger.orders if order["clientOrderId"] == "somebody"] == ["NEW"]
    assert not ledger.live(symbol=foreign)


@row(53, "filters of a contract change", workers=ONCE)
def filters_change(cell: Cell) -> None:
    symbol = cell.symbols[0]
    cell.opened(1, first=1)
    # Our processes know the old step by now.
    cell.paper.control("POST", "symbols", {"symbol": symbol, "step": "0.004", "tick": "0.5"})
    cell.decide(1, position_size_usd=150.0)
    cell.settle()
    # It should be refused once for what it knew, read the filters anew and send what they allow.
    ours = [row for row in cell.ledger.requests if row["params"].get("symbol") == symbol]
    entries = [row for row in ours if (row["method"], row["path"]) == ("POST", ORDER)]
    cell.struck("entry refused by the new filters", sum(row["code"] in FILTER_CODES for row in entries), exactly=1)
    assert len(entries) == 2, f"{len(entries)} entries for a contract with new filters"
    assert cell.state_of(symbol) == "RECORDED", cell.reasons()
    # Filters are believed for minutes, and the next cell's exchange has the old ones.
    cell.world.end_processes()


@row(54, "contract halted, and about to end", workers=ONCE)
def contract_halted(cell: Cell) -> None:
    halted, held, other = cell.symbols[:3]
    cell.opened(2, first=1)
    for symbol in (halted, held):
        cell.paper.control("POST", "symbols", {"symbol": symbol, "status": "BREAK"})
    cell.decide(1)
    cell.settle()
    assert halted not in cell.ledger.positions
    # Sent and refused once by the exchange, unless the halt was read before.
    refused = answers_of(cell, NOT_TRADING)
    assert (cell.state_of(halted), refused) in {("REJECTED", 1), ("DENIED", 0)}, (cell.state_of(halted), refused)
    cell.saw(f"decision: {cell.state_of(halted)}")
    # It should raise an alarm about the position, and end it with the halt.
    cell.wait(lambda: not cell.part_is_healthy("terms"), "health tells", within=TOLD_WITHIN_SECONDS)
    cell.wait(lambda: noted_as_halted(cell, halted, held) == 2, "both are noted", within=TOLD_WITHIN_SECONDS)
    cell.struck("contracts halted", noted_as_halted(cell, halted, held), exactly=2)
    for symbol in (halted, held):
        cell.paper.control("POST", "symbols", {"symbol": symbol, "status": "TRADING"})
    cell.wait(lambda: cell.part_is_healthy("terms"), "health tells that it trades again", within=TOLD_WITHIN_SECONDS)
    # It should close what is in a contract that ends, as early as the policy says, and nothing else.
    cell.risk.change_policy("execution.close_before_end_hours", "2")
    ends_ms = int((time.time() + 3600) * 1000)
    cell.paper.control("POST", "symbols", {"symbol": held, "delivery_ms": ends_ms})
    cell.wait(lambda: cell.closed() == {held: "CONTRACT_ENDS"}, "the position is closed before its contract ends")
    cell.struck(
        "position closed before its contract ends", list(cell.closed().values()).count("CONTRACT_ENDS"), exactly=1
    )
    assert cell.ledger.positions.keys() == {other}
    cell.risk.change_policy("execution.close_before_end_hours", "0")


def noted_as_halted(cell: Cell, *symbols: str) -> int:
    """Return for how many of these contracts the service has noted that they do not trade."""
    query = "SELECT count(*) FROM execution_venueblock WHERE reason_code = 'SYMBOL_NOT_TRADING' AND scope = ANY(%s)"
    [(found,)] = cell.rows(query, list(symbols))
    return int(found)


def answers_of(cell: Cell, code: int) -> int:
    """Return how many requests the exchange has refused with a code."""
    return sum(row["code"] == code for row in cell.ledger.requests)


@row(55, "position mode changed elsewhere", workers=ONCE)
def position_mode_changed(cell: Cell) -> None:
    cell.opened(1, first=3)
    cell.paper.control("POST", "position", {"symbol": cell.symbols[3], "amount": "0"})
    cell.wait(lambda: len(cell.closed()) == 1, "the trade is closed")
    cell.wait(lambda: not cell.ledger.live(), "its legs are gone")
    cell.paper.control("POST", "settings", {"dual_side": True})
    cell.decide(2)
    cell.settle()
    # It should not trade in a mode that it did not expect, and say why.
    assert not cell.ledger.positions
    outcomes, refused = cell.outcomes(), answers_of(cell, OTHER_MODE)
    # Sent and refused by the exchange, or held back once the mode was known; none is tried twice.
    assert (outcomes["RECORDED"], outcomes["REJECTED"], outcomes["DENIED"]) == (1, refused, 2 - refused), outcomes
    stopped = cell.rows("SELECT reason_code, reason FROM execution_executionrequest WHERE reason_code <> ''")
    assert all(code == "POSITION_MODE_MISMATCH" or "-4061" in reason for code, reason in stopped), stopped
    cell.struck("decisions in the wrong mode", len(stopped), exactly=2)
    # It should hold entries and say so from the monitor's next cycle on, until the mode is set right.
    cell.wait(lambda: not cell.part_is_healthy("terms"), "health tells", within=TOLD_WITHIN_SECONDS)
    cell.paper.control("POST", "settings", {"dual_side": False})


@row(56, "margin insufficient (-2019), position limit (-2027)")
def margin_insufficient(cell: Cell) -> None:
    faults = {code: cell.fault(ORDER, "refuse", method="POST", code=code) for code in (-2019, -2027)}
    cell.decide(4)
    cell.settle()
    for code, fault in faults.items():
        cell.struck(f"entry refused {code}", cell.hits(fault), exactly=1)
    # It should be told once and not tried again.
    assert cell.outcomes() == {"RECORDED": 2, "REJECTED": 2}, cell.outcomes()
    assert cell.entries_sent() == 4


@row(57, "key revoked (-2015)", workers=ONCE)
def key_revoked(cell: Cell) -> None:
    cell.opened(1)
    cell.paper.control("POST", "keys", {"revoked": True})
    cell.wait(lambda: cell.world.health()["status"] != "OK", "health tells", within=5)
    cell.paper.clear_ledger()
    cell.decide(4, first=4)
    pause(6)
    # Asked for by the monitor and the stream, in 6 s and never in a storm.
    cell.struck("requests refused -2015", answers_of(cell, KEY_REFUSED), between=(1, 60))
    assert len(cell.ledger.requests) <= 60, f"{len(cell.ledger.requests)} requests in 6 s with a revoked key"
    cell.paper.control("POST", "keys", {"revoked": False})
    cell.settle()
    assert cell.entries() == {cell.symbols[0]: 1}
    assert cell.outcomes() == {"RECORDED": 1, "DENIED": 4}, cell.outcomes()
