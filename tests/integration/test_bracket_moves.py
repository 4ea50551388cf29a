"""Covers that grow, stops that move, exits by time, and hands that trade beside ours: exact figures after each."""

from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from execution.domain import policy as keys
from execution.domain.reasons import CloseReason
from execution.models import AuditEvent, BracketLeg, Order, PositionSlot
from execution.models.bracket import LegOrigin
from execution.protection.amend_legs import move_stop
from execution.reconciliation.actions import CloseInTime, ReportExternal
from execution.risk.policy_store import set_policy_value
from tests.integration.test_bracket_targets import THREE_TARGETS, opened, resting
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER

D = Decimal


def stops(desk: Desk) -> list[tuple[Decimal, Decimal]]:
    return [(price, quantity) for _, price, quantity in resting(desk, "STOP_MARKET")]


def by_hand(desk: Desk, side: str, quantity: str, **fields: Any) -> None:
    desk.person.new_order(symbol="BTCUSDT", side=side, type="MARKET", quantity=quantity, **fields)


# Partial fills of a resting entry


def fill_part(desk: Desk, request_id: UUID, quantity: str) -> None:
    """Let this much of the resting entry trade at its limit, and nothing else move."""
    entry = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": quantity})


def test_limit_entry_filled_in_five_parts_is_covered_to_the_step_after_each(desk: Desk) -> None:
    targets = [{"price": "51000", "share": "0.5"}, {"price": "52000", "share": "0.5"}]
    request_id = desk.signal(price="49500", stop_loss="49000", take_profits=targets, trailing={"callback_percent": "1"})
    assert desk.run(request_id) == "ACCEPTED"

    covers = []
    for _ in range(5):
        fill_part(desk, request_id, "0.002")
        desk.clock.let_pass(3)
        desk.cycle()
        filled = desk.order(request_id, "ENTRY").executed_quantity
        assert stops(desk) == [(D(49000), filled)]
        assert desk.trade(request_id).quantity == filled
        covers.append([quantity for _, _, quantity in resting(desk, "TAKE_PROFIT_MARKET")])

    assert covers == [[D(part), D(part)] for part in ("0.001", "0.002", "0.003", "0.004", "0.005")]
    # It should place the trailing stop once, when the entry can fill no further.
    [trailing] = desk.request(request_id).orders.filter(purpose="TRAILING")
    assert trailing.quantity == D("0.010")
    assert (desk.request(request_id).state, desk.trade(request_id).fills.count()) == ("RECORDED", 5)
    assert desk.events(request_id).count("trade.opened") == 1
    desk.check()


