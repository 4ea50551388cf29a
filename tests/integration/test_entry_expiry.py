"""A LIMIT entry that rests ends when its time is up, by us or by the exchange, and what it has filled is kept."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.crash_points import CrashPoint
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import AuditEvent, ExecutionRequest, Order, PolicyValue, PositionSlot
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.kill_switch import engage
from tests.support.desk import PATIENCE, Desk
from tests.support.interference import at_point
from tests.support.ledger import ORDER

pytestmark = pytest.mark.django_db
HOUR = 3600
# Far from the price at rest, 50000: nothing fills by itself.
PRICES = {"buy": ("49000", "48000"), "sell": ("51000", "52000")}


def resting(desk: Desk, side: str = "buy", **fields: Any) -> UUID:
    price, stop = PRICES[side]
    request_id = desk.signal(side=side, price=price, stop_loss=stop, **fields)
    assert desk.run(request_id) == "ACCEPTED"
    return request_id


def let_pass(desk: Desk, seconds: float) -> None:
    """Let both clocks go on."""
    desk.paper.control("POST", "clock", {"advance_ms": int(seconds * 1000)})
    desk.clock.let_pass(seconds)
    desk.exchange.check()


def policy(desk: Desk, key: str, value: str) -> None:
    PolicyValue.objects.create(key=key, value=Decimal(value), source="test", version=1, changed_at=desk.clock())


def fill(desk: Desk, request_id: UUID, quantity: str) -> None:
    name = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": name, "quantity": quantity})


def cancels(desk: Desk) -> int:
    return len([row for row in desk.ledger.requests if (row["method"], row["path"]) == ("DELETE", ORDER)])


def assert_expired(desk: Desk, request_id: UUID) -> None:
    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("CANCELED", "ENTRY_EXPIRED")
    assert request.entry_expires_at is not None
    assert request.reason.startswith(f"ENTRY_EXPIRED: good_till={request.entry_expires_at.isoformat()}")
    assert desk.event(request_id, "order.failed")["reason_code"] == "ENTRY_EXPIRED"
    assert desk.ledger.live() == []
    # It should have given the symbol back.
    assert not PositionSlot.objects.filter(request_id=request_id).exists()
    desk.check()


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(("fields", "seconds"), [({}, HOUR), ({"expires_in_seconds": 90}, 90)])
def test_an_entry_that_rests_is_cancelled_when_its_time_is_up(
    desk: Desk, side: str, fields: dict[str, Any], seconds: int, mode: str
) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    request_id = resting(desk, side, **fields)
    request = desk.request(request_id)
    assert request.entry_expires_at == request.decided_at + timedelta(seconds=seconds)

    let_pass(desk, seconds - 5)
    desk.cycle()
    assert (desk.request(request_id).state, cancels(desk)) == ("ACCEPTED", 0)

    let_pass(desk, 6)
    desk.cycle()
    assert cancels(desk) == 1 or desk.order(request_id, "ENTRY").state == "EXPIRED"
    assert_expired(desk, request_id)
    # It should not fill days later.
    desk.paper.set_price("BTCUSDT", "47000" if side == "buy" else "53000")
    let_pass(desk, 2 * 86_400)
    desk.cycle()
    assert (desk.ledger.positions, desk.request(request_id).state) == ({}, "CANCELED")


@pytest.mark.parametrize(("seconds", "ahead"), [(90, 660), (659, 660), (7200, 7200)])
def test_the_exchange_knows_the_end_too(desk: Desk, seconds: int, ahead: int) -> None:
    """At the same second, or as soon as it takes one: not less than 600 s ahead."""
    request_id = resting(desk, expires_in_seconds=seconds)

    [sent] = desk.ledger.sent("POST", ORDER)
    assert sent["timeInForce"] == "GTD"
    until = int(sent["goodTillDate"])
    asked = desk.request(request_id).decided_at.timestamp() + ahead
    assert until % 1000 == 0
    assert 0 <= until / 1000 - asked < 5


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_entry_ends_while_nothing_of_ours_runs(desk: Desk, side: str) -> None:
    request_id = resting(desk, side)

    let_pass(desk, HOUR + 2)
    # It should be over at the exchange by itself, before anybody of ours looks.
    assert desk.ledger.live() == []
    assert desk.order(request_id, "ENTRY").state == "ACCEPTED"

    desk.cycle()
    assert cancels(desk) == 0
    assert desk.order(request_id, "ENTRY").state == "EXPIRED"
    assert_expired(desk, request_id)


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("who", ["we", "exchange"])
def test_what_has_filled_is_kept_and_protected(desk: Desk, side: str, mode: str, who: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    # The exchange takes no end that is nearer than 600 s.
    request_id = resting(desk, side, expires_in_seconds=120 if who == "we" else 900)
    fill(desk, request_id, "0.004")
    let_pass(desk, 125 if who == "we" else 905)

    desk.cycle()
    desk.cycle()

    entry, trade = desk.order(request_id, "ENTRY"), desk.trade(request_id)
    assert (entry.state, entry.executed_quantity) == ("CANCELED" if who == "we" else "EXPIRED", Decimal("0.004"))
    assert (trade.state, trade.quantity, desk.request(request_id).state) == ("OPEN", Decimal("0.004"), "RECORDED")
    [stop] = desk.ledger.live_stops
    assert (Decimal(stop["quantity"]), Decimal(stop["triggerPrice"])) == (Decimal("0.004"), Decimal(PRICES[side][1]))
    desk.check()


def test_a_fill_that_is_faster_than_the_cancel_is_a_trade(desk: Desk) -> None:
    request_id = resting(desk, expires_in_seconds=120)
    let_pass(desk, 121)

    with at_point(CrashPoint.CANCEL_BEGUN, lambda: fill(desk, request_id, "0.010")):
        desk.cycle()

    assert (desk.trade(request_id).state, desk.trade(request_id).quantity) == ("OPEN", Decimal("0.010"))
    assert [Decimal(row["quantity"]) for row in desk.ledger.live_stops] == [Decimal("0.010")]
    desk.check()


def test_a_cancel_whose_answer_is_lost_is_told_as_what_it_was(desk: Desk) -> None:
    request_id = resting(desk, expires_in_seconds=120)
    let_pass(desk, 121)
    desk.paper.add_fault(path=ORDER, method="DELETE", action="drop_after")
    desk.paper.add_fault(path=ORDER, method="GET", action="drop_before")

    desk.cycle()
    assert desk.order(request_id, "ENTRY").state == "ACCEPTED"
    desk.cycle()

    assert_expired(desk, request_id)


def test_a_cancel_that_is_refused_is_tried_again_after_a_pause(desk: Desk) -> None:
    request_id = resting(desk, expires_in_seconds=120)
    let_pass(desk, 121)
    desk.paper.add_fault(path=ORDER, method="DELETE", action="refuse", code=-4117)

    for _ in range(3):
        desk.cycle()
    assert (cancels(desk), desk.request(request_id).state) == (1, "ACCEPTED")
    desk.clock.let_pass(5)
    desk.cycle()

    assert_expired(desk, request_id)
    lines = AuditEvent.objects.filter(entity="order", trigger="entry_expired")
    assert lines.count() == 1


def test_the_policy_may_say_never_and_ends_what_was_approved_under_that(desk: Desk) -> None:
    policy(desk, "execution.limit_entry_max_age_sec", "0")
    request_id = resting(desk)
    [sent] = desk.ledger.sent("POST", ORDER)
    assert (sent["timeInForce"], desk.request(request_id).entry_expires_at) == ("GTC", None)
    let_pass(desk, 86_400)
    desk.cycle()
    assert desk.request(request_id).state == "ACCEPTED"

    # A policy of today holds for what has no time of its own, as for entries of before there was one.
    PolicyValue.objects.filter(key="execution.limit_entry_max_age_sec").update(value=HOUR)
    desk.cycle()
    request = desk.request(request_id)
    assert (request.state, request.reason_code, desk.ledger.live()) == ("CANCELED", "ENTRY_EXPIRED", [])


def test_an_entry_of_before_there_was_a_time_has_the_policys(desk: Desk) -> None:
    request_id = resting(desk)
    ExecutionRequest.objects.filter(pk=request_id).update(entry_expires_at=None)
    desk.clock.let_pass(HOUR - 5)
    desk.cycle()
    assert desk.request(request_id).state == "ACCEPTED"

    desk.clock.let_pass(6)
    desk.cycle()

    assert desk.request(request_id).reason_code == "ENTRY_EXPIRED"


def test_the_protector_ends_it_while_the_monitor_is_silent(desk: Desk) -> None:
    request_id = resting(desk, expires_in_seconds=120)
    fill(desk, request_id, "0.004")
    let_pass(desk, 121)

    ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(seconds=0))

    assert desk.order(request_id, "ENTRY").state == "CANCELED"
    assert [Decimal(row["quantity"]) for row in desk.ledger.live_stops] == [Decimal("0.004")]


def test_a_decision_that_is_over_before_it_is_sent_is_not_sent(desk: Desk) -> None:
    request_id = desk.signal(price="49000", stop_loss="48000", expires_in_seconds=5)
    desk.clock.let_pass(6)

    assert desk.run(request_id) == "EXPIRED"
    assert (desk.request(request_id).reason_code, desk.ledger.entries_sent) == ("SIGNAL_TOO_OLD", [])


def test_the_kill_switch_is_told_as_itself(desk: Desk) -> None:
    request_id = resting(desk)
    engage(KillLevel.HALT, Authorization(by="anna", reason="test"), now=desk.clock())
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)

    assert desk.request(request_id).reason_code == "ENTRY_ENDED_WITHOUT_FILL"


def test_an_exchange_whose_clock_is_an_hour_ahead_takes_the_end(desk: Desk) -> None:
    desk.paper.control("POST", "clock", {"advance_ms": HOUR * 1000})

    request_id = resting(desk, expires_in_seconds=120)

    # It should be written by the exchange's clock: 660 s ahead of that.
    [sent] = [row for row in desk.ledger.sent("POST", ORDER) if row["timeInForce"] == "GTD"][-1:]
    ahead = int(sent["goodTillDate"]) / 1000 - desk.request(request_id).decided_at.timestamp()
    assert HOUR + 660 <= ahead < HOUR + 670
    desk.clock.let_pass(121)
    desk.cycle()
    assert desk.request(request_id).reason_code == "ENTRY_EXPIRED"


def test_exits_never_expire(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.clock.let_pass(30 * 86_400)
    desk.cycle()

    assert set(Order.objects.filter(request_id=request_id).values_list("expired_at", flat=True)) == {None}
    assert len(desk.ledger.live()) == 2
