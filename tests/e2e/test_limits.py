"""Limits over all positions together hold exactly with eight worker processes that judge and send at once."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from execution.domain.policy import KEYS, MAX_DAILY_LOSS, MAX_POSITIONS, MAX_TOTAL_EXPOSURE
from tests.support.desk import decision
from tests.support.ledger import Ledger
from tests.support.stack import READY_SECONDS, CeleryStack, children_of, crew
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
PROCESSES, DECISIONS = 8, 50
SECOND = "worker-orders-2"
# What the decisions below are each: 500 USD and 12.50 USD to the stop, after rounding down at least nine tenths of it.
LOST_TODAY = """
    SELECT GREATEST(-COALESCE(sum(net_pnl), 0), 0) FROM execution_trade
    WHERE state = 'CLOSED' AND exit_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
"""
OUTCOMES = "SELECT state, reason_code FROM execution_executionrequest ORDER BY received_at OFFSET %s"
IN_FORCE = "SELECT value FROM execution_policyvalue WHERE key = %s"
Limit = Callable[[str, Decimal], None]


@pytest.fixture(scope="module")
def pools(running_stack: CeleryStack) -> Iterator[list[int]]:
    """Put a second worker beside the first, eight processes in all, for the tests of this file; the pools' parents."""
    running_stack.start_workers()
    first = running_stack.programs["worker-orders"]
    assert first.ready_file is not None
    missing = PROCESSES - len(children_of(running_stack.processes[first.name].pid))
    programs = {one.name: one for one in crew(first.ready_file.parent, orders=2, children=missing)}
    second = programs[SECOND]
    running_stack.launch(second)
    ready = second.ready_file
    eventually(lambda: ready is not None and ready.exists(), within=READY_SECONDS, what="the second worker consumes")
    yield [running_stack.processes[name].pid for name in (first.name, SECOND)]
    running_stack.kill(SECOND)


@pytest.fixture
def eight(stack: CeleryStack, pools: list[int]) -> CeleryStack:
    """The running service with eight processes for the chain."""
    assert sum(len(children_of(pid)) for pid in pools) == PROCESSES
    return stack


@pytest.fixture
def limit(stack: CeleryStack) -> Iterator[Limit]:
    """Put a limit in force as the neighbour does; the default comes back with the end of the test."""
    changed: set[str] = set()

    def put(key: str, value: Decimal) -> None:
        changed.add(key)
        stack.risk.change_policy(key, str(value))
        eventually(lambda: stack.rows(IN_FORCE, key) == [(value,)], within=20, what=f"{key} is {value}")

    yield put
    for key in sorted(changed):
        put(key, KEYS[key].default)


@pytest.mark.parametrize(
    ("key", "value", "fit", "reason"),
    [
        (MAX_TOTAL_EXPOSURE, Decimal(2500), 5, "TOTAL_EXPOSURE_EXCEEDS_LIMIT"),
        (MAX_DAILY_LOSS, Decimal(40), 3, "DAILY_LOSS_EXCEEDS_LIMIT"),
        (MAX_POSITIONS, Decimal(7), 7, "POSITIONS_EXCEED_LIMIT"),
    ],
)
def test_fifty_decisions_on_eight_processes_fill_a_limit_exactly(
    eight: CeleryStack, limit: Limit, key: str, value: Decimal, fit: int, reason: str
) -> None:
    before, known = Ledger.of(eight.paper), len(eight.states())
    if key == MAX_DAILY_LOSS:
        [(lost,)] = eight.rows(LOST_TODAY)
        value += lost
    limit(key, value)
    # Some want the same symbol: what was not approved for that reason has used nothing.
    symbols = (eight.symbols * DECISIONS)[:DECISIONS]

    eight.publish([decision(symbol) for symbol in symbols])

    eight.await_final(requests=known + DECISIONS, within=120)
    outcomes = eight.rows(OUTCOMES, known)
    # It should have let as many pass as there is room for: none more, and none fewer.
    assert len(outcomes) == DECISIONS
    assert outcomes.count(("RECORDED", "")) == fit
    refusals = {outcome for outcome in outcomes if outcome != ("RECORDED", "")}
    assert ("DENIED", reason) in refusals
    assert refusals <= {("DENIED", reason), ("DENIED", "OPEN_TRADE_EXISTS")}
    old = {order["orderId"] for order in before.entries}
    assert len([order for order in Ledger.of(eight.paper).entries if order["orderId"] not in old]) == fit
    eight.check()
