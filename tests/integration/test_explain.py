"""`manage.py explain`: the whole story of one decision, from the rows alone."""

import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from execution.domain.states import OrderState, RequestState
from execution.domain.trading import OrderPurpose, OrderType, Source
from execution.models import AuditEvent, OutboxEvent, Trade
from execution.models.bracket import LegOrigin
from execution.protection.amend_legs import move_stop
from execution.risk.ess import hold_trip
from execution.store.heartbeats import beat
from tests.support import builders
from tests.support.builders import NOW
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db

TRADE_ID = UUID("0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11")
RULES = [
    {"rule": "symbol_trading", "numbers": "status=TRADING", "refusal": None, "before": None, "after": None},
    {"rule": "slippage", "numbers": "expected<=50bps actual=2.46bps", "refusal": None, "before": None, "after": None},
    {
        "rule": "stop_distance",
        "numbers": "expected>=0.001 actual=0.000400",
        "refusal": None,
        "before": "49980",
        "after": "49950.000",
    },
]


def journal(identity: object, *flags: str) -> str:
    output = io.StringIO()
    call_command("explain", str(identity), *flags, stdout=output)
    return output.getvalue()


@pytest.fixture
def trade() -> Trade:
    """A decision that was checked, adjusted, filled, protected, and closed by its target."""
    request = builders.approved(
        id=TRADE_ID,
        inbox=builders.inbox(identity="trace:abc"),
        expected_price=Decimal(50000),
        stop_price_asked=Decimal(49980),
        target_price_asked=Decimal(52000),
        stop_price=Decimal(49950),
        reference_price=Decimal("50010.5"),
    )
    entry = builders.order(request, exchange_order_id="8389765")
    builders.order(request, purpose=OrderPurpose.STOP, state=OrderState.CANCELED, algo_id="71")
    target = builders.order(
        request, purpose=OrderPurpose.TARGET, state=OrderState.FILLED, algo_id="72", exchange_order_id="8389790"
    )
    trade = builders.closed_trade(
        request,
        entry_price=Decimal("50012.3"),
        slippage_fraction=Decimal("0.000246"),
        gross_pnl=Decimal("3.9754"),
        net_pnl=Decimal("3.8954"),
        pnl_percent=Decimal("38.954"),
        r_multiple=Decimal(1) / 3,
    )
    builders.fill(trade, order=entry)
    builders.fill(trade, order=target, entry=False)
    steps: tuple[tuple[str, str, str, dict[str, object]], ...] = (
        ("", "RECEIVED", "ai.decision.made", {}),
        (
            "RECEIVED",
            "CLEARED",
            "ess_cleared",
            {"ess_state": "ARMED", "permitted": True, "evidence": "can_execute=True"},
        ),
        ("CLEARED", "APPROVED", "guard_approved", {"rules": RULES, "policy_version": 3}),
    )
    for number, (before, after, trigger, details) in enumerate(steps):
        at = NOW + timedelta(milliseconds=number)
        builders.transition(
            "request", request.pk, from_state=before, to_state=after, trigger=trigger, details=details, at=at
        )
    builders.transition("order", entry.client_order_id, from_state="ACCEPTED", to_state="FILLED", trigger="all_filled")
    builders.outbox_event(aggregate=str(request.pk), event_type="trade.opened", sent_at=NOW)
    builders.outbox_event(aggregate=str(request.pk), event_type="trade.closed", sequence=2)
    for sequence in (3, 4):
        builders.outbox_event(aggregate=str(request.pk), event_type="position.updated", sequence=sequence)
    return trade


