"""Orders that our books have ended or never known, rows that nobody can read, and refusals that repeat."""

from uuid import uuid4

import pytest

from execution.domain.client_ids import client_order_id
from execution.domain.trading import OrderPurpose
from execution.models import DeadLetter, EssStatus, Order
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

ALGO_PATH = "/fapi/v1/algoOrder"


def rest(desk: Desk, client_id: str) -> None:
    """Let an order rest far below the market, as somebody else's process would."""
    terms = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
    desk.person.new_order(**terms, price="45000", newClientOrderId=client_id)


def open_ids(desk: Desk) -> list[str]:
    return sorted(order["clientOrderId"] for order in desk.person.get_orders())


def test_entry_that_appears_after_its_absence_was_proven_is_cancelled(desk: Desk) -> None:
    request_id = desk.signal(price=45000.0, stop_loss=44000.0, take_profit=46000.0)
    desk.run(request_id, until="guard_safety")
    entry = client_order_id(request_id, OrderPurpose.ENTRY, 1)
    desk.run(request_id)
    Order.objects.filter(client_order_id=entry).update(state="NOT_ACCEPTED")
    assert open_ids(desk) == [entry]

    desk.cycle()

    # It should not wait there to fill without anybody who expects it.
    assert open_ids(desk) == []


def test_order_under_our_prefix_that_we_never_wrote_is_left_alone(desk: Desk) -> None:
    theirs = client_order_id(uuid4(), OrderPurpose.ENTRY, 1)
    rest(desk, theirs)

    desk.cycle()

    # Another database on the same account may own it.
    assert open_ids(desk) == [theirs]


def test_orders_of_others_in_a_state_that_we_do_not_know_break_nothing(desk: Desk) -> None:
    desk.trade_opened()
    rest(desk, "by-hand")
    row = {**desk.person.get_orders()[0], "status": "SOMETHING_NEW"}
    desk.paper.add_fault(
        path="/fapi/v1/openOrders", method="GET", action="reply", status=200, body=[row], execute=False
    )

    result = desk.cycle()

    assert result.failed == 0
    desk.check()


def test_target_that_is_refused_is_asked_for_less_and_less_often(desk: Desk) -> None:
    desk.clock.stop()
    begun_at = desk.clock()
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    target = desk.order(request_id, "TARGET")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": target.client_order_id})
    refusal = {"code": -4045, "msg": "Reach max stop order limit."}
    desk.paper.add_fault(
        path=ALGO_PATH, method="POST", count=None, action="reply", status=400, body=refusal, execute=False
    )
    for _ in range(30):
        desk.clock.let_pass(10)
        desk.cycle()

    # Five minutes of cycles, one each ten seconds: pauses of 5, 10, 20, 40 and 80 seconds at the least, then of 160.
    refused = Order.objects.filter(request_id=request_id, purpose="TARGET", state="REJECTED").order_by("sequence")
    tried = [(order.created_at - begun_at).total_seconds() for order in refused]
    assert tried == [10, 20, 30, 50, 90, 170]
    # It should have kept the stop all the while.
    assert len(desk.ledger.live_stops) == 1


@pytest.mark.parametrize("payload", ["{not json", '{"reason": "x", "timestamp": "yesterday"}'])
def test_trip_that_cannot_be_read_stops_entries_all_the_same(desk: Desk, payload: str) -> None:
    desk.redis.xadd("quantum:stream:ess.tripped", {"payload": payload})

    desk.read_bus()

    assert DeadLetter.objects.get().event_type == "ess.tripped"
    status = EssStatus.objects.get()
    assert (status.state, status.permitted) == ("TRIPPED", False)
    assert status.reason.startswith("unreadable ess.tripped: ")
    # It should refuse the next decision although the service says ARMED.
    assert desk.run(desk.decide()) == "DENIED"
    assert desk.ledger.entries == []
