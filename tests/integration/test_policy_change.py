"""A change of policy reaches the entries that were approved before it: judged again by the new one, up to the wire."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from execution.crash_points import CrashPoint
from execution.models import ExecutionRequest, PolicyValue, PositionSlot
from execution.risk.decision_snapshot import replay
from execution.risk.policy_store import refresh_policy
from execution.risk.pre_send_check import pre_send_check
from execution.risk.proposal import as_json, proposal_of
from execution.risk.reapproval import renew_approval
from execution.signals.policy_updates import apply_policy
from tests.support import builders
from tests.support.desk import Desk
from tests.support.interference import at_point
from tests.support.ledger import ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
LEVERAGE = "/fapi/v1/leverage"


def announce(desk: Desk, key: str, value: object) -> None:
    """Let risk-safety change a value, and let the bridge and its task bring it in."""
    desk.risk.answer({"value": value})
    desk.publish("policy.updated", {"key": key, "new_value": value, "timestamp": desk.clock().isoformat()})
    for inbox_id in desk.read_bus().policies:
        apply_policy(inbox_id, risk_safety=desk.risk_safety, now=desk.clock())
    desk.risk.answer_normally()


def approved(desk: Desk, symbol: str = "BTCUSDT", **fields: Any) -> UUID:
    request_id = desk.decide(symbol, **fields)
    assert desk.run(request_id, until="guard_safety") == "APPROVED"
    return request_id


def test_tightened_policy_refuses_what_was_approved_before_it(desk: Desk) -> None:
    request_id = approved(desk, leverage=10)

    announce(desk, "risk.max_leverage", 5)

    assert desk.run(request_id) == "DENIED"
    request = desk.request(request_id)
    assert request.reason_code == "LEVERAGE_EXCEEDS_LIMIT"
    assert request.reason == "LEVERAGE_EXCEEDS_LIMIT: expected<=5 actual=10 policy_version=1 approved_with=0"
    assert desk.event(request_id, "order.failed")["reason_code"] == "LEVERAGE_EXCEEDS_LIMIT"
    # It should have asked the exchange for nothing, and have given its share back.
    assert (desk.ledger.sent("POST", ORDER), desk.ledger.sent("POST", LEVERAGE)) == ([], [])
    assert not PositionSlot.objects.exists()


def test_refresh_by_age_counts_as_a_change_too(desk: Desk) -> None:
    request_id = approved(desk, leverage=10)
    desk.risk.answer({"policies": {"risk.max_leverage": 5}, "count": 1})

    refresh_policy(risk_safety=desk.risk_safety, now=desk.clock())
    desk.risk.answer_normally()

    assert desk.outcome(request_id) == ("DENIED", "LEVERAGE_EXCEEDS_LIMIT")
    assert desk.ledger.sent("POST", ORDER) == []


def test_entry_that_waits_for_its_turn_does_not_leave(desk: Desk) -> None:
    request_id = approved(desk, leverage=10)

    with at_point(CrashPoint.ENTRY_WRITTEN, lambda: announce(desk, "risk.max_leverage", 5)):
        desk.run(request_id)

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("REJECTED", "LEVERAGE_EXCEEDS_LIMIT")
    assert "expected<=5 actual=10 policy_version=1 approved_with=0 before sending" in request.reason
    assert desk.ledger.sent("POST", ORDER) == []
    assert not PositionSlot.objects.exists()


def test_attempt_is_not_repeated_under_a_policy_that_refuses_it(desk: Desk) -> None:
    request_id = approved(desk, leverage=10)
    # The first answer proves absence and would allow a repeat; the policy changes while it is on its way.
    desk.paper.add_fault(
        path=ORDER, method="POST", action="reply", status=503, body={"code": 0, "msg": "Service Unavailable."}
    )

    with at_point(CrashPoint.ATTEMPT_WRITTEN, lambda: announce(desk, "risk.max_leverage", 5)):
        desk.run(request_id)

    assert desk.request(request_id).reason_code == "LEVERAGE_EXCEEDS_LIMIT"
    assert len(desk.ledger.sent("POST", ORDER)) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("risk.max_leverage", 50), ("risk.max_leverage", 10), ("execution.max_order_retries", 1)],
)
def test_change_that_would_have_approved_it_lets_it_leave_and_is_in_the_journal(
    desk: Desk, key: str, value: int
) -> None:
    request_id = approved(desk, leverage=10)

    announce(desk, key, value)

    assert desk.run(request_id) == "RECORDED"
    request = desk.request(request_id)
    assert request.policy_version == 1
    # It should give the same verdicts again from the journal alone.
    [renewed] = [step for step in desk.story(request_id) if step.trigger == "policy_renewed"]
    assert (renewed.from_state, renewed.to_state) == ("APPROVED", "APPROVED")
    kept: Any = renewed.details
    again = [as_json(rule) for rule in replay(proposal_of(request), kept)]
    assert [*again, *kept["rules"][len(again) :]] == kept["rules"]
    assert [rule["rule"] for rule in kept["rules"][len(again) :]] == ["policy_change"]
    desk.check()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("execution.default_sl_pct", 0.01, "changed=exits stop="),
        ("execution.default_tp_pct", 0.02, "changed=exits"),
        ("execution.min_sl_distance_pct", 0.03, "changed=exits stop="),
    ],
)
def test_entry_that_would_be_protected_differently_now_does_not_leave(
    desk: Desk, key: str, value: float, told: str
) -> None:
    bare: dict[str, Any] = {"stop_loss": None, "take_profit": None} if "default" in key else {}
    request_id = approved(desk, **bare)

    announce(desk, key, value)

    assert desk.run(request_id) == "DENIED"
    request = desk.request(request_id)
    assert request.reason_code == "POLICY_CHANGED"
    assert told in request.reason
    assert desk.ledger.sent("POST", ORDER) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("risk.max_positions", 3, "POSITIONS_EXCEED_LIMIT"),
        ("risk.max_total_exposure_usd", 1600, "TOTAL_EXPOSURE_EXCEEDS_LIMIT"),
        ("risk.max_daily_loss_usd", 45, "DAILY_LOSS_EXCEEDS_LIMIT"),
        ("risk.max_entries_per_minute", 3, "ENTRIES_EXCEED_RATE"),
    ],
)
def test_lower_limit_lets_the_first_that_fit_leave_and_no_other(desk: Desk, key: str, value: int, reason: str) -> None:
    coins = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "LTC", "LINK")
    ids = [approved(desk, f"{coin}USDT") for coin in coins]
    announce(desk, key, value)

    pairs = [(desk.another(), pk) for pk in ids]
    at_once([lambda one=one, pk=pk: one.run(pk) for one, pk in pairs])  # type: ignore[misc]

    states = [desk.request(pk).state for pk in ids]
    assert states == ["RECORDED"] * 3 + ["DENIED"] * 5
    assert set(ExecutionRequest.objects.filter(state="DENIED").values_list("reason_code", flat=True)) == {reason}
    assert len(desk.ledger.entries_sent) == 3
    desk.check()


def test_last_word_is_one_statement_when_nothing_has_changed(
    desk: Desk, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    PolicyValue.objects.create(
        key="risk.max_leverage", value=Decimal(50), source="test", version=7, changed_at=desk.clock()
    )
    request = desk.request(approved(desk))

    with django_assert_num_queries(1):
        assert pre_send_check(request, now=desk.clock()) is None


def test_approval_whose_inputs_were_not_kept_does_not_outlive_a_change(desk: Desk) -> None:
    """A deploy may find one in the queue, from a version whose journal did not keep them."""
    request = builders.approved()
    announce(desk, "risk.max_leverage", 50)

    veto = renew_approval(request, now=desk.clock()).block

    assert veto is not None
    assert (veto.code, veto.sentence) == ("POLICY_CHANGED", "inputs=none policy_version=1 approved_with=0")