def test_cover_never_drops_while_it_grows(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    for quantity in ("0.004", "0.006"):
        fill_part(desk, request_id, quantity)
        desk.clock.let_pass(3)
        desk.cycle()

    # It should have placed the larger stop before it cancelled the smaller one.
    calls = [
        (row["method"], row["params"].get("quantity"))
        for row in desk.ledger.requests
        if row["path"] == ALGO_ORDER
        and row["method"] in {"POST", "DELETE"}
        and row["params"]["clientAlgoId"].startswith("es1-s")
    ]
    assert calls == [("POST", "0.004"), ("POST", "0.01"), ("DELETE", None)]


def test_part_that_was_seen_and_not_covered_before_a_death_is_covered_by_the_next_cycle(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    fill_part(desk, request_id, "0.004")
    # The evidence was stored, and the process died before cover and booking.
    Order.objects.filter(request_id=request_id).update(state="PARTIALLY_FILLED", executed_quantity=D("0.004"))

    desk.clock.let_pass(3)
    desk.cycle()

    assert stops(desk) == [(D(49000), D("0.004"))]
    assert desk.trade(request_id).quantity == D("0.004")
    desk.check()


def test_partly_filled_entry_that_is_cancelled_keeps_its_part(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    fill_part(desk, request_id, "0.004")
    entry = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/end", {"order": entry})

    desk.clock.let_pass(3)
    desk.cycle()

    assert (desk.request(request_id).state, desk.trade(request_id).quantity) == ("RECORDED", D("0.004"))
    assert stops(desk) == [(D(49000), D("0.004"))]
    desk.check()


def test_rest_of_an_entry_is_cancelled_when_its_filled_part_is_closed(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000", take_profit="51000")
    desk.run(request_id)
    fill_part(desk, request_id, "0.004")
    desk.clock.let_pass(3)
    desk.cycle()

    desk.paper.set_price("BTCUSDT", "51000")
    desk.clock.let_pass(3)
    desk.cycle()

    # It should be one life: what rests behind a closed position would open another one.
    assert desk.trade(request_id).state == "CLOSED"
    assert desk.order(request_id, "ENTRY").state == "CANCELED"
    assert (desk.ledger.live(), desk.ledger.positions) == ([], {})
    desk.clock.let_pass(3)
    desk.cycle()
    assert not PositionSlot.objects.exists()
    desk.check()


# Refused stops


def refuse(desk: Desk, code: int, **match: str) -> None:
    fault = {"action": "refuse", "code": code, "match": match} if match else {"action": "refuse", "code": code}
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", count=None, **fault)


def stops_sent(desk: Desk) -> list[str]:
    """Return the trigger prices of all stops that were sent, refused ones too."""
    sent = desk.ledger.sent("POST", ALGO_ORDER)
    return [order["triggerPrice"] for order in sent if order["type"] == "STOP_MARKET"]


@pytest.mark.parametrize("code", [-4120, -2022, -4164, -4045])
def test_stop_that_is_refused_for_good_closes_the_position(desk: Desk, code: int) -> None:
    desk.close_what_has_no_stop()
    refuse(desk, code)
    request_id = desk.signal(stop_loss="49000")

    desk.run(request_id)
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "PROTECTION_FAILED", desk.ledger.net_pnl)
    assert (desk.ledger.positions, desk.ledger.live()) == ({}, [])
    assert len([row for row in desk.ledger.sent("POST", ALGO_ORDER) if row["type"] == "STOP_MARKET"]) == 1
    desk.check()


def test_stop_whose_level_has_passed_closes_the_position_as_stopped(desk: Desk) -> None:
    refuse(desk, -2021)
    request_id = desk.signal(stop_loss="49000")

    desk.run(request_id)
    desk.cycle()

    assert (desk.trade(request_id).close_reason, desk.ledger.positions) == ("SL", {})
    # At its level, and a thousandth beyond it; never any farther.
    assert stops_sent(desk) == ["49000", "48951"]
    desk.check()


def test_stop_of_a_short_whose_level_has_passed_is_sent_once_more_above_it(desk: Desk) -> None:
    refuse(desk, -2021)
    request_id = desk.signal(side="sell", stop_loss="51000")

    desk.run(request_id)
    desk.cycle()

    assert stops_sent(desk) == ["51000", "51051"]
    assert (desk.trade(request_id).close_reason, desk.ledger.positions) == ("SL", {})


def test_a_spike_past_the_stop_does_not_close_the_position(desk: Desk) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, count=1)
    request_id = desk.signal(stop_loss="49000")
    desk.run(request_id)
    desk.cycle()

    # It should be covered a little beyond the level,
    assert (stops(desk), desk.trade(request_id).state) == ([(D(48951), D("0.010"))], "OPEN")

    # and at its level again when the exchange takes it there: the new one first, then the old one gone.
    desk.clock.let_pass(11)
    desk.cycle()
    assert stops(desk) == [(D(49000), D("0.010"))]
    assert stops_sent(desk) == ["49000", "48951", "49000"]
    desk.check()


def test_a_level_that_stays_passed_closes_the_position(desk: Desk) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, count=1)
    request_id = desk.signal(stop_loss="49000")
    desk.run(request_id)
    refuse(desk, -2021, type="STOP_MARKET")

    desk.clock.let_pass(11)
    desk.cycle()
    desk.cycle()

    assert stops_sent(desk) == ["49000", "48951", "49000"]
    assert (desk.trade(request_id).close_reason, desk.ledger.positions, desk.ledger.live()) == ("SL", {}, [])
    desk.check()


def test_without_a_buffer_a_passed_level_closes_at_once(desk: Desk) -> None:
    set_policy_value(keys.STOP_BUFFER, D(0), source="test", now=desk.clock())
    refuse(desk, -2021)
    request_id = desk.signal(stop_loss="49000")

    desk.run(request_id)
    desk.cycle()

    assert (stops_sent(desk), desk.trade(request_id).close_reason) == (["49000"], "SL")


def test_targets_make_way_for_a_growing_stop_when_the_exchange_takes_no_more_orders(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000", take_profits=THREE_TARGETS)
    desk.run(request_id)
    fill_part(desk, request_id, "0.005")
    desk.clock.let_pass(3)
    desk.cycle()
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-4045, count=1)

    fill_part(desk, request_id, "0.005")
    desk.clock.let_pass(3)
    desk.cycle()

    # It should not have closed: the stop took a target's place, and the targets came back behind it.
    assert stops(desk) == [(D(49000), D("0.010"))]
    assert [quantity for _, _, quantity in resting(desk, "TAKE_PROFIT_MARKET")] == [D("0.005"), D("0.003"), D("0.002")]
    assert desk.trade(request_id).state == "OPEN"
    desk.check()


def test_better_stop_that_is_refused_leaves_the_old_one_in_charge(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS)
    refuse(desk, -1111)

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # It should keep the stop that covers more than is left, and try again later.
    assert stops(desk) == [(D(49000), D("0.010"))]
    assert (desk.trade(request_id).state, desk.ledger.positions) == ("REDUCED", {"BTCUSDT": D("0.005")})
    desk.paper.clear_faults()
    desk.clock.let_pass(11)
    desk.cycle()
    assert stops(desk) == [(D(49000), D("0.005"))]
    desk.check()


# Break-even


def test_first_target_moves_the_stop_to_the_entry_and_its_fees(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS, break_even=True)

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # Entry 50000.1 and a tenth of a percent for the fees: 50050.1001, up to the tick.
    assert stops(desk) == [(D("50050.2"), D("0.005"))]
    moved = AuditEvent.objects.get(entity="trade", entity_id=str(request_id), to_state="LEG_MOVED")
    assert (moved.trigger, D(moved.details["from"]), D(moved.details["to"])) == (
        "leg_moved_break_even",
        D(49000),
        D("50050.2"),
    )

    desk.paper.set_price("BTCUSDT", "50050.2")
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "BREAK_EVEN", desk.ledger.net_pnl)
    assert trade.net_pnl is not None
    assert trade.net_pnl > 0
    assert desk.event(request_id, "trade.closed")["reason"] == "BREAK_EVEN"
    desk.check()


