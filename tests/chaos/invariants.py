"""The invariants I1 to I11 after a cell, judged by the exchange's ledger; every sentence names what it found."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.chaos import timeline
from tests.chaos.reader import BusReader
from tests.support import oracle
from tests.support.ledger import Ledger
from tests.support.paper import PaperExchange
from tests.support.stop_plans import booked_stops, wrong_plans

# The exchange's own limits, which hold for any client.
ORDERS_IN_10_S, ORDERS_IN_60_S = 300, 1200
UNKNOWN = "UNKNOWN"
SECRET = PaperExchange.secret


def decisions_have_outcomes(cursor: Any, published: Iterable[str], *, may_stay_unknown: bool = False) -> None:
    """I2: every decision that was published is known, and has a final outcome or, where allowed, a visible UNKNOWN."""
    rows = oracle.rows(
        cursor,
        "SELECT i.identity, r.state FROM execution_inboxevent i"
        " LEFT JOIN execution_executionrequest r ON r.inbox_id = i.id",
    )
    states = dict(rows)
    missing = [event_id for event_id in published if f"event:{event_id}" not in states]
    assert not missing, f"I2: {len(missing)} decisions vanished, the first is {missing[0]}"
    over = {*oracle.FINAL, UNKNOWN} if may_stay_unknown else {*oracle.FINAL}
    open_ones = Counter(state for state in states.values() if state and state not in over)
    assert not open_ones, f"I2: without an outcome: {dict(open_ones)}"


def one_executed_entry_a_decision(ledger: Ledger) -> None:
    """I1: counted by decision, not by client id: a second attempt under another id would be a second entry."""
    executed = Counter(
        order["clientOrderId"].rpartition("-")[0]
        for order in ledger.entries
        if order["clientOrderId"].startswith("es1-e") and Decimal(order["executedQty"]) > 0
    )
    doubled = {name: number for name, number in executed.items() if number > 1}
    assert not doubled, f"I1: executed more than once: {doubled}"


def plans_are_the_decisions(
    cursor: Any, ledger: Ledger, *, published: Mapping[str, Decimal | None], ticks: Mapping[str, Decimal]
) -> None:
    """I4: each planned stop is what its decision asked for, so that a plan cannot make a wrong stop right."""
    wrong = wrong_plans(booked_stops(cursor), ledger, published=published, ticks=ticks)
    assert not wrong, f"I4: {len(wrong)} plans are not what was decided: {wrong[0]}"


def stories_are_walks(cursor: Any) -> None:
    """I8: one journal line a change: each line starts where the one before has ended.

    A line that comes from nowhere is the first one, or a remark.
    """
    lines: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    query = (
        "SELECT entity, entity_id, from_state, to_state FROM execution_auditevent"
        " WHERE entity IN ('request', 'order') AND from_state <> '' ORDER BY id"
    )
    for entity, entity_id, before, after in oracle.rows(cursor, query):
        lines[entity, entity_id].append((before, after))
    for key, story in lines.items():
        jumps = [(one, two) for one, two in pairwise(story) if two[0] != one[1]]
        assert not jumps, f"I8: the story of {key} jumps: {jumps[0]}"


def events_reached_the_reader(cursor: Any, reader: BusReader, *, lost: frozenset[str] = frozenset()) -> None:
    """I8: each event was delivered at least once, unchanged, in order per trade; `lost` died with a Redis."""
    rows = oracle.rows(cursor, "SELECT event_id::text, event_type, payload, sent_at FROM execution_outboxevent")
    unsent = [row[0] for row in rows if row[3] is None]
    assert not unsent, f"I8: {len(unsent)} events are not sent"
    read, _, order = reader.snapshot()
    ours = {row[0]: row for row in rows}
    assert read.keys() <= ours.keys(), f"I8: read but never written: {sorted(read.keys() - ours.keys())[:3]}"
    missing = ours.keys() - read.keys() - lost
    assert not missing, f"I8: {len(missing)} events were not delivered, such as {ours[min(missing)][1]}"
    for event_id, event in read.items():
        stored = ours[event_id][2]
        told = {name: value for name, value in event.payload.items() if name in stored}
        assert told == stored, f"I8: {event.event_type} {event_id} was changed on its way"
    for (event_type, aggregate), numbers in order.items():
        assert numbers == sorted(numbers), f"I8: {event_type} of {aggregate} came in the order {numbers}"


def fills_are_the_exchanges(cursor: Any, ledger: Ledger, *, foreign: frozenset[str]) -> None:
    """I9: every fill of our orders is booked once, with the exchange's figures to the last digit."""
    # The exchange numbers fills by symbol.
    query = (
        "SELECT symbol, exchange_trade_id, price, quantity, realized_pnl, commission FROM execution_fill"
        " WHERE trade_id IS NOT NULL"
    )
    booked = {row[:2]: row[2:] for row in oracle.rows(cursor, query)}
    figures = ("price", "qty", "realizedPnl", "commission")
    theirs = {
        (fill["symbol"], int(fill["id"])): tuple(Decimal(fill[name]) for name in figures) for fill in ledger.fills
    }
    ours = {(fill["symbol"], int(fill["id"])) for fill in ledger.fills if is_ours(fill, foreign)}
    assert ours <= booked.keys(), f"I9: {len(ours - booked.keys())} fills of our orders are not booked"
    wrong = [key for key, found in booked.items() if theirs.get(key) != found]
    assert not wrong, f"I9: booked otherwise than filled: {[(booked[key], theirs.get(key)) for key in wrong[:2]]}"


