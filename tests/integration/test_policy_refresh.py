"""The policy's snapshot: told by risk-safety, renewed by age, kept through its silence, and never out of bounds."""

from datetime import timedelta
from decimal import Decimal

from execution.models import AuditEvent, Heartbeat, PolicyValue
from execution.risk.policy_store import policy_in_force, refresh_policy
from execution.signals.policy_updates import apply_policy
from tests.support.desk import Desk

D = Decimal
SLIPPAGE, RETRIES = "execution.max_slippage_pct", "execution.max_order_retries"


def told(desk: Desk, **values: object) -> None:
    desk.risk.answer({"policies": {name.replace("__", "."): value for name, value in values.items()}, "count": 1})


def refresh(desk: Desk, *, older_than: timedelta | None = None) -> bool:
    return refresh_policy(risk_safety=desk.risk_safety, now=desk.clock(), older_than=older_than)


def test_first_refresh_takes_what_the_service_keeps(desk: Desk) -> None:
    told(desk, execution__max_slippage_pct=0.003, risk__max_leverage=20, rl__max_leverage=7)

    assert refresh(desk)

    # It should store what differs from what is in force, and nothing that it does not know.
    assert [(row.key, row.value, row.source) for row in PolicyValue.objects.all()] == [(SLIPPAGE, D("0.003"), "http")]
    assert policy_in_force().version == 1
    refresh(desk)
    assert policy_in_force().version == 1


def test_values_are_asked_for_again_only_when_they_are_old(desk: Desk) -> None:
    told(desk, execution__max_slippage_pct=0.003)
    refresh(desk)
    told(desk, execution__max_slippage_pct=0.002)

    assert refresh(desk, older_than=timedelta(seconds=60)) is False
    assert policy_in_force()[SLIPPAGE] == D("0.003")
    desk.clock.let_pass(61)
    assert refresh(desk, older_than=timedelta(seconds=60)) is True
    assert (policy_in_force()[SLIPPAGE], policy_in_force().version) == (D("0.002"), 2)


def test_last_known_values_stay_in_force_while_the_service_is_silent(desk: Desk) -> None:
    told(desk, execution__max_slippage_pct=0.003)
    refresh(desk)
    answered = Heartbeat.objects.get(part="policy").details["answered_at"]

    for body, status in (("down", 503), ([1], 200), ({"policies": None}, 200)):
        desk.risk.answer(body, status=status)
        assert refresh(desk) is False

    # Its age goes on from the last answer, and the silences are counted.
    assert policy_in_force()[SLIPPAGE] == D("0.003")
    beat = Heartbeat.objects.get(part="policy")
    assert (beat.healthy, beat.details["unanswered"], beat.details["answered_at"]) == (False, 3, answered)
    told(desk, execution__max_slippage_pct=0.003)
    refresh(desk)
    assert Heartbeat.objects.get(part="policy").details["unanswered"] == 0


def test_value_out_of_bounds_is_refused_told_and_never_applied(desk: Desk) -> None:
    told(desk, execution__max_slippage_pct=0.5, execution__max_order_retries="nonsense", risk__max_leverage=10)

    refresh(desk)
    refresh(desk)

    # It should keep the others, show both for as long as they last, and log each once.
    assert list(PolicyValue.objects.values_list("key", flat=True)) == ["risk.max_leverage"]
    beat = Heartbeat.objects.get(part="policy")
    assert (beat.healthy, set(beat.details["refused"])) == (False, {SLIPPAGE, RETRIES})
    lines = AuditEvent.objects.filter(entity="policy", to_state="DENIED").order_by("entity_id")
    assert [(line.entity_id, line.reason.partition(":")[0]) for line in lines] == [
        (RETRIES, "POLICY_VALUE_NOT_A_NUMBER"),
        (SLIPPAGE, "POLICY_VALUE_OUT_OF_BOUNDS"),
    ]


def test_change_that_names_no_key_renews_all(desk: Desk) -> None:
    told(desk, execution__max_slippage_pct=0.003)
    desk.publish("policy.updated", {"previous_mode": "NORMAL", "new_mode": "DEFENSIVE", "updated_by": "admin"})
    [inbox_id] = desk.read_bus().policies

    apply_policy(inbox_id, risk_safety=desk.risk_safety, now=desk.clock())

    assert policy_in_force()[SLIPPAGE] == D("0.003")
