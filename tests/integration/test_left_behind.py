"""What the chain has left between wire and books is the protector's after a second; it runs again then."""

from datetime import timedelta

import pytest

from execution.domain.states import RequestState
from execution.models import ExecutionRequest, Order
from execution.reconciliation.stop_watchdog import Guarded, ensure_cover
from execution.reconciliation.unfinished_entries import GRACE, SENT_AGAIN_FOR, next_due_in, unbooked
from tests.support.desk import PATIENCE, Desk
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db
BOTH_SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
MOMENT = timedelta(milliseconds=1)
SILENT_AFTER = timedelta(seconds=22)


def guard(desk: Desk) -> Guarded:
    return ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=SILENT_AFTER)


@BOTH_SIDES
@pytest.mark.parametrize(
    ("last", "state"), [("place_order", RequestState.FILLED), ("protect_position", RequestState.PROTECTED)]
)
def test_a_request_without_books_is_sent_on_its_way_for_some_seconds(
    desk: Desk, side: str, last: str, state: RequestState
) -> None:
    desk.clock.stop()
    request_id = desk.decide(side=side)
    desk.run(request_id, until=last)
    moved_at = ExecutionRequest.objects.get(pk=request_id).moved_at

    assert unbooked(moved_at + GRACE - MOMENT) == []
    assert unbooked(moved_at + GRACE) == [(request_id, state)]
    assert unbooked(moved_at + GRACE + SENT_AGAIN_FOR - MOMENT) == [(request_id, state)]
    # Then the monitor has it: a worker that is behind is not sent the same again and again.
    assert unbooked(moved_at + GRACE + SENT_AGAIN_FOR) == []


@BOTH_SIDES
def test_what_has_its_books_or_never_left_is_left_alone(desk: Desk, side: str) -> None:
    desk.clock.stop()
    desk.trade_opened("ETHUSDT", side)
    waiting = desk.decide(side=side)
    desk.run(waiting, until="guard_safety")
    desk.clock.let_pass(GRACE.total_seconds())

    assert unbooked(desk.clock()) == []
    assert next_due_in(desk.clock()) is None


def test_the_protector_runs_again_when_the_first_of_several_is_due(desk: Desk) -> None:
    desk.clock.stop()
    first, second = desk.decide("BTCUSDT", "buy"), desk.decide("ETHUSDT", "sell")
    desk.run(first, until="place_order")
    ExecutionRequest.objects.filter(pk=first).update(moved_at=desk.clock())
    desk.clock.let_pass(0.25)
    desk.run(second, until="place_order")
    ExecutionRequest.objects.filter(pk=second).update(moved_at=desk.clock())

    assert guard(desk).look_again_in == timedelta(seconds=0.75)
    desk.clock.let_pass(0.75)
    # The first one has its stop by this run, and stands anew.
    found = guard(desk)
    assert (found.went_to, found.look_again_in) == (1, timedelta(seconds=0.25))
    # Its books are due at once; the other one may still be its worker's.
    assert found.left_behind == (first,)
    assert unbooked(desk.clock(), found.left_behind) == [(first, RequestState.PROTECTED)]
    desk.clock.let_pass(0.25)
    assert guard(desk).went_to == 1
    assert {desk.request(pk).state for pk in (first, second)} == {"PROTECTED"}


@BOTH_SIDES
def test_an_entry_in_doubt_is_due_a_second_after_it_was_sent(desk: Desk, side: str) -> None:
    desk.clock.stop()
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="late", ms=1_600)
    request_id = desk.decide(side=side)
    desk.run(request_id, until="place_order")
    order = Order.objects.get(request_id=request_id)
    assert order.sent_at is not None

    assert next_due_in(order.sent_at) == GRACE
    assert next_due_in(order.sent_at + GRACE - MOMENT) == MOMENT
    assert next_due_in(order.sent_at + GRACE) is None


@BOTH_SIDES
def test_the_books_of_an_entry_that_was_looked_up_are_due_at_once(desk: Desk, side: str) -> None:
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="late", ms=1_600)
    request_id = desk.decide(side=side)
    assert desk.run(request_id) == "UNKNOWN"
    eventually(lambda: "BTCUSDT" in desk.ledger.positions, within=10, what="the entry has executed")
    desk.clock.let_pass(2)

    found = guard(desk)

    assert found.left_behind == (request_id,)
    assert unbooked(desk.clock(), found.left_behind) == [(request_id, RequestState.PROTECTED)]
