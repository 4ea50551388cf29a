"""What one bracketed decision of a known symbol costs, counted step by step: the figures of docs/performance.md.

More than stands here is a fault, even when nothing fails. Who makes it less writes the new figure here.
"""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from tests.support.counts import counted
from tests.support.desk import Desk
from tests.support.victim import Victim

# Statements, commits that wait for the disk, and calls to the exchange.
BY_STEP = {
    "check_ess": (3, 0, []),
    "guard_safety": (6, 0, ["GET /fapi/v1/depth"]),
    "place_order": (5, 2, ["POST /fapi/v1/order"]),
    "protect_position": (4, 2, ["POST /fapi/v1/algoOrder", "POST /fapi/v1/algoOrder"]),
    "record_trade": (9, 1, ["GET /fapi/v1/userTrades"]),
}
# Of all steps, without the entry's way into the inbox.
STATEMENTS, COMMITS = 27, 5
# Messages through the broker: the first step's.
MESSAGES = 1


@pytest.fixture
def warm(desk: Desk) -> Desk:
    """A process that has just entered this symbol: its clocks stand still, so that nothing it has read grows old."""
    known = replace(desk, side_by_side=True, monotonic=lambda: 1000.0)
    close(known, known.trade_opened("BTCUSDT"))
    known.clock.stop()
    # The state of the emergency stop is written once a second.
    known.step("check_ess", known.decide("ETHUSDT"))
    return known


def close(desk: Desk, trade_id: UUID) -> None:
    quantity = str(desk.trade(trade_id).quantity)
    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity=quantity, reduceOnly="true")
    # Between two looks at a position that is gone.
    for _ in range(3):
        desk.cycle()
        desk.clock.let_pass(2)
    assert desk.trade(trade_id).state == "CLOSED"


def calls(desk: Desk) -> list[str]:
    return [f"{call['method']} {call['path']}" for call in desk.paper.ledger()["requests"]]


@pytest.mark.django_db(transaction=True)
def test_each_step_costs_what_is_written_here(warm: Desk) -> None:
    request_id = warm.decide("BTCUSDT")
    found: dict[str, tuple[int, int, list[str]]] = {}
    for name in BY_STEP:
        warm.paper.clear_ledger()
        with counted() as counts:
            assert warm.step(name, request_id)
        found[name] = (len(counts.statements), counts.commits, calls(warm))

    assert found == BY_STEP
    assert sum(statements for statements, _, _ in found.values()) == STATEMENTS
    assert sum(commits for _, commits, _ in found.values()) == COMMITS
    # It should be all of it.
    assert warm.request(request_id).state == "RECORDED"
    assert (warm.order_states(request_id, "STOP"), warm.order_states(request_id, "TARGET")) == (["ACCEPTED"],) * 2


@pytest.mark.django_db(transaction=True)
def test_a_decision_enters_the_inbox_in_one_statement(warm: Desk) -> None:
    with counted() as counts:
        warm.decide("BTCUSDT")

    assert (len(counts.statements), counts.commits) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_chain_is_one_message(desk: Desk, victim: Callable[..., Victim]) -> None:
    request_id = desk.decide("BTCUSDT")

    with victim("chain", str(request_id)) as process:
        process.hear(f"messages {MESSAGES}")
        process.hear("done")

    assert desk.request(request_id).state == "RECORDED"
