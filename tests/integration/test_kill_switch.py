"""The kill switch: what it blocks, what it cancels and closes, and that only an explicit word ends it."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from execution import tasks
from execution.crash_points import CrashPoint
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import AuditEvent, KillSwitch, Order, Position, PositionSlot
from execution.queries.kill_switch import preview
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.risk.kill_switch import KillSwitchError, engage, release_switch
from tests.support.desk import BTC, Desk
from tests.support.interference import at_point
from tests.support.ledger import ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
WORD = Authorization(by="anna", reason="the model has gone mad")
URL = "/api/execution/kill-switch"


def work_off(desk: Desk) -> bool:
    return work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


def assert_refused_before_the_wire(desk: Desk, request_id: UUID) -> None:
    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("DENIED", "KILL_SWITCH_ENGAGED")
    assert request.reason == "KILL_SWITCH_ENGAGED: level=entries by=anna: the model has gone mad"
    assert desk.event(request_id, "order.failed")["reason_code"] == "KILL_SWITCH_ENGAGED"
    assert desk.ledger.sent("POST", ORDER) == []
    assert not PositionSlot.objects.exists()


@pytest.mark.parametrize("done", ["", "check_ess", "guard_safety"])
def test_whatever_is_in_the_queue_is_refused_before_the_wire(desk: Desk, done: str) -> None:
    request_id = desk.decide()
    if done:
        desk.run(request_id, until=done)

    engage(KillLevel.ENTRIES, WORD, now=desk.clock())
    desk.run(request_id)

    assert_refused_before_the_wire(desk, request_id)


def test_an_entry_that_is_written_and_waits_for_its_turn_does_not_leave(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")

    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: engage(KillLevel.ENTRIES, WORD, now=desk.clock())):
        desk.run(request_id)

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("REJECTED", "KILL_SWITCH_ENGAGED")
    assert desk.ledger.sent("POST", ORDER) == []
    assert not PositionSlot.objects.exists()


def test_a_refused_attempt_is_not_sent_again(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    # The first answer proves absence and would allow a repeat; the switch is engaged while it is on its way.
    desk.paper.add_fault(
        path=ORDER, method="POST", action="reply", status=503, body={"code": 0, "msg": "Service Unavailable."}
    )
    desk.exchange = EngagesWhilePlacing(desk)  # type: ignore[assignment]  # the port's other calls pass through

    desk.run(request_id)

    assert len(desk.ledger.sent("POST", ORDER)) == 1
    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("REJECTED", "EXCHANGE_REJECTED")


class EngagesWhilePlacing:
    """The real adapter, with a person who engages the switch while an order is on its way."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._exchange = desk, desk.exchange

    def place(self, *args: Any, **kwargs: Any) -> Any:
        outcome = self._exchange.place(*args, **kwargs)
        engage(KillLevel.ENTRIES, WORD, now=self._desk.clock())
        return outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)


