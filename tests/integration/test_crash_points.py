"""Processes killed with -9 at the worst moments; who comes after them must neither lose nor double anything.

A row lock of the test's own holds the process exactly between two of its writes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from execution.adapters.stream_names import group_of, stream_of
from execution.models import ExecutionRequest, InboxEvent, Order, OutboxEvent, PositionSlot, Trade
from tests.support.desk import Desk, decision
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.victim import Victim
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
AI = "ai.decision.made"


@contextmanager
def held(table_lock: str = "", row: Any = None) -> Iterator[None]:
    """Hold a lock that lets a process do its work up to its next write there."""
    with transaction.atomic():
        if table_lock:
            with connection.cursor() as cursor:
                cursor.execute(table_lock)
        if row is not None:
            type(row).objects.select_for_update().get(pk=row.pk)
        yield


def waiting_sessions(choose: str = "count(*)") -> int:
    """Count the sessions that wait for a lock of ours, or end them: PostgreSQL goes on with what a client has sent."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            f"SELECT {choose} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"  # noqa: S608 -- our own words
        )
        (number,) = cursor.fetchone() or (0,)
    return int(number)


def kill(process: Victim) -> None:
    """Kill a process that waits for a lock, with the statement that it has sent already."""
    eventually(waiting_sessions, what="the process is about to write")
    process.kill()
    waiting_sessions("pg_terminate_backend(pid)")
    eventually(lambda: waiting_sessions() == 0, what="its session is gone")


def settle(desk: Desk) -> None:
    """Let those who come after do their work: time passes, and the monitor looks several times."""
    for _ in range(3):
        desk.clock.let_pass(12)
        desk.cycle()


def test_killed_between_the_intention_and_the_wire(desk: Desk, victim: Callable[..., Victim]) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_before", ms=5000)

    with victim("step", "place_order", str(request_id)) as process:
        eventually(lambda: desk.ledger.entries_sent, what="the order is on its way")
        process.kill()

    # A repeated delivery of the task finds the intention and sends nothing.
    assert desk.run(request_id) == "SUBMITTING"
    settle(desk)

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("NOT_ACCEPTED", "ABSENCE_PROVEN")
    assert len(desk.ledger.entries_sent) == 1
    assert (desk.ledger.positions, PositionSlot.objects.count()) == ({}, 0)
    desk.check()


def test_killed_between_the_execution_and_its_record(desk: Desk, victim: Callable[..., Victim]) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.paper.add_fault(path=ORDER, method="POST", action="delay", ms=500)

    with victim("step", "place_order", str(request_id)) as process:
        entry = eventually(lambda: Order.objects.filter(purpose="ENTRY").first(), what="the intention is committed")
        # From here on the process cannot write what came of it.
        with held(row=entry):
            eventually(lambda: desk.ledger.positions, what="the exchange has executed the entry")
            kill(process)

    assert (desk.request(request_id).state, Trade.objects.count()) == ("SUBMITTING", 0)
    settle(desk)

    assert desk.request(request_id).state == "RECORDED"
    assert (len(desk.ledger.entries_sent), len(desk.ledger.live_stops)) == (1, 1)
    assert "order.failed" not in desk.events(request_id)
    desk.check()


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_the_stop_is_on_its_way(desk: Desk, victim: Callable[..., Victim], when: str) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    action = {"before": "drop_before", "after": "delay"}[when]
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action=action, ms=400)

    with victim("step", "protect_position", str(request_id)) as process:
        stop = eventually(lambda: Order.objects.filter(purpose="STOP").first(), what="the intention is committed")
        with held(row=stop):
            arrived = (
                (lambda: desk.ledger.live_stops) if when == "after" else (lambda: desk.ledger.sent("POST", ALGO_ORDER))
            )
            eventually(arrived, what="the stop has left")
            kill(process)

    settle(desk)

    # It should be covered by exactly one stop, whichever of the two it is.
    assert desk.request(request_id).state == "RECORDED"
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_killed_between_the_fact_and_its_event(desk: Desk, victim: Callable[..., Victim]) -> None:
    """The event is in the transaction of the fact: whoever relays next sends it, once."""
    request_id = desk.decide()
    desk.run(request_id, until="protect_position")
    with victim("step", "record_trade", str(request_id)) as process:
        process.hear("done")
        process.kill()

    assert desk.relay() == len(desk.events(request_id)) == 6
    assert desk.relay() == 0
    assert len(desk.stream("trade.opened")) == 1
    desk.check()


def test_relay_killed_between_sending_and_noting_it(desk: Desk, victim: Callable[..., Victim]) -> None:
    request_id = desk.trade_opened()
    first = OutboxEvent.objects.order_by("id").first()
    assert first is not None

    # Reading and locking rows is allowed by this lock; writing that they were sent is not.
    with victim("relay") as process, held("LOCK TABLE execution_outboxevent IN SHARE MODE"):
        eventually(lambda: desk.stream("trade.opened"), what="the events are on the bus")
        kill(process)
    assert OutboxEvent.objects.filter(sent_at__isnull=True).count() == 6

    desk.relay()

    # It should have sent them again under the same ids and numbers, so that readers can drop the repeat.
    for event_type, times in (("trade.opened", 1), ("order.placed", 3), ("order.filled", 1)):
        sent = [(event["event_id"], event["sequence"]) for event in desk.stream(event_type)]
        assert len(sent) == 2 * times
        assert len(set(sent)) == times
    assert desk.events(request_id).count("trade.opened") == 1
    desk.check()


def test_bridge_killed_between_commit_and_acknowledgement(desk: Desk, victim: Callable[..., Victim]) -> None:
    same = decision()
    entry_id = desk.publish(AI, same)
    with victim("read_bus") as process:
        process.hear("committed")
        process.kill()

    # Stored, and not acknowledged: the entry was given to a reader that is gone.
    summary: Any = desk.redis.xpending_range(stream_of(AI), group_of(AI), "-", "+", 10)
    assert [row["message_id"].decode() for row in summary] == [entry_id]
    request = ExecutionRequest.objects.get()
    desk.redis.xclaim(stream_of(AI), group_of(AI), summary[0]["consumer"], 0, [entry_id], idle=11_000, retrycount=1)

    desk.read_bus()
    desk.clock.let_pass(3)
    desk.cycle()

    # It should be one request still, carried on by the monitor, and acknowledged now.
    assert (desk.request(request.pk).state, InboxEvent.objects.get().duplicates) == ("RECORDED", 0)
    assert desk.redis.xpending(stream_of(AI), group_of(AI))["pending"] == 0
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


@pytest.mark.parametrize("step", ["guard_safety", "record_trade"])
def test_killed_before_its_only_write(desk: Desk, victim: Callable[..., Victim], step: str) -> None:
    """A step that writes once, at its end, leaves nothing behind: the next run does all of it."""
    order = ("check_ess", "guard_safety", "place_order", "protect_position", "record_trade")
    request_id = desk.decide()
    for name in order[: order.index(step)]:
        desk.step(name, request_id)
    before = desk.request(request_id).state

    # Whatever the step changes, its log line stands in the same statement.
    with victim("step", step, str(request_id)) as process, held("LOCK TABLE execution_auditevent IN SHARE MODE"):
        kill(process)

    assert desk.request(request_id).state == before
    assert desk.run(request_id) == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()