def test_a_closed_trade_tells_its_whole_story(trade: Trade) -> None:
    (entry, stop, target) = trade.request.orders.order_by("id")
    (opened, closed, *_) = [str(event_id) for event_id in _event_ids()]

    assert journal(trade.pk).splitlines() == [
        (
            "Decision  BTCUSDT LONG MARKET notional_usd=100 expected=50000 stop=49980 target=52000 confidence=0.85 "
            "leverage=10"
        ),
        "          from ai.decision.made identity=trace:abc received 2026-03-02T09:30:00.000+00:00 model=ensemble",
        "ESS       permitted: state=ARMED (can_execute=True)",
        "Guard     approved: quantity=0.002 reference=50010.5 stop=49950 target=52000 policy_version=3",
        "            symbol_trading           status=TRADING  ok",
        "            slippage                 expected<=50bps actual=2.46bps  ok",
        "            stop_distance            expected>=0.001 actual=0.000400  adjusted 49980 -> 49950",
        (
            f"Entry     BUY MARKET quantity=0.002 FILLED executed=0.002 attempts=1 client_id={entry.client_order_id} "
            "order_id=8389765"
        ),
        (
            "Stop      SELL STOP_MARKET quantity=0.002 trigger=49950 CANCELED executed=0 attempts=1 "
            f"client_id={stop.client_order_id} algo_id=71"
        ),
        (
            "Target    SELL TAKE_PROFIT_MARKET quantity=0.002 trigger=52000 FILLED executed=0.002 attempts=1 "
            f"client_id={target.client_order_id} order_id=8389790 algo_id=72"
        ),
        "Fill      entry: 0.002 at 50012.3 fee=0.04 USDT realized_pnl=0 order_id=8389765 2026-03-02T09:30:00.000+00:00",
        (
            "Fill      target: 0.002 at 52000 fee=0.04 USDT realized_pnl=3.9754 order_id=8389790 "
            "2026-03-02T10:30:00.000+00:00"
        ),
        "Opened    0.002 at 50012.3 slippage=2.46bps margin=10 USDT 2026-03-02T09:30:00.000+00:00",
        "Closed    TP at 52000 2026-03-02T10:30:00.000+00:00",
        "PnL       gross_pnl=3.9754 fees=0.08 funding=0 net_pnl=3.8954 USDT pnl_percent=38.954 r_multiple=0.3333",
        "          pnl_usd=3.8954 at quote_index=USDTUSD 1",
        "Steps     2026-03-02T09:30:00.000+00:00 request: RECEIVED (ai.decision.made)",
        "          2026-03-02T09:30:00.001+00:00 request: RECEIVED -> CLEARED (ess_cleared)",
        "          2026-03-02T09:30:00.002+00:00 request: CLEARED -> APPROVED (guard_approved)",
        f"          2026-03-02T09:30:00.000+00:00 order {entry.client_order_id}: ACCEPTED -> FILLED (all_filled)",
        f"Events    1 trade.opened {opened} sent 2026-03-02T09:30:00.000+00:00",
        f"          2 trade.closed {closed} not sent yet",
        "          and 2 position.updated",
        "Result    RECORDED",
    ]


def test_a_refused_order_of_a_person_tells_the_rule_and_its_numbers() -> None:
    reason = "STOP_TOO_FAR: expected<=0.1 actual=0.200000"
    request = builders.request(
        source=Source.REST,
        inbox=builders.inbox(event_type=Source.REST, identity="key:desk-7"),
        order_type=OrderType.LIMIT,
        notional_usd=None,
        base_quantity_asked=Decimal("0.001"),
        limit_price_asked=Decimal(50000),
        state=RequestState.DENIED,
        reason_code="STOP_TOO_FAR",
        reason=reason,
    )
    rule = {"rule": "stop_max_distance", "numbers": "expected<=0.1 actual=0.200000", "refusal": "STOP_TOO_FAR"}
    builders.transition(
        "request",
        request.pk,
        from_state="CLEARED",
        to_state="DENIED",
        trigger="guard_denied",
        reason_code="STOP_TOO_FAR",
        reason=reason,
        details={"rules": [rule | {"before": None, "after": None}]},
    )

    assert journal(request.pk).splitlines() == [
        "Decision  BTCUSDT LONG LIMIT quantity=0.001 limit=50000 leverage=10",
        "          from rest identity=key:desk-7 received 2026-03-02T09:30:00.000+00:00",
        f"Guard     DENIED: {reason}",
        "            stop_max_distance        expected<=0.1 actual=0.200000  STOP_TOO_FAR",
        f"Steps     2026-03-02T09:30:00.000+00:00 request: CLEARED -> DENIED (guard_denied)  {reason}",
        f"Result    DENIED {reason}",
    ]


def test_a_blocked_decision_tells_what_the_emergency_stop_said() -> None:
    request = builders.request(state=RequestState.DENIED, reason_code="ESS_BLOCKED", reason="ESS blocked")
    details = {"ess_state": "TRIPPED", "permitted": False, "evidence": "can_execute=False: drawdown"}
    builders.transition("request", request.pk, to_state="DENIED", trigger="ess_blocked", details=details)

    assert "ESS       BLOCKED: state=TRIPPED (can_execute=False: drawdown)" in journal(request.pk).splitlines()


def test_json_has_every_column_with_exact_amounts(trade: Trade) -> None:
    story = json.loads(journal(trade.pk, "--json"))

    assert list(story) == ["request", "event", "trade", "orders", "fills", "transitions", "events"]
    assert story["trade"]["net_pnl"] == "3.8954"
    assert story["trade"]["r_multiple"] == "0.333333333333333333"
    assert story["request"]["id"] == str(trade.pk)
    assert story["event"]["identity"] == "trace:abc"
    assert [order["purpose"] for order in story["orders"]] == ["ENTRY", "STOP", "TARGET"]
    assert [fill["price"] for fill in story["fills"]] == ["50012.3", "52000"]
    assert story["transitions"][2]["details"]["rules"] == RULES


