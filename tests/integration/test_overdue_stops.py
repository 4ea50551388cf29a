"""A stop whose price has passed without a fill protects nothing: it is named, cancelled, and its position closed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client

from execution.domain.money import plain
from execution.domain.outcomes import OrderReport
from execution.domain.trading import OrderService
from execution.models import AuditEvent, OutboxEvent, PositionSlot
from execution.orders.apply_report import apply_report
from execution.protection.coverage import uncovered_positions
from execution.queries.metrics import book_counts
from execution.reconciliation.stop_watchdog import Guarded, ensure_cover
from tests.integration.test_refused_exits import SteppedClock
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ORDER

pytestmark = pytest.mark.django_db
D = Decimal
BTC = "BTCUSDT"
# A stop 1 % from 50,000, and prices that have and have not passed it by two basis points.
STOPS = {"buy": 49500.0, "sell": 50500.0}
PASSED = {"buy": "49000", "sell": "51000"}
BARELY = {"buy": "49495", "sell": "50505"}
EXITS = {"buy": "SELL", "sell": "BUY"}
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
MODES = pytest.mark.parametrize("hedge", [False, True], ids=["one-way", "hedge"])


@dataclass(frozen=True, kw_only=True)
class Way:
    """What an exchange may do at a trigger instead of executing, and what it says of the order then."""

    action: str
    state: str
    # Whether the order can be cancelled, so that nothing of it is left.
    ends: bool = True


WAYS = {
    "stays NEW": Way(action="IGNORE", state="CANCELED"),
    "hangs in TRIGGERING": Way(action="STICK", state="TRIGGERED", ends=False),
    "expires": Way(action="EXPIRE", state="EXPIRED"),
    "is refused": Way(action="REJECT", state="REJECTED"),
    "is finished without an order": Way(action="FINISH", state="CANCELED"),
    "rests unfilled": Way(action="REST", state="CANCELED"),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.clock = SteppedClock()
    return desk


def opened(desk: Desk, side: str, *, hedge: bool = False, **fields: Any) -> UUID:
    """Open a trade whose stop does nothing when its price is reached, and let the monitor see it once."""
    if hedge:
        desk.person.change_position_mode(dualSidePosition="true")
    request_id = desk.trade_opened(side=side, stop_loss=STOPS[side], take_profit=None, **fields)
    desk.cycle()
    return request_id


def rule(desk: Desk, action: str, **fields: Any) -> None:
    desk.paper.control("POST", "triggers", {"action": action, "symbol": BTC, "count": None, **fields})


def guard(desk: Desk) -> Guarded:
    """Let the protector run while the monitor works: it has seen the exchange a moment ago."""
    return ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(days=1))


def by_protector(desk: Desk) -> None:
    guard(desk)


def by_monitor(desk: Desk) -> None:
    desk.cycle()


EACH_ACTOR = pytest.mark.parametrize("act", [by_protector, by_monitor])


def pass_stop(desk: Desk, side: str, act: Callable[[Desk], None]) -> None:
    """Let the mark price pass the stop, be seen there, and stay for the bound of two seconds."""
    desk.paper.set_price(BTC, PASSED[side])
    desk.clock.let_pass(1.5)
    act(desk)
    desk.clock.let_pass(2)
    act(desk)


@SIDES
@MODES
@EACH_ACTOR
@EACH_WAY
def test_position_is_closed_whatever_the_orders_status_says(
    desk: Desk, side: str, act: Callable[[Desk], None], way: Way, *, hedge: bool
) -> None:
    request_id = opened(desk, side, hedge=hedge)
    rule(desk, way.action)

    pass_stop(desk, side, act)
    # Its fills are booked by the next reading.
    desk.clock.let_pass(2)
    act(desk)

    assert desk.ledger.positions == {}
    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason) == ("CLOSED", "SL")
    # Where the stop has ended, others may have been tried before the close; the level has passed for them, too.
    assert desk.order_states(request_id, "STOP")[0] == way.state
    closes = [row for row in desk.ledger.orders if row["clientOrderId"].startswith("es1-c")]
    assert [(row["side"], row["status"]) for row in closes] == [(EXITS[side], "FILLED")]
    assert PositionSlot.objects.exists() is not way.ends


@SIDES
@EACH_ACTOR
def test_it_is_named_everywhere_while_it_lasts(
    desk: Desk, client: Client, side: str, act: Callable[[Desk], None]
) -> None:
    request_id = opened(desk, side)
    rule(desk, "STICK")
    # Nothing may be closed, so that it lasts.
    desk.paper.add_fault(path=ORDER, method="POST", count=None, action="refuse", code=-4131, match={"type": "MARKET"})

    pass_stop(desk, side, act)

    stop = desk.order(request_id, "STOP")
    assert stop.overdue_at is not None
    assert stop.passed_since is not None
    direction = "LONG" if side == "buy" else "SHORT"
    [found] = uncovered_positions()
    numbers = f"uncovered={plain(found.quantity)} of={plain(found.quantity)}"
    overdue = f"STOP_OVERDUE order={stop.client_order_id} level={STOPS[side]:.0f} since={stop.passed_since.isoformat()}"
    assert found.sentence == f"BTCUSDT {direction} POSITION_UNPROTECTED: {numbers} {overdue}"
    counts = book_counts()
    assert (counts.unprotected, counts.overdue_stops, list(counts.uncovered_since)) == (1, 1, [BTC])
    cache.clear()
    health = client.get("/health").json()
    assert health["status"] != "OK"
    assert any(stop.client_order_id in reason for reason in health["reasons"])
    told = OutboxEvent.objects.filter(event_type="position.updated").latest("id").payload
    assert (told["protected"], told["has_tp_sl"]) == (False, False)
    assert [stop.client_order_id in text for text in told["overdue_stops"]] == [True]
    journal = AuditEvent.objects.filter(entity="order", entity_id=stop.client_order_id, trigger="stop_overdue")
    assert journal.count() == 1


@SIDES
@EACH_ACTOR
def test_a_mark_price_that_has_barely_passed_ends_nothing(desk: Desk, side: str, act: Callable[[Desk], None]) -> None:
    request_id = opened(desk, side)
    rule(desk, "IGNORE")
    desk.paper.set_price(BTC, BARELY[side])
    for _ in range(3):
        desk.clock.let_pass(2)
        act(desk)

    assert desk.order_states(request_id, "STOP") == ["ACCEPTED"]
    assert desk.order(request_id, "STOP").passed_since is None
    desk.check()


@SIDES
@EACH_ACTOR
def test_a_stop_has_its_two_seconds_and_a_mark_that_comes_back_forgives(
    desk: Desk, side: str, act: Callable[[Desk], None]
) -> None:
    request_id = opened(desk, side)
    rule(desk, "IGNORE")
    desk.paper.set_price(BTC, PASSED[side])
    desk.clock.let_pass(1)
    act(desk)
    assert desk.order(request_id, "STOP").passed_since is not None
    desk.paper.set_price(BTC, "50000")
    desk.clock.let_pass(5)
    act(desk)

    assert desk.order(request_id, "STOP").passed_since is None
    assert desk.trade(request_id).state == "OPEN"
    assert uncovered_positions() == []


def test_the_protector_asks_to_look_again_when_the_bound_is_over(desk: Desk) -> None:
    opened(desk, "buy")
    rule(desk, "IGNORE")
    desk.paper.set_price(BTC, PASSED["buy"])

    assert guard(desk).look_again_in == timedelta(seconds=2)
    desk.clock.let_pass(1.25)
    assert guard(desk).look_again_in == timedelta(seconds=0.75)
    desk.clock.let_pass(0.75)
    assert guard(desk).look_again_in is None
    assert desk.ledger.positions == {}


@SIDES
def test_a_hanging_trigger_counts_although_the_mark_has_come_back(desk: Desk, side: str) -> None:
    request_id = opened(desk, side)
    rule(desk, "STICK")
    desk.paper.set_price(BTC, PASSED[side])
    desk.paper.set_price(BTC, "50000")
    # As the user-data stream, or the monitor's reading, tells it.
    stop = desk.order(request_id, "STOP")
    report = desk.exchange.look_up(BTC, stop.client_order_id, OrderService.ALGO)
    assert isinstance(report, OrderReport)
    apply_report(stop, report, now=desk.clock(), source="stream")
    assert (stop.state, stop.passed_since) == ("TRIGGERED", desk.clock())
    desk.clock.let_pass(2)
    guard(desk)
    desk.clock.let_pass(2)
    guard(desk)

    assert desk.ledger.positions == {}
    assert desk.trade(request_id).state == "CLOSED"


@SIDES
@MODES
def test_a_stop_that_executes_after_all_never_passes_flat(desk: Desk, side: str, *, hedge: bool) -> None:
    request_id = opened(desk, side, hedge=hedge)
    rule(desk, "STICK")
    pass_stop(desk, side, by_protector)
    desk.paper.control("POST", "triggers/release")
    desk.clock.let_pass(5)
    desk.cycle()
    desk.clock.let_pass(5)
    desk.cycle()

    assert desk.ledger.positions == {}
    # The exchange has found nothing to reduce.
    reasons = {row["rejectReason"] for row in desk.ledger.algo_orders if row["algoStatus"] == "REJECTED"}
    assert reasons == {"Reduce Only reject"}
    assert desk.order_states(request_id, "STOP") == ["REJECTED"]
    assert not PositionSlot.objects.exists()
    desk.check()


def test_a_stop_that_executes_before_the_close_is_booked_and_nothing_is_closed_twice(desk: Desk) -> None:
    request_id = opened(desk, "buy")
    # It fills at the exchange; nobody tells us.
    desk.paper.set_price(BTC, PASSED["buy"])
    desk.clock.let_pass(1.5)
    guard(desk)
    desk.clock.let_pass(2)
    guard(desk)

    assert desk.trade(request_id).close_reason == "SL"
    assert desk.order_states(request_id, "CLOSE") == []
    desk.check()


@SIDES
@pytest.mark.parametrize("action", ["IGNORE", "STICK"])
def test_a_trailing_stop_is_held_against_the_best_price_that_was_seen(desk: Desk, side: str, action: str) -> None:
    far = 47000.0 if side == "buy" else 53000.0
    request_id = desk.trade_opened(side=side, stop_loss=far, trail_percent=1.0)
    desk.cycle()
    rule(desk, action)
    best, back = ("51000", "50000") if side == "buy" else ("49000", "50000")
    desk.paper.set_price(BTC, best)
    desk.clock.let_pass(2)
    guard(desk)
    assert desk.order(request_id, "TRAILING").best_mark == D(best)
    desk.paper.set_price(BTC, back)
    desk.clock.let_pass(2)
    guard(desk)
    desk.clock.let_pass(2)
    guard(desk)
    desk.clock.let_pass(2)
    guard(desk)

    assert desk.ledger.positions == {}
    assert desk.trade(request_id).close_reason == "TRAILING"


def test_a_refused_close_is_tried_again_with_pauses_and_not_in_a_loop(desk: Desk) -> None:
    opened(desk, "buy")
    rule(desk, "REST")
    desk.paper.add_fault(path=ORDER, method="POST", count=None, action="refuse", code=-4131, match={"type": "MARKET"})
    pass_stop(desk, "buy", by_protector)
    begun = len(desk.ledger.sent("POST", ORDER))
    for _ in range(30):
        desk.clock.let_pass(1)
        guard(desk)

    # After 5, 10 and 20 s at most, each with what is sent again because it is proven refused.
    assert 0 < len(desk.ledger.sent("POST", ORDER)) - begun <= 9
    desk.paper.clear_faults()
    desk.clock.let_pass(61)
    guard(desk)
    assert desk.ledger.positions == {}
