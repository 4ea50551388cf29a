"""Positions that somebody else opened, as trades of ours: taken once, covered, and booked from their fills on."""

from decimal import Decimal

import pytest

from execution.domain.authorization import Authorization
from execution.domain.external import ExternalPositions
from execution.domain.kill_switch import KillLevel
from execution.domain.outcomes import PositionReport
from execution.domain.quote_index import quote_index
from execution.models import EntryHold, ExecutionRequest, ExternalPosition, OutboxEvent, PositionSlot, Trade
from execution.protection.external_bracket import BracketTerms, take
from execution.reconciliation.actions import Adopt, ExcessQuantity
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.risk.kill_switch import engage
from execution.risk.policy_store import policy_in_force
from execution.trades.adopt_external import adopt
from tests.integration.test_external_positions import SYMBOL, by_hand, exits, held, stop_by_hand
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

LOT = Decimal("0.010")


@pytest.fixture
def adopting(desk: Desk) -> Desk:
    desk.external = ExternalPositions.ADOPT
    return desk


def adopted(desk: Desk, side: str = "BUY", quantity: str = "0.010") -> Trade:
    """Let a person open a position, and two cycles make it ours."""
    by_hand(desk, side, quantity)
    desk.cycle()
    desk.cycle()
    return Trade.objects.select_related("request").get(state="OPEN")


def taken(desk: Desk) -> tuple[ExecutionRequest, PositionReport]:
    """Let a person open a position and a process take it that does not come to open its trade."""
    by_hand(desk)
    desk.cycle()
    [row] = desk.exchange.positions()
    rules = desk.exchange.rules(SYMBOL)
    assert rules is not None
    terms = BracketTerms(policy=policy_in_force(), rules=rules, index=quote_index(rules.quote_asset, None))
    request = take(ExternalPosition.objects.get().pk, row, terms, now=desk.clock())
    assert request
    return request, row


def entry_fee(desk: Desk) -> Decimal:
    """Return what the person has paid for the first fill of the account."""
    first = min(desk.ledger.fills, key=lambda fill: int(fill["id"]))
    return Decimal(first["commission"])


def test_it_becomes_a_trade_in_the_second_cycle_covered_at_once(adopting: Desk) -> None:
    by_hand(adopting)
    adopting.cycle()
    # One sighting may be an entry of ours on its way.
    assert not Trade.objects.exists()
    result = adopting.cycle()

    assert [type(action) for action in result.actions if isinstance(action, Adopt)] == [Adopt]
    [row] = adopting.exchange.positions()
    trade = Trade.objects.get()
    assert (trade.direction, trade.quantity, trade.entry_price) == ("LONG", LOT, row.entry_price)
    assert (trade.request.source, trade.entry_fees, trade.slippage_fraction) == ("external", 0, 0)
    assert exits(adopting) == [("SELL", LOT, trade.stop_price)]
    assert exits(adopting, "TAKE_PROFIT_MARKET") == [("SELL", LOT, trade.target_price)]
    opened = adopting.event(trade.pk, "trade.opened")
    assert (opened["origin"], opened["strategy"], opened["quantity"]) == ("external", "external", 0.01)
    # It should be an open trade like others from now on, and release the symbol's hold.
    assert not ExternalPosition.objects.exists()
    for _ in range(3):
        assert adopting.cycle().failed == 0
    assert not EntryHold.objects.exists()
    assert Trade.objects.count() == 1
    adopting.check()


def test_its_target_closes_its_books_with_what_came_after_the_adoption(adopting: Desk) -> None:
    trade = adopted(adopting)
    adopting.paper.set_price(SYMBOL, str(trade.target_price + 10))
    adopting.cycle()

    closed = adopting.trade(trade.pk)
    assert (closed.state, closed.close_reason, closed.exited_quantity) == ("CLOSED", "TP", LOT)
    # The fee of the entry was the person's.
    assert closed.net_pnl == adopting.ledger.net_pnl + entry_fee(adopting)
    assert adopting.events(trade.pk)[-1] == "trade.closed"
    assert adopting.ledger.live() == []
    # It should stand a second look, and leave the symbol to the next entry.
    adopting.clock.let_pass(61)
    assert adopting.cycle().failed == 0
    assert not PositionSlot.objects.exists()
    assert adopting.trade(trade.pk).checked_at is not None


def test_what_the_person_closes_is_booked_as_manual(adopting: Desk) -> None:
    trade = adopted(adopting, quantity="0.030")
    by_hand(adopting, "SELL")
    adopting.cycle()
    reduced = adopting.trade(trade.pk)
    assert (reduced.state, reduced.exited_quantity) == ("REDUCED", LOT)
    assert [row[:2] for row in exits(adopting)] == [("SELL", Decimal("0.020"))]

    by_hand(adopting, "SELL", "0.020")
    adopting.cycle()

    closed = adopting.trade(trade.pk)
    assert (closed.state, closed.close_reason) == ("CLOSED", "MANUAL")
    assert closed.net_pnl == adopting.ledger.net_pnl + entry_fee(adopting)
    assert adopting.ledger.live() == []


def test_what_was_closed_before_is_in_no_books(adopting: Desk) -> None:
    by_hand(adopting, quantity="0.030")
    by_hand(adopting, "SELL")
    adopting.cycle()
    adopting.cycle()
    adopting.cycle()

    trade = Trade.objects.get()
    assert (trade.state, trade.quantity, trade.exited_quantity) == ("OPEN", Decimal("0.020"), 0)
    assert not trade.fills.exists()


def test_what_is_added_to_it_is_said_and_not_ours(adopting: Desk) -> None:
    adopted(adopting)
    by_hand(adopting)
    result = adopting.cycle()

    assert [type(action) for action in result.actions] == [ExcessQuantity]
    assert [row[:2] for row in exits(adopting)] == [("SELL", LOT)]


