"""A closing order whose outcome is unknown holds back the next one: two of them could turn a position round."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from execution.models import Order
from execution.pipeline.protect_position import protect_position
from tests.integration.test_refused_exits import SteppedClock, by_kill_switch, by_time_exit, closes
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
Way = Callable[[Desk, UUID], None]
UNAVAILABLE = {"status": 503, "body": {"code": -1000, "msg": "Unknown error"}}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.clock = SteppedClock()
    # How long a stop is tried before its position is closed is real time.
    desk.max_unprotected = timedelta(seconds=0.1)
    return desk


def by_lost_stop(desk: Desk, request_id: UUID) -> None:
    """Let every stop be refused for good, so that the position is to be closed."""
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="refuse", code=-1102, count=None, id="stops")
    Order.objects.filter(request_id=request_id, purpose="STOP", state="ACCEPTED").update(state="CANCELED")
    protect_position(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


SIDES, WAYS = ("buy", "sell"), (by_time_exit, by_kill_switch, by_lost_stop)


def orders_sent(desk: Desk) -> int:
    return len(desk.ledger.sent("POST", ORDER))


def try_again(desk: Desk, way: Way, request_id: UUID) -> None:
    """Let a minute pass twice, which is longer than any pause after a refusal."""
    for _ in range(2):
        desk.clock.let_pass(61)
        way(desk, request_id)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("way", WAYS)
def test_no_second_close_is_sent_while_the_first_may_still_arrive(desk: Desk, way: Way, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_before")
    # Nobody can prove yet that it has not arrived.
    desk.paper.add_fault(path=ORDER, method="GET", action="reply", id="silent", count=None, **UNAVAILABLE)
    way(desk, request_id)
    assert [order.state for order in closes(request_id)] == ["UNKNOWN"]
    sent = orders_sent(desk)

    try_again(desk, way, request_id)

    assert orders_sent(desk) == sent
    assert [order.state for order in closes(request_id)] == ["UNKNOWN"]

    # It should be sent anew as soon as its absence is proven, for exactly what is open.
    desk.paper.control("DELETE", "faults?id=silent")
    for _ in range(2):
        desk.clock.let_pass(30)
        desk.cycle()
    if len(closes(request_id)) == 1:
        way(desk, request_id)
    assert [order.state for order in closes(request_id)] == ["ABANDONED", "FILLED"]
    assert len({order.quantity for order in closes(request_id)}) == 1
    desk.paper.clear_faults()
    desk.cycle()
    assert (desk.trade(request_id).state, desk.ledger.positions) == ("CLOSED", {})
    desk.check()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("way", WAYS)
def test_a_close_that_executed_unheard_is_booked_and_not_repeated(desk: Desk, way: Way, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after")
    way(desk, request_id)
    assert ([order.state for order in closes(request_id)], desk.ledger.positions) == (["UNKNOWN"], {})
    sent = orders_sent(desk)

    try_again(desk, way, request_id)
    desk.paper.clear_faults()
    desk.clock.let_pass(30)
    desk.cycle()

    assert orders_sent(desk) == sent
    assert [order.state for order in closes(request_id)] == ["FILLED"]
    assert (desk.trade(request_id).state, desk.ledger.positions) == ("CLOSED", {})
    desk.check()
