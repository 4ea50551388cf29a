"""What a trip does beyond blocking: nothing, cancel what rests, or close everything; a state's change may be one."""

import pytest

from execution.models import EssStatus
from execution.reconciliation.enforce_ess_trip import TripAction, work_off_trip
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
TRIP = {"reason": "Daily drawdown 5.20% >= 5.00%"}


def work_off(desk: Desk, action: TripAction) -> None:
    work_off_trip(action, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


@pytest.mark.parametrize(
    ("action", "resting", "positions"), [("none", 1, 1), ("cancel_entries", 0, 1), ("flatten", 0, 0)]
)
def test_trip_does_what_the_setting_says_and_no_more(desk: Desk, action: str, resting: int, positions: int) -> None:
    opened = desk.trade_opened()
    entry = desk.signal("ETHUSDT", price=2400)
    assert desk.run(entry) == "ACCEPTED"
    desk.publish("ess.tripped", TRIP | {"timestamp": desk.clock().isoformat()})
    # The work begins with the event.
    assert desk.read_bus().trips == [True]

    work_off(desk, TripAction(action))
    work_off(desk, TripAction(action))
    desk.cycle()

    assert len(desk.ledger.positions) == positions
    assert desk.order(entry, "ENTRY").state == ("ACCEPTED" if resting else "CANCELED")
    if not positions:
        assert (desk.trade(opened).state, desk.trade(opened).close_reason) == ("CLOSED", "ESS_TRIP")
        assert desk.order_states(opened, "CLOSE") == ["FILLED"]


def test_silence_is_not_a_trip(desk: Desk) -> None:
    desk.fail_mode = "closed"
    opened = desk.trade_opened()
    EssStatus.objects.all().delete()
    desk.risk.answer("down", status=500)
    desk.run(desk.decide("ETHUSDT"))

    work_off(desk, TripAction.FLATTEN)

    assert EssStatus.objects.get().state == "UNREACHABLE"
    assert desk.trade(opened).state == "OPEN"
    assert len(desk.ledger.positions) == 1


@pytest.mark.parametrize("state", ["CRITICAL", "TRIPPED", "cooling_down", "SOMETHING_NEW"])
def test_state_that_changed_to_a_blocking_one_blocks_at_once(desk: Desk, state: str) -> None:
    desk.publish("ess.state.changed", {"old_state": "ARMED", "new_state": state, "reason": "by hand"})

    assert desk.read_bus().trips == [True]

    request_id = desk.decide()
    desk.run(request_id)
    assert desk.request(request_id).reason_code == "ESS_BLOCKED"
    assert f"state changed to {state.upper()}: by hand" in desk.request(request_id).reason


def test_state_that_permits_does_not_end_a_trip_by_itself(desk: Desk) -> None:
    desk.publish("ess.tripped", TRIP | {"timestamp": desk.clock().isoformat()})
    desk.publish("ess.state.changed", {"old_state": "TRIPPED", "new_state": "ARMED"})

    assert desk.read_bus().trips == [True]

    # The strictest word wins until the hold is over and the service itself says so.
    assert EssStatus.objects.get().permitted is False
