"""What only several trades show: changed in one cycle, under one limit, with stops of their own, on both sides."""

from decimal import Decimal
from typing import Any

from tests.chaos.cell import ENTRY_SIDES, LONG, SHORT, Bounds, Cell
from tests.chaos.matrix import ONCE, row
from tests.support.ledger import ALGO_ORDER, ORDER

FILLS = "/fapi/v1/userTrades"
DAILY_LOSS = "risk.max_daily_loss_usd"
# Of 100 USD each, with a stop at 2.5 %: two trades may lose 5 USD, a third one would make it 7.5.
LIMIT_USD, EACH_MAY_LOSE = "6", Decimal("2.5")
# The default of the limit.
NO_LIMIT_USD = "1000000000"
# A tenth of a step and a tick make the size and the distance differ that much from symbol to symbol.
ROUNDING = Decimal("0.2")


@row(66, "trades closed by hand at once, and the fills of all but one cannot be read")
def fills_cannot_be_read(cell: Cell) -> None:
    hidden = cell.opened(3)
    [readable] = cell.opened(1, first=3)
    # Only the monitor may notice, so that every trade has changed in the same cycle.
    cell.stack.kill("user-stream")
    faults = [cell.fault(FILLS, "hide", method="GET", match={"symbol": name}, count=None) for name in hidden]
    for symbol in (*hidden, readable):
        cell.paper.control("POST", "position", {"symbol": symbol, "amount": "0"})
    # It should book what can be read, whatever trades come before it.
    cell.wait(lambda: cell.closed() == {readable: "MANUAL"}, "the readable trade is closed", within=15)
    blind = [cell.hits(fault) for fault in faults]
    assert all(blind), f"the fills of a trade were never asked for: {blind}"
    cell.struck("blind readings of fills", sum(blind), between=(len(hidden), 100))
    cell.paper.clear_faults()
    everything = dict.fromkeys((*hidden, readable), "MANUAL")
    cell.wait(lambda: cell.closed() == everything, "the others are closed")
    cell.wait(lambda: not cell.ledger.live(), "the legs are cancelled")


@row(67, "a day's loss is used up by open stops, long and short")
def day_may_lose_no_more(cell: Cell) -> None:
    cell.risk.change_policy(DAILY_LOSS, LIMIT_USD)
    try:
        cell.wait(lambda: limit_in_force(cell) == Decimal(LIMIT_USD), "the limit is in force")
        refuse_what_may_lose_more(cell)
    finally:
        # Health tells for an hour that somebody lifted a limit.
        cell.told_by_health.append(f"policy: loosened: {DAILY_LOSS}")
        cell.risk.change_policy(DAILY_LOSS, NO_LIMIT_USD)


def refuse_what_may_lose_more(cell: Cell) -> None:
    cell.opened(2)
    lose = 2 * EACH_MAY_LOSE
    assert abs(open_risk(cell) - lose) <= ROUNDING, f"two stops lose {open_risk(cell)}, not {lose}"
    # It should refuse a third trade of either side.
    for first, side in ((2, cell.entry_side), (3, ENTRY_SIDES[SHORT if cell.side == LONG else LONG])):
        cell.decide(1, first=first, side=side)
        cell.settle()
        assert cell.outcomes()["RECORDED"] == 2, f"a {side} loses more than a day may: {cell.outcomes()}"
    assert cell.reasons() == {"DAILY_LOSS_EXCEEDS_LIMIT": 2}, cell.reasons()
    cell.struck("decisions above the limit", cell.reasons()["DAILY_LOSS_EXCEEDS_LIMIT"], exactly=2)
    assert cell.entries_sent() == 2


def limit_in_force(cell: Cell) -> Decimal | None:
    """Return the limit that differs from its default, if one does."""
    rows = cell.rows("SELECT value FROM execution_policyvalue WHERE key = %s", DAILY_LOSS)
    return rows[0][0] if rows else None


