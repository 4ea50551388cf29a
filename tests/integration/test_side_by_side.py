"""Stop and target leave at the same time; the stop waits for nothing, and each outcome is settled once."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from execution.crash_points import CrashPoint
from execution.domain.outcomes import OrderReport
from execution.domain.trading import OrderService
from execution.models import AuditEvent, Order
from execution.orders.apply_report import apply_report
from tests.support.desk import Desk
from tests.support.interference import at_point
from tests.support.victim import Victim

pytestmark = pytest.mark.django_db(transaction=True)
ALGO_ORDER = "/fapi/v1/algoOrder"
DELAY_MS = 400
STOP, TARGET = {"type": "STOP_MARKET"}, {"type": "TAKE_PROFIT_MARKET"}


@pytest.fixture
def both(desk: Desk) -> Desk:
    return replace(desk, side_by_side=True)


def filled(desk: Desk, side: str = "buy") -> UUID:
    request_id = desk.decide(side=side)
    assert desk.run(request_id, until="place_order") == "FILLED"
    return request_id


def settle(desk: Desk) -> None:
    """Let the monitor come by until nothing is left to do."""
    for _ in range(4):
        desk.clock.let_pass(11)
        desk.cycle()


def accepted_at(desk: Desk, request_id: UUID, purpose: str) -> float:
    name = desk.order(request_id, purpose).client_order_id
    line = AuditEvent.objects.get(entity="order", entity_id=name, to_state="ACCEPTED")
    return float(line.at.timestamp())


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_both_are_taken_and_told_once(both: Desk, side: str) -> None:
    request_id = filled(both, side)

    assert both.step("protect_position", request_id)

    assert both.request(request_id).state == "PROTECTED"
    assert accepted_at(both, request_id, "STOP") == accepted_at(both, request_id, "TARGET")
    assert both.events(request_id).count("order.placed") == 3
    assert both.run(request_id) == "RECORDED"
    both.check()


def test_several_targets_and_hedge_mode(both: Desk) -> None:
    both.person.change_position_mode(dualSidePosition="true")
    targets = [{"price": "51000", "share": "0.5"}, {"price": "52000", "share": "0.5"}]
    request_id = both.signal(stop_loss="49000", take_profits=targets)

    assert both.run(request_id) == "RECORDED"

    assert (both.order_states(request_id, "STOP"), both.order_states(request_id, "TARGET")) == (
        ["ACCEPTED"],
        ["ACCEPTED"] * 2,
    )
    both.check()


def test_a_slow_target_does_not_hold_up_the_stop(both: Desk) -> None:
    request_id = filled(both)
    both.paper.add_fault(path=ALGO_ORDER, method="POST", match=TARGET, action="delay", ms=600)

    assert both.step("protect_position", request_id)

    assert accepted_at(both, request_id, "TARGET") - accepted_at(both, request_id, "STOP") > 0.3
    assert both.request(request_id).state == "PROTECTED"
    assert both.events(request_id).count("order.placed") == 3
    assert both.run(request_id) == "RECORDED"
    both.check()


def test_a_refused_target_leaves_the_stop_alone(both: Desk) -> None:
    request_id = filled(both)
    both.paper.add_fault(path=ALGO_ORDER, method="POST", match=TARGET, action="refuse", code=-4120)

    assert both.step("protect_position", request_id)

    assert both.request(request_id).state == "PROTECTED"
    target = both.order(request_id, "TARGET")
    assert (both.order_states(request_id, "STOP"), target.state, target.error_code) == (["ACCEPTED"], "REJECTED", -4120)
    both.run(request_id)
    settle(both)
    assert (target.error_code, both.order_states(request_id, "TARGET")) == (-4120, ["REJECTED", "ACCEPTED"])
    both.check()


def test_a_stop_that_is_refused_closes_the_position_and_leaves_no_target(both: Desk) -> None:
    both.close_what_has_no_stop()
    request_id = filled(both)
    both.paper.add_fault(path=ALGO_ORDER, method="POST", match=STOP, action="refuse", code=-4120, count=None)

    assert both.step("protect_position", request_id)

    assert both.request(request_id).state == "FLATTENED"
    assert both.run(request_id) == "RECORDED"
    settle(both)
    assert both.trade(request_id).state == "CLOSED"
    assert (both.ledger.live_stops, both.ledger.live_targets) == ([], [])
    both.check()


@pytest.mark.parametrize("lost", [STOP, TARGET], ids=["stop", "target"])
@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
def test_a_lost_answer_ends_in_one_stop_and_one_target(both: Desk, lost: dict[str, str], action: str) -> None:
    request_id = filled(both)
    both.paper.add_fault(path=ALGO_ORDER, method="POST", match=lost, action=action)

    both.run(request_id)
    settle(both)

    assert both.request(request_id).state == "RECORDED"
    assert (len(both.ledger.live_stops), len(both.ledger.live_targets)) == (1, 1)
    both.check()


@pytest.mark.parametrize("faster", ["STOP", "TARGET"])
def test_what_another_process_has_settled_is_settled_once(both: Desk, faster: str) -> None:
    request_id = filled(both)
    stream = both.another()

    def hear() -> None:
        order = Order.objects.select_related("request").get(request_id=request_id, purpose=faster)
        report = stream.exchange.look_up(order.symbol, order.client_order_id, OrderService.ALGO)
        assert isinstance(report, OrderReport)
        apply_report(order, report, now=both.clock(), source="stream")

    with at_point(CrashPoint.TARGET_ANSWERED, hear):
        assert both.step("protect_position", request_id)

    assert (both.order_states(request_id, "STOP"), both.order_states(request_id, "TARGET")) == (["ACCEPTED"],) * 2
    assert both.events(request_id).count("order.placed") == 3
    lines = AuditEvent.objects.filter(entity="order", to_state="ACCEPTED")
    assert lines.filter(entity_id=both.order(request_id, faster).client_order_id).count() == 1
    assert both.run(request_id) == "RECORDED"
    both.check()


def test_both_leave_on_the_way_of_the_running_service(desk: Desk, victim: Callable[..., Victim]) -> None:
    request_id = filled(desk)
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="delay", ms=DELAY_MS, count=2)

    with victim("step", "protect_position", str(request_id)) as process:
        process.hear("done")

    # It should have signed the second before the first was answered.
    first, second = sorted(int(call["timestamp"]) for call in desk.ledger.sent("POST", ALGO_ORDER))
    assert second - first < DELAY_MS
    assert desk.run(request_id) == "RECORDED"
    desk.check()
