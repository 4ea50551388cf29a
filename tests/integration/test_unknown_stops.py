"""Stops whose outcome nobody tells: sent again while none is confirmed, and not without end."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from execution.domain.backoff import LONGEST_PAUSE_OPEN
from execution.models import Order
from execution.pipeline.legs import MOST_UNKNOWN_STOPS
from execution.pipeline.protect_position import protect_position
from tests.integration.test_refused_exits import SteppedClock
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
NO_ANSWER: Mapping[str, object] = {"method": "POST", "action": "drop_before", "count": None}


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_ten_unknown_stops_make_the_next_one_wait(desk: Desk, side: str) -> None:
    desk.clock = SteppedClock()
    desk.max_unprotected = timedelta(0)
    request_id = desk.decide(side=side)
    desk.run(request_id, until="place_order")
    desk.paper.add_fault(path=ALGO_ORDER, id="algo", **NO_ANSWER)
    desk.paper.add_fault(path=ORDER, id="orders", **NO_ANSWER)

    def protect(times: int) -> list[str]:
        for _ in range(times):
            desk.clock.let_pass(1)
            protect_position(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
        return list(Order.objects.filter(request_id=request_id, purpose="STOP").values_list("state", flat=True))

    # It should try again and again, for none of them is known to stand, and then rest for a minute.
    assert protect(MOST_UNKNOWN_STOPS) == ["UNKNOWN"] * MOST_UNKNOWN_STOPS
    assert len(protect(5)) == MOST_UNKNOWN_STOPS
    desk.clock.let_pass(LONGEST_PAUSE_OPEN.total_seconds())
    assert len(protect(1)) == MOST_UNKNOWN_STOPS + 1
    assert len(desk.ledger.sent("POST", ALGO_ORDER)) == MOST_UNKNOWN_STOPS + 1

    desk.paper.clear_faults()
    desk.clock.let_pass(LONGEST_PAUSE_OPEN.total_seconds())
    assert protect(1)[-1] == "ACCEPTED"
    assert len(desk.ledger.live_stops) == 1
