"""GET /api/execution/events: what was published, by a cursor behind which nothing appears later."""

from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client

from execution.models import OutboxEvent
from execution.queries import events as query
from execution.store.atomic_write import emit
from tests.support import builders
from tests.support.builders import NOW
from tests.support.desk import Desk
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
URL = "/api/execution/events"


def get(client: Client, **asked: Any) -> dict[str, Any]:
    answer = client.get(URL, asked)
    assert answer.status_code == 200, answer.json()
    page: dict[str, Any] = answer.json()
    return page


def test_page_by_page_every_event_comes_once_and_in_order(client: Client) -> None:
    for _ in range(7):
        builders.outbox_event()

    seen: list[int] = []
    cursor, more = 0, True
    while more:
        page = get(client, after=cursor, limit=3)
        seen += [event["id"] for event in page["events"]]
        cursor, more = page["next_after"], page["has_more"]

    assert seen == list(OutboxEvent.objects.order_by("pk").values_list("pk", flat=True))
    # It should have come to an end, and go on from there.
    assert get(client, after=cursor)["events"] == []
    late = builders.outbox_event()
    assert [event["id"] for event in get(client, after=cursor)["events"]] == [late.pk]


def test_an_event_reads_as_it_stands_on_the_bus(client: Client, desk: Desk) -> None:
    request_id = desk.trade_opened()
    desk.relay()

    told = get(client, trade_id=request_id, event_type="trade.opened")["events"]

    [sent] = desk.stream("trade.opened")
    assert [(event["event_id"], event["aggregate"]) for event in told] == [(sent["event_id"], str(request_id))]
    assert (told[0]["payload"], str(told[0]["sequence"])) == (sent["payload"], sent["sequence"])
    assert told[0]["sent_at"] is not None


def test_filters_and_an_empty_page_still_move_the_cursor(client: Client) -> None:
    trade_id = str(uuid4())
    mine = builders.outbox_event(aggregate=trade_id, event_type="trade.closed")
    for _ in range(3):
        builders.outbox_event()

    page = get(client, trade_id=trade_id)

    assert [event["id"] for event in page["events"]] == [mine.pk]
    assert (page["next_after"], page["has_more"], page["oldest_id"]) == (mine.pk + 3, False, mine.pk)
    assert get(client, event_type="order.failed")["events"] == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "event_type=no.such", "trade_id=7"])
def test_what_cannot_be_understood_is_an_error(client: Client, query: str) -> None:
    answer = client.get(f"{URL}?{query}")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [query.partition("=")[0]])


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_is_not_skipped(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower id is committed after the higher one: a page in between must not move the cursor past it."""
    monkeypatch.setattr(query, "PATIENCE_SECONDS", 0.2)
    taken, may_commit = Event(), Event()
    pages: list[dict[str, Any]] = []

    def slow() -> None:
        with transaction.atomic():
            emit("slow", [("order.placed", {})], trace_id="", now=NOW)
            taken.set()
            assert may_commit.wait(20)

    def fast() -> None:
        assert taken.wait(20)
        emit("fast", [("order.placed", {})], trace_id="", now=NOW)
        pages.append(get(client))
        may_commit.set()

    at_once([slow, fast])

    # It should show neither while the lower one may still come, and then both.
    assert (pages[0]["events"], pages[0]["next_after"]) == ([], 0)
    assert [event["aggregate"] for event in get(client)["events"]] == ["slow", "fast"]


@pytest.mark.django_db(transaction=True)
def test_a_writer_that_is_about_to_commit_is_waited_for(client: Client) -> None:
    taken, asked = Event(), Event()

    def slow() -> None:
        with transaction.atomic():
            emit("slow", [("order.placed", {})], trace_id="", now=NOW)
            taken.set()
            assert asked.wait(20)

    def reader() -> dict[str, Any]:
        assert taken.wait(20)
        asked.set()
        return get(client)

    _, page = at_once([lambda: slow() or {}, reader])  # type: ignore[func-returns-value]

    assert [event["aggregate"] for event in page["events"]] == ["slow"]
