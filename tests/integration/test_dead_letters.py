"""A message that was not understood is corrected and driven again: once, by one person, and never twice as an order."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from execution.adapters.stream_names import stream_of
from execution.models import AuditEvent, DeadLetter, EssStatus, ExecutionRequest, InboxEvent
from execution.signals.accept import AcceptedEvent
from execution.signals.envelope import MalformedEventError
from execution.signals.replay_dead_letters import AlreadyReplayedError, Replay, replay_letter
from tests.support.desk import INTAKE, Desk, decision
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
AI, SIGNAL = "ai.decision.made", "signal.execute"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was put on the broker."""
    chains: list[Any] = []
    monkeypatch.setattr("execution.workflow.start_chain", chains.append)
    return chains


def buried(desk: Desk, fields: dict[str, Any], event_type: str = AI) -> DeadLetter:
    """Put a message on the bus that the bridge cannot understand."""
    desk.redis.xadd(stream_of(event_type), dict[Any, Any](fields))
    desk.read_bus()
    return DeadLetter.objects.latest("pk")


def wrong(**fields: Any) -> dict[str, Any]:
    """A decision whose side is a word that nobody knows."""
    return decision("BTCUSDT", "sideways", **fields)


def drive(desk: Desk, letter: DeadLetter, payload: object = None, **word: Any) -> AcceptedEvent:
    text = None if payload is None else json.dumps(payload)
    said = Replay(**({"by": "ada", "reason": "typing error", "payload": text} | word))
    return replay_letter(letter.pk, said, rules=INTAKE, now=desk.clock())


def test_a_corrected_order_is_traded_and_the_letter_says_so(desk: Desk) -> None:
    asked = wrong()
    letter = buried(desk, {"payload": json.dumps(asked), "trace_id": "trace-4"})

    accepted = drive(desk, letter, asked | {"side": "buy"})

    assert accepted.request_id is not None
    assert desk.run(accepted.request_id) == "RECORDED"
    letter.refresh_from_db()
    assert (letter.outcome, letter.replayed_by, letter.replay_reason) == ("ACCEPTED", "ada", "typing error")
    assert json.loads(letter.payload)["side"] == "sideways"
    assert json.loads(letter.replayed_payload)["side"] == "buy"
    step = AuditEvent.objects.get(entity="dead_letter")
    assert (step.to_state, step.details["corrected"]) == ("ACCEPTED", True)
    assert step.details["request_id"] == str(accepted.request_id)
    # It should be the entry that came, with its trace.
    inbox = InboxEvent.objects.get()
    assert (inbox.entry_id, inbox.trace_id) == (letter.entry_id, "trace-4")
    desk.check()


def test_a_letter_is_driven_again_once_only(desk: Desk) -> None:
    letter = buried(desk, {"payload": json.dumps(wrong(event_id="", timestamp=None))})
    drive(desk, letter, wrong() | {"side": "buy", "event_id": ""})

    with pytest.raises(AlreadyReplayedError):
        drive(desk, letter, decision("ETHUSDT"))

    assert [row.symbol for row in ExecutionRequest.objects.all()] == ["BTCUSDT"]


@pytest.mark.django_db(transaction=True)
def test_two_people_press_at_once_and_one_order_comes_of_it(desk: Desk) -> None:
    """Even when each has corrected it in a way of his own, so that identity alone would let both pass."""
    for round_number in range(10):
        letter = buried(desk, {"payload": json.dumps(wrong(event_id=""))})

        def press(size: float, letter: DeadLetter = letter) -> bool:
            try:
                return drive(desk, letter, decision(position_size_usd=size, event_id="")).request_id is not None
            except AlreadyReplayedError:
                return False

        assert sorted(at_once([lambda press=press: press(100), lambda press=press: press(200)])) == [False, True]  # type: ignore[misc]
        assert ExecutionRequest.objects.count() == round_number + 1


def test_a_producer_that_sends_again_and_a_person_make_one_order(desk: Desk) -> None:
    """Whoever comes first: the same event id, however it was corrected, is the same decision."""
    asked = wrong(event_id="id-1")
    letter = buried(desk, {"payload": json.dumps(asked)})
    desk.publish(AI, asked | {"side": "buy"})
    desk.read_bus()

    accepted = drive(desk, letter, asked | {"side": "sell"})

    letter.refresh_from_db()
    assert (accepted.repeated, letter.outcome) == (True, "REPEATED")
    assert [row.direction for row in ExecutionRequest.objects.all()] == ["LONG"]
    assert InboxEvent.objects.get().duplicates == 1

    other = buried(desk, {"payload": json.dumps(wrong(event_id="id-2"))})
    drive(desk, other, asked | {"side": "sell", "event_id": "id-2", "symbol": "ETHUSDT"})
    desk.publish(AI, asked | {"side": "buy", "event_id": "id-2"})
    desk.read_bus()
    assert ExecutionRequest.objects.count() == 2


def test_a_letter_that_is_still_wrong_stays_open_for_another_correction(desk: Desk) -> None:
    asked = wrong()
    letter = buried(desk, {"payload": json.dumps(asked)})

    for payload in (None, asked | {"side": "up"}, [1]):
        with pytest.raises(MalformedEventError):
            drive(desk, letter, payload)

    letter.refresh_from_db()
    assert (letter.replayed_at, letter.outcome, AuditEvent.objects.filter(entity="dead_letter").count()) == (
        None,
        "",
        0,
    )
    assert drive(desk, letter, asked | {"side": "buy"}).request_id


