"""The invariants that hold after every story, checked against the paper exchange's ledger.

Plain SQL over any DB-API cursor, so that one oracle serves tests in this process and stacks of other processes.
"""

import traceback
from collections import Counter, defaultdict
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from tests.support.ledger import Ledger
from tests.support.stop_plans import BookedStop, booked_stops
from tests.support.stops import STOP, mismatch

FINAL = ("RECORDED", "DENIED", "REJECTED", "EXPIRED", "CANCELED", "NOT_ACCEPTED", "WRITTEN_OFF")
ZERO = Decimal(0)
USDT = "USDT"


def assert_invariants(cursor: Any, ledger: Ledger, *, foreign: Collection[str] = ()) -> None:
    """Fail with the first promise that is broken; call it when everything has settled.

    `foreign`: symbols that somebody else trades on this account, whose positions and results are not ours.
    """
    one_entry_a_request(cursor, ledger, foreign)
    books_equal_positions(cursor, ledger, foreign)
    every_position_is_covered_once(cursor, ledger, foreign)
    no_order_without_a_position(cursor, ledger, foreign)
    events_are_numbered_without_gaps(cursor)
    if not foreign:
        profit_equals_the_exchange(cursor, ledger)


def broken_invariant(cursor: Any, ledger: Ledger, *, foreign: Collection[str] = ()) -> str:
    """Return the name of the first invariant that does not hold, with what it says; empty when all hold."""
    try:
        assert_invariants(cursor, ledger, foreign=foreign)
    except AssertionError as broken:
        return " ".join(str(broken).split()) or traceback.extract_tb(broken.__traceback__)[-1].name
    return ""


def one_entry_a_request(cursor: Any, ledger: Ledger, foreign: Collection[str] = ()) -> None:
    """I1: at most one entry at the exchange a request, and none that we do not know."""
    ours = [order for order in ledger.entries if order["clientOrderId"].startswith("es1-")]
    entries = Counter(order["clientOrderId"] for order in ours if order["symbol"] not in foreign)
    assert set(entries.values()) <= {1}, f"I1: entries by client id: {entries}"
    known = {row[0] for row in rows(cursor, "SELECT client_order_id FROM execution_order WHERE purpose = 'ENTRY'")}
    assert set(entries) <= known, f"I1: entries that we do not know: {set(entries) - known}"


def books_equal_positions(cursor: Any, ledger: Ledger, foreign: Collection[str] = ()) -> None:
    """I3: the open quantities of our trades are the exchange's positions, each side for itself in hedge mode."""
    ours: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    query = (
        "SELECT symbol, position_side, direction, quantity - exited_quantity FROM execution_trade"
        " WHERE state <> 'CLOSED'"
    )
    for symbol, side, direction, quantity in rows(cursor, query):
        ours[symbol, side] += quantity if direction == "LONG" else -quantity
    theirs = {key: amount for key, amount in ledger.held.items() if key[0] not in foreign}
    assert dict(ours) == theirs, f"I3: open trades and positions differ: {ours.items() ^ theirs.items()}"


def every_position_is_covered_once(cursor: Any, ledger: Ledger, foreign: Collection[str] = ()) -> None:
    """I4: live stops close each open position once, as its plan asks for, and targets no more than that.

    A stop is asked for its price, side, position side, size, trigger type, and whether it only reduces. Where the
    position lies off the symbol's step, reduce-only trims the order that is larger.
    """
    booked = {(stop.symbol, stop.position_side): stop for stop in booked_stops(cursor) if stop.is_open}
    for (symbol, side), amount in ledger.held.items():
        if symbol in foreign:
            continue
        exit_side = "SELL" if amount > 0 else "BUY"
        _stops_are_right(ledger, symbol, side, amount, booked.get((symbol, side)))
        stops = _ours(ledger, STOP, symbol, side)
        found = [(row["side"], Decimal(row["quantity"]), row["clientAlgoId"]) for row in stops]
        assert found, f"I4: {symbol} {side} {amount} without a stop"
        above = sum((row[1] for row in found), ZERO) - abs(amount)
        assert 0 <= above < min(row[1] for row in found), f"I4: {symbol} {amount}: {found}"
        targets = _ours(ledger, "TAKE_PROFIT_MARKET", symbol, side)
        assert {row["side"] for row in targets} <= {exit_side}, f"I4: targets of {symbol}"
        assert sum((Decimal(row["quantity"]) for row in targets), ZERO) <= abs(amount) + above, (
            f"I4: targets of {symbol}"
        )
        # A trailing stop is left as large as it was while the position shrinks, and never doubled.
        trailing = [Decimal(row["quantity"]) for row in _ours(ledger, "TRAILING_STOP_MARKET", symbol, side)]
        surplus = sum(trailing, ZERO) - abs(amount)
        assert len(trailing) <= 1 or surplus < min(trailing), f"I4: trailing stops of {symbol}: {trailing}"


