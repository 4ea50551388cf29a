"""Who may loosen a policy value: risk-safety by its own answer for the key, or an operator. An announcement never."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from execution.domain.policy import KEYS, Looser, loosens
from execution.models import AuditEvent, PolicyValue
from execution.queries.health_rows import policy_alarms
from execution.risk.policy_store import PolicyLoosenedError, policy_in_force, refresh_policy, set_policy_value
from execution.signals.policy_updates import apply_policy
from tests.support.desk import Desk
from tests.support.threads import at_once

D = Decimal
LEVERAGE, NOTIONAL = "risk.max_leverage", "risk.max_order_notional_usd"
WORD = ("--by", "alice", "--reason", "drill")


def list_policies(desk: Desk, values: dict[str, object]) -> None:
    """Let risk-safety answer every question with the list, which has no value for a single key."""
    desk.risk.answer({"policies": values, "count": len(values)})


def announce(desk: Desk, key: str, value: object) -> None:
    desk.publish("policy.updated", {"key": key, "new_value": value})
    for inbox_id in desk.read_bus().policies:
        apply_policy(inbox_id, risk_safety=desk.risk_safety, now=desk.clock())


def stored(key: str) -> tuple[Decimal, str] | None:
    row = PolicyValue.objects.filter(key=key).first()
    return (row.value, row.source) if row else None


def between(name: str, *, looser: bool) -> Decimal | None:
    """Return a value of a key that is looser, or stricter, than its default; None where its bounds have none."""
    key = KEYS[name]
    middle = [(key.default + bound) / 2 for bound in (key.minimum, key.maximum)]
    candidates = [key.minimum, key.maximum, *([] if key.whole else middle)]
    return next(
        (value for value in candidates if value != key.default and loosens(name, key.default, value) is looser), None
    )


def refusals(key: str) -> list[str]:
    lines = AuditEvent.objects.filter(entity="policy", entity_id=key, to_state="DENIED").order_by("id")
    return [line.reason.split(":")[0] for line in lines]


@pytest.mark.parametrize("answer", [({"value": None}, 200), ("down", 503)], ids=["not kept", "silent"])
@pytest.mark.parametrize("name", KEYS)
def test_an_announcement_tightens_every_key_and_loosens_none(desk: Desk, name: str, answer: tuple[Any, int]) -> None:
    looser, stricter = between(name, looser=True), between(name, looser=False)
    desk.risk.answer(answer[0], status=answer[1])

    if looser is not None:
        announce(desk, name, str(looser))
        assert stored(name) is None
        assert refusals(name) == ["POLICY_LOOSENED_BY_EVENT"]
    if stricter is not None:
        announce(desk, name, str(stricter))
        assert stored(name) == (stricter, "event")
        # It should not take back what it has tightened.
        announce(desk, name, str(KEYS[name].default))
        assert stored(name) == (stricter, "event")


@pytest.mark.django_db(transaction=True)
def test_of_announcements_at_once_the_strictest_stands(desk: Desk) -> None:
    values = [D(number) for number in (12, 3, 15, 7, 19, 5, 9, 11)]

    def tighten(value: Decimal) -> None:
        with suppress(PolicyLoosenedError):
            set_policy_value(LEVERAGE, value, source="event", now=desk.clock())

    at_once([partial(tighten, value) for value in values])

    assert stored(LEVERAGE) == (D(3), "event")
    versions = [line.details["version"] for line in AuditEvent.objects.filter(entity="policy").order_by("id")]
    assert versions == list(range(1, len(versions) + 1))


def test_the_service_s_own_answer_for_the_key_loosens(desk: Desk) -> None:
    desk.risk.answer({"value": "40"})

    # It should take the service's value, not the event's.
    announce(desk, LEVERAGE, 125)

    assert stored(LEVERAGE) == (D(40), "http")
    line = AuditEvent.objects.get(entity="policy", entity_id=LEVERAGE)
    assert (line.from_state, line.to_state, line.details["direction"]) == ("default", "40", "looser")
    assert policy_alarms(desk.clock() - timedelta(hours=1)) == (line,)


@pytest.mark.parametrize("value", [True, [40], {"a": 40}, "4_0", "\u0664\u0660", "Infinity", "NaN", "1e999", -1, "x"])
def test_no_garbage_stands_for_the_service_s_answer(desk: Desk, value: object) -> None:
    desk.risk.answer({"value": value})

    announce(desk, LEVERAGE, 5)

    assert stored(LEVERAGE) is None
    assert len(refusals(LEVERAGE)) == 1


@pytest.mark.parametrize("key", ["risk.no_such_key", "execution.max_slippage_pct ", "../policy", "x" * 100])
def test_an_unknown_key_is_refused_without_a_question(desk: Desk, key: str) -> None:
    announce(desk, key, 1)

    assert refusals(key) == ["POLICY_KEY_UNKNOWN"]
    assert not PolicyValue.objects.exists()


def test_a_looser_value_of_the_list_needs_the_key_s_own_answer(desk: Desk) -> None:
    # Every question is answered with the list: the key alone has no answer.
    list_policies(desk, {LEVERAGE: 40, NOTIONAL: 500})

    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())

    assert (stored(LEVERAGE), stored(NOTIONAL)) == (None, (D(500), "http"))
    assert refusals(LEVERAGE) == ["POLICY_NOT_CONFIRMED"]
    desk.risk.answer({"policies": {LEVERAGE: 40, NOTIONAL: 500}, "value": 40})
    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())
    assert stored(LEVERAGE) == (D(40), "http")


@pytest.mark.parametrize("answer", [{"policies": {}}, {"policies": {LEVERAGE: None}}, {"policies": {LEVERAGE: []}}])
def test_a_key_that_is_missing_in_an_answer_changes_nothing(desk: Desk, answer: dict[str, Any]) -> None:
    list_policies(desk, {LEVERAGE: 5})
    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())
    desk.risk.answer(answer)

    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())

    assert stored(LEVERAGE) == (D(5), "http")


def test_what_an_operator_has_set_only_an_operator_loosens(desk: Desk) -> None:
    call_command("set_policy", LEVERAGE, "10", *WORD, stdout=StringIO())
    desk.risk.answer({"policies": {LEVERAGE: 20}, "value": 20})

    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())
    announce(desk, LEVERAGE, 20)
    assert stored(LEVERAGE) == (D(10), "operator")

    # It should be tightened by others, and stay the operator's.
    desk.risk.answer({"policies": {LEVERAGE: 7}, "value": 7})
    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())
    assert stored(LEVERAGE) == (D(7), "operator")

    call_command("set_policy", LEVERAGE, "release", *WORD, stdout=StringIO())
    desk.risk.answer({"policies": {LEVERAGE: 20}, "value": 20})
    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())
    assert stored(LEVERAGE) == (D(20), "http")
    lines = AuditEvent.objects.filter(entity="policy", trigger="operator").order_by("id")
    assert [(line.to_state, line.reason, line.details["by"]) for line in lines] == [
        ("10", "drill", "alice"),
        ("RELEASED", "drill", "alice"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        (LEVERAGE, "200", *WORD),
        (LEVERAGE, "1_0", *WORD),
        (LEVERAGE, "nan", *WORD),
        ("risk.no_such_key", "1", *WORD),
        (LEVERAGE, "5", "--by", "alice"),
        (LEVERAGE, "5", "--by", " ", "--reason", "drill"),
    ],
)
@pytest.mark.django_db
def test_an_operator_s_mistake_changes_nothing(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command("set_policy", *arguments, stdout=StringIO())

    assert not PolicyValue.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_nothing_passes_the_hard_ceilings(desk: Desk, settings: LazySettings) -> None:
    ceilings = settings.ENV.policy_ceilings
    for key in ceilings:
        if KEYS[key].looser is Looser.HIGHER:
            set_policy_value(key, KEYS[key].maximum, source="operator", now=desk.clock())

    policy = policy_in_force()

    assert {key: policy[key] for key in ceilings} == ceilings
    # It should cap the defaults too, and leave alone what lies below.
    settings.POLICY_CEILINGS = {LEVERAGE: D(3), NOTIONAL: D(10**7)}
    PolicyValue.objects.all().delete()
    assert (policy_in_force()[LEVERAGE], policy_in_force()[NOTIONAL]) == (D(3), D(10_000))