def is_ours(fill: dict[str, Any], foreign: frozenset[str]) -> bool:
    return str(fill["clientOrderId"]).startswith("es1-") and fill["symbol"] not in foreign


def profit_is_the_sum_of_fills(cursor: Any) -> None:
    """I9: a closed trade's net PnL is that of its fills, minus fees, plus funding and insurance, exactly."""
    query = (
        "SELECT t.id, t.net_pnl, sum(f.realized_pnl) - sum(f.commission) + t.funding + t.other_income"
        " FROM execution_trade t"
        " JOIN execution_fill f ON f.trade_id = t.id WHERE t.state = 'CLOSED' GROUP BY t.id"
    )
    wrong = [row for row in oracle.rows(cursor, query) if row[1] != row[2]]
    assert not wrong, f"I9: trade {wrong[0][0]}: net {wrong[0][1]}, fills say {wrong[0][2]}"


def positions_never_flip(ledger: Ledger) -> None:
    """I6: no fill turns a position round, and no exit of ours opens one."""
    flips = timeline.flips(ledger)
    assert not flips, f"I6: {flips[:3]}"


def orders_keep_the_exchanges_limits(ledger: Ledger) -> None:
    """I10: the burst of orders stays within what the exchange allows in any 10 and 60 seconds."""
    most = (timeline.most_orders_within(ledger, 10), timeline.most_orders_within(ledger, 60))
    assert most[0] <= ORDERS_IN_10_S, f"I10: {most[0]} orders within 10 s"
    assert most[1] <= ORDERS_IN_60_S, f"I10: {most[1]} orders within 60 s"


def nothing_holds_the_secret(cursor: Any, redis: Any, logs: Path) -> None:
    """I11: the exchange's secret stands in no table, no key of Redis and no log."""
    tables = oracle.rows(cursor, "SELECT tablename FROM pg_tables WHERE tablename LIKE 'execution_%'")
    for (table,) in tables:
        [(found,)] = oracle.rows(
            cursor,
            f"SELECT count(*) FROM {table} AS row WHERE row::text LIKE %s",  # noqa: S608 -- a name from the catalogue
            [f"%{SECRET}%"],
        )
        assert not found, f"I11: the secret stands in {table}"
    for key in redis.scan_iter(count=1000):
        assert SECRET.encode() not in (redis.dump(key) or b""), f"I11: the secret stands in {key!r}"
    for log in logs.glob("*.log"):
        assert SECRET not in log.read_text(errors="replace"), f"I11: the secret stands in {log.name}"
