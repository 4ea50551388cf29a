"""`manage.py rearm_ess`: an operator ends a known block of the emergency stop; the service's answer decides then."""

from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from execution.models import AuditEvent, EssStatus
from execution.reconciliation.enforce_ess_trip import TripAction, work_off_trip
from tests.support import builders
from tests.support.desk import Desk
from tests.support.ledger import ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
WHY = "the drawdown was a wrong price"
BOTH_SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
NOTHING_BLOCKS = "the emergency stop is not known to block anything"


def trip(desk: Desk, reason: str = "Daily drawdown 5.20%") -> None:
    """Let a trip arrive by event, while the service itself goes on answering ARMED."""
    desk.publish("ess.tripped", {"reason": reason, "timestamp": desk.clock().isoformat()})
    desk.read_bus()


def rearm(reason: str = WHY) -> None:
    call_command("rearm_ess", reason=reason)


def outcome(desk: Desk, request_id: UUID) -> tuple[str, str]:
    request = desk.request(request_id)
    return request.state, request.reason_code


def rearmed_lines() -> list[tuple[str, str, str]]:
    lines = AuditEvent.objects.filter(entity="ess", to_state="REARMED").order_by("id")
    return list(lines.values_list("from_state", "trigger", "reason"))


@BOTH_SIDES
def test_entries_pass_again_before_the_hold_is_over(desk: Desk, side: str, capsys: pytest.CaptureFixture[str]) -> None:
    trip(desk)
    before = desk.decide(side=side)
    desk.run(before)
    assert outcome(desk, before) == ("DENIED", "ESS_BLOCKED")

    rearm()

    assert capsys.readouterr().out == (
        "released TRIPPED (ess.tripped: Daily drawdown 5.20%); the next check asks the service\n"
    )
    assert rearmed_lines() == [("TRIPPED", "operator", WHY)]
    assert not EssStatus.objects.exists()
    after = desk.decide(side=side)
    desk.run(after)
    assert outcome(desk, after) == ("RECORDED", "")
    # It should have asked the service, and not have taken up what was refused before.
    known = EssStatus.objects.get()
    assert (known.state, known.permitted, known.source, known.held_until) == ("ARMED", True, "http", None)
    assert outcome(desk, before) == ("DENIED", "ESS_BLOCKED")
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


@BOTH_SIDES
def test_an_approved_entry_that_a_trip_would_stop_leaves_after_it(desk: Desk, side: str) -> None:
    stopped, freed = desk.decide("ETHUSDT", side), desk.decide(side=side)
    for request_id in (stopped, freed):
        assert desk.run(request_id, until="guard_safety") == "APPROVED"
    trip(desk)
    assert not desk.step("place_order", stopped)
    assert outcome(desk, stopped) == ("DENIED", "ESS_BLOCKED")

    rearm()

    assert desk.run(freed) == "RECORDED"
    assert [order["symbol"] for order in desk.ledger.sent("POST", ORDER)] == ["BTCUSDT"]


@BOTH_SIDES
def test_a_service_that_still_blocks_is_believed_at_the_next_check(desk: Desk, side: str) -> None:
    desk.risk.answer({"state": "CRITICAL", "can_execute": False, "trip_reason": "margin"})
    desk.run(desk.decide("ETHUSDT", side))
    assert EssStatus.objects.get().state == "CRITICAL"

    rearm()

    again = desk.decide(side=side)
    desk.run(again)
    assert outcome(desk, again) == ("DENIED", "ESS_BLOCKED")
    assert "state=CRITICAL" in desk.request(again).reason
    assert rearmed_lines() == [("CRITICAL", "operator", WHY)]
    assert desk.ledger.sent("POST", ORDER) == []


@pytest.mark.parametrize(("fail_mode", "expected"), [("open", ("CLEARED", "")), ("closed", ("DENIED", "ESS_BLOCKED"))])
def test_a_silent_service_counts_as_configured_and_no_longer_as_the_last_known_trip(
    desk: Desk, fail_mode: str, expected: tuple[str, str]
) -> None:
    desk.fail_mode = fail_mode
    trip(desk)
    desk.risk.answer("down", status=500)
    known = desk.decide("ETHUSDT")
    desk.run(known)
    assert "state=TRIPPED" in desk.request(known).reason

    rearm()

    request_id = desk.decide()
    desk.run(request_id, until="check_ess")
    assert outcome(desk, request_id) == expected
    assert EssStatus.objects.get().state == "UNREACHABLE"


def test_a_trip_after_it_blocks_again(desk: Desk) -> None:
    trip(desk)
    rearm()
    assert desk.run(desk.decide(), until="check_ess") == "CLEARED"

    trip(desk, "a second one")

    request_id = desk.decide("ETHUSDT")
    desk.run(request_id)
    assert outcome(desk, request_id) == ("DENIED", "ESS_BLOCKED")
    assert "a second one" in desk.request(request_id).reason


def test_what_a_trip_does_to_positions_ends_with_it(desk: Desk) -> None:
    resting = desk.signal("ETHUSDT", price=2400)
    assert desk.run(resting) == "ACCEPTED"
    opened = desk.trade_opened()
    trip(desk)
    rearm()

    work_off_trip(TripAction.FLATTEN, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)

    # It should have left entry and position alone.
    assert desk.order(resting, "ENTRY").state == "ACCEPTED"
    assert (desk.trade(opened).state, desk.order_states(opened, "CLOSE")) == ("OPEN", [])
    # The same call does its work while a trip stands.
    trip(desk)
    work_off_trip(TripAction.FLATTEN, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
    assert desk.order(resting, "ENTRY").state == "CANCELED"
    assert desk.order_states(opened, "CLOSE") == ["FILLED"]


# What is refused


@pytest.mark.parametrize("permitted", [None, True])
def test_without_a_block_there_is_nothing_to_end(permitted: bool | None) -> None:  # noqa: FBT001 -- a case's value
    if permitted:
        builders.ess()
    before = list(EssStatus.objects.values())

    with pytest.raises(CommandError, match=NOTHING_BLOCKS):
        rearm()

    assert (list(EssStatus.objects.values()), rearmed_lines()) == (before, [])


def test_a_second_word_finds_nothing_to_end(desk: Desk) -> None:
    trip(desk)
    rearm()

    with pytest.raises(CommandError, match=NOTHING_BLOCKS):
        rearm("once more")

    assert rearmed_lines() == [("TRIPPED", "operator", WHY)]


@pytest.mark.parametrize("arguments", [[], ["--reason", ""], ["--reason", "  "]])
@pytest.mark.parametrize("command", ["rearm_ess", "release_entries"])
def test_a_brake_is_not_released_without_a_reason(desk: Desk, command: str, arguments: list[str]) -> None:
    trip(desk)

    with pytest.raises(CommandError, match="reason"):
        call_command(command, *arguments)

    assert rearmed_lines() == []
    # It should block as before.
    request_id = desk.decide()
    desk.run(request_id)
    assert outcome(desk, request_id) == ("DENIED", "ESS_BLOCKED")


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_at_once_one_ends_the_block() -> None:
    builders.ess(permitted=False, state="TRIPPED")

    def answer(reason: str) -> str:
        try:
            rearm(reason)
        except CommandError as error:
            return str(error)
        return "released"

    assert sorted(at_once([lambda: answer("alice"), lambda: answer("bob")])) == ["released", NOTHING_BLOCKS]
    assert len(rearmed_lines()) == 1
