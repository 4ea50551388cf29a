"""The service as processes: repeats, bursts, kills and lost connections, judged by the exchange's own ledger."""

from collections import Counter
from typing import Any

import pytest

from tests.support.desk import decision
from tests.support.ledger import Ledger
from tests.support.stack import CeleryStack, is_running
from tests.support.waiting import eventually

# The stack runs on a copy of the migrated test database, which pytest-django makes for tests that ask for it.
pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
# Why a decision of a burst that is killed may have become no trade; an entry under way keeps others from its symbol.
REASONS = "SELECT state, reason_code FROM execution_executionrequest ORDER BY received_at OFFSET %s"
EXPECTED_REASONS = {
    ("RECORDED", ""),
    ("DENIED", "OPEN_TRADE_EXISTS"),
    ("DENIED", "ENTRY_UNSETTLED"),
    ("NOT_ACCEPTED", "ABSENCE_PROVEN"),
    ("EXPIRED", "SIGNAL_TOO_OLD"),
}


def entries_since(stack: CeleryStack, before: Ledger) -> Counter[str]:
    """Return the entries at the exchange since a reading, by symbol."""
    old = {order["orderId"] for order in before.entries}
    entries = [order for order in Ledger.of(stack.paper).entries if order["orderId"] not in old]
    return Counter(order["symbol"] for order in entries if order["clientOrderId"].startswith("es1-"))


def test_same_decision_twenty_times_is_one_order(stack: CeleryStack) -> None:
    before, known = Ledger.of(stack.paper), len(stack.states())
    same = decision("BTCUSDT", position_size_usd=100.0)

    stack.publish([same] * 20)

    def all_read() -> bool:
        identity = f"event:{same['event_id']}"
        return stack.rows("SELECT duplicates FROM execution_inboxevent WHERE identity = %s", identity) == [(19,)]

    eventually(all_read, within=20, what="twenty deliveries are counted")
    stack.await_final(requests=known + 1, within=20)
    assert (len(stack.states()), stack.states()[-1]) == (known + 1, "RECORDED")
    assert entries_since(stack, before) == {"BTCUSDT": 1}
    stack.check()


def test_twenty_symbols_at_once_are_twenty_protected_trades(stack: CeleryStack) -> None:
    before, known = Ledger.of(stack.paper), len(stack.states())
    symbols = stack.symbols[:20]

    stack.decide(symbols)

    stack.await_final(requests=known + 20, within=30)
    assert stack.states()[known:] == ["RECORDED"] * 20
    assert entries_since(stack, before) == dict.fromkeys(symbols, 1)
    stack.check()
    after = Ledger.of(stack.paper)
    assert len(after.live_stops) == len(after.live_targets) == 20
    # It should have told of each trade once, on the bus.
    opened = stack.rows("SELECT event_id::text FROM execution_outboxevent WHERE event_type = 'trade.opened'")
    entries: Any = stack.redis.xrange("quantum:stream:trade.opened")
    assert sorted(fields[b"event_id"].decode() for _, fields in entries) == sorted(row[0] for row in opened)


def test_all_workers_killed_in_a_burst_lose_and_double_nothing(stack: CeleryStack) -> None:
    before, known = Ledger.of(stack.paper), len(stack.states())
    symbols = stack.symbols[:24]
    # Each symbol twice, and two a third time: whoever comes second finds the symbol taken.
    burst = [*symbols, *symbols, *symbols[:2]]
    # The kill shall find orders on their way, on a fast machine too.
    stack.paper.add_fault(path="/fapi/v1/order", method="POST", action="delay", ms=100, count=None)

    stack.decide(burst)
    eventually(lambda: sum(entries_since(stack, before).values()) >= 4, within=20, what="the burst is on its way")
    killed = stack.kill_workers()

    assert len(killed) >= 5
    eventually(lambda: not any(map(is_running, killed)), what="none of them is left")
    reached = sum(entries_since(stack, before).values())
    assert reached < 24, "the kill came too late to prove anything"

    stack.start_workers()
    stack.await_final(requests=known + 50, within=50)

    # It should have an outcome for each, one entry a symbol, and every position covered once.
    outcomes = Counter(stack.states()[known:])
    assert sum(outcomes.values()) == 50
    assert set(stack.rows(REASONS, known)) <= EXPECTED_REASONS
    entries = entries_since(stack, before)
    assert set(entries.values()) == {1}
    assert outcomes["RECORDED"] == len(entries) == len(Ledger.of(stack.paper).positions)
    stack.check()


def test_killed_pool_process_costs_no_task(stack: CeleryStack) -> None:
    before, known = Ledger.of(stack.paper), len(stack.states())
    symbols = stack.symbols[:8]
    # Slow enough to be in the middle of a task.
    stack.paper.add_fault(path="/fapi/v1/depth", method="GET", action="delay", ms=150, count=None)

    stack.decide(symbols)
    eventually(lambda: len(stack.states()) > known, within=20, what="the burst is on its way")
    killed = stack.kill_pool_process()
    eventually(lambda: not is_running(killed), what="the process has ended")

    stack.await_final(requests=known + 8, within=40)
    assert stack.states()[known:] == ["RECORDED"] * 8
    assert entries_since(stack, before) == dict.fromkeys(symbols, 1)
    stack.check()


def test_lost_database_connections_cost_no_task(stack: CeleryStack) -> None:
    before, known = Ledger.of(stack.paper), len(stack.states())
    symbols = stack.symbols[:16]

    stack.decide(symbols)
    cut = 0
    for entries in (1, 6, 12):
        eventually(
            lambda least=entries: sum(entries_since(stack, before).values()) >= least,  # type: ignore[misc]
            within=30,
            what=f"{entries} entries",
        )
        cut += stack.cut_database_connections()

    assert cut >= 3
    stack.await_final(requests=known + 16, within=40)
    assert stack.states()[known:] == ["RECORDED"] * 16
    assert entries_since(stack, before) == dict.fromkeys(symbols, 1)
    stack.check()
