"""What is left of a position's orders when it is gone, and of its symbol when an order does not end."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.outcomes import OrderReport
from execution.domain.trading import OrderService
from execution.models import Order, PositionSlot
from execution.orders.apply_report import apply_report
from execution.orders.cancel import cancel_order
from execution.queries.health_rows import unsettled_orders
from execution.reconciliation.repair import book_reported_exits
from tests.integration.test_refused_exits import SteppedClock
from tests.support.desk import Desk
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db
BTC = "BTCUSDT"
D = Decimal
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
STOPS = {"buy": 49500.0, "sell": 50500.0}
PASSED, GAINED = {"buy": "49000", "sell": "51000"}, {"buy": "54000", "sell": "46000"}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.clock = SteppedClock()
    return desk


def opened(desk: Desk, side: str, **fields: Any) -> UUID:
    request_id = desk.trade_opened(side=side, stop_loss=STOPS[side], **fields)
    desk.cycle()
    return request_id


def told_of(desk: Desk, order: Order) -> None:
    """Settle an order as the user-data stream does."""
    order = Order.objects.select_related("request").get(pk=order.pk)
    report = desk.exchange.look_up(order.symbol, order.client_order_id, OrderService(order.service))
    assert isinstance(report, OrderReport)
    apply_report(order, report, now=desk.clock(), source="stream")


@SIDES
@pytest.mark.parametrize("by", ["STOP", "TARGET"])
def test_legs_go_before_the_books_are_read(desk: Desk, side: str, by: str) -> None:
    request_id = opened(desk, side)
    desk.paper.set_price(BTC, PASSED[side] if by == "STOP" else GAINED[side])
    told_of(desk, desk.order(request_id, by))
    # The list of fills is late.
    desk.paper.add_fault(path="/fapi/v1/userTrades", action="hide", count=None)

    assert not book_reported_exits(request_id, desk.tools())
    assert desk.ledger.live() == []
    assert desk.trade(request_id).state == "OPEN"

    desk.paper.clear_faults()
    assert book_reported_exits(request_id, desk.tools())
    assert desk.trade(request_id).state == "CLOSED"
    desk.check()


@SIDES
def test_legs_of_a_part_stay(desk: Desk, side: str) -> None:
    nearer, farther = (51000.0, 54000.0) if side == "buy" else (49000.0, 46000.0)
    targets = [{"price": nearer, "share": 0.5}, {"price": farther, "share": 0.5}]
    request_id = desk.signal(side=side, take_profits=targets)
    assert desk.run(request_id) == "RECORDED"
    desk.paper.set_price(BTC, str(nearer))
    told_of(desk, desk.request(request_id).orders.filter(purpose="TARGET").order_by("sequence")[0])
    book_reported_exits(request_id, desk.tools())

    assert len(desk.ledger.live_stops) == 1
    assert len(desk.ledger.live_targets) == 1
    desk.check()


def test_a_cancel_that_could_not_be_done_counts_as_no_try(desk: Desk) -> None:
    """Else a position's legs would wait for its pause, although nobody has asked the exchange."""
    target = Order.objects.select_related("request").get(request_id=opened(desk, "buy"), purpose="TARGET")
    desk.paper.add_fault(path="/fapi/*", action="reply", preset="banned_418", for_ms=1000, count=None)

    # The first is answered with the ban, the second waits for its end in vain or goes out after it.
    assert not cancel_order(target, exchange=desk.exchange, clock=desk.clock)
    assert target.cancel_tries == 0

    def cancelled() -> bool:
        return cancel_order(target, exchange=desk.exchange, clock=desk.clock)

    eventually(cancelled, within=60, what="the cancel goes out")
    assert (target.state, target.cancel_tries) == ("CANCELED", 0)


# An order that does not end


def hang(desk: Desk, side: str) -> UUID:
    """Leave a stop that hangs beside a position that is closed by hand."""
    request_id = opened(desk, side)
    desk.paper.control("POST", "triggers", {"action": "STICK", "symbol": BTC, "count": None})
    desk.paper.set_price(BTC, PASSED[side])
    desk.paper.control("POST", "position", {"symbol": BTC, "amount": "0"})
    desk.paper.set_price(BTC, "50000")
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    return request_id


@SIDES
def test_the_symbol_is_free_after_the_bound_and_the_order_stays_watched(desk: Desk, side: str) -> None:
    request_id = hang(desk, side)
    stop = desk.order(request_id, "STOP")
    # Until then a decision is told what it waits for.
    refused = desk.decide(side=side)
    assert desk.outcome(refused) == ("DENIED", "OPEN_TRADE_EXISTS")
    assert f"trade=CLOSED unfinished={stop.client_order_id}" in desk.request(refused).reason
    desk.clock.let_pass(20)
    desk.cycle()
    assert PositionSlot.objects.filter(request_id=request_id).exists()

    # The fill has the exchange's time, which goes on while our clock stands.
    desk.clock.let_pass(100)
    desk.cycle()

    assert not PositionSlot.objects.exists()
    assert unsettled_orders().oldest == stop.client_order_id
    tries = desk.order(request_id, "STOP").cancel_tries
    desk.clock.let_pass(61)
    desk.cycle()
    assert desk.order(request_id, "STOP").cancel_tries > tries
    # The alarm ends with the order.
    desk.paper.control("POST", "triggers/release", {})
    for _ in range(2):
        # An order that has been in doubt for so long is asked for with growing pauses.
        desk.clock.let_pass(120)
        desk.cycle()
    assert desk.order_states(request_id, "STOP") == ["REJECTED"]
    assert unsettled_orders().count == 0
    desk.check()


@SIDES
def test_what_it_executes_after_all_is_booked_where_it_reduced(desk: Desk, side: str) -> None:
    hang(desk, side)
    desk.clock.let_pass(120)
    desk.cycle()
    following = desk.trade_opened(side=side, position_size_usd=1000.0)
    before = abs(desk.ledger.positions[BTC])
    desk.paper.control("POST", "triggers/release", {})
    left = abs(desk.ledger.positions[BTC])
    assert 0 < left < before
    for _ in range(3):
        desk.clock.let_pass(5)
        desk.cycle()

    trade = desk.trade(following)
    assert (trade.state, trade.quantity - trade.exited_quantity) == ("REDUCED", left)
    assert [D(row["quantity"]) for row in desk.ledger.live_stops] == [left]
    desk.check()


@SIDES
def test_a_default_stop_is_moved_at_the_exchange_with_the_booking(desk: Desk, side: str) -> None:
    """The entry fills away from the price that was expected; no monitor cycle runs."""
    request_id = desk.decide(side=side, stop_loss=None, take_profit=None)
    desk.run(request_id, until="guard_safety")
    # Better for the position, so that the stop may follow.
    moved = "50100" if side == "buy" else "49900"
    desk.paper.set_price(BTC, moved)
    assert desk.run(request_id) == "RECORDED"

    trade = desk.trade(request_id)
    [stop], [target] = desk.ledger.live_stops, desk.ledger.live_targets
    assert (D(stop["triggerPrice"]), D(target["triggerPrice"])) == (trade.stop_price, trade.target_price)
    assert desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"]
    desk.check()