def test_exits_pass(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")

    engage(KillLevel.HALT, WORD, now=desk.clock())
    desk.run(request_id)

    assert desk.request(request_id).state == "RECORDED"
    desk.check()


def test_levels_rise_and_fall_by_explicit_words_only(desk: Desk) -> None:
    first = engage(KillLevel.ENTRIES, WORD, now=desk.clock())
    # It should change nothing to say the same again
    assert engage(KillLevel.ENTRIES, Authorization(by="bert", reason="me too"), now=desk.clock()).pk == first.pk
    # It should rise
    second = engage(KillLevel.HALT, WORD, now=desk.clock())
    first.refresh_from_db()
    assert (first.released_by, first.release_reason) == ("anna", "raised to halt: the model has gone mad")
    # It should not fall on its own
    with pytest.raises(KillSwitchError, match="KILL_SWITCH_STRONGER: in_force=halt asked=entries"):
        engage(KillLevel.ENTRIES, WORD, now=desk.clock())
    # It should end by a word, once
    release_switch(Authorization(by="anna", reason="checked"), now=desk.clock())
    with pytest.raises(KillSwitchError, match="KILL_SWITCH_NOT_ENGAGED"):
        release_switch(WORD, now=desk.clock())
    steps = AuditEvent.objects.filter(entity="kill_switch").order_by("id")
    assert [(step.from_state, step.to_state, step.reason) for step in steps] == [
        ("released", "entries", "the model has gone mad"),
        ("entries", "halt", "the model has gone mad"),
        ("halt", "released", "checked"),
    ]
    assert [step.entity_id for step in steps] == [str(first.pk), str(second.pk), str(second.pk)]
    # It should let entries pass again
    assert desk.run(desk.decide()) == "RECORDED"


@pytest.mark.django_db(transaction=True)
def test_two_people_at_once_make_one_engagement(desk: Desk) -> None:
    found = at_once([lambda: engage(KillLevel.HALT, WORD, now=desk.clock()).pk] * 8)

    assert len(set(found)) == 1
    assert KillSwitch.objects.count() == 1


def test_entries_that_rest_stay_at_the_first_level_and_are_cancelled_at_the_second(desk: Desk) -> None:
    request_id = desk.signal(price=str(BTC - 1000))
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY")
    planned = [(level, preview(level).entries_resting) for level in KillLevel]
    assert planned == [("entries", []), ("halt", [entry]), ("flatten", [entry])]

    engage(KillLevel.ENTRIES, WORD, now=desk.clock())
    assert work_off(desk)
    entry.refresh_from_db()
    assert entry.state == "ACCEPTED"

    engage(KillLevel.HALT, WORD, now=desk.clock())
    assert work_off(desk)
    entry.refresh_from_db()
    assert (entry.state, desk.request(request_id).state) == ("CANCELED", "CANCELED")
    switch = KillSwitch.objects.get(released_at=None)
    assert switch.completed_at is not None
    assert switch.report["entries_resting"] == []


def test_halt_says_what_it_could_not_cancel_and_comes_back_to_it(desk: Desk) -> None:
    request_id = desk.signal(price=str(BTC - 1000))
    desk.run(request_id)
    name = desk.order(request_id, "ENTRY").client_order_id
    engage(KillLevel.HALT, WORD, now=desk.clock())

    desk.paper.add_fault(path=ORDER, method="DELETE", action="drop_before")
    desk.paper.add_fault(path=ORDER, method="GET", action="drop_before")
    assert not work_off(desk)
    switch = KillSwitch.objects.get()
    assert (switch.report["entries_resting"], switch.completed_at) == ([name], None)

    # It should wait a little after a cancel that nobody has answered.
    assert not work_off(desk)
    desk.clock.let_pass(5)
    assert work_off(desk)
    assert desk.order(request_id, "ENTRY").state == "CANCELED"


def test_flatten_closes_our_positions_and_touches_nobody_elses(desk: Desk) -> None:
    long_id = desk.trade_opened("BTCUSDT", "buy")
    short_id = desk.trade_opened("ETHUSDT", "sell")
    desk.person.new_order(symbol="SOLUSDT", side="BUY", type="MARKET", quantity="10")
    foreign = desk.ledger.positions["SOLUSDT"]
    desk.cycle()

    # It should say beforehand what it does afterwards
    planned = preview(KillLevel.FLATTEN)
    assert (planned.position_count, planned.symbols) == (2, ["BTCUSDT", "ETHUSDT"])
    assert [row.symbol for row in planned.positions_not_ours] == ["SOLUSDT"]
    engage(KillLevel.FLATTEN, WORD, now=desk.clock())
    done = work_off(desk)

    # It should close by the exchange's word, with orders that only reduce
    assert done
    assert desk.ledger.positions == {"SOLUSDT": foreign}
    closing = Order.objects.filter(purpose="CLOSE")
    assert [(order.state, order.reduce_only) for order in closing] == [("FILLED", True)] * 2
    # It should name what is not ours
    report = KillSwitch.objects.get().report
    assert report["positions_open"] == []
    assert [row["symbol"] for row in report["positions_not_ours"]] == ["SOLUSDT"]
    # It should close the books with the reason, and leave no leg behind
    desk.cycle()
    desk.cycle()
    assert {desk.trade(pk).close_reason for pk in (long_id, short_id)} == {"KILL_SWITCH"}
    assert desk.ledger.live() == []
    # It should do nothing when it runs again
    orders = Order.objects.count()
    assert work_off(desk)
    assert Order.objects.count() == orders


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_position_that_no_reading_has_shown_is_among_what_flatten_closes(desk: Desk, side: str) -> None:
    request_id = desk.decide("BTCUSDT", side)
    desk.run(request_id, until="place_order")
    desk.run(request_id)
    Position.objects.all().delete()

    planned = preview(KillLevel.FLATTEN)

    assert ([row.pk for row in planned.unread], planned.position_count, planned.symbols) == (
        [request_id],
        1,
        ["BTCUSDT"],
    )
    engage(KillLevel.FLATTEN, WORD, now=desk.clock())
    assert work_off(desk)
    assert desk.ledger.positions == {}


def test_flatten_reports_what_the_exchange_does_not_close_and_tries_again(desk: Desk) -> None:
    request_id = desk.trade_opened()
    engage(KillLevel.FLATTEN, WORD, now=desk.clock())

    desk.paper.add_fault(path=ORDER, method="POST", action="reply", status=400, body={"code": -4400, "msg": "locked"})
    assert not work_off(desk)
    [left] = KillSwitch.objects.get().report["positions_open"]
    assert (left["symbol"], Decimal(left["quantity"])) == ("BTCUSDT", desk.ledger.positions["BTCUSDT"])

    # It should wait a little after the refusal.
    assert not work_off(desk)
    desk.clock.let_pass(5)
    assert work_off(desk)
    assert desk.ledger.positions == {}
    desk.cycle()
    assert desk.trade(request_id).close_reason == "KILL_SWITCH"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The work that was begun; nobody runs it here."""
    calls: list[str] = []
    monkeypatch.setattr(tasks.work_off_kill_switch, "apply_async", lambda *_, **__: calls.append("begun"))
    return calls


def test_rest_moves_and_shows_it(client: Client, begun: list[str]) -> None:
    def say(**body: Any) -> Any:
        return client.post(URL, json.dumps(body), content_type="application/json")

    assert client.get(URL).json()["level"] == "released"
    answer = say(level="halt", reason="drill", by="anna")
    assert (answer.status_code, answer.json()["level"], answer.json()["by"], begun) == (200, "halt", "anna", ["begun"])
    assert client.get(URL).json()["reason"] == "drill"
    # It should refuse to weaken it, and say what is missing
    weaker = say(level="entries", reason="enough")
    assert (weaker.status_code, weaker.json()["reason_code"]) == (409, "KILL_SWITCH_STRONGER")
    assert say(level="halt").json()["errors"] == {"reason": ["This field is required."]}
    assert say(level="off", reason="x").status_code == 400
    assert say(level="released", reason="drill is over").json()["level"] == "released"
    assert say(level="released", reason="again").json()["reason_code"] == "KILL_SWITCH_NOT_ENGAGED"
    assert begun == ["begun"]


def test_command_moves_and_shows_it(begun: list[str]) -> None:
    def say(*words: str) -> Any:
        out = StringIO()
        call_command("kill_switch", *words, stdout=out)
        return json.loads(out.getvalue())

    assert say()["level"] == "released"
    assert say("flatten", "--reason", "drill", "--by", "anna")["by"] == "anna"
    with pytest.raises(CommandError, match="--reason is required"):
        say("halt")
    with pytest.raises(CommandError, match="KILL_SWITCH_STRONGER"):
        say("halt", "--reason", "less")
    assert say("released", "--reason", "over")["level"] == "released"
    assert begun == ["begun"]


def test_admin_moves_it_with_the_right_only(client: Client, begun: list[str]) -> None:
    page = reverse("admin:execution_killswitch_move")
    client.force_login(User.objects.create_user("viewer", password=None, is_staff=True))
    assert client.get(page).status_code == 403

    client.force_login(User.objects.create_superuser("admin", password=None))
    answer = client.post(page, {"level": "entries", "reason": "drill"}, follow=True)
    assert "In force: <strong>entries</strong>, by admin" in answer.content.decode()
    assert KillSwitch.objects.get().reason == "drill"
    assert begun == ["begun"]
