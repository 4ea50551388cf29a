"""Clocks that are set: nothing is traded late or twice, nothing stands still for as long as the clock was set back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
import time_machine

from execution.models import ExecutionRequest, Heartbeat
from execution.outbox.relay import relay_slice
from execution.reconciliation.cycle import swept_lately
from execution.signals.consumer import EventStarters, read_slice
from tests.support.desk import INTAKE, Desk, Started, decision
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
HOUR = 3600
THROTTLED = {"code": -1008, "msg": "Request throttled by system-level protection."}


@contextmanager
def set_by(desk: Desk, seconds: int) -> Iterator[None]:
    """Set our clock, and the exchange's with it: it was ours that had been wrong. Redis and PostgreSQL keep theirs."""
    desk.paper.control("POST", "clock", {"skew_ms": seconds * 1000})
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True):
        yield


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("after", ["guard_safety", "place_order", "protect_position"])
def test_a_jump_between_two_steps_doubles_and_loses_nothing(desk: Desk, after: str, jump: int) -> None:
    request_id = desk.decide()
    desk.run(request_id, until=after)

    with set_by(desk, jump):
        desk.run(request_id)
        for _ in range(3):
            desk.clock.let_pass(12)
            desk.cycle()

    # What was not sent yet is an hour old after a jump ahead; what was sent is carried to its end.
    late = after == "guard_safety" and jump > 0
    assert desk.request(request_id).state == ("EXPIRED" if late else "RECORDED")
    assert len(desk.ledger.entries_sent) == (0 if late else 1)
    desk.check()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_an_unknown_outcome_ends_by_evidence_over_a_jump(desk: Desk, jump: int) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after")
    desk.paper.add_fault(path=ORDER, method="GET", action="drop_before", count=None)
    request_id = desk.decide()
    assert desk.run(request_id) == "UNKNOWN"
    desk.paper.clear_faults()

    with set_by(desk, jump):
        for _ in range(3):
            desk.clock.let_pass(12)
            desk.cycle()

    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_absence_is_not_believed_early_because_a_clock_was_set_ahead(desk: Desk) -> None:
    """The clock says that the order can no longer arrive; the look-ups must still agree, more than once."""
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_before")
    request_id = desk.decide()
    assert desk.run(request_id) == "UNKNOWN"

    with set_by(desk, HOUR):
        desk.cycle()
        assert desk.request(request_id).state == "UNKNOWN"
        # An order that seems to be an hour old is asked for every five minutes.
        for _ in range(3):
            desk.clock.let_pass(301)
            desk.cycle()

    assert desk.request(request_id).state == "NOT_ACCEPTED"
    assert len(desk.ledger.entries_sent) == 1


def test_a_decision_from_a_clock_ahead_is_not_younger_than_its_arrival(desk: Desk) -> None:
    request_id = desk.decide(timestamp=(desk.clock() + timedelta(hours=1)).isoformat())

    request = desk.request(request_id)
    assert request.decided_at <= request.received_at
    desk.clock.let_pass(61)
    assert desk.run(request_id) == "EXPIRED"


@pytest.mark.parametrize("work", ["bridge", "relay"])
def test_a_slice_ends_in_time_when_the_clock_is_set_back_in_it(desk: Desk, work: str) -> None:
    """By the wall it would go on for an hour, and hold the duty for as long."""
    readings = iter([0])
    start = desk.clock()

    def clock() -> object:
        desk.clock.ahead -= timedelta(hours=next(readings, 1))
        return desk.clock()

    slices: dict[str, Callable[[], int]] = {
        "bridge": lambda: read_slice(
            desk.bus,
            EventStarters(
                start_chain=Started().chains.append, apply_policy=Started().policies.append, work_off_trip=lambda: None
            ),
            rules=INTAKE,
            length=timedelta(seconds=0.2),
            clock=clock,  # type: ignore[arg-type]
        ),
        "relay": lambda: relay_slice(desk.bus, desk.mirror, length=timedelta(seconds=0.2), clock=clock),  # type: ignore[arg-type]
    }
    slices[work]()

    assert desk.clock() < start
    assert Heartbeat.objects.get(part=work).at < start


def test_a_sweep_in_the_future_does_not_keep_the_next_one_back(desk: Desk) -> None:
    desk.cycle()
    assert swept_lately(desk.clock(), within=timedelta(seconds=5))

    desk.clock.let_pass(-HOUR)

    assert not swept_lately(desk.clock(), within=timedelta(seconds=5))
    desk.cycle()
    assert swept_lately(desk.clock(), within=timedelta(seconds=5))


def test_a_redis_whose_clock_was_set_back_still_delivers(desk: Desk) -> None:
    """Redis never gives a lower id than before; the age of a decision is then that of the older clock."""
    desk.redis.xadd("quantum:stream:ai.decision.made", {"n": 1}, id=f"{int(desk.clock().timestamp() + HOUR) * 1000}-0")
    desk.publish("ai.decision.made", decision(timestamp=None))

    [request_id] = desk.read_bus().chains

    request = ExecutionRequest.objects.get(pk=request_id)
    assert request.expires_at - request.received_at <= timedelta(seconds=60)
    assert desk.run(request_id) == "RECORDED"


def test_a_position_is_not_naked_for_longer_because_the_clock_was_set_back(desk: Desk) -> None:
    """The bound of its nakedness is in steady time: else a stop that is refused would be tried for an hour."""
    desk.close_what_has_no_stop()
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="reply", status=503, body=THROTTLED, count=None)
    request_id = desk.decide()
    desk.run(request_id, until="place_order")

    begun = monotonic()
    with set_by(desk, -HOUR):
        desk.run(request_id)

    assert monotonic() - begun < 60
    assert desk.ledger.positions == {}


def test_what_stands_still_is_resumed_over_a_clock_that_was_set_back(desk: Desk) -> None:
    """Its last move seems to lie in the future: it must not wait for as long as the clock was set back."""
    waiting = desk.decide("ETHUSDT")
    filled = desk.decide("BTCUSDT")
    desk.run(filled, until="place_order")

    with set_by(desk, -HOUR):
        desk.cycle()
        desk.cycle()

    assert [desk.request(pk).state for pk in (waiting, filled)] == ["RECORDED", "RECORDED"]
    desk.check()


def test_a_trade_that_lost_its_stop_is_covered_over_a_clock_that_was_set_back(desk: Desk) -> None:
    request_id = desk.trade_opened()
    stop = desk.order(request_id, "STOP")
    desk.person.sign_request("DELETE", ALGO_ORDER, {"algoId": stop.algo_id})
    assert desk.ledger.live_stops == []

    with set_by(desk, -HOUR):
        for _ in range(3):
            desk.clock.let_pass(12)
            desk.cycle()

    assert len(desk.ledger.live_stops) == 1
    desk.check()
