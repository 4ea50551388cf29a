"""Steps that find another process was faster, or the decision too old: nothing is done twice or left behind."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from execution.crash_points import CrashPoint
from execution.domain.outcomes import ExchangeStatus, OrderReport, Refused, Unknown
from execution.models import AuditEvent, Bracket, ExecutionRequest, Order, OutboxEvent, PositionSlot, Trade
from execution.orders.apply_report import (
    apply_absence,
    apply_rejection,
    apply_report,
    apply_unknown,
    apply_unseen_end,
    raise_alarm,
)
from execution.orders.end_request import expire_request
from execution.protection.ensure_exits import ensure_exits, place_stop
from execution.trades.book_entry import book_entry
from tests.integration.test_refused_exits import SteppedClock
from tests.support.desk import Desk
from tests.support.interference import at_point
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
SIDES = ("buy", "sell")
RESTING = {"buy": "49000", "sell": "51000"}
BEFORE = {"check_ess": "", "guard_safety": "check_ess", "place_order": "guard_safety"}
LEVERAGE = "/fapi/v1/leverage"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A desk whose clock stands still, so that ages are exact."""
    desk.clock = SteppedClock()
    return desk


def decided(desk: Desk, side: str, *, before: str) -> UUID:
    """Return a decision that has come as far as just before a step."""
    request_id = desk.decide(side=side)
    if BEFORE[before]:
        desk.run(request_id, until=BEFORE[before])
    return request_id


def triggers(desk: Desk, request_id: UUID) -> list[str]:
    return [line.trigger for line in desk.story(request_id)]


# Too old


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", BEFORE)
def test_a_decision_that_is_too_old_expires_at_each_step(desk: Desk, step: str, side: str) -> None:
    request_id = decided(desk, side, before=step)
    asked = len(desk.ledger.requests)
    desk.clock.let_pass(60.1)

    assert desk.step(step, request_id) is False

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("EXPIRED", "SIGNAL_TOO_OLD")
    assert request.reason == "SIGNAL_TOO_OLD: expected<=60s actual=60.1s"
    assert desk.events(request_id) == ["order.failed"]
    # It should have asked the exchange for nothing, and have given back what was claimed.
    assert (len(desk.ledger.requests), PositionSlot.objects.count()) == (asked, 0)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", BEFORE)
def test_a_decision_is_not_too_old_a_moment_before(desk: Desk, step: str, side: str) -> None:
    request_id = decided(desk, side, before=step)
    desk.clock.let_pass(59.9)

    desk.step(step, request_id)

    assert (
        desk.request(request_id).state
        == {
            "check_ess": "CLEARED",
            "guard_safety": "APPROVED",
            "place_order": "FILLED",
        }[step]
    )


# Done already, or not begun


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", BEFORE)
def test_a_step_that_is_done_already_asks_for_nothing(desk: Desk, step: str, side: str) -> None:
    request_id = decided(desk, side, before=step)
    assert desk.step(step, request_id) is True
    asked, story = len(desk.ledger.requests), triggers(desk, request_id)

    assert desk.step(step, request_id) is False

    assert (len(desk.ledger.requests), triggers(desk, request_id)) == (asked, story)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", [*BEFORE, "sent"])
def test_nothing_is_covered_or_booked_before_an_entry_has_filled(desk: Desk, step: str, side: str) -> None:
    if step == "sent":
        request_id = desk.signal(side=side, price=RESTING[side])
        assert desk.run(request_id) == "ACCEPTED"
    else:
        request_id = decided(desk, side, before=step)
    asked, exits = len(desk.ledger.requests), dict[str, Any](exchange=desk.exchange, clock=desk.clock)

    place_stop(request_id, rules=desk._protection(), **exits)
    assert ensure_exits(request_id, rules=desk._protection(), **exits) is (step == "sent")
    assert book_entry(request_id, **exits) is False

    assert len(desk.ledger.requests) == asked
    assert (desk.ledger.live(), Trade.objects.count()) == ([], 0)


# Another process was faster


