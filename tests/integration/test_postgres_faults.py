"""PostgreSQL that is full, or drops a connection in the middle: nothing half-stored, nothing sent without its row."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test import Client

from execution.models import AuditEvent, ExecutionRequest, InboxEvent, Order, OutboxEvent, OutboxSequence, PositionSlot
from execution.store.atomic_write import emit
from tests.support.desk import Desk
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ORDER = {"symbol": "BTCUSDT", "side": "long", "quantity": 0.01}
# What PostgreSQL says when a file cannot grow. Raised by a trigger: mounting a small disk needs rights that tests lack.
REFUSE = """
CREATE FUNCTION tests_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
"""


@contextmanager
def disk_full(*tables: str) -> Iterator[None]:
    """Let no row be written to these tables."""
    with connection.cursor() as cursor:
        cursor.execute(REFUSE)
        for table in tables:
            cursor.execute(
                f"CREATE TRIGGER tests_full BEFORE INSERT OR UPDATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION tests_disk_full()"
            )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION tests_disk_full() CASCADE")


def rows() -> dict[str, int]:
    tables = (InboxEvent, ExecutionRequest, Order, AuditEvent, OutboxEvent, OutboxSequence, PositionSlot)
    return {table.__name__: table._default_manager.count() for table in tables}


# Disk full


@pytest.mark.parametrize("table", ["execution_inboxevent", "execution_executionrequest", "execution_auditevent"])
def test_an_order_that_cannot_be_stored_is_refused_in_words(desk: Desk, client: Client, table: str) -> None:
    before = rows()

    with disk_full(table):
        answer = client.post("/api/execution/order", json.dumps(ORDER), content_type="application/json")

    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (503, "The database has no room")
    assert rows() == before
    assert desk.ledger.entries_sent == []


@pytest.mark.parametrize("table", ["execution_order", "execution_auditevent", "execution_executionrequest"])
def test_no_entry_leaves_without_its_row(desk: Desk, table: str) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    before = rows()

    with disk_full(table), pytest.raises(OperationalError):
        desk.step("place_order", request_id)

    assert (desk.ledger.entries_sent, rows(), desk.request(request_id).state) == ([], before, "APPROVED")
    # It should go on where it stood, once there is room.
    assert desk.run(request_id) == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


@pytest.mark.parametrize("table", ["execution_auditevent", "execution_outboxevent"])
def test_an_answer_that_cannot_be_written_is_found_by_evidence(desk: Desk, table: str) -> None:
    """The order is at the exchange, and the books could not take it."""
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    before = desk.request(request_id).state

    with disk_full(table), pytest.raises(OperationalError):
        desk.step("record_trade" if before == "PROTECTED" else "protect_position", request_id)
    for _ in range(3):
        desk.clock.let_pass(12)
        desk.cycle()

    assert desk.request(request_id).state == "RECORDED"
    assert (len(desk.ledger.entries_sent), len(desk.ledger.live_stops)) == (1, 1)
    desk.check()


def test_events_are_not_marked_as_sent_without_room_and_go_out_again(desk: Desk) -> None:
    desk.trade_opened()

    with disk_full("execution_outboxevent"), pytest.raises(OperationalError):
        desk.relay()

    assert OutboxEvent.objects.filter(sent_at__isnull=False).count() == 0
    assert desk.relay() == 6
    ids = [event["event_id"] for event in desk.stream("trade.opened")]
    assert (len(ids), len(set(ids))) == (2, 1)


# A connection cut


def cut_own_connection() -> None:
    """End the session of this thread from another one, as a restart or a firewall does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])

    at_once([cut])


def test_a_connection_cut_in_a_transaction_leaves_nothing_of_it(desk: Desk) -> None:
    def cut_in_between() -> None:
        with transaction.atomic():
            emit("a", [("order.placed", {})], trace_id="", now=desk.clock())
            cut_own_connection()
            emit("a", [("order.placed", {})], trace_id="", now=desk.clock())

    def work() -> dict[str, int]:
        with pytest.raises(DatabaseError):
            cut_in_between()
        connection.close_if_unusable_or_obsolete()
        # It should work on with a new connection, and the numbers have no gap.
        emit("a", [("order.placed", {})], trace_id="", now=desk.clock())
        return rows()

    [after] = at_once([work])

    assert (after["OutboxEvent"], OutboxSequence.objects.get().last) == (1, 1)


@pytest.mark.parametrize("step", ["check_ess", "guard_safety", "place_order", "protect_position", "record_trade"])
def test_a_connection_cut_before_a_step_costs_one_run_of_it(desk: Desk, step: str) -> None:
    request_id = desk.decide()
    order = ["check_ess", "guard_safety", "place_order", "protect_position", "record_trade"]
    for name in order[: order.index(step)]:
        desk.step(name, request_id)

    def lost_then_again() -> None:
        other = desk.another()
        other.request(request_id)
        cut_own_connection()
        with pytest.raises(DatabaseError):
            other.step(step, request_id)
        connection.close_if_unusable_or_obsolete()
        other.run(request_id)

    at_once([lost_then_again])

    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()
