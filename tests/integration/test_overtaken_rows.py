"""Rows that another process has changed between a reading and the lock: what was read is not acted on twice."""

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.crash_points import CrashPoint
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, Bracket, Order
from execution.orders.cancel import cancel_order
from execution.protection.bracket_manager import BracketManager
from execution.protection.follow_filters import follow_filters
from execution.reconciliation.actions import CheckOrphan, Expire, ExpireEntry
from execution.reconciliation.diff import reconcile
from execution.reconciliation.repair import repair, settle_order
from execution.reconciliation.snapshot import observe_exchange, read_books
from execution.risk.policy_store import policy_in_force, set_policy_value
from execution.trades.book_exits import book_exits
from tests.support.desk import PATIENCE, Desk
from tests.support.interference import at_point
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.log_lines import log_lines

SIDES = ("buy", "sell")
RESTING = {"buy": "49000", "sell": "51000"}
EXITS = {"buy": "SELL", "sell": "BUY"}


def close_by_hand(desk: Desk, side: str, quantity: str) -> None:
    desk.person.new_order(symbol="BTCUSDT", side=EXITS[side], type="MARKET", quantity=quantity, reduceOnly="true")


def journal(entity_id: object) -> list[str]:
    return list(AuditEvent.objects.filter(entity_id=str(entity_id)).order_by("id").values_list("trigger", flat=True))


# Books


@pytest.mark.django_db
@pytest.mark.parametrize("quantity", ["0.004", "0.009"])
@pytest.mark.parametrize("side", SIDES)
def test_an_exit_that_another_process_books_meanwhile_is_booked_once(desk: Desk, side: str, quantity: str) -> None:
    request_id = desk.trade_opened(side=side, position_size_usd=475.0)
    assert desk.trade(request_id).quantity == Decimal("0.009")
    close_by_hand(desk, side, quantity)
    faster, went = desk.another(), [False]

    def overtake() -> None:
        if not went[0]:
            went[0] = True
            book_exits(request_id, exchange=faster.exchange, clock=faster.clock)

    with at_point(CrashPoint.EXIT_FILLS_READ, overtake):
        closed = book_exits(request_id, exchange=desk.exchange, clock=desk.clock)

    trade = desk.trade(request_id)
    assert (closed, trade.exited_quantity) == (quantity == "0.009", Decimal(quantity))
    assert trade.fills.filter(entry=False).count() == 1
    assert [name for name in desk.events(request_id) if name == "order.filled"] == ["order.filled"] * 2
    desk.cycle()
    desk.check()


# Orders and plans


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("side", SIDES)
def test_two_processes_that_miss_the_same_stop_write_it_once(desk: Desk, side: str) -> None:
    request_id = desk.decide(side=side)
    desk.run(request_id, until="place_order")
    works = [
        BracketManager(request=one.request(request_id), exchange=one.exchange, rules=one._protection(), clock=one.clock)
        for one in (desk, desk.another())
    ]
    wants = [work.missing(OrderPurpose.STOP) for work in works]
    assert wants[0] is not None
    assert wants[1] is not None

    outcomes = [work.place(want) for work, want in zip(works, wants, strict=True) if want]

    # It should leave it to the first: an order is written before it is sent, under one name.
    assert (outcomes[0] is not None, outcomes[1]) == (True, None)
    assert len(desk.ledger.sent("POST", ALGO_ORDER)) == len(desk.ledger.live_stops) == 1
    assert Order.objects.filter(request_id=request_id, purpose="STOP").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_filters_that_another_process_has_taken_in_are_taken_in_once(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    first, second = (Bracket.objects.get(pk=request_id) for _ in range(2))
    rules = desk.exchange.rules("BTCUSDT")
    assert rules is not None
    coarser = replace(rules, tick_size=Decimal(7))

    followed = [follow_filters(bracket, coarser, now=desk.clock()) for bracket in (first, second)]

    assert followed == [True, False]
    assert journal(request_id).count("filters_changed") == 1
    assert Bracket.objects.get(pk=request_id).tick_size == 7


# Actions that were decided on old figures


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_a_request_that_has_left_meanwhile_does_not_expire(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    story = journal(request_id)

    repair(Expire(request_id=request_id), desk.tools())

    assert (desk.request(request_id).state, journal(request_id)) == ("RECORDED", story)


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_an_order_that_is_among_the_unfinished_ones_is_no_stray(desk: Desk, side: str) -> None:
    request_id = desk.signal(side=side, price=RESTING[side])
    assert desk.run(request_id) == "ACCEPTED"
    entry = desk.order(request_id, "ENTRY")

    repair(CheckOrphan(client_order_id=entry.client_order_id), desk.tools())

    assert (desk.order(request_id, "ENTRY").state, desk.ledger.sent("DELETE", ORDER)) == ("ACCEPTED", [])


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_leg_whose_cancel_is_confirmed_after_the_reading_raises_no_alarm(desk: Desk, side: str) -> None:
    """The process that cancels it has a clock a little behind: its evidence looks older than the reading."""
    request_id = desk.trade_opened(side=side)
    leg = desk.order(request_id, "STOP")
    desk.clock.stop()
    seen = observe_exchange(desk.exchange, now=desk.clock())
    desk.clock.let_pass(-0.5)
    cancel_order(leg, exchange=desk.exchange, clock=desk.clock)
    assert leg.state == "CANCELED"
    desk.clock.let_pass(0.5)
    books = read_books(since=seen.begun_at, open_names=seen.open_orders)
    orphan = CheckOrphan(client_order_id=leg.client_order_id)
    assert orphan in reconcile(books, seen, patience=PATIENCE, now=desk.clock())

    with log_lines() as lines:
        repair(orphan, desk.tools())

    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
    assert len(desk.ledger.sent("DELETE", ALGO_ORDER)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_order_that_rests_although_the_books_have_ended_it_is_reported_and_cancelled(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    leg = desk.order(request_id, "STOP")
    Order.objects.filter(pk=leg.pk).update(state="CANCELED")

    with log_lines() as lines:
        repair(CheckOrphan(client_order_id=leg.client_order_id), desk.tools())

    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["ended_order_is_open"]
    assert desk.ledger.live("STOP_MARKET") == []


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_an_entry_that_has_filled_before_its_time_was_up_is_covered_and_not_said_to_have_expired(
    desk: Desk, side: str
) -> None:
    request_id = desk.signal(side=side, price=RESTING[side])
    assert desk.run(request_id) == "ACCEPTED"
    entry = desk.order(request_id, "ENTRY")
    desk.paper.control("POST", "orders/fill", {"order": entry.client_order_id, "quantity": "0.010"})
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.order(request_id, "ENTRY").state == "FILLED"

    due = settle_order(ExpireEntry(order_id=entry.pk), desk.tools())

    order = desk.order(request_id, "ENTRY")
    assert (due, order.state, order.expired_at) == (request_id, "FILLED", None)
    assert "entry_expired" not in journal(order.client_order_id)
    assert len(desk.ledger.live_stops) == 1
    desk.check()


# The policy


@pytest.mark.django_db
def test_a_value_that_is_in_force_already_makes_no_new_version(desk: Desk) -> None:
    for _ in range(2):
        set_policy_value("risk.max_leverage", Decimal(5), source="test", now=desk.clock())

    assert (policy_in_force().version, journal("risk.max_leverage")) == (1, ["test"])