def test_an_old_order_expires_unless_it_is_decided_anew(desk: Desk) -> None:
    asked = wrong(timestamp=desk.clock().isoformat())
    letters = [buried(desk, {"payload": json.dumps(asked | {"event_id": name})}) for name in ("a", "b")]
    desk.clock.let_pass(3600)

    old = drive(desk, letters[0], asked | {"side": "buy", "event_id": "a"})
    anew = drive(desk, letters[1], asked | {"side": "buy", "event_id": "b"}, decided_now=True)

    assert old.request_id is not None
    assert desk.run(old.request_id) == "EXPIRED"
    assert anew.request_id is not None
    assert desk.run(anew.request_id) == "RECORDED"


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        pytest.param({"data": '{"symbol": 1}'}, '{"symbol": 1}', id="data"),
        pytest.param(
            {"symbol": "BTCUSDT", "side": "?", "trace_id": "t"}, '{"symbol": "BTCUSDT", "side": "?"}', id="flat"
        ),
        pytest.param({"payload": b"\xff{"}, "\ufffd{", id="not-text"),
        pytest.param({"payload": b"a\x00b"}, "a\ufffdb", id="nul"),
    ],
)
def test_what_can_be_read_of_a_message_is_there_to_be_corrected(desk: Desk, fields: Any, payload: str) -> None:
    letter = buried(desk, fields)

    assert letter.payload == payload
    assert drive(desk, letter, decision()).request_id


def test_news_take_effect_as_they_would_have(desk: Desk) -> None:
    letter = buried(desk, {"payload": "{"}, "ess.tripped")
    EssStatus.objects.all().delete()

    drive(desk, letter, {"reason": "drawdown"}, decided_now=True)

    assert (EssStatus.objects.get().permitted, EssStatus.objects.get().reason) == (False, "drawdown")


# The admin's page


def press(client: Client, letter: DeadLetter, **form: Any) -> Any:
    return client.post(reverse("admin:execution_deadletter_replay", args=[letter.pk]), form, follow=True)


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("grace", password=None))
    return client


def test_a_letter_is_corrected_in_the_admin(desk: Desk, operator: Client, started: list[Any]) -> None:
    asked = wrong()
    letter = buried(desk, {"payload": json.dumps(asked)})
    page = operator.get(reverse("admin:execution_deadletter_replay", args=[letter.pk]))
    assert "<strong>INVALID_FIELD</strong>: side" in page.content.decode()

    still_wrong = press(operator, letter, payload=letter.payload, reason="as it is")
    assert "INVALID_FIELD" in still_wrong.content.decode()
    done = press(operator, letter, payload=json.dumps(asked | {"side": "buy"}, indent=1), reason="side")

    request = ExecutionRequest.objects.get()
    assert (started, f"Accepted as request {request.pk}" in done.content.decode()) == ([request.pk], True)
    letter.refresh_from_db()
    assert (letter.replayed_by, letter.replay_reason) == ("grace", "side")
    # It should say that it was done before, and offer nothing more.
    again = press(operator, letter, payload=json.dumps(decision("ETHUSDT")), reason="again")
    assert "was replayed before" in again.content.decode()
    assert (ExecutionRequest.objects.count(), len(started)) == (1, 1)
    shown = operator.get(reverse("admin:execution_deadletter_replay", args=[letter.pk]))
    assert b"<textarea" not in shown.content


def test_a_reason_is_asked_for(desk: Desk, operator: Client) -> None:
    letter = buried(desk, {"payload": json.dumps(wrong())})

    press(operator, letter, payload=json.dumps(decision()), reason="")

    assert not ExecutionRequest.objects.exists()


def test_only_who_may_can_drive_a_letter(desk: Desk, client: Client, started: list[Any]) -> None:
    letter = buried(desk, {"payload": json.dumps(wrong())})
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    form = {"payload": json.dumps(decision()), "reason": "mine"}

    client.force_login(reader)
    assert press(client, letter, **form).status_code == 403
    client.logout()
    assert "login" in press(client, letter, **form).request["PATH_INFO"]
    assert (ExecutionRequest.objects.count(), started) == (0, [])

    reader.user_permissions.add(Permission.objects.get(codename="replay_deadletter"))
    client.force_login(User.objects.get(pk=reader.pk))
    assert press(client, letter, **form).status_code == 200
    assert len(started) == 1


# The command


def run(letter: DeadLetter, **options: Any) -> str:
    out = io.StringIO()
    call_command("dead_letter", letter.pk, stdout=out, **options)
    return out.getvalue()


def test_a_letter_is_shown_and_driven_by_the_command(desk: Desk, started: list[Any], tmp_path: Path) -> None:
    letter = buried(desk, {"payload": json.dumps(wrong())})
    assert f"INVALID_FIELD: {letter.reason}" in run(letter)
    corrected = tmp_path / "corrected.json"
    corrected.write_text(json.dumps(decision()))

    with pytest.raises(CommandError, match="needs a --reason"):
        run(letter, replay=True)
    with pytest.raises(CommandError, match="Nothing was done: INVALID_FIELD"):
        run(letter, replay=True, reason="x")
    said = run(letter, replay=True, reason="x", payload=str(corrected), by="joan")

    assert (said, started) == (f"Accepted as request {started[0]}.\n", [ExecutionRequest.objects.get().pk])
    with pytest.raises(CommandError, match="was replayed before"):
        run(letter, replay=True, reason="x", payload=str(corrected))
    assert "replayed" in run(letter)
    with pytest.raises(CommandError, match="not found"):
        run(DeadLetter(pk=0))