MIDDLES = {
    "check_ess": CrashPoint.ESS_ANSWERED,
    "guard_safety": CrashPoint.ENTRY_JUDGED,
    "place_order": CrashPoint.LEVERAGE_SET,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", BEFORE)
def test_a_request_that_ends_in_the_middle_of_a_step_stays_ended(desk: Desk, step: str, side: str) -> None:
    request_id = decided(desk, side, before=step)

    def expire() -> None:
        expire_request(desk.request(request_id), now=desk.clock())

    with at_point(MIDDLES[step], expire):
        assert desk.step(step, request_id) is False

    # It should leave neither claim, plan nor order behind, and tell the end once.
    assert desk.request(request_id).state == "EXPIRED"
    assert (PositionSlot.objects.count(), Order.objects.count()) == (0, 0)
    assert Bracket.objects.exists() is (step == "place_order")
    assert desk.events(request_id) == ["order.failed"]
    assert desk.ledger.sent("POST", ORDER) == []
    # The symbol is free for the next one.
    assert desk.run(desk.decide(side=side, leverage=7)) == "RECORDED"


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("step", BEFORE)
def test_a_step_that_another_process_does_meanwhile_is_done_once(desk: Desk, step: str, side: str) -> None:
    request_id, faster = decided(desk, side, before=step), desk.another()
    went: list[bool] = []

    def overtake() -> None:
        if not went:
            went.append(True)
            went[0] = faster.step(step, request_id)

    with at_point(MIDDLES[step], overtake):
        slower = desk.step(step, request_id)

    # Only one of them goes on to the next step.
    assert (slower, went) == (False, [True])
    desk.run(request_id)
    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == PositionSlot.objects.count() == 1
    assert len(set(triggers(desk, request_id))) == len(triggers(desk, request_id))
    desk.check()


@pytest.mark.parametrize("side", SIDES)
def test_a_refusal_that_comes_second_is_not_told_again(desk: Desk, side: str) -> None:
    """The slower of two guards has judged by other numbers; what the faster one has written stands."""
    request_id = decided(desk, side, before="guard_safety")
    ExecutionRequest.objects.filter(pk=request_id).update(leverage=100)

    with at_point(CrashPoint.ENTRY_JUDGED, lambda: expire_request(desk.request(request_id), now=desk.clock())):
        assert desk.step("guard_safety", request_id) is False

    assert (desk.request(request_id).state, desk.events(request_id)) == ("EXPIRED", ["order.failed"])


# Orders that others have settled


def sent(desk: Desk, side: str, action: str) -> Order:
    """Send an entry whose answer is lost; return its row as the sender knows it, which others settle meanwhile."""
    request_id = decided(desk, side, before="place_order")
    desk.paper.add_fault(path=ORDER, method="POST", action=action)
    desk.paper.add_fault(path=ORDER, method="GET", action="hide", count=None)
    desk.step("place_order", request_id)
    return Order.objects.select_related("request").get(request_id=request_id, purpose="ENTRY")


def filled(order: Order) -> OrderReport:
    return OrderReport(
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        status=ExchangeStatus.FILLED,
        quantity=order.quantity,
        executed_quantity=order.quantity,
        order_id="4711",
    )


DENIED = Refused(code=-2019, message="Margin is insufficient.", retry_safe=False)
Settle = Callable[[Order, Any], None]
LATE: dict[str, Settle] = {
    "refused": lambda order, now: apply_rejection(order, DENIED, now=now),
    "unknown": lambda order, now: apply_unknown(order, Unknown(message="no answer"), now=now),
    "absent": lambda order, now: apply_absence(order, now=now, evidence="nobody shows it"),
    "alarm": lambda order, now: raise_alarm(order, "nobody shows it", now=now),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("late", LATE)
def test_what_is_believed_of_an_order_that_has_filled_meanwhile_changes_nothing(
    desk: Desk, late: str, side: str
) -> None:
    order = sent(desk, side, "drop_after")
    stale = Order.objects.select_related("request").get(pk=order.pk)
    if late in {"refused", "unknown"}:
        # What only the sender can believe, it believes before it has written anything.
        stale.state = stale.request.state = "SUBMITTING"
    apply_report(order, filled(order), now=desk.clock(), source="stream")
    rows = [list(model.objects.order_by("pk").values()) for model in (Order, ExecutionRequest, AuditEvent, OutboxEvent)]

    LATE[late](stale, desk.clock())

    after = [
        list(model.objects.order_by("pk").values()) for model in (Order, ExecutionRequest, AuditEvent, OutboxEvent)
    ]
    assert after == rows
    order.refresh_from_db()
    assert (order.state, order.alarmed_at) == ("FILLED", None)


@pytest.mark.parametrize("side", SIDES)
def test_a_report_from_before_others_reports_is_looked_at_again(desk: Desk, side: str) -> None:
    order = sent(desk, side, "drop_after")
    first, second = (Order.objects.select_related("request").get(pk=order.pk) for _ in range(2))
    apply_report(first, filled(order), now=desk.clock(), source="stream")

    apply_report(second, filled(order), now=desk.clock(), source="look-up")

    # It should show what is stored, so that its caller goes on from there, and tell of the order once.
    assert (second.state, second.request.state, second.executed_quantity) == ("FILLED", "FILLED", order.quantity)
    assert desk.events(order.request_id) == ["order.placed"]


@pytest.mark.parametrize("side", SIDES)
def test_news_of_a_trigger_that_comes_second_is_looked_at_again(desk: Desk, side: str) -> None:
    """A report that only adds to a row finds it moved: what it adds must not overwrite the later state."""
    request_id = desk.trade_opened(side=side)
    stop = desk.order(request_id, "STOP")
    stale = Order.objects.select_related("request").get(pk=stop.pk)
    resting = OrderReport(
        client_order_id=stop.client_order_id,
        symbol=stop.symbol,
        status=ExchangeStatus.NEW,
        quantity=stop.quantity,
        executed_quantity=stop.quantity / 2,
        algo_id=stop.algo_id,
    )
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    gone = OrderReport(
        client_order_id=stop.client_order_id,
        symbol=stop.symbol,
        status=ExchangeStatus.CANCELED,
        quantity=stop.quantity,
        executed_quantity=stop.quantity * 0,
        algo_id=stop.algo_id,
    )
    apply_report(stop, gone, now=desk.clock(), source="stream")

    apply_report(stale, resting, now=desk.clock(), source="look-up")

    # It should end as CANCELED with what was executed, by whichever report that was said.
    stop.refresh_from_db()
    assert (stop.state, stale.state) == ("CANCELED", "CANCELED")
    assert stop.executed_quantity == stale.executed_quantity == stop.quantity / 2


@pytest.mark.parametrize("side", SIDES)
def test_an_order_that_is_heard_of_again_is_not_ended_unseen(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    stop = desk.order(request_id, "STOP")
    stale = Order.objects.select_related("request").get(pk=stop.pk)
    Order.objects.filter(pk=stop.pk).update(state="TRIGGERED")

    apply_unseen_end(stale, now=desk.clock(), evidence="forgotten")

    stop.refresh_from_db()
    assert stop.state == "TRIGGERED"
    assert not AuditEvent.objects.filter(entity="order", entity_id=stop.client_order_id, to_state="EXPIRED").exists()


# The last word


@pytest.mark.parametrize("side", SIDES)
def test_a_trip_in_the_last_moment_keeps_the_entry_from_leaving(desk: Desk, side: str) -> None:
    request_id = decided(desk, side, before="place_order")

    def trip() -> None:
        desk.risk.trip("Daily drawdown 5.20% >= 5.00%")
        desk.read_bus()

    with at_point(CrashPoint.ENTRY_WRITTEN, trip):
        assert desk.step("place_order", request_id) is False

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("REJECTED", "ESS_BLOCKED")
    assert "state=TRIPPED (ess.tripped: Daily drawdown 5.20% >= 5.00%)" in request.reason
    assert desk.event(request_id, "order.failed")["reason_code"] == "ESS_BLOCKED"
    assert (desk.ledger.sent("POST", ORDER), desk.ledger.positions) == ([], {})
    assert not PositionSlot.objects.exists()


@pytest.mark.parametrize("side", SIDES)
def test_a_trip_between_two_attempts_keeps_the_entry_from_being_sent_again(desk: Desk, side: str) -> None:
    request_id = decided(desk, side, before="place_order")
    desk.paper.add_fault(path=ORDER, method="POST", action="reply", preset="unavailable_503")

    def trip() -> None:
        desk.risk.trip("Daily drawdown")
        desk.read_bus()

    with at_point(CrashPoint.ORDER_SIGNED, trip):
        desk.step("place_order", request_id)

    request = desk.request(request_id)
    # It should tell what became of the only attempt.
    assert (request.state, request.reason_code) == ("REJECTED", "EXCHANGE_REJECTED")
    assert desk.ledger.positions == {}
    assert len(desk.ledger.sent("POST", ORDER)) == 1
    assert not PositionSlot.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("side", SIDES)
def test_a_database_connection_lost_before_the_wire_costs_no_entry(desk: Desk, side: str) -> None:
    """The order is written and not sent, and a task that is tried again does not send it: the check is asked anew."""
    request_id = decided(desk, side, before="place_order")
    lost: list[int] = []

    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [pid] = cursor.fetchone()
        params = connection.get_connection_params()
        known = {name: params[name] for name in ("dbname", "user", "password", "host", "port") if params.get(name)}
        with psycopg.connect(**known, autocommit=True) as another:
            another.execute("SELECT pg_terminate_backend(%s)", [pid])
        lost.append(pid)

    with at_point(CrashPoint.ENTRY_WRITTEN, cut):
        assert desk.step("place_order", request_id) is True

    assert len(lost) == 1
    assert desk.request(request_id).state == "FILLED"
    assert len(desk.ledger.sent("POST", ORDER)) == 1
    assert len(desk.ledger.positions) == 1
