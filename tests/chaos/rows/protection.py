"""Positions and their cover: partial fills, refused stops, exits by others, leaps of the price."""

from decimal import Decimal
from typing import Any

from tests.chaos.cell import Cell
from tests.chaos.matrix import ONCE, row
from tests.chaos.world import TOLD_WITHIN_SECONDS
from tests.support.ledger import ALGO_ORDER

MOST_TRIES = 12
# How the exchange's own clients begin their ids, and the exchange those of its own orders.
BY_HAND, LIQUIDATED, DELEVERAGED = "web_", "autoclose-", "adl_"
PARTS = (0.25, 0.35, 1.0)
WOULD_TRIGGER = -2021
# About this stop alone. What takes no stop of any position is in `second_means`.
STOP_REFUSALS = (-4061, -2022, -2019, -1111)


@row(31, "entry filled in part, the rest cancelled or expired", short=True)
def entry_filled_in_part(cell: Cell) -> None:
    # Of the last one nothing fills: that entry ends empty.
    wanted = ((0.4, "CANCELED", 2), (0.4, "EXPIRED", 1), (0, "EXPIRED", 1))
    rules = [cell.portion(fraction=fraction, rest=rest, count=count) for fraction, rest, count in wanted]
    symbols = cell.decide(4)
    cell.settle()
    cell.struck("entries cut short", sum(map(cell.hits, rules)), exactly=4)
    assert cell.outcomes() == {"RECORDED": 3, "CANCELED": 1}, cell.outcomes()
    entries = {order["symbol"]: order for order in cell.ledger.entries}
    assert entries.keys() == set(symbols)
    shares = [Decimal(order["executedQty"]) / Decimal(order["origQty"]) for order in entries.values()]
    assert shares.count(Decimal(0)) == 1, shares
    assert all(share <= Decimal("0.4") for share in shares), shares


@row(32, "resting entry fills in parts after its stop was placed", workers=ONCE)
def entry_fills_in_parts(cell: Cell) -> None:
    symbol = cell.symbols[0]
    answer = place(cell, symbol, price=float(cell.price_away(symbol, fraction=-0.001)), usd=400)
    for part, fraction in enumerate(PARTS, start=1):
        body = {"order": answer["client_order_id"], "fraction": fraction}
        cell.paper.control("POST", "orders/fill", body)
        cell.wait(lambda: stop_covers(cell, symbol), f"the stop covers part {part}")
    cell.struck("parts of the entry", len(cell.ledger.fills), exactly=len(PARTS))
    cell.settle()


def place(cell: Cell, symbol: str, *, usd: int = 100, **fields: Any) -> dict[str, Any]:
    """Place a person's order over our REST API."""
    order = {
        "symbol": symbol,
        "side": cell.side,
        "quantity": cell.base_quantity(symbol, usd=usd),
        "leverage": 5,
        **fields,
    }
    found: dict[str, Any] = cell.world.call("POST", "/api/execution/order", json=order).json()
    return found


def stop_covers(cell: Cell, symbol: str) -> bool:
    ledger = cell.ledger
    held = abs(ledger.positions.get(symbol, Decimal(0)))
    return held > 0 and [Decimal(stop["quantity"]) for stop in ledger.live("STOP_MARKET", symbol)] == [held]


@row(33, "price past the stop before it is placed (-2021)")
def price_past_the_stop(cell: Cell) -> None:
    symbol = cell.symbols[0]
    fault = cell.fault(ALGO_ORDER, "delay", method="POST", match={"symbol": symbol}, ms=700)
    cell.decide(1)
    cell.wait(lambda: symbol in cell.ledger.positions, "the entry has filled")
    cell.move_price(symbol, fraction=-0.06)
    cell.wait(lambda: symbol not in cell.ledger.positions, "the position is closed", within=4)
    cell.settle()
    cell.wait(lambda: cell.closed() == {symbol: "SL"}, "the trade is closed as stopped")
    cell.struck("stop late", cell.hits(fault), exactly=1)
    refused = sum(row["code"] == WOULD_TRIGGER for row in cell.ledger.requests)
    # The protector may try at the same moment, and the stop is tried once more before the position is closed.
    cell.struck("answers of -2021", refused, between=(1, 4))


@row(34, "stop refused: -4061, -2022, -2019, -1111", short=True)
def stop_refused(cell: Cell) -> None:
    symbols = cell.symbols[: len(STOP_REFUSALS)]
    faults = {}
    for symbol, code in zip(symbols, STOP_REFUSALS, strict=True):
        match = {"symbol": symbol, "type": "STOP_MARKET"}
        faults[code] = cell.fault(ALGO_ORDER, "refuse", method="POST", code=code, match=match, count=None)
    cell.decide(len(symbols))
    cell.settle()
    cell.wait(lambda: not cell.ledger.positions, "nothing is left unprotected", within=6)
    cell.wait(lambda: cell.closed() == dict.fromkeys(symbols, "PROTECTION_FAILED"), "the trades are closed")
    # The exchange is asked again for a while, with growing pauses; a position is closed by then.
    for code, fault in faults.items():
        cell.struck(f"stops refused {code}", cell.hits(fault), between=(1, MOST_TRIES))
    assert cell.outcomes() == {"RECORDED": len(symbols)}, cell.outcomes()


