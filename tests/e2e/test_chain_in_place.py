"""The chain of a decision runs where it is, and Flower sees each step as if it had come through the broker."""

import pytest

from tests.support.databases import redis_address
from tests.support.stack import CeleryStack
from tests.support.task_events import Event, task_events
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
STEPS = ["check_ess", "guard_safety", "place_order", "protect_position", "record_trade"]


NEWEST = "SELECT id::text FROM execution_executionrequest ORDER BY received_at DESC LIMIT 1"


def newest(stack: CeleryStack) -> str:
    [(request_id,)] = stack.rows(NEWEST)
    return str(request_id)


def by_step(events: list[Event], kind: str, request_id: str) -> dict[str, Event]:
    """Return a kind's event of each step of one request: those of the request before may come late."""
    received = [event for event in events if event["type"] == "task-received" and request_id in str(event["kwargs"])]
    names = {event["uuid"]: event["name"].rpartition(".")[2] for event in received}
    found = {names.get(event["uuid"], ""): event for event in events if event["type"] == kind}
    return {name: found[name] for name in STEPS if name in found}


@pytest.fixture(autouse=True)
def reconciled(stack: CeleryStack) -> None:
    """A decision has gone through: entries do not wait for the first comparison with the exchange any more."""
    known = len(stack.states())
    stack.decide(["ETHUSDT"])
    stack.await_final(requests=known + 1, within=30)


def test_each_step_is_seen_with_its_own_duration_in_one_process(stack: CeleryStack) -> None:
    known = len(stack.states())
    with task_events(redis_address(8)) as events:
        stack.decide(["BTCUSDT"])
        stack.await_final(requests=known + 1, within=20)
        request_id = newest(stack)

        def all_are_reported() -> bool:
            return list(by_step(events, "task-succeeded", request_id)) == STEPS

        eventually(all_are_reported, within=10, what="all steps are reported")

    assert stack.states()[known:] == ["RECORDED"]
    received, ended = (by_step(events, kind, request_id) for kind in ("task-received", "task-succeeded"))
    # It should be one chain: each step the child of the one before, under one root, by one worker.
    parents = [received[name]["parent_id"] for name in STEPS[1:]]
    assert parents == [received[name]["uuid"] for name in STEPS[:-1]]
    assert len({received[name]["root_id"] for name in STEPS}) == 1
    assert len({ended[name]["hostname"] for name in STEPS}) == 1
    # It should begin a step after the one before has taken its time, and not count that time again.
    begun = [event["timestamp"] for event in by_step(events, "task-started", request_id).values()]
    whole = max(ended[name]["timestamp"] for name in STEPS) - received["check_ess"]["timestamp"]
    assert begun == sorted(begun)
    assert 0 < sum(ended[name]["runtime"] for name in STEPS) <= whole
    stack.check()


def test_a_step_without_a_successor_ends_the_chain(stack: CeleryStack) -> None:
    """A refusal by the guard: nothing follows, here or by the broker."""
    known = len(stack.states())
    stack.decide(["BTCUSDT"])
    stack.await_final(requests=known + 1, within=20)
    with task_events(redis_address(8)) as events:
        stack.decide(["BTCUSDT"])
        stack.await_final(requests=known + 2, within=20)
        request_id = newest(stack)

        def both_are_reported() -> bool:
            return list(by_step(events, "task-succeeded", request_id)) == STEPS[:2]

        eventually(both_are_reported, within=10, what="both steps are reported")

    assert stack.states()[known:] == ["RECORDED", "DENIED"]
    [(reason,)] = stack.rows("SELECT reason_code FROM execution_executionrequest ORDER BY received_at DESC LIMIT 1")
    assert reason == "OPEN_TRADE_EXISTS"
    assert list(by_step(events, "task-received", request_id)) == STEPS[:2]
    stack.check()
