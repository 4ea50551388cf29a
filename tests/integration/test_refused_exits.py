"""Exits that the exchange refuses: each has a memory, a pause that grows, a voice and an end."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.core.cache import cache
from django.test import Client

from execution.api.health import measure, report_of
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.domain.reasons import CloseReason
from execution.models import AuditEvent, Order, Trade
from execution.protection.ensure_exits import ensure_exits
from execution.reconciliation.actions import CloseInTime
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.reconciliation.repair import repair
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.kill_switch import engage
from tests.support.desk import PATIENCE, Desk, ShiftedClock
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
# After 1, 2, 3 ... refusals in a row; "seconds first", and never longer than a minute while a position is open.
PAUSES = (5, 10, 20, 40, 60, 60)


@dataclass
class SteppedClock(ShiftedClock):
    """A clock that stands still until a story lets time pass: pauses are held to the second on a slow machine, too."""

    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.begun_at + self.ahead


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.clock = SteppedClock()
    return desk


def refuse_closes(desk: Desk, code: int = -4131, **fields: object) -> None:
    """Refuse every ordinary order of ours from now on."""
    desk.paper.add_fault(path=ORDER, method="POST", action="refuse", code=code, count=None, **fields)


def closes(request_id: UUID) -> list[Order]:
    return list(Order.objects.filter(request_id=request_id, purpose="CLOSE").order_by("sequence"))


def told() -> str | None:
    """Return what health says of refused exits."""
    error: str | None = report_of(measure())["components"]["exits"]["error"]
    return error


def figures(client: Client) -> list[str]:
    cache.clear()
    lines = client.get("/metrics").content.decode().splitlines()
    return [line for line in lines if line.startswith("execution_refused_exit_tries{")]


def by_time_exit(desk: Desk, request_id: UUID) -> None:
    repair(CloseInTime(trade_id=request_id, reason=CloseReason.TIME), desk.tools())


def by_kill_switch(desk: Desk, _: UUID) -> None:
    engage(KillLevel.FLATTEN, Authorization(by="anna", reason="test"), now=desk.clock())
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


def by_lost_stop(desk: Desk, request_id: UUID) -> None:
    """Lose the stop for good: every new one is refused, so that the position is to be closed."""
    if not desk.paper.control("GET", "faults")["faults"][1:]:
        desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-4005, count=None)
    Order.objects.filter(request_id=request_id, purpose="STOP").update(state="CANCELED")
    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


def by_protector(desk: Desk, request_id: UUID) -> None:
    if not desk.paper.control("GET", "faults")["faults"][1:]:
        desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-4005, count=None)
    Order.objects.filter(request_id=request_id, purpose="STOP").update(state="CANCELED")
    Trade.objects.filter(pk=request_id).update(updated_at=desk.clock() - timedelta(minutes=1))
    ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(days=1))


Way = Callable[[Desk, UUID], None]
WAYS = [by_time_exit, by_kill_switch, by_lost_stop, by_protector]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_refused_close_is_tried_again_after_a_pause_that_grows(desk: Desk, way: Way, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    refuse_closes(desk)

    way(desk, request_id)
    for tries, pause in enumerate(PAUSES, start=1):
        assert len(closes(request_id)) == tries
        sent = len(desk.ledger.requests)
        desk.clock.let_pass(pause - 1)
        for _ in range(3):
            way(desk, request_id)
        # It should send nothing at all before the pause is over, neither close nor stop.
        orders = [row for row in desk.ledger.requests[sent:] if row["method"] == "POST"]
        assert (orders, len(closes(request_id))) == ([], tries)
        desk.clock.let_pass(1.5)
        way(desk, request_id)

    # It should have journaled each try, with the exchange's code.
    names = [order.client_order_id for order in closes(request_id)]
    lines = AuditEvent.objects.filter(entity="order", entity_id__in=names, to_state="REJECTED")
    assert (len(names), lines.count(), lines.filter(reason__contains="code=-4131").count()) == (7, 7, 7)


def test_health_and_figures_name_the_position_until_it_is_closed(desk: Desk, client: Client) -> None:
    request_id = desk.trade_opened()
    assert (told(), figures(client)) == (None, [])
    refuse_closes(desk)
    by_time_exit(desk, request_id)
    desk.clock.let_pass(6)
    by_time_exit(desk, request_id)

    first, second = closes(request_id)
    since = first.created_at.isoformat()
    assert f"BTCUSDT CLOSE refused: code=-4131 tries=2 since={since} next_try_in=" in str(told())
    details = report_of(measure())["components"]["exits"]["details"]["refused"]
    assert [(row["symbol"], row["what"], row["code"], row["tries"]) for row in details] == [
        ("BTCUSDT", "CLOSE", -4131, 2)
    ]
    assert details[0]["next_at"] == (second.created_at + timedelta(seconds=10)).isoformat()
    assert figures(client) == ['execution_refused_exit_tries{symbol="BTCUSDT",what="CLOSE"} 2.0']

    # It should end with the position.
    desk.paper.clear_faults()
    desk.clock.let_pass(11)
    by_time_exit(desk, request_id)
    desk.cycle()
    assert desk.trade(request_id).close_reason == "TIME"
    assert (told(), figures(client)) == (None, [])
    desk.check()


@pytest.mark.parametrize(("kind", "what"), [("TAKE_PROFIT_MARKET", "TARGET"), ("TRAILING_STOP_MARKET", "TRAILING")])
def test_refused_legs_are_named_too(desk: Desk, kind: str, what: str) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-4005, count=None, match={"type": kind})
    request_id = desk.trade_opened(trail_percent=1)

    assert f"BTCUSDT {what} refused: code=-4005 tries=1" in str(told())
    desk.paper.clear_faults()
    desk.clock.let_pass(6)
    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
    assert told() is None


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("way", [by_time_exit, by_kill_switch])
def test_a_close_that_finds_nothing_to_reduce_is_booked_and_not_sent_again(
    desk: Desk, way: Way, side: str, mode: str
) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    request_id = desk.trade_opened(side=side)
    # Somebody was faster, and we have not heard of it.
    position = {"positionSide": "LONG" if side == "buy" else "SHORT"}
    position = position if mode == "hedge" else {"reduceOnly": "true"}
    exit_side, quantity = "SELL" if side == "buy" else "BUY", str(desk.trade(request_id).quantity)
    desk.person.new_order(symbol="BTCUSDT", side=exit_side, type="MARKET", quantity=quantity, **position)

    way(desk, request_id)

    assert [(order.state, order.error_code) for order in closes(request_id)] == [("REJECTED", -2022)]
    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason) == ("CLOSED", "MANUAL")
    desk.clock.let_pass(120)
    desk.cycle()
    assert (len(closes(request_id)), told()) == (1, None)
    desk.check()


def test_a_position_that_is_out_without_fills_to_show_is_not_closed_again(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.009", reduceOnly="true")
    desk.paper.add_fault(path="/fapi/v1/userTrades", method="GET", action="hide", count=None)

    for _ in range(5):
        by_time_exit(desk, request_id)
        desk.clock.let_pass(61)

    # It should have asked for the position each time, and have sent one order.
    assert (len(closes(request_id)), desk.trade(request_id).state) == (1, "OPEN")
    assert "code=-2022 tries=1" in str(told())
    desk.paper.clear_faults()
    desk.cycle()
    assert (desk.trade(request_id).state, told()) == ("CLOSED", None)


def test_a_refused_close_of_a_target_does_not_hold_up_the_stop(desk: Desk) -> None:
    request_id = desk.trade_opened()
    target, stop = desk.order(request_id, "TARGET"), desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": target.client_order_id})
    Order.objects.filter(pk=target.pk).update(state="CANCELED")
    kind = {"type": "TAKE_PROFIT_MARKET"}
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-2021, count=None, match=kind)
    refuse_closes(desk)
    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
    assert [(order.state, order.leg_id) for order in closes(request_id)] == [("REJECTED", target.leg_id)]

    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    Order.objects.filter(pk=stop.pk).update(state="CANCELED")
    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)

    assert desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"]
    assert len(closes(request_id)) == 1


def test_the_ten_thousandth_close_has_an_id_that_the_exchange_takes(desk: Desk) -> None:
    request_id = desk.trade_opened()
    refuse_closes(desk)
    by_time_exit(desk, request_id)
    for sequence in (9_999, 2_000_000_000):
        Order.objects.filter(pk=closes(request_id)[-1].pk).update(sequence=sequence)
        desk.clock.let_pass(61)
        by_time_exit(desk, request_id)
    desk.paper.clear_faults()
    desk.clock.let_pass(61)

    by_time_exit(desk, request_id)

    last = closes(request_id)[-1]
    assert (last.sequence, len(last.client_order_id), last.state) == (2_000_000_002, 36, "FILLED")
    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    desk.check()


def test_targets_that_cannot_be_cancelled_make_no_room_for_ever(desk: Desk) -> None:
    """Without room for a stop the targets go; while their cancels have no effect, the position is closed instead."""
    desk.close_what_has_no_stop()
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    Order.objects.filter(pk=stop.pk).update(state="CANCELED")
    stops = {"type": "STOP_MARKET"}
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-4045, count=None, match=stops)
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="refuse", code=-4117, count=None)

    ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)

    assert [order.state for order in closes(request_id)] == ["FILLED"]
    # One cancel by hand and one of ours, which had no effect.
    assert len([row for row in desk.ledger.requests if row["method"] == "DELETE"]) == 2


def test_a_cancel_without_effect_is_sent_again_after_a_pause_and_named(desk: Desk) -> None:
    request_id = desk.signal(price="49000", stop_loss="48000")
    desk.run(request_id)
    engage(KillLevel.HALT, Authorization(by="anna", reason="test"), now=desk.clock())
    desk.paper.add_fault(path=ORDER, method="DELETE", action="refuse", code=-4117, count=None)

    def cancels() -> int:
        return len([row for row in desk.ledger.requests if row["method"] == "DELETE"])

    for tries, pause in enumerate((5, 10, 20, 40, 60), start=1):
        for _ in range(3):
            work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
        assert cancels() == tries
        assert ("BTCUSDT CANCEL refused: code=none" in str(told())) is (tries >= 3)
        desk.clock.let_pass(pause + 0.5)
    desk.paper.clear_faults()
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
    assert (desk.order(request_id, "ENTRY").state, told()) == ("CANCELED", None)


def test_readings_without_fills_may_be_counted_for_weeks(desk: Desk) -> None:
    """A small integer ends after 32,767 cycles, which are 3.8 days, and every write of the row with it."""
    request_id = desk.trade_opened()
    Trade.objects.filter(pk=request_id).update(flat_readings=32_767)
    Order.objects.filter(request_id=request_id, purpose="STOP").update(missing_readings=32_767)
    desk.paper.add_fault(path="/fapi/v3/positionRisk", method="GET", action="hide", count=1)
    desk.clock.let_pass(1)

    assert desk.cycle().failed == 0
    assert desk.trade(request_id).flat_readings == 32_768
