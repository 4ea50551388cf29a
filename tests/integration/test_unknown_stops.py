"""Stops whose outcome nobody tells: sent again while none is confirmed, and not without end."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from execution.domain.backoff import LONGEST_PAUSE_OPEN
from execution.models import Order
from execution.protection.bracket_manager import MOST_UNKNOWN_STOPS
from execution.protection.ensure_exits import ensure_exits
from tests.integration.test_refused_exits import SteppedClock
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
NO_ANSWER: Mapping[str, object] = {"method": "POST", "action": "drop_before", "count": None}


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_ten_unknown_stops_make_the_next_one_wait(desk: Desk, side: str) -> None:
    desk.clock = SteppedClock()
    desk.max_unprotected = timedelta(0)
    desk.close_what_has_no_stop()
    request_id = desk.decide(side=side)
    desk.run(request_id, until="place_order")
    desk.paper.add_fault(path=ALGO_ORDER, id="algo", **NO_ANSWER)
    desk.paper.add_fault(path=ORDER, id="orders", **NO_ANSWER)

    def protect(times: int) -> list[str]:
        for _ in range(times):
            desk.clock.let_pass(1)
            ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
        return desk.order_states(request_id, "STOP")

    # It should try again and again, for none of them is known to stand, and then rest for a minute.
    assert protect(MOST_UNKNOWN_STOPS) == ["UNKNOWN"] * MOST_UNKNOWN_STOPS
    assert len(protect(5)) == MOST_UNKNOWN_STOPS
    desk.clock.let_pass(LONGEST_PAUSE_OPEN.total_seconds())
    assert len(protect(1)) == MOST_UNKNOWN_STOPS + 1
    # Its target is not as urgent: each try doubles the pause before the next.
    kinds = [row["type"] for row in desk.ledger.sent("POST", ALGO_ORDER)]
    assert (kinds.count("STOP_MARKET"), kinds.count("TAKE_PROFIT_MARKET")) == (MOST_UNKNOWN_STOPS + 1, 3)

    desk.paper.clear_faults()
    desk.clock.let_pass(LONGEST_PAUSE_OPEN.total_seconds())
    assert protect(1)[-1] == "ACCEPTED"
    assert len(desk.ledger.live_stops) == 1


@pytest.mark.parametrize("purpose", ["TARGET", "TRAILING"])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_leg_without_an_answer_is_tried_again_after_a_pause_that_grows(desk: Desk, side: str, purpose: str) -> None:
    """Each of them may rest unseen: sent with every run, they would use up what the exchange takes of a symbol."""
    desk.clock = SteppedClock()
    kind = {"TARGET": "TAKE_PROFIT_MARKET", "TRAILING": "TRAILING_STOP_MARKET"}[purpose]
    desk.paper.add_fault(path=ALGO_ORDER, match={"type": kind}, **NO_ANSWER)
    request_id = desk.trade_opened(side=side, trail_percent=5)

    def protect() -> int:
        ensure_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
        return Order.objects.filter(request_id=request_id, purpose=purpose).count()

    for tries, pause in enumerate((5, 10, 20, 40, 80), start=1):
        assert [protect() for _ in range(3)] == [tries] * 3
        desk.clock.let_pass(pause - 1)
        assert protect() == tries
        desk.clock.let_pass(1)
    assert protect() == 6
    assert set(desk.order_states(request_id, purpose)) == {"UNKNOWN"}
    # The stop stands all the while, once.
    assert desk.order_states(request_id, "STOP") == ["ACCEPTED"]