def open_risk(cell: Cell) -> Decimal:
    """Return what the open positions lose at the stops that rest at the venue, in USD."""
    ledger = cell.ledger
    prices = {fill["symbol"]: Decimal(fill["price"]) for fill in ledger.fills}
    risks = (
        Decimal(stop["quantity"]) * abs(prices[stop["symbol"]] - Decimal(stop["triggerPrice"]))
        for stop in ledger.live_stops
    )
    return sum(risks, Decimal(0))


@row(68, "stops of their own, on the bus and over REST, the answers to some lost")
def stops_of_their_own(cell: Cell) -> None:
    fault = cell.fault(ALGO_ORDER, "drop_after", method="POST", match={"type": "STOP_MARKET"}, count=3)
    distances = (0.011, 0.1 / 3, 0.049, 0.0777)
    prices = [float(cell.price(symbol)) for symbol in cell.symbols]
    asked = [prices[place] * (1 - cell.sign * distance) for place, distance in enumerate(distances)]
    cell.publish([cell.decision(cell.symbols[place], stop_loss=stop) for place, stop in enumerate(asked)])
    symbol = cell.symbols[len(asked)]
    by_hand = format(cell.price_away(symbol, fraction=-0.02), "f")
    order = {"symbol": symbol, "side": cell.side, "quantity": cell.base_quantity(symbol), "stop_loss": by_hand}
    answer = cell.world.call("POST", "/api/execution/order", json=order)
    assert answer.status_code in {200, 202}, answer.text
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 5}, cell.outcomes()
    cell.struck("answers about stops lost", cell.hits(fault), exactly=3)
    # It should have each stop where its decision wants it.
    wanted = dict(zip(cell.symbols, [*asked, float(by_hand)], strict=False))
    cell.wait(lambda: stops_lie_at(cell, wanted), "each stop lies where it was asked for", within=5)


def stops_lie_at(cell: Cell, wanted: dict[str, float]) -> bool:
    """Whether each symbol has one stop, by a hundredth of a percent of the price that was asked for."""
    found = {stop["symbol"]: float(stop["triggerPrice"]) for stop in cell.ledger.live_stops}
    assert found.keys() == wanted.keys(), f"stops of {sorted(found)}"
    return all(abs(found[name] / price - 1) < 1e-4 for name, price in wanted.items())


@row(69, "long and short of the same contracts at once, in hedge mode", workers=ONCE, bounds=Bounds(settle_seconds=40))
def both_sides_in_hedge_mode(cell: Cell) -> None:
    cell.paper.control("POST", "settings", {"dual_side": True})
    with cell.world.with_settings(BINANCE_POSITION_MODE="hedge"):
        for side in ("buy", "sell"):
            cell.decide(2, side=side)
        cell.settle()
        assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
        ledger = cell.ledger
        assert ledger.held.keys() == {(name, side.upper()) for name in cell.symbols[:2] for side in (LONG, SHORT)}
        assert not [params for params in ledger.sent("POST", ALGO_ORDER) if "reduceOnly" in params]
        cell.struck("positions in hedge mode", len(ledger.held), exactly=4)
        cell.judge()
        # What it says of the cell, it says once more at the end.
        cell.notes.clear()
        # Down to the stops of the longs, and up to those of the shorts: each ends its own position only.
        for fraction, left in ((-0.05, SHORT), (0.15, "")):
            for symbol in cell.symbols[:2]:
                cell.shift_price(symbol, fraction=fraction)
            cell.wait(lambda left=left: sides_held(cell) == ({left.upper()} if left else set()), f"left: {left or 0}")  # type: ignore[misc]
        cell.wait(lambda: closed_by_stop(cell) == 4, "the stops are booked")
        cell.struck("stops filled", closed_by_stop(cell), exactly=4)
        cell.wait(lambda: not cell.ledger.live(), "the other legs are cancelled")
        assert cell.sent("POST", ORDER) == 4
        cell.settle()
    cell.paper.control("POST", "settings", {"dual_side": False})


def sides_held(cell: Cell) -> set[str]:
    return {side for _, side in cell.ledger.held}


def closed_by_stop(cell: Cell) -> Any:
    return cell.rows("SELECT count(*) FROM execution_trade WHERE close_reason = 'SL'")[0][0]
