"""Positions that somebody else opened on the account: ignored, or given exits of ours for as long as they are there."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.authorization import Authorization
from execution.domain.external import ExternalPositions
from execution.domain.kill_switch import KillLevel
from execution.domain.quote_index import quote_index
from execution.models import EntryHold, ExecutionRequest, ExternalPosition, KillSwitch, Order, PositionSlot, Trade
from execution.protection.external_bracket import BracketTerms, take
from execution.reconciliation.actions import Guard, Leave
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.risk.kill_switch import engage
from execution.risk.policy_store import policy_in_force
from execution.store.retention import requests_of_ended_trades
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

SYMBOL = "BTCUSDT"


def by_hand(desk: Desk, side: str = "BUY", quantity: str = "0.010", **terms: Any) -> None:
    """Trade at market as a person at the same account does."""
    desk.person.new_order(symbol=SYMBOL, side=side, type="MARKET", quantity=quantity, **terms)


def stop_by_hand(desk: Desk, **terms: Any) -> str:
    fields = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": "SELL",
        "type": "STOP_MARKET",
        "triggerPrice": "49000",
    }
    fields |= {"quantity": "0.010", "reduceOnly": "true", "clientAlgoId": "web_stop"} | terms
    desk.person.sign_request("POST", ALGO_ORDER, {name: value for name, value in fields.items() if value is not None})
    return "web_stop"


def exits(desk: Desk, kind: str = "STOP_MARKET") -> list[tuple[str, Decimal, Decimal]]:
    """Return the resting conditional orders of ours: side, quantity, trigger price."""
    return [
        (row["side"], Decimal(row["quantity"]), Decimal(row["triggerPrice"]))
        for row in desk.ledger.live(kind, SYMBOL)
        if row["clientAlgoId"].startswith("es1-")
    ]


def held(desk: Desk) -> Decimal:
    return desk.ledger.positions.get(SYMBOL, Decimal(0))


@pytest.fixture
def protecting(desk: Desk) -> Desk:
    desk.external = ExternalPositions.PROTECT
    return desk


def test_by_default_it_is_counted_and_said_and_not_touched(desk: Desk) -> None:
    by_hand(desk)

    desk.cycle()
    desk.cycle()

    assert desk.ledger.live() == []
    assert EntryHold.objects.get().reason_code == "POSITION_NOT_OURS"
    seen = ExternalPosition.objects.get()
    assert (seen.direction, seen.quantity, seen.readings, seen.request) == ("LONG", Decimal("0.010"), 2, None)
    # It should be forgotten once it is gone.
    by_hand(desk, "SELL")
    desk.cycle()
    assert not ExternalPosition.objects.exists()


def test_it_gets_the_policys_stop_and_target_in_the_second_cycle(protecting: Desk) -> None:
    by_hand(protecting)
    entry = Decimal(protecting.person.get_position_risk(symbol=SYMBOL)[0]["entryPrice"])

    protecting.cycle()
    # One sighting may be an entry of ours on its way.
    assert protecting.ledger.live() == []
    result = protecting.cycle()

    assert [type(action) for action in result.actions if isinstance(action, Guard)] == [Guard]
    tick = Decimal("0.1")
    stop = (entry * Decimal("0.975")) // tick * tick
    target = (entry * Decimal("1.06")) // tick * tick
    assert exits(protecting) == [("SELL", Decimal("0.010"), stop)]
    assert exits(protecting, "TAKE_PROFIT_MARKET") == [("SELL", Decimal("0.010"), target)]
    # It should book no trade, go on holding entries, and place nothing more.
    assert not Trade.objects.exists()
    assert ExecutionRequest.objects.get().source == "external"
    sent = len(protecting.ledger.sent("POST", ALGO_ORDER))
    protecting.cycle()
    assert len(protecting.ledger.sent("POST", ALGO_ORDER)) == sent == 2
    assert EntryHold.objects.get().reason_code == "POSITION_NOT_OURS"
    assert protecting.run(protecting.decide()) == "DENIED"


def test_a_stop_of_the_person_counts_and_ours_steps_in_when_it_goes(protecting: Desk) -> None:
    by_hand(protecting)
    theirs = stop_by_hand(protecting)
    for _ in range(3):
        protecting.cycle()
    # It should never place a second stop.
    assert exits(protecting) == []

    protecting.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": theirs})
    protecting.cycle()
    assert [row[:2] for row in exits(protecting)] == [("SELL", Decimal("0.010"))]

    # And make way for theirs.
    stop_by_hand(protecting, quantity=None, reduceOnly=None, closePosition="true")
    protecting.cycle()
    assert exits(protecting) == []
    assert [row["clientAlgoId"] for row in protecting.ledger.live_stops] == ["web_stop"]


def test_a_stop_for_a_part_leaves_the_rest_to_ours(protecting: Desk) -> None:
    by_hand(protecting)
    stop_by_hand(protecting, quantity="0.004")
    protecting.cycle()
    protecting.cycle()

    assert [row[:2] for row in exits(protecting)] == [("SELL", Decimal("0.006"))]


@pytest.mark.parametrize(("side", "quantity", "left"), [("BUY", "0.005", "0.015"), ("SELL", "0.004", "0.006")])
def test_our_stop_follows_the_size(protecting: Desk, side: str, quantity: str, left: str) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    [(_, _, price)] = exits(protecting)

    by_hand(protecting, side, quantity)
    protecting.cycle()

    # One stop, at its price, and the target with it.
    assert exits(protecting) == [("SELL", Decimal(left), price)]
    assert [row[:2] for row in exits(protecting, "TAKE_PROFIT_MARKET")] == [("SELL", Decimal(left))]


def test_our_exits_go_when_two_readings_have_missed_it(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    by_hand(protecting, "SELL")

    protecting.cycle()
    # One empty reading is not flat.
    assert len(exits(protecting)) == 1
    result = protecting.cycle()

    assert [type(action) for action in result.actions if isinstance(action, Leave)] == [Leave]
    assert protecting.ledger.live() == []
    assert not ExternalPosition.objects.exists()
    assert not PositionSlot.objects.exists()
    assert set(Order.objects.exclude(purpose="ENTRY").values_list("state", flat=True)) == {"CANCELED"}
    # It should give the symbol back.
    protecting.cycle()
    assert not EntryHold.objects.exists()
    assert protecting.run(protecting.decide()) == "RECORDED"
    protecting.check()


def test_a_reading_without_positions_cancels_nothing(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    empty = {"action": "reply", "status": 200, "body": [], "execute": False}
    protecting.paper.add_fault(path="/fapi/v3/positionRisk", method="GET", **empty)

    protecting.cycle()
    assert ExternalPosition.objects.get().flat_readings == 1
    protecting.cycle()

    assert len(exits(protecting)) == 1
    assert ExternalPosition.objects.get().flat_readings == 0


def test_a_turned_position_gets_exits_on_its_other_side(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    by_hand(protecting, "SELL", "0.030")

    for _ in range(5):
        protecting.cycle()

    # It should leave nothing of the old side, and never have traded.
    assert [row[:2] for row in exits(protecting)] == [("BUY", Decimal("0.020"))]
    assert held(protecting) == Decimal("-0.020")
    assert protecting.ledger.sent("POST", "/fapi/v1/order")[-1]["quantity"] == "0.030"


def test_a_position_beyond_its_default_stop_is_not_closed(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.paper.set_price(SYMBOL, "45000")
    protecting.cycle()
    protecting.cycle()

    # It should lie below the market instead of closing at once what nobody asked to close.
    assert held(protecting) == Decimal("0.010")
    [(_, _, price)] = exits(protecting)
    assert price == Decimal("43875.0")


def test_a_stop_that_is_refused_leaves_the_position_as_it_was(protecting: Desk) -> None:
    by_hand(protecting)
    refusal = {"code": -4045, "msg": "Reach max stop order limit."}
    fault: dict[str, Any] = {"action": "reply", "status": 400, "body": refusal, "execute": False, "count": None}
    protecting.paper.add_fault(path=ALGO_ORDER, method="POST", **fault)
    for _ in range(3):
        protecting.cycle()
    assert held(protecting) == Decimal("0.010")
    assert exits(protecting) == []

    protecting.paper.clear_faults()
    protecting.clock.let_pass(60)
    protecting.cycle()
    assert len(exits(protecting)) == 1


def test_our_stop_closes_it_and_no_trade_is_booked(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    protecting.paper.set_price(SYMBOL, "48000")
    for _ in range(3):
        protecting.cycle()

    assert held(protecting) == 0
    assert protecting.ledger.live() == []
    assert not Trade.objects.exists()
    assert not ExternalPosition.objects.exists()


def test_the_kill_switch_does_not_close_what_is_only_protected(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    engage(KillLevel.FLATTEN, Authorization(by="test", reason="drill"), now=protecting.clock())

    rules = protecting.tools().protection
    done = work_off_kill_switch(exchange=protecting.exchange, rules=rules, clock=protecting.clock)

    assert done
    assert held(protecting) == Decimal("0.010")
    assert len(exits(protecting)) == 1
    # It should name the position, and not call it ours.
    report = KillSwitch.objects.get().report
    assert [line["symbol"] for line in report["positions_not_ours"]] == [SYMBOL]
    assert report["positions_open"] == []


def test_a_position_that_our_own_entry_may_explain_is_never_taken(protecting: Desk) -> None:
    request_id = protecting.decide()
    protecting.run(request_id, until="place_order")
    # As after an outcome that was wrongly taken for absence: our books have given the order up.
    Order.objects.filter(request_id=request_id).update(state="NOT_ACCEPTED")
    ExecutionRequest.objects.filter(pk=request_id).update(state="NOT_ACCEPTED")
    for _ in range(3):
        protecting.cycle()

    # It should wait: an entry of ours was sent a moment ago, and its claim is still there.
    assert ExternalPosition.objects.get().request is None
    assert ExecutionRequest.objects.get().pk == request_id


def test_an_entry_of_ours_that_has_the_symbol_keeps_it(protecting: Desk) -> None:
    request_id = protecting.decide()
    protecting.run(request_id, until="guard_safety")
    by_hand(protecting)
    for _ in range(3):
        protecting.cycle(resume=lambda *_: None)

    # The claim of an approved entry, not yet sent, is enough; and nothing is left of the attempt.
    assert PositionSlot.objects.get().request_id == request_id
    assert ExternalPosition.objects.get().readings == 3
    assert protecting.ledger.live() == []
    assert ExecutionRequest.objects.get().pk == request_id


def test_what_was_written_for_it_may_go_when_it_has_grown_old(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    protecting.cycle()
    much_later = protecting.clock() + timedelta(days=400)
    # It should be kept while the position is there, however old.
    assert not requests_of_ended_trades(before=much_later).exists()

    by_hand(protecting, "SELL")
    protecting.cycle()
    protecting.cycle()

    assert requests_of_ended_trades(before=much_later).get().source == "external"


def test_in_hedge_mode_each_side_is_a_position_of_its_own(protecting: Desk) -> None:
    protecting.person.change_position_mode(dualSidePosition="true")
    by_hand(protecting, positionSide="LONG")
    by_hand(protecting, "SELL", "0.020", positionSide="SHORT")
    protecting.cycle()
    protecting.cycle()

    assert sorted(row[:2] for row in exits(protecting)) == [("BUY", Decimal("0.020")), ("SELL", Decimal("0.010"))]

    by_hand(protecting, "SELL", positionSide="LONG")
    protecting.cycle()
    protecting.cycle()
    # It should leave the other side's alone.
    assert [row[:2] for row in exits(protecting)] == [("BUY", Decimal("0.020"))]


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_take_it_at_once_take_it_once(protecting: Desk) -> None:
    by_hand(protecting)
    protecting.cycle()
    external = ExternalPosition.objects.get()
    [row] = protecting.exchange.positions()
    rules = protecting.exchange.rules(SYMBOL)
    assert rules is not None
    terms = BracketTerms(policy=policy_in_force(), rules=rules, index=quote_index(rules.quote_asset, None))

    taken = at_once([lambda: take(external.pk, row, terms, now=protecting.clock())] * 4)

    assert len([request for request in taken if request]) == 1
    assert ExecutionRequest.objects.count() == PositionSlot.objects.count() == 1