@pytest.mark.parametrize("unknown", ["x", "0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11"])
def test_an_unknown_id_is_an_error(unknown: str) -> None:
    with pytest.raises(CommandError, match=f"Trade or request {unknown} not found"):
        journal(unknown)


def _event_ids() -> list[UUID]:
    return list(OutboxEvent.objects.order_by("sequence").values_list("event_id", flat=True))


def test_rest_tells_the_same_words_with_what_the_guard_saw(desk: Desk, client: Client) -> None:
    beat("policy", now=desk.clock(), details={"answered_at": desk.clock().isoformat(), "refused": {}, "unanswered": 0})
    desk.clock.let_pass(7)
    trade_id = desk.trade_opened()
    with transaction.atomic():
        move_stop(
            desk.trade(trade_id), Decimal(48000), origin=LegOrigin.OPERATOR, now=desk.clock(), operator="al", why="news"
        )

    told = client.get(f"/api/execution/requests/{trade_id}").json()["story"]

    assert told == journal(trade_id).splitlines()
    [ess] = [line for line in told if line.startswith("ESS")]
    assert ess.startswith("ESS       permitted: state=ARMED age=0.0s (can_execute=True")
    [guard] = [line for line in told if line.startswith("Guard")]
    assert "policy_version=0" in guard
    assert float(guard.partition("policy_age=")[2].rstrip("s")) >= 7
    # It should tell the book, the use of each limit, and every rule with its numbers.
    [book] = [line for line in told if "saw the book" in line]
    assert " mark=50000" in book
    assert "@49999.9" in book
    assert "@50000.1" in book
    [used] = [line for line in told if "used of limits" in line]
    assert "entries_last_minute=0 exposure=0" in used
    assert "positions=0" in used
    kept = AuditEvent.objects.get(entity_id=str(trade_id), trigger="guard_approved").details
    assert len([line for line in told if line.startswith("            ")]) == len(kept["rules"])
    # It should tell who moved what.
    [moved] = [line for line in told if "leg_moved_operator" in line]
    assert moved.endswith("(leg_moved_operator)  STOP 1: 48750 -> 48000 by al news")


def test_a_known_trip_tells_how_old_it_is(desk: Desk) -> None:
    hold_trip("drawdown", tripped_at=desk.clock(), hold=timedelta(minutes=15), now=desk.clock())
    desk.clock.let_pass(12)
    request_id = desk.decide()
    desk.run(request_id)

    [ess] = [line for line in journal(request_id).splitlines() if line.startswith("ESS")]
    assert ess.startswith("ESS       BLOCKED: state=TRIPPED age=")
    assert float(ess.partition("age=")[2].partition("s")[0]) >= 12


def explain(request_id: UUID, *words: str) -> str:
    out = io.StringIO()
    call_command("explain", str(request_id), *words, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("fields", [{}, {"stop_loss": 50500.0}, {"position_size_usd": 1_000_000_000}])
def test_rerun_of_a_decision_finds_no_difference(desk: Desk, fields: dict[str, Any]) -> None:
    request_id = desk.decide(**fields)
    desk.run(request_id)
    [judged] = [step for step in desk.story(request_id) if "inputs" in step.details]

    expected = f"{len(judged.details['rules'])} verdicts, 0 of them differ\n"
    assert explain(request_id, "--rerun").partition(": ")[2] == expected


def tampered(desk: Desk, request_id: UUID, *path: str | int, value: object) -> None:
    """Change what the journal has kept, as somebody with the database's keys might."""
    [judged] = [step for step in desk.story(request_id) if "inputs" in step.details]
    place = judged.details
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE execution_auditevent SET details = %s WHERE id = %s", [json.dumps(judged.details), judged.pk]
        )
        cursor.execute("SET LOCAL session_replication_role = origin")


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("inputs", "policy", "risk.max_order_notional_usd"), "50", "max_notional: recorded passed"),
        (("usage", "positions"), 900, "max_positions: recorded passed"),
        (("rules", 0, "refusal"), "SYMBOL_NOT_TRADING", "recorded SYMBOL_NOT_TRADING"),
        (("inputs", "quote", "mark"), None, "inputs cannot be judged: KeyError"),
    ],
)
def test_rerun_of_a_journal_that_was_changed_names_what_differs(
    desk: Desk, side: str, path: tuple[str | int, ...], value: object, said: str
) -> None:
    request_id = desk.trade_opened(side=side)
    tampered(desk, request_id, *path, value=value)
    out = io.StringIO()

    with pytest.raises(CommandError, match="does not lead to the recorded verdicts"):
        call_command("explain", str(request_id), "--rerun", stdout=out)

    assert said in out.getvalue()
    assert out.getvalue().startswith("differs: ")


def test_rerun_of_what_was_never_judged_is_an_error(desk: Desk) -> None:
    with pytest.raises(CommandError, match="never judged"):
        explain(desk.decide(), "--rerun")
