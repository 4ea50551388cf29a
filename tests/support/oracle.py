"""The invariants that hold after every story, checked against the paper exchange's ledger.

Plain SQL over any DB-API cursor, so that one oracle serves tests in this process and stacks of other processes.
"""

import traceback
from collections import Counter, defaultdict
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from tests.support.ledger import Ledger

FINAL = ("RECORDED", "REFUSED", "REJECTED", "EXPIRED", "CANCELLED", "ABANDONED")
ZERO = Decimal(0)
USDT = "USDT"


def assert_invariants(cursor: Any, ledger: Ledger, *, foreign: Collection[str] = ()) -> None:
    """Fail with the first promise that is broken; call it when everything has settled.

    `foreign`: symbols that somebody else trades on this account, whose positions and results are not ours.
    """
    one_entry_a_request(cursor, ledger, foreign)
    books_equal_positions(cursor, ledger, foreign)
    every_position_is_covered_once(ledger, foreign)
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
    """I3: the open quantities of our trades are the exchange's positions."""
    ours: dict[str, Decimal] = defaultdict(lambda: ZERO)
    query = "SELECT symbol, direction, quantity - exited_quantity FROM execution_trade WHERE state <> 'CLOSED'"
    for symbol, direction, quantity in rows(cursor, query):
        ours[symbol] += quantity if direction == "LONG" else -quantity
    theirs = {name: amount for name, amount in ledger.positions.items() if name not in foreign}
    assert dict(ours) == theirs, f"I3: open trades and positions differ: {ours.items() ^ theirs.items()}"


def every_position_is_covered_once(ledger: Ledger, foreign: Collection[str] = ()) -> None:
    """I4: live stops close each open position once, and targets no more than that; each may be several orders.

    Where the position lies off the symbol's step, reduce-only trims the order that is larger.
    """
    for symbol, amount in ledger.positions.items():
        if symbol in foreign:
            continue
        exit_side = "SELL" if amount > 0 else "BUY"
        stops, targets = ledger.live("STOP_MARKET", symbol), ledger.live("TAKE_PROFIT_MARKET", symbol)
        found = [(row["side"], Decimal(row["quantity"]), row["clientAlgoId"]) for row in stops]
        assert {row[0] for row in found} == {exit_side}, f"I4: {symbol} {amount}: {found}"
        above = sum((row[1] for row in found), ZERO) - abs(amount)
        assert 0 <= above < min(row[1] for row in found), f"I4: {symbol} {amount}: {found}"
        assert {row["side"] for row in targets} <= {exit_side}, f"I4: targets of {symbol}"
        assert sum((Decimal(row["quantity"]) for row in targets), ZERO) <= abs(amount) + above, (
            f"I4: targets of {symbol}"
        )
        # A trailing stop is left as large as it was while the position shrinks, and never doubled.
        trailing = [Decimal(row["quantity"]) for row in ledger.live("TRAILING_STOP_MARKET", symbol)]
        surplus = sum(trailing, ZERO) - abs(amount)
        assert len(trailing) <= 1 or surplus < min(trailing), f"I4: trailing stops of {symbol}: {trailing}"


def no_order_without_a_position(cursor: Any, ledger: Ledger, foreign: Collection[str] = ()) -> None:
    """I5: no conditional order waits beside a flat symbol, and every one of ours is known."""
    live = [row for row in ledger.live() if row["symbol"] not in foreign]
    left = {row["symbol"] for row in live} - set(ledger.positions)
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


def rows(cursor: Any, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    cursor.execute(query, parameters)
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
