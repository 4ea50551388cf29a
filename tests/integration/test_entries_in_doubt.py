"""An entry whose answer is lost and whose stream is mute: it is asked for until it can have arrived no more."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from execution.models import ExecutionRequest, Order
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.reconciliation.unfinished_entries import IN_DOUBT_FOR
from tests.support.desk import PATIENCE, Desk
from tests.support.exits import SIDES, SYMBOL
from tests.support.ledger import ORDER
from tests.support.waiting import eventually

pytestmark = [pytest.mark.django_db, pytest.mark.real_pauses]


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """Let the monitor work: the protector reads nothing in its place."""
    desk.cycle()
    return desk


def protect(desk: Desk) -> None:
    """Let the protector have its turn."""
    done = ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(days=1))
    assert not done.read_exchange


def arrives_late(desk: Desk, side: str) -> UUID:
    """Let an entry execute after its own worker has given it up."""
    desk.paper.add_fault(path=ORDER, method="POST", action="late", ms=1_600)
    request_id = desk.decide(side=side)
    assert desk.run(request_id) == "UNKNOWN"
    eventually(lambda: SYMBOL in desk.ledger.positions, within=10, what="the entry has executed")
    return request_id


@pytest.mark.parametrize("side", SIDES)
def test_its_own_worker_finds_what_executes_within_a_second(desk: Desk, side: str) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", action="late", ms=600)
    request_id = desk.decide(side=side)

    assert desk.run(request_id) == "RECORDED"
    assert len(desk.ledger.live_stops) == 1
    desk.check()


@pytest.mark.parametrize("side", SIDES)
def test_the_protector_covers_what_executes_later(desk: Desk, side: str) -> None:
    request_id = arrives_late(desk, side)

    desk.clock.let_pass(2)
    protect(desk)

    # It should have its stop in the same turn, and leave targets and books to the others.
    assert desk.request(request_id).state == "PROTECTED"
    assert len(desk.ledger.live_stops) == 1
    desk.run(request_id)
    desk.check()


@pytest.mark.parametrize("side", SIDES)
def test_the_protector_covers_what_a_dead_worker_has_sent(desk: Desk, side: str) -> None:
    request_id = arrives_late(desk, side)
    for rows in (Order.objects.filter(request_id=request_id), ExecutionRequest.objects.filter(pk=request_id)):
        rows.update(state="SUBMITTING")

    # One that was sent a moment ago is its worker's.
    desk.clock.stop()
    Order.objects.filter(request_id=request_id).update(sent_at=desk.clock())
    protect(desk)
    assert desk.ledger.live_stops == []
    desk.clock.let_pass(1.1)
    protect(desk)

    assert len(desk.ledger.live_stops) == 1


def test_an_entry_that_can_have_arrived_no_more_is_the_monitors(desk: Desk) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_before")
    request_id = desk.decide()
    assert desk.run(request_id) == "UNKNOWN"
    asked = len(desk.ledger.sent("GET", ORDER))

    desk.clock.let_pass(2)
    protect(desk)
    assert len(desk.ledger.sent("GET", ORDER)) == asked + 1
    # It should conclude nothing from what it does not find.
    assert desk.order(request_id, "ENTRY").missing_readings == 0
    desk.clock.let_pass(IN_DOUBT_FOR.total_seconds())
    protect(desk)
    assert len(desk.ledger.sent("GET", ORDER)) == asked + 1


def test_what_protects_has_a_shorter_time_out_than_the_rest(desk: Desk) -> None:
    desk.close_what_has_no_stop()
    impatient = replace(desk, protective_seconds=1.0, max_unprotected=timedelta(seconds=5))
    desk.paper.add_fault(path="/fapi/v1/algoOrder", method="POST", action="hang", ms=20_000)
    request_id = impatient.trade_opened()

    # It should have sent another stop, and keep one.
    assert impatient.order_states(request_id, "STOP")[0] == "UNKNOWN"
    assert len(desk.ledger.live_stops) == 1
