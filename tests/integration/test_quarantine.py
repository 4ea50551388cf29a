"""One stored row that cannot be read or used fails alone: in every table and column, under every sweep and page."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import DateTimeField, DecimalField, Model
from django.test import Client
from django.urls import reverse

from execution.api.health import measure
from execution.health.condition import judge_health
from execution.models import (
    AuditEvent,
    ExecutionRequest,
    OutboxEvent,
    PolicyValue,
    QuarantinedRow,
    Trade,
)
from execution.operations.retention import RetentionRules, apply_retention
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.policy_store import policy_in_force
from execution.store import quarantine
from tests.support.desk import PATIENCE, Desk

TABLES = [model for model in apps.get_app_config("execution").get_models() if model is not QuarantinedRow]
TIMES = [
    (model, column.attname)
    for model in TABLES
    for column in model._meta.concrete_fields
    if isinstance(column, DateTimeField)
]
NUMBERS = [
    (model, column.attname)
    for model in TABLES
    for column in model._meta.concrete_fields
    if isinstance(column, DecimalField)
]
UNREADABLE = ["0001-01-01 00:00:00+14", "4713-01-01 00:00:00+00 BC", "-infinity", "infinity", "20000-01-01 00:00:00+00"]
# The driver can hold these, and no calculation can.
AT_THE_END = ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59+00"]
PAGES = ["/api/execution/trades", "/api/execution/positions", "/api/execution/events", "/api/execution/kill-switch"]
HOUR = timedelta(hours=1)


def plant(model: type[Model], column: str, value: str) -> int:
    """Write a value that no statement of ours would write, into every row of a table."""
    with connection.cursor() as cursor:
        # The journal refuses changes; a restored or foreign row may hold anything.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f'UPDATE {model._meta.db_table} SET "{column}" = %s::text::timestamptz', [value])  # noqa: S608
        changed: int = cursor.rowcount
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
        return changed


def sweep(desk: Desk) -> None:
    """Run everything that runs by itself."""
    desk.cycle()
    ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(0))
    desk.read_bus()
    desk.relay()
    apply_retention(RetentionRules(events=HOUR, requests=HOUR, trades=HOUR), clock=desk.clock, length=HOUR)
    assert judge_health(measure()).components


def stops(desk: Desk, symbol: str = "BTCUSDT") -> list[Any]:
    return desk.ledger.live("STOP_MARKET", symbol)


@pytest.fixture
def admin_client(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password=None))
    return client


@pytest.mark.parametrize("value", [*UNREADABLE, *AT_THE_END])
def test_every_stored_time_can_be_read(desk: Desk, value: str) -> None:
    """Walks all columns of all tables: none of them fails the driver."""
    desk.trade_opened()
    sweep(desk)
    for model, column in TIMES:
        with transaction.atomic():
            if plant(model, column, value):
                [*model._default_manager.all()]
            transaction.set_rollback(True)


@pytest.mark.parametrize("value", ["0001-01-01 00:00:00+14", "infinity"])
def test_a_time_that_cannot_be_stops_no_sweep(desk: Desk, value: str) -> None:
    """Walks all columns of all tables: every sweep goes through, and every stop stays."""
    for symbol in ("ETHUSDT", "BTCUSDT"):
        desk.trade_opened(symbol)
    sweep(desk)
    before = [row["algoId"] for symbol in ("BTCUSDT", "ETHUSDT") for row in stops(desk, symbol)]
    assert len(before) == 2
    for model, column in TIMES:
        with transaction.atomic():
            if plant(model, column, value):
                sweep(desk)
            transaction.set_rollback(True)
        after = [row["algoId"] for symbol in ("BTCUSDT", "ETHUSDT") for row in stops(desk, symbol)]
        assert after == before, (model, column)


@pytest.mark.parametrize("column", ["entry_at", "updated_at", "created_at", "cover_measured_until"])
@pytest.mark.parametrize("value", ["0001-01-01 00:00:00+14", "infinity"])
def test_a_trade_of_an_impossible_time_is_covered_and_closed(desk: Desk, column: str, value: str) -> None:
    held = desk.trade_opened("ETHUSDT")
    plant(Trade, column, value)
    for row in stops(desk, "ETHUSDT"):
        desk.person.sign_request("DELETE", "/fapi/v1/algoOrder", {"algoId": row["algoId"]})
    desk.clock.let_pass(3)

    for _ in range(2):
        desk.cycle()
        desk.clock.let_pass(11)

    # It should have its stop again, and its books when it is closed
    assert stops(desk, "ETHUSDT")
    desk.person.new_order(symbol="ETHUSDT", side="SELL", type="MARKET", quantity=held_quantity(desk), reduceOnly="true")
    for _ in range(2):
        desk.cycle()
        desk.clock.let_pass(11)
    if (column, value) == ("entry_at", "infinity"):
        # No fill can be looked for since then: an operator, whom health has alarmed, repairs it first.
        [row] = quarantine.quarantined()
        repaired = f"entry_at={(desk.clock() - timedelta(minutes=5)).isoformat()}"
        call_command("quarantine", row.pk, "--set", repaired, "--reason", "restored", stdout=io.StringIO())
        desk.cycle()
    assert desk.trade(held).state == "CLOSED"


def held_quantity(desk: Desk) -> str:
    return format(abs(desk.ledger.positions["ETHUSDT"]), "f")


@pytest.mark.parametrize("column", ["decided_at", "received_at", "expires_at"])
def test_a_bad_request_is_named_and_the_others_trade(desk: Desk, client: Client, column: str) -> None:
    bad = desk.decide("SOLUSDT")
    plant(ExecutionRequest, column, "0001-01-01 00:00:00+14")
    good = desk.decide("BTCUSDT")
    desk.run(good)
    desk.clock.let_pass(3)

    desk.cycle()

    assert desk.request(good).state == "RECORDED"
    assert stops(desk)
    # It should be named by health and counted
    component = judge_health(measure()).components["rows"]
    assert component.error is not None
    assert f"executionrequest {bad} symbol=SOLUSDT: {column}: cannot be read as stored" in component.error
    assert 'execution_quarantined_rows{table="executionrequest"} 1.0' in client.get("/metrics").content.decode()


def test_pages_show_what_cannot_be(desk: Desk, client: Client, admin_client: Client) -> None:
    request_id = desk.trade_opened()
    sweep(desk)
    for model, column in TIMES:
        with transaction.atomic():
            plant(model, column, "0001-01-01 00:00:00+14")
            pages = [*PAGES, f"/api/execution/trades/{request_id}", f"/api/execution/requests/{request_id}"]
            answers = {path: client.get(path).status_code for path in (*pages, "/metrics", "/health")}
            assert {path: code for path, code in answers.items() if code not in {200, 503}} == {}, (model, column)
            name = model._meta.model_name
            listed = admin_client.get(reverse(f"admin:execution_{name}_changelist"))
            assert listed.status_code == 200, (model, column)
            for row in model._default_manager.all()[:1]:
                shown = admin_client.get(reverse(f"admin:execution_{name}_change", args=[row.pk]))
                assert shown.status_code == 200, (model, column)
            transaction.set_rollback(True)


@pytest.mark.parametrize(("model", "column"), NUMBERS, ids=[f"{m._meta.model_name}.{c}" for m, c in NUMBERS])
def test_no_column_takes_what_is_not_a_number(db: None, model: type[Model], column: str) -> None:  # noqa: ARG001
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s",
            [f"{model._meta.db_table}_numbers"],
        )
        [(definition,)] = cursor.fetchall()

    assert f"({column} <> 'NaN'::numeric)" in definition


def test_a_trade_without_its_plan_is_set_aside_and_its_position_stays_ours(desk: Desk) -> None:
    """A row that every driver reads and no comparison can use."""
    bad, good = desk.trade_opened("ETHUSDT"), desk.trade_opened("BTCUSDT")
    resting = [row["algoId"] for row in stops(desk, "ETHUSDT")]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE execution_order SET leg_id = NULL WHERE request_id = %s", [bad])
        cursor.execute("DELETE FROM execution_bracketleg WHERE bracket_id = %s", [bad])
        cursor.execute("DELETE FROM execution_bracket WHERE request_id = %s", [bad])
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    # The other one's stop is gone meanwhile.
    for row in stops(desk):
        desk.person.sign_request("DELETE", "/fapi/v1/algoOrder", {"algoId": row["algoId"]})
    desk.clock.let_pass(3)

    for _ in range(2):
        result = desk.cycle()
        desk.clock.let_pass(11)

    assert stops(desk), "the other position is covered again"
    # It should have left the stop of the bad one, and taken its position for nobody else's
    assert [row["algoId"] for row in stops(desk, "ETHUSDT")] == resting
    assert not [action for action in result.actions if type(action).__name__ in {"ReportExternal", "Adopt", "Guard"}]
    error = judge_health(measure()).components["rows"].error
    assert error is not None
    assert f"trade {bad} symbol=ETHUSDT" in error
    assert desk.trade(good).state == "OPEN"


def test_an_event_that_cannot_be_sent_holds_back_its_own_trade_only(desk: Desk) -> None:
    bad, good = desk.trade_opened("ETHUSDT"), desk.trade_opened("BTCUSDT")
    # The number is longer than Python reads.
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE execution_outboxevent SET payload = jsonb_build_object('n', repeat('9', 5000)::numeric) "
            "WHERE id = (SELECT min(id) FROM execution_outboxevent WHERE aggregate = %s)",
            [str(bad)],
        )

    while desk.relay():
        pass

    unsent = OutboxEvent.objects.filter(sent_at__isnull=True)
    assert set(unsent.values_list("aggregate", flat=True)) == {str(bad)}
    assert [event["aggregate"] for event in desk.stream("trade.opened")] == [str(good)]
    [row] = QuarantinedRow.objects.filter(table="outboxevent")
    # It should go on where it was held back, in order, once it is repaired
    call_command("quarantine", row.pk, "--set", "payload={}", "--reason", "lost", stdout=io.StringIO())
    while desk.relay():
        pass
    assert not unsent.exists()
    assert [event["aggregate"] for event in desk.stream("trade.opened")] == [str(good), str(bad)]


def test_a_policy_row_that_means_nothing_blocks_entries_and_nothing_else(desk: Desk) -> None:
    held = desk.trade_opened("ETHUSDT")
    PolicyValue.objects.create(key="risk.max_leverage", value=-7, source="http", version=3, changed_at=desk.clock())
    PolicyValue.objects.create(key="risk.max_positions", value=5, source="http", version=2, changed_at=desk.clock())

    policy = policy_in_force()

    assert policy["risk.max_positions"] == 5
    assert policy.unusable == {"risk.max_leverage"}
    refused = desk.decide("BTCUSDT")
    assert (desk.run(refused), desk.request(refused).reason_code) == ("DENIED", "POLICY_UNUSABLE")
    desk.cycle()
    assert stops(desk, "ETHUSDT")
    # It should let entries pass when an operator has repaired it
    [row] = quarantine.quarantined()
    call_command("quarantine", row.pk, "--set", "value=10", "--reason", "typo", "--by", "ops", stdout=io.StringIO())
    desk.trade_opened("BTCUSDT")
    assert desk.trade(held).state == "OPEN"


def test_the_command_lists_repairs_and_releases(desk: Desk) -> None:
    bad = desk.decide("SOLUSDT")
    plant(ExecutionRequest, "expires_at", "0001-01-01 00:00:00+14")
    out = io.StringIO()
    call_command("quarantine", "--scan", stdout=out)
    [row] = quarantine.quarantined()
    assert (
        out.getvalue()
        .splitlines()[0]
        .startswith(f"{row.pk} executionrequest {bad} symbol=SOLUSDT: expires_at: cannot be read as stored since ")
    )
    assert out.getvalue().splitlines()[-1] == "1 quarantined"

    for arguments, says in (
        (["--set", "expires_at=2026-12-01T00:00:00Z"], "need a --reason"),
        (["--set", "expires_at=2026-12-01T00:00:00Z", "--reason", " "], "need a --reason"),
        (["--release", "--reason", " "], "need a --reason"),
        (["--set", "expires_at", "--reason", "x"], "COLUMN=VALUE"),
        (["--set", "expires_at=0001-01-01", "--reason", "x"], "must be in the years"),
        (["--set", "nonsense=1", "--reason", "x"], "no column nonsense"),
        (["--set", "id=1", "--reason", "x"], "no column id"),
        (["--set", "state=NONSENSE", "--reason", "x"], "request_state_known"),
    ):
        with pytest.raises(CommandError, match=says):
            call_command("quarantine", row.pk, *arguments, stdout=out)
    assert quarantine.quarantined() == [row]

    moment = (desk.clock() + timedelta(seconds=30)).isoformat()
    call_command("quarantine", row.pk, "--set", f"expires_at={moment}", "--reason", "clock", "--by", "ops", stdout=out)

    assert quarantine.quarantined() == []
    assert desk.request(bad).expires_at.isoformat() == moment
    journal = list(AuditEvent.objects.filter(entity="quarantine").order_by("id"))
    assert [(line.to_state, line.reason, line.details["by"]) for line in journal] == [
        ("REPAIRED", "clock", "ops"),
        ("RELEASED", "clock", "ops"),
    ]
    with pytest.raises(CommandError, match="Nothing is quarantined"):
        call_command("quarantine", row.pk, stdout=out)


def test_a_row_that_is_whole_again_is_released_by_the_next_cycle(desk: Desk) -> None:
    bad = desk.decide("SOLUSDT")
    plant(ExecutionRequest, "decided_at", "infinity")
    desk.cycle()
    assert len(quarantine.quarantined()) == 1

    ExecutionRequest.objects.filter(pk=bad).update(decided_at=desk.clock())
    desk.clock.let_pass(1)
    desk.cycle()

    assert quarantine.quarantined() == []
