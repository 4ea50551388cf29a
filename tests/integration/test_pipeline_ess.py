"""The emergency stop: what blocks an entry, what a silence means, and that a trip reaches what is on its way."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from execution.adapters.stream_names import stream_of
from execution.models import AuditEvent, EssStatus, PositionSlot
from local_stack.bus import wrapped
from tests.support.desk import Desk


def assert_blocked_before_the_wire(desk: Desk, request_id: Any, state: str) -> None:
    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("DENIED", "ESS_BLOCKED")
    failed = desk.event(request_id, "order.failed")
    assert (failed["reason_code"], failed["ess_state"], failed["trade_id"]) == ("ESS_BLOCKED", state, str(request_id))
    assert desk.events(request_id) == ["order.failed"]
    assert desk.ledger.sent("POST", "/fapi/v1/order") == []
    assert not PositionSlot.objects.exists()


def test_armed_service_clears_a_decision(desk: Desk) -> None:
    request_id = desk.decide()

    assert desk.run(request_id, until="check_ess") == "CLEARED"

    known = EssStatus.objects.get()
    assert (known.state, known.permitted, known.source, known.unanswered) == ("ARMED", True, "http", 0)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"state": "CRITICAL", "can_execute": False, "trip_reason": "Daily drawdown 5.20%"}, "CRITICAL"),
        ({"state": "TRIPPED", "can_execute": False}, "TRIPPED"),
        # A state that blocks outranks a flag that permits, and the other way round.
        ({"state": "COOLING_DOWN", "can_execute": True}, "COOLING_DOWN"),
        ({"state": "ARMED", "can_execute": False}, "ARMED"),
        # A missing flag, or one that is not a boolean, blocks.
        ({"state": "ARMED"}, "ARMED"),
        ({"state": "ARMED", "can_execute": "true"}, "ARMED"),
        # So does a state that nobody has told us about.
        ({"state": "SOMETHING_NEW", "can_execute": True}, "SOMETHING_NEW"),
        ({"error": "ESS not initialized", "healthy": False}, "MISSING"),
    ],
)
def test_answer_that_does_not_clearly_permit_blocks(desk: Desk, answer: dict[str, object], state: str) -> None:
    desk.risk.answer(answer)
    request_id = desk.decide()

    desk.run(request_id)

    assert_blocked_before_the_wire(desk, request_id, state)


def test_manual_orders_are_blocked_as_well(desk: Desk) -> None:
    desk.risk.answer({"state": "CRITICAL", "can_execute": False})
    request_id = desk.signal()

    desk.run(request_id)

    assert_blocked_before_the_wire(desk, request_id, "CRITICAL")


@pytest.mark.parametrize(("fail_mode", "state"), [("open", "CLEARED"), ("closed", "DENIED")])
def test_silence_means_what_the_setting_says(desk: Desk, fail_mode: str, state: str) -> None:
    desk.fail_mode = fail_mode
    desk.step("check_ess", desk.decide("ETHUSDT"))
    desk.risk.delay(5)
    request_id = desk.decide()

    desk.step("check_ess", request_id)

    assert desk.request(request_id).state == state
    # It should be counted, for health and alerts.
    assert EssStatus.objects.get().unanswered == 1
    if state == "DENIED":
        assert "ESS_FAIL_MODE=closed" in desk.request(request_id).reason


@pytest.mark.parametrize(("status", "body"), [(503, {"detail": "Service not ready"}), (200, "not json"), (200, [1, 2])])
def test_useless_answer_counts_as_silence(desk: Desk, status: int, body: object) -> None:
    desk.fail_mode = "closed"
    desk.risk.answer(body, status=status)
    request_id = desk.decide()

    desk.run(request_id)

    assert_blocked_before_the_wire(desk, request_id, "UNREACHABLE")


@pytest.mark.parametrize("state", ["HALTED_BY_THE_RISK_DESK_UNTIL_FURTHER_NOTICE", "STOPPED\x00\ud800", "straße" * 8])
def test_a_state_of_any_spelling_is_written_as_changed_once(desk: Desk, state: str) -> None:
    desk.clock.stop()
    desk.risk.answer({"state": state, "can_execute": False, "trip_reason": f"why\x00{state}" * 100})

    for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT"):
        desk.run(desk.decide(symbol))
        desk.clock.let_pass(2)

    assert [len(line.to_state) <= 32 for line in AuditEvent.objects.filter(entity="ess")] == [True]
    assert AuditEvent.objects.filter(entity="request", to_state="DENIED").count() == 3


def test_known_trip_outranks_a_silence_even_when_failing_open(desk: Desk) -> None:
    desk.risk.answer({"state": "TRIPPED", "can_execute": False, "trip_reason": "Daily drawdown"})
    desk.run(desk.decide("ETHUSDT"))
    desk.risk.delay(5)
    request_id = desk.decide()

    desk.run(request_id)

    assert_blocked_before_the_wire(desk, request_id, "TRIPPED")
    assert "last known state" in desk.request(request_id).reason


def test_tripped_event_is_held_against_an_answer_that_still_says_armed(desk: Desk) -> None:
    desk.publish("ess.tripped", {"reason": "Daily drawdown 5.20% >= 5.00%", "timestamp": desk.clock().isoformat()})
    desk.read_bus()
    request_id = desk.decide()

    desk.run(request_id)

    assert_blocked_before_the_wire(desk, request_id, "TRIPPED")
    assert "Daily drawdown 5.20% >= 5.00%" in desk.request(request_id).reason

    # It should let entries pass again when the hold is over and the service still says so.
    desk.clock.let_pass(901)
    later = desk.decide()
    assert desk.run(later, until="check_ess") == "CLEARED"


def test_trip_between_guard_and_placing_stops_the_order_before_the_wire(desk: Desk) -> None:
    request_id = desk.decide()
    assert desk.run(request_id, until="guard_safety") == "APPROVED"
    desk.risk.trip("tripped while an order was on its way")
    desk.read_bus()

    assert desk.step("place_order", request_id) is False

    assert_blocked_before_the_wire(desk, request_id, "TRIPPED")


def test_trip_never_blocks_what_covers_or_closes_a_position(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    desk.risk.trip("tripped right after the fill")
    desk.read_bus()

    # It should still be covered and booked.
    assert desk.run(request_id) == "RECORDED"
    assert len(desk.ledger.live_stops) == 1

    desk.paper.set_price("BTCUSDT", "60000")
    desk.cycle()
    assert desk.trade(request_id).close_reason == "TP"
    desk.check()


STOPS = {"ess.tripped": {"reason": "drawdown"}, "ess.state.changed": {"new_state": "TRIPPED", "reason": "drawdown"}}


def old_entry(desk: Desk, event_type: str, payload: Mapping[str, object], *, age: timedelta) -> None:
    """Put an event on its stream as it stood there that long ago."""
    fields = wrapped(event_type, payload, source="test", trace_id="")
    entry_id = f"{int((desk.clock() - age).timestamp() * 1000)}-1"
    desk.redis.xadd(stream_of(event_type), fields, id=entry_id)


@pytest.mark.parametrize("event_type", STOPS)
@pytest.mark.parametrize("stamped", [None, timedelta(0), timedelta(minutes=-15), timedelta(days=-1)])
def test_replayed_old_stop_does_not_block(desk: Desk, event_type: str, stamped: timedelta | None) -> None:
    age = timedelta(seconds=901)
    stamp = {} if stamped is None else {"timestamp": (desk.clock() - age + stamped).isoformat()}
    old_entry(desk, event_type, STOPS[event_type] | stamp, age=age)
    desk.read_bus()

    # It should be in the journal, and be history.
    assert AuditEvent.objects.filter(entity="ess", trigger="ess.tripped").count() == 1
    assert desk.run(desk.decide(), until="check_ess") == "CLEARED"


def test_unreadable_old_trip_does_not_block(desk: Desk) -> None:
    fields: dict[Any, Any] = {"payload": "{"}
    old_entry_id = f"{int((desk.clock() - timedelta(hours=1)).timestamp() * 1000)}-1"
    desk.redis.xadd(stream_of("ess.tripped"), fields, id=old_entry_id)
    desk.read_bus()

    assert desk.run(desk.decide(), until="check_ess") == "CLEARED"


@pytest.mark.parametrize("event_type", STOPS)
@pytest.mark.parametrize(
    "stamp",
    [
        lambda now: (now - timedelta(minutes=16)).isoformat(),
        # Local time of a sender west of Greenwich, without its zone.
        lambda now: (now - timedelta(hours=5)).replace(tzinfo=None).isoformat(),
        lambda now: (now + timedelta(hours=9)).replace(tzinfo=None).isoformat(),
        lambda now: (now - timedelta(days=400)).timestamp(),
        lambda _now: "2020-01-01T00:00:00Z",
    ],
)
def test_stop_that_arrives_now_holds_whatever_its_senders_clock_says(
    desk: Desk, event_type: str, stamp: Callable[[datetime], object]
) -> None:
    desk.publish(event_type, STOPS[event_type] | {"timestamp": stamp(desk.clock())})
    arrived = desk.clock()

    assert desk.read_bus().trips == [True]

    # It should hold for the whole time from its arrival, and no longer.
    held_until = EssStatus.objects.get().held_until
    assert held_until is not None
    assert abs(held_until - arrived - timedelta(seconds=900)) < timedelta(seconds=5)
    assert desk.outcome(desk.decide()) == ("DENIED", "ESS_BLOCKED")
    desk.clock.let_pass(910)
    assert desk.run(desk.decide(), until="check_ess") == "CLEARED"


@pytest.mark.parametrize("event_type", STOPS)
def test_stop_that_comes_again_holds_again(desk: Desk, event_type: str) -> None:
    """A stop whose name was guessed and used first, in an entry that is history, still stops."""
    named = STOPS[event_type] | {"event_id": "stop-1"}
    old_entry(desk, event_type, named, age=timedelta(hours=1))
    desk.read_bus()
    assert desk.run(desk.decide(), until="check_ess") == "CLEARED"

    desk.publish(event_type, named)
    assert desk.read_bus().trips == [True]

    assert desk.outcome(desk.decide()) == ("DENIED", "ESS_BLOCKED")


@pytest.mark.parametrize(
    "payload",
    [
        {"reason": "Daily drawdown", "trip_time": "2999-01-01T00:00:00+00:00", "metrics": {"daily_drawdown_pct": 5.2}},
        {"reason": "x", "trip_level": "CRITICAL", "current_drawdown": 12.5},
        {"reason": "x", "severity": "CRITICAL", "timestamp": 1765855800},
        {"reason": None},
        {"reason": {"drawdown": 5.2}},
        {"reason": "x" * 5000},
        {},
    ],
)
def test_trip_takes_effect_in_every_shape(desk: Desk, payload: dict[str, object]) -> None:
    """The stream's name alone says that the stop has tripped: no field may be odd enough to lose that."""
    fresh = payload if payload.get("timestamp") is None else payload | {"timestamp": desk.clock().timestamp()}
    desk.publish("ess.tripped", fresh)

    desk.read_bus()

    known = EssStatus.objects.get()
    assert (known.state, known.permitted) == ("TRIPPED", False)