def test_a_turned_position_is_a_closed_trade_and_then_another(adopting: Desk) -> None:
    first = adopted(adopting)
    by_hand(adopting, "SELL", "0.030")
    for _ in range(4):
        adopting.cycle()

    assert adopting.trade(first.pk).state == "CLOSED"
    second = Trade.objects.get(state="OPEN")
    assert (second.direction, second.quantity) == ("SHORT", Decimal("0.020"))
    assert [row[:2] for row in exits(adopting)] == [("BUY", Decimal("0.020"))]
    adopting.check()


def test_a_persons_stop_beside_ours_closes_the_trade_as_manual(adopting: Desk) -> None:
    by_hand(adopting)
    theirs = stop_by_hand(adopting)
    adopting.cycle()
    adopting.cycle()
    assert len(adopting.ledger.live_stops) == 2

    adopting.paper.set_price(SYMBOL, "48990")
    adopting.cycle()

    trade = Trade.objects.get()
    assert (trade.state, trade.close_reason) == ("CLOSED", "MANUAL")
    assert theirs
    assert adopting.ledger.live() == []


def test_protection_that_was_there_stays_when_it_is_adopted(desk: Desk) -> None:
    desk.external = ExternalPositions.PROTECT
    by_hand(desk)
    desk.cycle()
    desk.cycle()
    sent = len(desk.ledger.sent("POST", ALGO_ORDER))
    before = exits(desk)

    desk.external = ExternalPositions.ADOPT
    desk.cycle()

    assert Trade.objects.get().pk == ExecutionRequest.objects.get().pk
    # It should take over the same orders.
    assert exits(desk) == before
    assert len(desk.ledger.sent("POST", ALGO_ORDER)) == sent
    desk.check()


def test_the_kill_switch_closes_it_like_every_trade(adopting: Desk) -> None:
    trade = adopted(adopting)
    engage(KillLevel.FLATTEN, Authorization(by="test", reason="drill"), now=adopting.clock())
    rules = adopting.tools().protection
    work_off_kill_switch(exchange=adopting.exchange, rules=rules, clock=adopting.clock)
    adopting.cycle()

    assert held(adopting) == 0
    assert adopting.trade(trade.pk).close_reason == "KILL_SWITCH"


def test_an_entry_of_ours_that_has_the_symbol_keeps_it(adopting: Desk) -> None:
    request_id = adopting.decide()
    adopting.run(request_id, until="guard_safety")
    by_hand(adopting)
    for _ in range(3):
        adopting.cycle(resume=lambda *_: None)

    assert PositionSlot.objects.get().request_id == request_id
    assert not Trade.objects.exists()


def test_a_trade_of_ours_that_was_just_closed_is_not_adopted_from_an_old_reading(adopting: Desk) -> None:
    request_id = adopting.trade_opened()
    [old] = adopting.exchange.positions()
    by_hand(adopting, "SELL", str(old.quantity))
    adopting.cycle()
    assert adopting.trade(request_id).state == "CLOSED"
    now = adopting.clock()
    ghost = ExternalPosition.objects.create(
        symbol=SYMBOL,
        position_side="BOTH",
        direction="LONG",
        quantity=old.quantity,
        entry_price=old.entry_price,
        since=now,
        seen_at=now,
    )

    rules = adopting.exchange.rules(SYMBOL)
    assert rules is not None
    assert (
        take(
            ghost.pk,
            old,
            BracketTerms(policy=policy_in_force(), rules=rules, index=quote_index(rules.quote_asset, None)),
            now=now,
        )
        is None
    )
    assert ExecutionRequest.objects.get().pk == request_id


def test_in_hedge_mode_both_sides_are_trades(adopting: Desk) -> None:
    adopting.person.change_position_mode("true")
    by_hand(adopting, positionSide="LONG")
    by_hand(adopting, "SELL", "0.020", positionSide="SHORT")
    adopting.cycle()
    adopting.cycle()

    sides = Trade.objects.order_by("position_side").values_list("position_side", "direction", "quantity")
    assert list(sides) == [("LONG", "LONG", LOT), ("SHORT", "SHORT", Decimal("0.020"))]
    assert sorted(row[:2] for row in exits(adopting)) == [("BUY", Decimal("0.020")), ("SELL", LOT)]


def test_a_process_that_died_between_taking_and_opening_is_carried_on(adopting: Desk) -> None:
    request, _ = taken(adopting)

    adopting.cycle()

    assert Trade.objects.get().pk == request.pk
    assert len(exits(adopting)) == 1
    adopting.check()


@pytest.mark.django_db(transaction=True)
def test_two_processes_adopt_it_once(adopting: Desk) -> None:
    by_hand(adopting)
    adopting.cycle()
    desks = [adopting, adopting.another()]
    # Both are in the middle of it at the same time.
    adopting.paper.add_fault(path="/fapi/v1/*", method="POST", action="delay", ms=40, count=4)

    results = at_once([desk.cycle for desk in desks])

    trade = Trade.objects.get()
    assert PositionSlot.objects.get().request_id == trade.pk
    assert OutboxEvent.objects.filter(event_type="trade.opened").count() == 1
    assert sum(result.failed for result in results) == 0
    adopting.clock.let_pass(10)
    adopting.cycle()
    # It should have one stop in the end, whoever has placed it.
    assert exits(adopting) == [("SELL", LOT, trade.stop_price)]


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_open_the_same_trade_open_it_once(adopting: Desk) -> None:
    request, row = taken(adopting)

    opened = at_once([lambda: adopt(request, row, now=adopting.clock())] * 4)

    assert sorted(opened) == [False, False, False, True]
    assert Trade.objects.count() == 1
