"""The one-statement write: everything or nothing, in one order of locks, numbered without gaps."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from execution.domain.states import RequestState, RequestTrigger
from execution.models import AuditEvent, DeadLetter, ExecutionRequest, InboxEvent, OutboxEvent
from execution.store.atomic_write import Write, emit
from execution.store.transitions import log_line, request_move
from tests.support import builders
from tests.support.threads import at_once

NOW = datetime(2026, 3, 2, 9, 31, tzinfo=UTC)


def clear(request: ExecutionRequest) -> Write:
    """An ESS clearance with an event and a further row: what a step's outcome looks like."""
    move = request_move(request.pk, RequestState.RECEIVED, RequestTrigger.ESS_CLEARED, now=NOW, details={"n": 1})
    write = Write().move(move).insert(log_line("ess", 1, to_state="ARMED", trigger="test", now=NOW))
    return write.emit(request.pk, [("order.placed", {"a": 1}), ("order.filled", {"a": 2})], trace_id="t", now=NOW)


@pytest.mark.django_db
def test_all_parts_happen_in_one_statement() -> None:
    request = builders.request()

    with CaptureQueriesContext(connection) as queries:
        assert clear(request).run() is True

    # It should have taken one round trip.
    assert len(queries) == 1
    # It should have moved the row and logged the step with its numbers.
    request.refresh_from_db()
    assert request.state == RequestState.CLEARED
    story = AuditEvent.objects.filter(entity="request", entity_id=str(request.pk)).values_list(
        "from_state", "to_state", "trigger", "details"
    )
    assert list(story) == [("RECEIVED", "CLEARED", "ess_cleared", {"n": 1})]
    # It should have stored the events in the given order.
    events = OutboxEvent.objects.order_by("id").values_list("event_type", "sequence", "payload", "trace_id")
    assert list(events) == [("order.placed", 1, {"a": 1}, "t"), ("order.filled", 2, {"a": 2}, "t")]


@pytest.mark.django_db
def test_events_of_several_parts_are_numbered_together() -> None:
    request = builders.request()

    # An entry that was accepted and ended empty in one answer tells both.
    write = clear(request).emit(request.pk, [("order.failed", {"a": 3})], trace_id="t", now=NOW)
    assert write.emit("other", [("order.placed", {"b": 1})], trace_id="t", now=NOW).run() is True

    events = OutboxEvent.objects.order_by("id").values_list("event_type", "aggregate", "sequence")
    mine = str(request.pk)
    assert list(events) == [
        ("order.placed", mine, 1),
        ("order.filled", mine, 2),
        ("order.failed", mine, 3),
        ("order.placed", "other", 1),
    ]


@pytest.mark.django_db
def test_nothing_happens_when_the_first_part_finds_another_state() -> None:
    request = builders.request(state=RequestState.CLEARED)
    before = AuditEvent.objects.count()

    assert clear(request).run() is False

    # It should have left no trace at all.
    assert AuditEvent.objects.count() == before
    assert OutboxEvent.objects.count() == 0


@pytest.mark.django_db
def test_a_condition_in_the_way_leaves_the_row_where_it_is() -> None:
    request = builders.request()
    move = request_move(
        request.pk, RequestState.RECEIVED, RequestTrigger.ESS_CLEARED, now=NOW, unless="EXISTS (SELECT 1)"
    )

    assert Write().move(move).run() is False

    request.refresh_from_db()
    assert request.state == RequestState.RECEIVED


@pytest.mark.django_db(transaction=True)
def test_a_refused_part_undoes_all_of_them() -> None:
    request = builders.request()
    letter = {"stream": "s", "entry_id": "1-0", "event_type": "e", "size_bytes": 1, "received_at": NOW}
    DeadLetter.objects.create(**letter)

    with pytest.raises(IntegrityError):
        clear(request).insert(DeadLetter(**letter)).run()

    # It should have taken back the parts before the refused one too.
    request.refresh_from_db()
    assert request.state == RequestState.RECEIVED
    assert OutboxEvent.objects.count() == 0


@pytest.mark.django_db
def test_an_inserted_row_gets_its_key_and_a_known_one_is_not_inserted() -> None:
    def event() -> InboxEvent:
        return InboxEvent(event_type="e", identity="i", payload={}, outcome="APPLIED", received_at=NOW)

    first, second = event(), event()
    known_by = ("event_type", "identity", "producer")

    # It should have inserted the first only, and given it its key.
    assert Write().insert(first, once_by=known_by).run() is True
    assert Write().insert(second, once_by=known_by).run() is False
    assert InboxEvent.objects.get().pk == first.pk
    assert second.pk is None


@pytest.mark.django_db(transaction=True)
def test_two_connections_move_one_request_once() -> None:
    request = builders.request()

    won = at_once([clear(request).run for _ in range(4)])

    # It should be one winner, one log line, one pair of events.
    assert sorted(won) == [False, False, False, True]
    assert AuditEvent.objects.filter(entity="request", trigger="ess_cleared").count() == 1
    assert OutboxEvent.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_events_of_one_aggregate_are_numbered_without_gaps_from_many_connections() -> None:
    def send(name: str) -> Callable[[], None]:
        return lambda: emit("one", [(f"{name}.a", {}), (f"{name}.b", {})], trace_id="", now=NOW)

    at_once([send(str(number)) for number in range(8)])

    events = list(OutboxEvent.objects.order_by("sequence").values_list("sequence", "event_type"))
    assert [sequence for sequence, _ in events] == list(range(1, 17))
    # It should have kept the events of one statement together.
    names = [event_type.partition(".")[0] for _, event_type in events]
    assert names[0::2] == names[1::2]


@pytest.mark.django_db
def test_an_empty_write_does_nothing() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert Write().run() is False
    assert len(queries) == 0


@pytest.mark.django_db(transaction=True)
def test_a_write_that_must_be_whole_is_undone_when_one_row_has_moved() -> None:
    first, second = builders.request(), builders.request()
    ExecutionRequest.objects.filter(pk=second.pk).update(state=RequestState.CLEARED)

    def both() -> Write:
        write = Write().emit(first.pk, [("order.placed", {})], trace_id="", now=NOW)
        for each in (first, second):
            write.move(request_move(each.pk, RequestState.RECEIVED, RequestTrigger.ESS_CLEARED, now=NOW))
        return write

    assert both().run_whole() is False

    first.refresh_from_db()
    assert first.state == RequestState.RECEIVED
    assert (AuditEvent.objects.count(), OutboxEvent.objects.count()) == (0, 0)
    # It should be kept when both are where they are expected.
    ExecutionRequest.objects.filter(pk=second.pk).update(state=RequestState.RECEIVED)
    assert both().run_whole() is True
    assert (AuditEvent.objects.count(), OutboxEvent.objects.count()) == (2, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("may_be_lost", "inside"), [(True, "off"), (False, "on")])
def test_only_what_may_be_lost_does_not_wait_for_the_disk(may_be_lost: bool, inside: str) -> None:  # noqa: FBT001 -- a parameter
    request = builders.request()
    move = request_move(request.pk, RequestState.RECEIVED, RequestTrigger.ESS_CLEARED, now=NOW)
    write = Write().move(move)
    with connection.cursor() as cursor:
        # The server of the tests never waits.
        cursor.execute("SET synchronous_commit = on")

        with transaction.atomic():
            assert (write.may_be_lost() if may_be_lost else write).run()
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == (inside,)

        # It should wait again from the next transaction on.
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)
        cursor.execute("RESET synchronous_commit")
