"""The monitor against the real exchange: what it mends in one cycle, what it leaves alone, and what it costs."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execution.models import AuditEvent, Fill, Heartbeat, Order, Position, PositionSlot, Trade
from execution.operations.single_flight import Duty, single_flight
from execution.reconciliation.actions import ExcessQuantity, Expire, ReportExternal
from execution.reconciliation.diff import reconcile
from execution.reconciliation.repair import repair
from execution.reconciliation.snapshot import observe_exchange, read_books
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

D = Decimal
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "LTCUSDT", "LINKUSDT")


def reports(actions: Any) -> list[str]:
    return [
        action.sentence.partition(":")[0] for action in actions if isinstance(action, ReportExternal | ExcessQuantity)
    ]


# Reading


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("queries", range(1, 6))
def test_trade_that_is_recorded_while_the_books_are_read_is_no_stranger(desk: Desk, queries: int) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="protect_position")
    seen = observe_exchange(desk.exchange, now=desk.clock())
    run = 0

    def record_after(execute: Any, *query: Any) -> Any:
        nonlocal run
        result = execute(*query)
        run += 1
        if run == queries:
            at_once([lambda: desk.step("record_trade", request_id)])
        return result

    with connection.execute_wrapper(record_after):
        books = read_books(since=seen.begun_at)

    assert run >= queries
    assert desk.request(request_id).state == "RECORDED"
    assert reports(reconcile(books, seen, patience=PATIENCE, now=desk.clock())) == []


# Cover


@pytest.mark.parametrize("purpose", ["STOP", "TARGET"])
def test_leg_that_vanished_at_the_exchange_is_replaced_in_the_cycle_that_finds_it(desk: Desk, purpose: str) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    leg = desk.order(request_id, purpose)
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": leg.client_order_id})
    desk.clock.let_pass(10)

    desk.cycle()

    # It should stand again at the same price and size, under a new id.
    ledger = desk.ledger
    [stop], [target] = ledger.live_stops, ledger.live_targets
    assert (stop["quantity"], D(stop["triggerPrice"])) == ("0.009", D(49000))
    assert (target["quantity"], D(target["triggerPrice"])) == ("0.009", D(51000))
    states = Order.objects.filter(request_id=request_id, purpose=purpose).order_by("sequence")
    assert [order.state for order in states] == ["CANCELED", "ACCEPTED"]
    desk.check()


def test_both_legs_cancelled_by_hand_are_replaced(desk: Desk) -> None:
    desk.trade_opened()
    desk.person.sign_request("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": "BTCUSDT"})
    assert desk.ledger.live() == []
    desk.clock.let_pass(10)

    desk.cycle()

    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    desk.check()


def test_order_of_a_stranger_beside_the_trade_is_left_alone(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    strange = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
    terms = {"triggerPrice": "45000", "quantity": "0.001", "reduceOnly": "true", "clientAlgoId": "by-hand"}
    desk.person.sign_request("POST", ALGO_ORDER, strange | terms)

    desk.paper.set_price("BTCUSDT", "51000")
    for _ in range(2):
        desk.clock.let_pass(10)
        desk.cycle()

    # Only what carries our prefix is ours to cancel.
    assert desk.trade(request_id).state == "CLOSED"
    assert [algo["clientAlgoId"] for algo in desk.ledger.live()] == ["by-hand"]


# Entries that fill later


def test_limit_order_filled_in_parts_is_covered_part_by_part(desk: Desk) -> None:
    """Another account sells into our bid, so that it fills when and as far as the test says."""
    request_id = desk.signal(price="50000", stop_loss="49000", take_profit="51000")
    assert desk.run(request_id) == "ACCEPTED"
    desk.paper.add_account("other", "other-secret")
    other = desk.client("other", "other-secret")

    other.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.004")
    desk.clock.let_pass(3)
    desk.cycle()

    # It should have opened the trade with what is filled, and cover just that.
    assert (desk.request(request_id).state, desk.trade(request_id).quantity) == ("ACCEPTED", D("0.004"))
    assert [stop["quantity"] for stop in desk.ledger.live_stops] == ["0.004"]
    desk.check()

    other.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.006")
    desk.clock.let_pass(3)
    for _ in range(2):
        desk.cycle()

    # It should have grown trade and cover, new leg first, and say `trade.opened` once.
    trade = desk.trade(request_id)
    assert (desk.request(request_id).state, trade.quantity, trade.fills.count()) == ("RECORDED", D("0.010"), 2)
    assert [stop["quantity"] for stop in desk.ledger.live_stops] == ["0.010"]
    stops = Order.objects.filter(request_id=request_id, purpose="STOP").order_by("sequence")
    assert [(stop.quantity, stop.state) for stop in stops] == [(D("0.004"), "CANCELED"), (D("0.010"), "ACCEPTED")]
    told = Counter(desk.events(request_id))
    assert (told["trade.opened"], told["order.filled"]) == (1, 2)
    desk.check()

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()
    assert desk.trade(request_id).net_pnl == desk.ledger.net_pnl
    desk.check()


def test_limit_order_whose_rest_is_cancelled_keeps_what_it_has(desk: Desk) -> None:
    request_id = desk.signal(price="50000", stop_loss="49000", take_profit="51000")
    desk.run(request_id)
    desk.paper.add_account("other", "other-secret")
    desk.client("other", "other-secret").new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.004")
    entry = desk.order(request_id, "ENTRY")
    desk.person.cancel_order("BTCUSDT", origClientOrderId=entry.client_order_id)
    desk.clock.let_pass(3)

    desk.cycle()

    assert desk.request(request_id).state == "RECORDED"
    assert (desk.trade(request_id).quantity, desk.order(request_id, "ENTRY").state) == (D("0.004"), "CANCELED")
    assert [stop["quantity"] for stop in desk.ledger.live_stops] == ["0.004"]
    desk.check()


def test_limit_order_that_is_cancelled_unfilled_ends_its_request(desk: Desk) -> None:
    request_id = desk.signal(price="48000")
    desk.run(request_id)
    desk.person.cancel_order("BTCUSDT", origClientOrderId=desk.order(request_id, "ENTRY").client_order_id)
    desk.clock.let_pass(3)

    desk.cycle()

    assert (desk.request(request_id).state, Trade.objects.count()) == ("CANCELED", 0)
    assert desk.event(request_id, "order.failed")["reason_code"] == "ENTRY_ENDED_WITHOUT_FILL"
    assert not PositionSlot.objects.exists()
    desk.check()


# Requests that stand still


@pytest.mark.parametrize("last", ["", "check_ess", "guard_safety", "place_order", "protect_position"])
def test_request_that_stalled_after_any_step_is_carried_to_its_end(desk: Desk, last: str) -> None:
    request_id = desk.decide()
    if last:
        desk.run(request_id, until=last)
    stalled_in = desk.request(request_id).state

    # Not at once: the chain may still be at it.
    desk.cycle()
    assert desk.request(request_id).state == stalled_in

    desk.clock.let_pass(3)
    desk.cycle()

    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


@pytest.mark.parametrize("last", ["", "check_ess", "guard_safety"])
def test_request_that_stalled_for_too_long_expires(desk: Desk, last: str) -> None:
    request_id = desk.decide()
    if last:
        desk.run(request_id, until=last)
    desk.clock.let_pass(61)

    desk.cycle()

    assert (desk.request(request_id).state, desk.request(request_id).reason_code) == ("EXPIRED", "SIGNAL_TOO_OLD")
    assert desk.event(request_id, "order.failed")["reason_code"] == "SIGNAL_TOO_OLD"
    assert desk.ledger.entries_sent == []
    assert not PositionSlot.objects.exists()


def test_cover_and_books_never_expire(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    desk.clock.let_pass(3600)

    desk.cycle()

    assert desk.request(request_id).state == "RECORDED"
    desk.check()


# Readings that prove nothing


def test_one_empty_answer_about_positions_cancels_and_closes_nothing(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.cycle()
    for path in ("/fapi/v3/positionRisk", "/fapi/v2/positionRisk", "/fapi/v1/positionRisk"):
        desk.paper.add_fault(path=path, method="GET", action="reply", status=200, body=[])
    desk.clock.let_pass(10)

    desk.cycle()

    assert desk.trade(request_id).state == "OPEN"
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    assert (Position.objects.count(), PositionSlot.objects.count()) == (1, 1)
    desk.paper.clear_faults()
    desk.cycle()
    desk.check()


@pytest.mark.parametrize("path", ["/fapi/v1/openAlgoOrders", "/fapi/v1/openOrders"])
def test_one_empty_list_of_orders_is_no_reason_to_place_again(desk: Desk, path: str) -> None:
    desk.trade_opened()
    desk.paper.add_fault(path=path, method="GET", action="reply", status=200, body=[])
    desk.clock.let_pass(10)
    sent = len(desk.ledger.sent("POST", ALGO_ORDER))

    desk.cycle()

    # The look-up of each leg says that it still stands.
    assert len(desk.ledger.sent("POST", ALGO_ORDER)) == sent
    desk.check()


@pytest.mark.parametrize("path", ["/fapi/v3/positionRisk", "/fapi/v1/openAlgoOrders", "/fapi/v1/openOrders"])
def test_cycle_that_cannot_read_the_exchange_touches_nothing_and_says_so(desk: Desk, path: str) -> None:
    request_id = desk.trade_opened()
    desk.cycle()
    desk.paper.set_price("BTCUSDT", "60000")
    desk.paper.add_fault(path=path, method="GET", action="drop_before", count=1)

    with pytest.raises(AssertionError, match="could not read"):
        desk.cycle()

    assert desk.trade(request_id).state == "OPEN"
    heartbeat = Heartbeat.objects.get(part="monitor")
    assert (heartbeat.healthy, "error" in heartbeat.details) == (False, True)

    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    assert Heartbeat.objects.get(part="monitor").healthy
    desk.check()


# What is not ours


def test_position_opened_by_hand_is_reported_and_left_alone(desk: Desk) -> None:
    desk.person.new_order(symbol="ETHUSDT", side="SELL", type="MARKET", quantity="1")
    sent = len(desk.ledger.requests)

    result = desk.cycle()

    assert reports(result.actions) == ["POSITION_NOT_OURS"]
    writes = [row for row in desk.ledger.requests[sent:] if row["method"] != "GET"]
    assert (writes, Trade.objects.count(), Order.objects.count()) == ([], 0, 0)
    row = Position.objects.get()
    assert (row.symbol, row.direction, row.quantity, row.trade) == ("ETHUSDT", "SHORT", D(1), None)


def test_position_enlarged_by_hand_is_reported_and_ours_stays_covered(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.person.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")

    result = desk.cycle()

    assert reports(result.actions) == ["POSITION_LARGER_THAN_TRADE"]
    assert (desk.trade(request_id).quantity, len(desk.ledger.live_stops)) == (D("0.009"), 1)
    # It should be told for as long as it is so.
    assert list(desk.told_larger()) == ["BTCUSDT"]
    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.001", reduceOnly="true")
    desk.cycle()
    assert (desk.told_larger(), desk.trade(request_id).state) == ({}, "OPEN")


def test_position_that_is_on_its_way_into_the_books_is_not_called_foreign(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")

    result = desk.cycle(resume=lambda *_: None)

    assert reports(result.actions) == []


# What it costs


def test_calls_and_queries_do_not_grow_with_the_trades(desk: Desk) -> None:
    def cost() -> tuple[Counter[tuple[str, str]], int]:
        desk.cycle()
        # Each position has moved, so each is told of: that must not be a query each either.
        for symbol in SYMBOLS:
            desk.paper.set_price(symbol, format(desk.exchange.quote(symbol).ask, "f"))
        desk.paper.clear_ledger()
        with CaptureQueriesContext(connection) as queries:
            desk.cycle()
        calls = Counter((row["method"], row["path"]) for row in desk.ledger.requests)
        # It is read when it is older than a few seconds, whichever cycle that meets.
        del calls["GET", "/fapi/v1/assetIndex"]
        # Statements that begin or end a transaction read and write nothing.
        statements = [query for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]
        return calls, len(statements)

    desk.trade_opened(SYMBOLS[0])
    with_one = cost()
    for symbol in SYMBOLS[1:]:
        desk.trade_opened(symbol)
    with_eight = cost()

    assert Trade.objects.filter(state="OPEN").count() == 8
    assert with_eight == with_one
    assert sum(with_one[0].values()) == 7
    assert with_one[1] <= 44


# Second backend and single flight


def test_flushed_redis_has_all_open_trades_again_after_one_cycle(desk: Desk) -> None:
    ids = [desk.trade_opened(symbol) for symbol in SYMBOLS[:3]]
    desk.relay()
    before = {pk: desk.mirrored(pk) for pk in ids}
    desk.redis.flushdb()

    desk.cycle()

    assert {pk: desk.mirrored(pk) for pk in ids} == before
    assert all(fields["status"] == "OPEN" for fields in before.values())


def test_positions_are_told_when_they_change(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    desk.cycle()
    desk.cycle()
    assert desk.events(request_id).count("position.updated") == 1

    desk.paper.set_price("BTCUSDT", "50500")
    desk.cycle()

    assert desk.events(request_id).count("position.updated") == 2
    desk.relay()
    body = desk.stream("position.updated")[-1]["payload"]
    assert {name: body[name] for name in ("symbol", "side", "size", "entry_price", "mark_price", "has_tp_sl")} == {
        "symbol": "BTCUSDT",
        "side": "LONG",
        "size": 0.009,
        "entry_price": 50000.1,
        "mark_price": 50500.0,
        "has_tp_sl": True,
    }
    assert body["unrealized_pnl"] == pytest.approx(4.4991)
    assert body["trade_id"] == str(request_id)


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_has_a_duty_at_a_time(desk: Desk) -> None:  # noqa: ARG001 -- the database is real
    def hold() -> bool:
        # A session of its own asks: a lock is granted again to the session that has it.
        with single_flight(Duty.WATCH_POSITIONS) as held:
            return held

    with single_flight(Duty.WATCH_POSITIONS) as mine:
        assert mine
        assert at_once([hold]) == [False]
        with single_flight(Duty.SEND_EVENTS) as other_duty:
            assert other_duty

    assert at_once([hold]) == [True]


def test_trade_whose_books_close_keeps_its_story(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    desk.paper.set_price("BTCUSDT", "49000")
    desk.cycle()

    story = AuditEvent.objects.filter(entity="trade", entity_id=str(request_id)).order_by("id")
    assert [(step.to_state, step.trigger) for step in story] == [("OPEN", "fills_booked"), ("CLOSED", "all_exited")]
    closing = story.get(to_state="CLOSED").details
    assert (closing["reason"], D(closing["net_pnl"])) == ("SL", desk.trade(request_id).net_pnl)
    assert Fill.objects.count() == 2


def test_request_that_moved_on_since_the_books_were_read_does_not_expire(desk: Desk) -> None:
    request_id = desk.trade_opened()

    # The decision to let it expire was made on figures that were old by then.
    repair(Expire(request_id=request_id), desk.tools())

    assert desk.request(request_id).state == "RECORDED"
    desk.check()