@row(35, "stop and target rest, one fills", short=True)
def one_leg_fills(cell: Cell) -> None:
    gained, lost = cell.opened(2)
    cell.move_price(gained, fraction=0.08)
    cell.move_price(lost, fraction=-0.05)
    cell.wait(lambda: cell.closed() == {gained: "TP", lost: "SL"}, "the trades are closed")
    cell.struck("legs filled", triggered(cell), exactly=2)
    cell.wait(lambda: not cell.ledger.live(), "the other legs are cancelled", within=5)


def triggered(cell: Cell) -> int:
    """Return how many conditional orders have become ordinary ones and filled."""
    return sum(order["algoId"] is not None and order["status"] == "FILLED" for order in cell.ledger.orders)


def filled_by(cell: Cell, prefix: str) -> int:
    """Return how many orders whose client id begins so have filled."""
    filled = [order["clientOrderId"] for order in cell.ledger.orders if order["status"] == "FILLED"]
    return sum(client_id.startswith(prefix) for client_id in filled)


@row(36, "position closed by hand, stops left", workers=ONCE)
def closed_by_hand(cell: Cell) -> None:
    symbols = cell.opened(2)
    for symbol in symbols:
        cell.paper.control("POST", "position", {"symbol": symbol, "amount": "0"})
    cell.struck("closes by hand", filled_by(cell, BY_HAND), exactly=2)
    cell.wait(lambda: cell.closed() == dict.fromkeys(symbols, "MANUAL"), "the trades are closed")
    cell.wait(lambda: not cell.ledger.live(), "the legs are cancelled", within=5)


@row(37, "position made larger and smaller by hand", workers=ONCE)
def resized_by_hand(cell: Cell) -> None:
    [symbol] = cell.opened(1, position_size_usd=400.0)
    held = cell.ledger.positions[symbol]
    part = cell.sign * Decimal(cell.base_quantity(symbol, usd=100))
    resize(cell, symbol, held + part)
    cell.wait(lambda: not cell.part_is_healthy("positions"), "health tells what was added", within=TOLD_WITHIN_SECONDS)
    # It should leave alone what is not ours, and go on covering what is.
    assert [Decimal(stop["quantity"]) for stop in cell.ledger.live("STOP_MARKET", symbol)] == [abs(held)]
    resize(cell, symbol, held)
    cell.wait(lambda: cell.part_is_healthy("positions"), "health tells that it is gone", within=TOLD_WITHIN_SECONDS)
    resize(cell, symbol, held - part)
    cell.wait(lambda: stop_covers(cell, symbol), "the stop has the new size")
    cell.struck("changes by hand", filled_by(cell, BY_HAND), exactly=3)


def resize(cell: Cell, symbol: str, amount: Decimal) -> None:
    """Let a person make a position so large."""
    cell.paper.control("POST", "position", {"symbol": symbol, "amount": format(amount, "f")})


@row(39, "liquidation and automatic deleveraging", workers=ONCE)
def liquidation(cell: Cell) -> None:
    liquidated, deleveraged = cell.opened(2)
    cell.paper.control("POST", "close", {"symbol": liquidated, "kind": "LIQUIDATION"})
    cell.paper.control("POST", "close", {"symbol": deleveraged, "kind": "ADL"})
    expected = {liquidated: "LIQUIDATION", deleveraged: "ADL"}
    cell.struck("liquidation", filled_by(cell, LIQUIDATED), exactly=1)
    cell.struck("automatic deleveraging", filled_by(cell, DELEVERAGED), exactly=1)
    cell.wait(lambda: cell.closed() == expected, "the trades are closed with their reasons")
    cell.wait(lambda: not cell.ledger.live(), "the legs are cancelled", within=5)


@row(40, "price leaps by 30 % between two sweeps")
def price_leaps(cell: Cell) -> None:
    longs = cell.opened(2, side="buy")
    shorts = cell.opened(2, first=2, side="sell")
    for symbol in (*longs, *shorts):
        cell.move_price(symbol, fraction=-0.3)
    cell.wait(lambda: cell.closed() == dict.fromkeys([*longs, *shorts], "SL"), "the stops have closed all")
    cell.struck("stops filled by a leap", triggered(cell), exactly=4)
    # A decision that was made at the old price is not traded at the new one.
    before = float(cell.price(cell.symbols[4]))
    cell.move_price(cell.symbols[4], fraction=0.3)
    cell.decide(1, first=4, entry_price=before)
    cell.settle()
    cell.struck("decision overtaken by a leap", cell.reasons()["SLIPPAGE_EXCEEDS_LIMIT"], exactly=1)
    assert cell.outcomes() == {"RECORDED": 4, "DENIED": 1}, cell.outcomes()
