"""The protector: it covers what the books miss, leaves the rest alone, and stands in for a silent monitor."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from execution.domain.ports import Lane
from execution.models import Heartbeat, Order
from execution.monitor.protector import Guarded, ensure_cover
from tests.support.desk import PATIENCE, Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
SILENT_AFTER = timedelta(seconds=22)


def guard(desk: Desk) -> Guarded:
    return ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=SILENT_AFTER)


def test_a_filled_entry_that_nobody_goes_on_with_gets_its_stop(desk: Desk) -> None:
    desk.cycle()
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    desk.paper.clear_ledger()

    # It should leave the chain its second,
    assert guard(desk).went_to == 0
    desk.clock.let_pass(1.5)
    found = guard(desk)

    # then place it from the books alone.
    assert (found.went_to, found.failed, found.read_exchange) == (1, 0, False)
    assert len(desk.ledger.live_stops) == 1
    assert desk.request(request_id).state == "PROTECTED"
    assert {row["path"] for row in desk.ledger.requests} == {ALGO_ORDER}
    assert Heartbeat.objects.get(part="protector").healthy


def test_covered_positions_cost_nothing(desk: Desk) -> None:
    desk.trade_opened()
    desk.cycle()
    desk.clock.let_pass(5)
    desk.paper.clear_ledger()

    assert guard(desk) == Guarded(went_to=0, failed=0, read_exchange=False)
    assert desk.ledger.requests == []
    desk.check()


def test_it_finds_a_vanished_stop_itself_when_the_monitor_is_silent(desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.cycle()
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": stop.client_order_id})
    desk.clock.let_pass(10)

    # The monitor would find it in its next cycle: not the protector's work.
    assert (guard(desk).went_to, desk.ledger.live_stops) == (0, [])

    desk.clock.let_pass(15)
    assert guard(desk).read_exchange
    assert desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"]
    desk.check()


def test_it_finds_a_fill_that_nobody_noted_when_the_monitor_is_silent(desk: Desk) -> None:
    desk.cycle()
    request_id = desk.signal(price="49500", stop_loss="49000")
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": "0.010"})
    desk.clock.let_pass(25)

    guard(desk)

    assert [stop["quantity"] for stop in desk.ledger.live_stops] == ["0.010"]


def test_it_does_not_use_up_the_limit_with_readings(desk: Desk) -> None:
    desk.trade_opened()
    desk.clock.let_pass(60)

    assert guard(desk).read_exchange
    desk.clock.let_pass(2)
    assert not guard(desk).read_exchange
    desk.clock.let_pass(4)
    assert guard(desk).read_exchange


def test_its_readings_go_before_those_that_can_wait(desk: Desk) -> None:
    desk.trade_opened()
    desk.clock.let_pass(60)
    before = desk.limiter.state().granted

    assert guard(desk).read_exchange

    granted = {lane: count - before[lane] for lane, count in desk.limiter.state().granted.items()}
    assert granted == {Lane.PROTECT: 0, Lane.CLOSE: 3, Lane.ENTRY: 0, Lane.READ: 0}


def test_an_exchange_that_does_not_answer_is_said(desk: Desk) -> None:
    desk.trade_opened()
    desk.clock.let_pass(60)
    desk.paper.add_fault(path="/fapi/v3/positionRisk", action="refuse", status=503, code=-1008, count=9)

    assert not guard(desk).read_exchange
    beat = Heartbeat.objects.get(part="protector")
    assert (beat.healthy, "-1008" in beat.details["error"]) == (False, True)


@pytest.mark.django_db(transaction=True)
def test_protector_monitor_and_chain_at_once_place_one_stop(desk: Desk) -> None:
    desk.cycle()
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    desk.clock.let_pass(5)
    second, third = desk.another(), desk.another()
    jobs: list[Callable[[], object]] = [lambda: guard(desk), second.cycle, lambda: third.run(request_id)]

    at_once(jobs)

    assert Order.objects.filter(request_id=request_id, purpose="STOP").count() == 1
    assert len(desk.ledger.sent("POST", ALGO_ORDER)) == 2
    desk.check()