def test_second_target_does_not_move_the_stop_again(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS, break_even=True)
    for price in ("51000", "52000"):
        desk.paper.set_price("BTCUSDT", price)
        desk.cycle()

    assert stops(desk) == [(D("50050.2"), D("0.002"))]
    assert AuditEvent.objects.filter(entity_id=str(request_id), to_state="LEG_MOVED").count() == 1


def test_short_position_breaks_even_below_its_entry(desk: Desk) -> None:
    targets = [{"price": "49000", "share": "0.5"}]
    request_id = desk.signal(side="sell", stop_loss="51000", take_profits=targets, break_even=True)
    desk.run(request_id)

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()

    # Entry 49999.9 less a tenth of a percent: 49949.9001, down to the tick.
    assert stops(desk) == [(D("49949.9"), D("0.005"))]
    desk.check()


def test_stop_that_lies_beyond_the_entry_already_is_not_loosened(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS, break_even=True)
    BracketLeg.objects.filter(bracket_id=request_id, purpose="STOP").update(price=D(50500))
    desk.paper.set_price("BTCUSDT", "50800")
    desk.cycle()

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    assert stops(desk) == [(D(50500), D("0.005"))]


# Defaults from the real entry price


def test_defaulted_exits_lie_at_their_distance_from_the_real_entry(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    # The price runs away between the guard's look at the book and the order.
    desk.paper.set_price("BTCUSDT", "50100")
    desk.run(request_id)
    desk.cycle()

    # Planned for 50000.1 at 48750 and 53000.1, on ticks; for 50100.1 that is 48847.4998 and 53106.0997.
    assert desk.trade(request_id).entry_price == D("50100.1")
    assert resting(desk) == [
        ("STOP_MARKET", D("48847.4"), D("0.009")),
        ("TAKE_PROFIT_MARKET", D("53106.0"), D("0.009")),
    ]
    desk.check()


def test_defaulted_stop_never_moves_away(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.paper.set_price("BTCUSDT", "49900")
    desk.run(request_id)
    desk.cycle()

    # It was meant for 50000.1 and stays, the target follows the better entry.
    assert [(kind, price) for kind, price, _ in resting(desk)] == [
        ("STOP_MARKET", D(48750)),
        ("TAKE_PROFIT_MARKET", D("52894.1")),
    ]


# Time exit


def test_position_is_closed_when_its_time_is_up(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS, time_exit_seconds=600)
    desk.clock.let_pass(590)
    desk.cycle()
    assert desk.trade(request_id).state == "OPEN"

    desk.clock.let_pass(11)
    result = desk.cycle()

    assert CloseInTime(trade_id=request_id, reason=CloseReason.TIME) in result.actions
    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "TIME", ledger.net_pnl)
    assert (ledger.positions, ledger.live()) == ({}, [])
    [sent] = [row for row in ledger.sent("POST", ORDER) if row.get("reduceOnly") == "true"]
    assert (sent["type"], sent["quantity"]) == ("MARKET", "0.01")
    assert desk.event(request_id, "trade.closed")["reason"] == "TIME"
    desk.check()


def test_time_exit_cancels_what_rests_of_the_entry_first(desk: Desk) -> None:
    request_id = desk.signal(price="49500", stop_loss="49000", time_exit_seconds=600)
    desk.run(request_id)
    fill_part(desk, request_id, "0.004")
    desk.clock.let_pass(3)
    desk.cycle()

    desk.clock.let_pass(700)
    desk.cycle()
    desk.clock.let_pass(3)
    desk.cycle()

    assert (desk.trade(request_id).close_reason, desk.trade(request_id).quantity) == ("TIME", D("0.004"))
    assert (desk.order(request_id, "ENTRY").state, desk.ledger.positions) == ("CANCELED", {})
    assert desk.request(request_id).state == "RECORDED"
    desk.check()


def test_time_exit_whose_answer_is_lost_closes_once(desk: Desk) -> None:
    request_id = opened(desk, time_exit_seconds=600)
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after")
    for _ in range(3):
        desk.clock.let_pass(601)
        desk.cycle()

    assert (desk.trade(request_id).close_reason, desk.ledger.positions) == ("TIME", {})
    assert Order.objects.filter(request_id=request_id, purpose="CLOSE").count() == 1
    desk.check()


# By hand


def test_manual_reduce_sizes_all_legs_down(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS)

    by_hand(desk, "SELL", "0.004", reduceOnly="true")
    desk.cycle()

    # 0.006 are left: half, three tenths and two tenths of it, on steps.
    assert stops(desk) == [(D(49000), D("0.006"))]
    assert [quantity for _, _, quantity in resting(desk, "TAKE_PROFIT_MARKET")] == [D("0.003"), D("0.001"), D("0.002")]
    assert (desk.trade(request_id).state, desk.trade(request_id).exited_quantity) == ("REDUCED", D("0.004"))
    desk.check()


def test_manual_flip_closes_ours_with_its_part_of_the_fill(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS)

    by_hand(desk, "SELL", "0.025")
    result = desk.cycle()

    # It should book 0.010 of the 0.025 as ours: price and PnL of the fill, two fifths of its fee.
    trade, flip = desk.trade(request_id), desk.ledger.fills[-1]
    exit_fill = trade.fills.get(entry=False)
    assert (trade.state, trade.close_reason, trade.exit_price) == ("CLOSED", "MANUAL", D("49999.9"))
    assert (exit_fill.quantity, exit_fill.order) == (D("0.010"), None)
    assert exit_fill.commission == D(flip["commission"]) * 2 / 5
    assert trade.gross_pnl == D(flip["realizedPnl"]) == D("-0.00200000")
    # It should leave no leg of ours beside the position that is not ours, and report that one.
    assert (desk.ledger.live(), desk.ledger.positions) == ([], {"BTCUSDT": D("-0.015")})
    assert not PositionSlot.objects.exists()
    desk.clock.let_pass(10)
    result = desk.cycle()
    assert [type(action) for action in result.actions] == [ReportExternal]


def test_manual_add_and_reduce_beside_ours_are_not_taken_for_its_exit(desk: Desk) -> None:
    request_id = opened(desk, take_profit="51000")
    by_hand(desk, "BUY", "0.020")
    result = desk.cycle()
    # It should report the surplus and touch nothing.
    assert [type(action).__name__ for action in result.actions] == ["ExcessQuantity"]
    by_hand(desk, "SELL", "0.020")
    desk.cycle()
    assert desk.trade(request_id).state == "OPEN"

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # It should close with the target's own fill.
    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.exit_price) == ("CLOSED", "TP", D("50999.9"))


