"""The account and the contracts change under us, or others trade on it."""

import time

from tests.chaos.cell import Cell, pause
from tests.chaos.matrix import ONCE, row
from tests.chaos.world import TOLD_WITHIN_SECONDS
from tests.support.ledger import ORDER


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
    assert foreign in ledger.positions
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
    sent = len([params for params in cell.ledger.entries_sent if params["symbol"] == symbol])
    assert sent <= 2, f"{sent} entries for a contract with new filters"
    cell.saw(f"first decision: {cell.state_of(symbol)}")
    if symbol not in cell.ledger.positions:
        cell.decide(1, position_size_usd=450.0)
        cell.settle()
        assert symbol in cell.ledger.positions, f"the new filters were not read: {cell.reasons()}"
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
    assert cell.state_of(halted) in {"REFUSED", "REJECTED"}
    cell.saw(f"decision: {cell.state_of(halted)}")
    # It should raise an alarm about the position, and end it with the halt.
    cell.wait(lambda: not cell.part_is_healthy("terms"), "health tells", within=TOLD_WITHIN_SECONDS)
    for symbol in (halted, held):
        cell.paper.control("POST", "symbols", {"symbol": symbol, "status": "TRADING"})
    cell.wait(lambda: cell.part_is_healthy("terms"), "health tells that it trades again", within=TOLD_WITHIN_SECONDS)
    # It should close what is in a contract that ends, as early as the policy says, and nothing else.
    cell.risk.change_policy("execution.close_before_end_hours", "2")
    ends_ms = int((time.time() + 3600) * 1000)
    cell.paper.control("POST", "symbols", {"symbol": held, "delivery_ms": ends_ms})
    cell.wait(lambda: cell.closed() == {held: "CONTRACT_ENDS"}, "the position is closed before its contract ends")
    assert cell.ledger.positions.keys() == {other}
    cell.risk.change_policy("execution.close_before_end_hours", "0")


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
    assert cell.outcomes()["RECORDED"] == 1, cell.outcomes()
    [(reasons,)] = cell.rows("SELECT string_agg(reason, ' ') FROM execution_executionrequest WHERE reason <> ''")
    assert "-4061" in reasons or "mode" in reasons.lower(), reasons
    # It should hold entries and say so from the monitor's next cycle on, until the mode is set right.
    cell.wait(lambda: not cell.part_is_healthy("terms"), "health tells", within=TOLD_WITHIN_SECONDS)
    cell.paper.control("POST", "settings", {"dual_side": False})


@row(56, "margin insufficient (-2019), position limit (-2027)")
def margin_insufficient(cell: Cell) -> None:
    for code in (-2019, -2027):
        cell.fault(ORDER, "refuse", method="POST", code=code)
    cell.decide(4)
    cell.settle()
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
    asked = len(cell.ledger.requests)
    cell.paper.control("POST", "keys", {"revoked": False})
    assert not [name for name in cell.ledger.positions if name in cell.symbols[4:8]]
    assert asked <= 60, f"{asked} requests in 6 s with a revoked key"
    cell.saw(f"{asked} requests in 6 s")
    cell.settle()