def _stops_are_right(ledger: Ledger, symbol: str, side: str, amount: Decimal, booked: BookedStop | None) -> None:
    """Hold each of our stops against the plan; beside its level it may lie only while the price is past that."""
    sign = 1 if amount > 0 else -1
    passed = booked is not None and (ledger.mark_prices[symbol] - booked.level) * sign <= 0
    plan = booked.plan(past=False) if booked else None
    for stop in _ours(ledger, STOP, symbol, side):
        wrong = mismatch(stop, amount=amount, position_side=side, plan=plan, second_chance=passed)
        assert not wrong, f"I4: {symbol} {side} {amount}: {stop['clientAlgoId']}: {wrong}"


def _ours(ledger: Ledger, kind: str, symbol: str, side: str) -> list[dict[str, Any]]:
    live = ledger.live(kind, symbol)
    return [row for row in live if row["positionSide"] == side and row["clientAlgoId"].startswith("es1-")]


def no_order_without_a_position(cursor: Any, ledger: Ledger, foreign: Collection[str] = ()) -> None:
    """I5: no conditional order waits beside a flat symbol, and every one of ours is known."""
    live = [row for row in ledger.live() if row["symbol"] not in foreign]
    left = {(row["symbol"], row["positionSide"]) for row in live} - set(ledger.held)
    assert not left, f"I5: legs beside a flat symbol: {left}"
    known = {row[0] for row in rows(cursor, "SELECT client_order_id FROM execution_order")}
    strange = {row["clientAlgoId"] for row in live if row["clientAlgoId"].startswith("es1-")} - known
    assert not strange, f"I5: legs that we do not know: {strange}"


def events_are_numbered_without_gaps(cursor: Any) -> None:
    """I8: each aggregate's events are numbered 1, 2, 3 ... in the order of their commits."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for aggregate, sequence in rows(cursor, "SELECT aggregate, sequence FROM execution_outboxevent ORDER BY id"):
        numbers[aggregate].append(sequence)
    broken = {name: found for name, found in numbers.items() if found != list(range(1, len(found) + 1))}
    assert broken == {}, f"I8: numbers of events: {broken}"


def profit_equals_the_exchange(cursor: Any, ledger: Ledger) -> None:
    """I9: closed trades sum up to what the exchange realised in their asset, to the last digit, once all is flat."""
    if ledger.positions:
        return
    booked: dict[str, Decimal] = defaultdict(Decimal)
    query = "SELECT symbol, coalesce(sum(net_pnl), 0) FROM execution_trade WHERE state = 'CLOSED' GROUP BY symbol"
    for symbol, net in rows(cursor, query):
        booked[ledger.margin_assets.get(symbol, USDT)] += net
    for asset in {USDT, *ledger.margin_assets.values()}:
        theirs = ledger.net_by_asset.get(asset, ZERO)
        assert booked[asset] == theirs, f"I9: our books {booked[asset]} {asset}, the exchange {theirs}"


def all_requests_are_final(cursor: Any) -> bool:
    """I2: whether every accepted decision has its outcome."""
    [(open_requests,)] = rows(
        cursor, "SELECT count(*) FROM execution_executionrequest WHERE NOT state = ANY(%s)", [list(FINAL)]
    )
    return bool(open_requests == 0)


def violations_counted(cursor: Any) -> Counter[str]:
    """Return what the service's own oracle has counted, by kind; these judges share no rule with it."""
    query = "SELECT kind, count FROM execution_metric WHERE name = 'oracle_violations' AND count > 0"
    return Counter(dict(rows(cursor, query)))


def violations_told(cursor: Any) -> list[str]:
    """Return what the journal still says of them: where, which, and with what numbers."""
    query = "SELECT at, entity_id, to_state, reason FROM execution_auditevent WHERE trigger = 'violation_stands'"
    return [" ".join(map(str, row)) for row in rows(cursor, query)]


def rows(cursor: Any, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    cursor.execute(query, parameters)
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