def test_what_is_worth_less_than_an_opening_order_keeps_its_exits(desk: Desk) -> None:
    request_id = opened(desk, symbol="BTCUSDT", take_profit="51000")
    desk.paper.control("POST", "symbols", {"symbol": "BTCUSDT", "min_notional": "100"})

    by_hand(desk, "SELL", "0.009", reduceOnly="true")
    desk.cycle()
    desk.cycle()

    # 0.001 at 50000.1 are 50 USD: less than an opening order must have, and reducing is exempt.
    assert desk.trade(request_id).state == "REDUCED"
    assert [D(row["quantity"]) for row in desk.ledger.live()] == [D("0.001"), D("0.001")]
    desk.check()


# Lives


def test_symbol_is_given_back_only_when_the_last_leg_is_over(desk: Desk) -> None:
    first = opened(desk, take_profit="51000")
    stop = desk.order(first, "STOP").client_order_id
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="drop_before", count=None)
    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # The trade is closed and its stop still rests: it would reduce the next position of this symbol.
    assert desk.trade(first).state == "CLOSED"
    assert [row["clientAlgoId"] for row in desk.ledger.live_stops] == [stop]
    second = desk.signal(stop_loss="49000")
    assert desk.run(second) == "DENIED"
    assert desk.request(second).reason_code == "OPEN_TRADE_EXISTS"

    desk.paper.clear_faults()
    desk.clock.let_pass(10)
    desk.cycle()

    assert desk.ledger.live() == []
    assert desk.run(desk.signal(stop_loss="49500")) == "RECORDED"
    desk.check()


