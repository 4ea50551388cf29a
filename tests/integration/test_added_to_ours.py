"""What others add to a position of ours is a position of theirs beside it: said, or given exits of its own."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.external import ExternalPositions
from execution.models import ExecutionRequest, ExternalPosition, Order, PositionSlot, Trade
from execution.queries.positions import held_positions
from execution.reconciliation.actions import ExcessQuantity
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
SYMBOL = "BTCUSDT"
OURS, ADDED = Decimal("0.009"), Decimal("0.004")


@pytest.fixture
def protecting(desk: Desk) -> Desk:
    desk.external = ExternalPositions.PROTECT
    return desk


def by_hand(desk: Desk, side: str = "BUY", quantity: Decimal = ADDED) -> None:
    desk.person.new_order(symbol=SYMBOL, side=side, type="MARKET", quantity=str(quantity))


def added_to(desk: Desk, **fields: Any) -> UUID:
    """Open a trade, let a person add to it, and let the monitor see that twice; return the trade's id."""
    request_id = desk.trade_opened(SYMBOL, **fields)
    # What moved within the last minute may still explain what is seen.
    desk.clock.let_pass(61)
    by_hand(desk)
    desk.cycle()
    desk.cycle()
    return request_id


def exits(desk: Desk, kind: str = "STOP_MARKET") -> list[Decimal]:
    """Return the sizes of our resting exits."""
    return sorted(Decimal(row["quantity"]) for row in desk.ledger.live(kind, SYMBOL))


def beside() -> ExecutionRequest:
    return ExecutionRequest.objects.get(source="external")


def test_by_default_it_is_said_and_not_touched(desk: Desk) -> None:
    added_to(desk)

    assert exits(desk) == [OURS]
    assert list(desk.told_larger()) == [SYMBOL]
    assert ExternalPosition.objects.get().request is None


def test_it_gets_exits_of_its_own_in_the_second_cycle(protecting: Desk) -> None:
    request_id = added_to(protecting)

    assert exits(protecting) == exits(protecting, "TAKE_PROFIT_MARKET") == [ADDED, OURS]
    # It should leave the trade as it was, take no claim beside the trade's, and be no alarm any more.
    assert (protecting.trade(request_id).quantity, PositionSlot.objects.get().request_id) == (OURS, request_id)
    protecting.cycle()
    assert protecting.told_larger() == {}
    [position] = held_positions()
    assert (position.position.quantity, position.cover.has_tp_sl) == (OURS + ADDED, True)
    # And place nothing more.
    assert Order.objects.filter(purpose="STOP").count() == 2


def test_what_is_added_to_a_short_is_covered_by_buying(protecting: Desk) -> None:
    request_id = protecting.trade_opened(SYMBOL, "sell")
    protecting.clock.let_pass(61)
    by_hand(protecting, "SELL")
    protecting.cycle()
    protecting.cycle()

    assert exits(protecting) == [ADDED, protecting.trade(request_id).quantity]
    assert {row["side"] for row in protecting.ledger.live_stops} == {"BUY"}


def test_one_sighting_is_not_enough_and_a_trade_that_moved_lately_explains_it(protecting: Desk) -> None:
    protecting.trade_opened(SYMBOL)
    by_hand(protecting)

    for _ in range(3):
        protecting.cycle()

    assert exits(protecting) == [OURS]
    protecting.clock.let_pass(61)
    protecting.cycle()
    assert exits(protecting) == [ADDED, OURS]


def test_its_exits_follow_its_size_and_go_with_it(protecting: Desk) -> None:
    request_id = added_to(protecting)
    by_hand(protecting)
    protecting.cycle()
    assert exits(protecting) == [2 * ADDED, OURS]

    by_hand(protecting, "SELL", 2 * ADDED)
    protecting.cycle()
    # One reading without it is not proof.
    assert len(exits(protecting)) == 2
    protecting.cycle()

    assert exits(protecting) == exits(protecting, "TAKE_PROFIT_MARKET") == [OURS]
    assert not ExternalPosition.objects.exists()
    assert protecting.trade(request_id).state == "OPEN"


def test_its_stop_closes_what_was_added_and_nothing_of_the_trade(protecting: Desk) -> None:
    request_id = added_to(protecting, stop_loss=46000.0)
    # Its default lies 2.5 % below the entry price, ours 8 %.
    protecting.paper.set_price(SYMBOL, "48000")
    for _ in range(3):
        protecting.cycle()

    trade = protecting.trade(request_id)
    assert (trade.state, trade.exited_quantity, trade.fills.filter(entry=False).count()) == ("OPEN", 0, 0)
    assert (protecting.ledger.positions[SYMBOL], exits(protecting)) == (OURS, [OURS])


def test_it_stays_protected_when_the_trade_ends_and_the_symbol_is_its_own_then(protecting: Desk) -> None:
    request_id = added_to(protecting, take_profit=51000.0)
    protecting.paper.set_price(SYMBOL, "51000")
    for _ in range(2):
        protecting.cycle()

    trade = protecting.trade(request_id)
    assert (trade.state, trade.close_reason, trade.exited_quantity) == ("CLOSED", "TP", OURS)
    assert (protecting.ledger.positions[SYMBOL], exits(protecting)) == (ADDED, [ADDED])
    assert PositionSlot.objects.get().request_id == beside().pk


def test_it_is_adopted_when_the_trade_ends(protecting: Desk) -> None:
    protecting.external = ExternalPositions.ADOPT
    request_id = added_to(protecting, take_profit=51000.0)
    # It should have exits until then: beside a trade it cannot be one.
    assert (exits(protecting), Trade.objects.get().pk) == ([ADDED, OURS], request_id)

    protecting.paper.set_price(SYMBOL, "51000")
    for _ in range(3):
        protecting.cycle()

    adopted = Trade.objects.exclude(pk=request_id).get()
    assert (adopted.state, adopted.quantity, adopted.request.source) == ("OPEN", ADDED, "external")
    assert (exits(protecting), PositionSlot.objects.get().request_id) == ([ADDED], adopted.pk)


def test_a_resting_entry_of_ours_may_explain_it(protecting: Desk) -> None:
    request_id = protecting.signal(SYMBOL, price="49990")
    protecting.run(request_id)
    client_order_id = Order.objects.get(request_id=request_id, purpose="ENTRY").client_order_id
    protecting.paper.control("POST", "orders/fill", {"order": client_order_id, "fraction": 0.5})
    protecting.cycle()
    protecting.clock.let_pass(61)
    by_hand(protecting)

    for _ in range(3):
        result = protecting.cycle()

    # It should wait: the rest may fill at any moment, and would pass for somebody else's.
    assert not [action for action in result.actions if isinstance(action, ExcessQuantity)]
    assert not ExternalPosition.objects.exists()
    assert exits(protecting) == [Decimal("0.005")]