def test_stop_at_the_exchange_never_drops_below_the_position_through_a_whole_life(desk: Desk) -> None:
    request_id = opened(desk, take_profits=THREE_TARGETS, break_even=True)
    for price in ("51000", "52000", "52500"):
        desk.paper.set_price("BTCUSDT", price)
        desk.cycle()

    # Each stop was placed before the one that it replaces was cancelled.
    orders = Order.objects.filter(request_id=request_id, purpose="STOP").order_by("sequence")
    rows = {row["clientAlgoId"]: row for row in desk.ledger.algo_orders}
    for older, newer in pairwise(order.client_order_id for order in orders):
        assert rows[newer]["createTime"] <= rows[older]["updateTime"]
        assert rows[older]["algoStatus"] == "CANCELED"


# Hedge mode


def hedged(desk: Desk) -> None:
    desk.person.change_position_mode("true")


def test_in_hedge_mode_each_leg_fits_its_side_and_never_opens_the_other(desk: Desk) -> None:
    hedged(desk)
    request_id = opened(desk, take_profits=THREE_TARGETS, trailing={"callback_percent": "10"})
    legs = [(row["positionSide"], row["side"]) for row in desk.ledger.live()]
    assert set(legs) == {("LONG", "SELL")}
    assert len(legs) == 5

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # It should size stop and trailing stop down: the exchange refuses what is larger than the position.
    assert stops(desk) == [(D(49000), D("0.005"))]
    assert [D(row["quantity"]) for row in desk.ledger.live("TRAILING_STOP_MARKET")] == [D("0.005")]

    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "SL", ledger.net_pnl)
    assert (ledger.live(), ledger.positions) == ([], {})


def test_in_hedge_mode_both_sides_live_beside_each_other(desk: Desk) -> None:
    hedged(desk)
    long = opened(desk, take_profit="51000")
    short = desk.signal(side="sell", stop_loss="51500", take_profit="48000")
    assert desk.run(short) == "RECORDED"

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    # The long's target closes the long alone; the short keeps its stop and target.
    assert (desk.trade(long).close_reason, desk.trade(short).state) == ("TP", "OPEN")
    assert {(row["positionSide"], row["side"], D(row["quantity"])) for row in desk.ledger.live()} == {
        ("SHORT", "BUY", D("0.010"))
    }
    desk.paper.set_price("BTCUSDT", "51500")
    desk.cycle()
    assert (desk.trade(short).close_reason, desk.ledger.live(), desk.ledger.positions) == ("SL", [], {})


def test_in_hedge_mode_a_stop_that_was_refused_at_its_trigger_is_followed_by_a_close(desk: Desk) -> None:
    hedged(desk)
    request_id = opened(desk, take_profits=THREE_TARGETS)
    # Target and stop are passed before anybody could size the stop down: it is larger than the position then.
    for price in ("51000", "48900"):
        desk.paper.set_price("BTCUSDT", price)
    assert [row["algoStatus"] for row in desk.ledger.algo_orders if row["orderType"] == "STOP_MARKET"] == ["REJECTED"]

    for _ in range(3):
        desk.clock.let_pass(3)
        desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "SL", desk.ledger.net_pnl)
    assert (desk.ledger.positions, desk.ledger.live()) == ({}, [])


# Moves that a person asks for


@pytest.mark.parametrize(("operator", "price"), [("", D(49000)), ("alice", D(48000))])
def test_stop_is_loosened_only_for_a_person_and_by_name(desk: Desk, operator: str, price: Decimal) -> None:
    request_id = opened(desk)

    with transaction.atomic():
        moved = move_stop(
            desk.trade(request_id), D(48000), origin=LegOrigin.OPERATOR, now=desk.clock(), operator=operator
        )
    desk.cycle()

    assert (moved, stops(desk)) == (bool(operator), [(price, D("0.010"))])
    lines = AuditEvent.objects.filter(entity_id=str(request_id), to_state="LEG_MOVED")
    assert [line.details["operator"] for line in lines] == ([operator] if operator else [])
    desk.check()
