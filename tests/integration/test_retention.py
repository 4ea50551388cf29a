"""Old rows go in small batches, whole decisions at once; nothing unfinished, unsent or still referred to ever goes."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, models, transaction
from django.utils import timezone

from execution.adapters.stream_names import group_of, stream_of
from execution.adapters.stream_upkeep import forget_readers, shorten
from execution.domain.states import OrderState, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import (
    AccountIncome,
    AuditEvent,
    Bracket,
    BracketLeg,
    DeadLetter,
    ExecutionRequest,
    Fill,
    InboxEvent,
    Income,
    JournalHead,
    ModelPromotion,
    OperatorAction,
    Order,
    OutboxEvent,
    OutboxSequence,
    PositionSlot,
    Shortfall,
    StreamedFill,
    Trade,
    TradeChart,
)
from execution.models.inbox import InboxOutcome
from execution.operations import retention
from execution.operations.retention import RetentionRules, apply_retention
from execution.queries.journal import JournalWalk
from execution.store import retention as rows
from execution.store.journal_seal import seal_journal
from local_stack.postgres import SERVICE
from tests.support import builders
from tests.support.builders import NOW
from tests.support.desk import Desk
from tests.support.roles import with_rights
from tests.support.threads import at_once

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
RULES = RetentionRules(events=30 * DAY, requests=60 * DAY, trades=90 * DAY)
LONG = timedelta(seconds=60)


@pytest.fixture(scope="module", autouse=True)
def _service_role(django_db_setup: None, django_db_blocker: Any) -> None:  # noqa: ARG001 -- the database first
    with django_db_blocker.unblock():
        at = connection.settings_dict
    with_rights(f"postgresql://{at['USER']}@{at['HOST']}:{at['PORT']}/{at['NAME']}")


def sweep(rules: RetentionRules = RULES, *, days: float) -> dict[str, int]:
    """Apply retention that many days after everything happened, with the service's rights; return what was deleted."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {SERVICE}")
        try:
            deleted = apply_retention(rules, clock=lambda: NOW + days * DAY, length=LONG)
        finally:
            cursor.execute("RESET ROLE")
    return {name: number for name, number in deleted.items() if number}


def name_age(before: datetime) -> None:
    """Say to the log's trigger which lines its owner means to remove."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('execution.retention_before', %s, true)", [before.isoformat()])


def refused(**columns: Any) -> ExecutionRequest:
    """A decision that was refused, with its log line and its event."""
    request = builders.request(state=RequestState.DENIED, **columns)
    builders.transition("request", request.pk, to_state="DENIED")
    builders.outbox_event(aggregate=str(request.pk), event_type="order.failed", sent_at=NOW)
    OutboxSequence.objects.create(aggregate=str(request.pk), last=1)
    return request


def closed(**columns: Any) -> Trade:
    """A closed trade with everything that belongs to one."""
    trade = builders.closed_trade(**columns)
    grid = dict.fromkeys(("tick_size", "quantity_step", "minimum_quantity", "minimum_notional"), Decimal("0.001"))
    bracket, _ = Bracket.objects.get_or_create(request=trade.request, defaults=grid)
    leg, _ = BracketLeg.objects.get_or_create(bracket=bracket, purpose=OrderPurpose.STOP, defaults={"price": 49000})
    entry = builders.order(trade.request)
    stop = builders.order(trade.request, purpose=OrderPurpose.STOP, state=OrderState.CANCELED, leg=leg)
    builders.fill(trade, order=entry)
    builders.fill(trade, entry=False)
    builders.told_fill(entry)
    Income.objects.create(trade=trade, kind="FUNDING_FEE", transaction_id=str(trade.pk), amount=1, asset="USDT", at=NOW)
    builders.shortfall(trade)
    TradeChart.objects.create(trade=trade, interval="1m", interval_seconds=60, candles=[], read_at=NOW)
    for entity, key in (("request", trade.pk), ("trade", trade.pk), ("order", stop.client_order_id)):
        builders.transition(entity, key)
    builders.outbox_event(aggregate=str(trade.pk), event_type="trade.closed", sent_at=NOW)
    OutboxSequence.objects.create(aggregate=str(trade.pk), last=1)
    return trade


def left(*tables: type[models.Model]) -> dict[str, int]:
    """Count what is there, but for what the journal says of its own retention."""
    rows = {table: table._default_manager.all() for table in tables}
    if AuditEvent in rows:
        rows[AuditEvent] = rows[AuditEvent].exclude(entity="journal")
    return {table.__name__: found.count() for table, found in rows.items() if found.exists()}


EVERYTHING = (
    Bracket,
    BracketLeg,
    ExecutionRequest,
    InboxEvent,
    Order,
    Fill,
    StreamedFill,
    Income,
    Shortfall,
    Trade,
    TradeChart,
    AuditEvent,
    OutboxEvent,
    OutboxSequence,
    DeadLetter,
)


# Events


def test_sent_events_go_at_their_age_and_unsent_ones_never() -> None:
    builders.outbox_event(sent_at=NOW)
    waiting = builders.outbox_event()

    assert sweep(days=29) == {}
    assert sweep(days=31) == {"events": 1}
    assert sweep(days=3000) == {}

    assert OutboxEvent.objects.get() == waiting


def test_an_event_that_was_sent_lately_stays_however_old_it_is() -> None:
    """The bus was away for a month: readers have had no time yet to ask for what they missed."""
    builders.outbox_event(sent_at=NOW + 30 * DAY)

    assert sweep(days=31) == {}


def test_events_of_unfinished_work_stay_but_for_the_ticks() -> None:
    trade = builders.trade()
    pending = builders.request(symbol="ETHUSDT")
    for aggregate in (trade.pk, pending.pk):
        builders.outbox_event(aggregate=str(aggregate), sent_at=NOW)
        builders.outbox_event(aggregate=str(aggregate), event_type="position.updated", sequence=2, sent_at=NOW)
        OutboxSequence.objects.create(aggregate=str(aggregate), last=2)

    assert sweep(days=3000)["events"] == 2

    assert set(OutboxEvent.objects.values_list("event_type", flat=True)) == {"order.placed"}
    # It should go on counting where it was.
    assert list(OutboxSequence.objects.values_list("last", flat=True)) == [2, 2]


def test_news_go_and_what_became_a_request_stays_with_it() -> None:
    builders.inbox(event_type="policy.updated", outcome=InboxOutcome.APPLIED)
    builders.inbox(outcome=InboxOutcome.IGNORED)
    builders.request()

    assert sweep(days=31) == {"inbox": 2}

    assert InboxEvent.objects.get().request.state == "RECEIVED"


# Decisions


def test_a_refused_decision_goes_whole() -> None:
    refused()

    assert sweep(days=31) == {"events": 1}
    assert sweep(days=61) == {"requests": 1}

    assert left(*EVERYTHING) == {}


@pytest.mark.parametrize("state", ["RECEIVED", "SUBMITTING", "UNKNOWN", "ACCEPTED", "PROTECTED"])
def test_an_unfinished_decision_never_goes(state: str) -> None:
    request = builders.approved(state=state)
    builders.order(request, state=OrderState.UNKNOWN)

    assert sweep(days=3000) == {}
    assert left(ExecutionRequest, InboxEvent, Order) == {"ExecutionRequest": 1, "InboxEvent": 1, "Order": 1}


def test_a_decision_that_something_hangs_on_stays() -> None:
    by_order, by_claim, by_event, by_log, free = (refused(symbol=f"S{number}USDT") for number in range(5))
    builders.order(by_order, state=OrderState.UNKNOWN)
    PositionSlot.objects.create(symbol="X", position_side="BOTH", request=by_claim, claimed_at=NOW)
    OutboxEvent.objects.filter(aggregate=str(by_event.pk)).update(sent_at=None)
    builders.transition("request", by_log.pk, at=NOW + 70 * DAY)

    assert sweep(days=80)["requests"] == 1

    assert set(ExecutionRequest.objects.all()) == {by_order, by_claim, by_event, by_log}
    assert AuditEvent.objects.filter(entity_id=str(by_log.pk)).count() == 2
    assert free.pk not in ExecutionRequest.objects.values_list("pk", flat=True)


def test_those_that_stay_do_not_keep_the_others_from_going(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "DECISIONS", 2)
    requests = [refused(received_at=NOW + timedelta(seconds=number // 3)) for number in range(9)]
    kept = requests[:4]
    OutboxEvent.objects.filter(aggregate__in=[str(row.pk) for row in kept]).update(sent_at=None)

    assert sweep(days=61)["requests"] == 5

    assert sweep(days=61) == {}
    assert set(ExecutionRequest.objects.all()) == set(kept)


def test_a_closed_trade_goes_whole_at_its_own_age() -> None:
    closed()
    still_open = builders.trade(symbol="ETHUSDT")

    assert sweep(days=80) == {"events": 1}
    assert sweep(days=91) == {"trades": 1}

    assert left(*EVERYTHING) == {"ExecutionRequest": 1, "InboxEvent": 1, "Trade": 1}
    assert Trade.objects.get() == still_open


@pytest.mark.parametrize("request_state", [RequestState.RECORDED, RequestState.NOT_ACCEPTED, RequestState.WRITTEN_OFF])
def test_what_was_written_off_goes_like_a_closed_trade_and_the_operators_action_stays(request_state: str) -> None:
    nothing = dict.fromkeys(("exit_price", "exit_at", "gross_pnl", "net_pnl", "net_pnl_usd"))
    owner = builders.approved(state=request_state, moved_at=NOW)
    trade = builders.trade(owner, state="WRITTEN_OFF", close_reason="WRITTEN_OFF", updated_at=NOW, **nothing)
    builders.order(owner, purpose=OrderPurpose.STOP, state=OrderState.NOT_ACCEPTED)
    done = OperatorAction.objects.create(
        verb="WRITE_OFF", subject=trade.pk, symbol=trade.symbol, by="anna", reason="reset", at=NOW
    )

    sweep(days=80)
    assert Trade.objects.get() == trade
    sweep(days=91)

    assert left(*EVERYTHING) == {}
    assert OperatorAction.objects.get() == done


def test_zero_days_keep_for_ever() -> None:
    closed()
    refused(symbol="ETHUSDT")
    before = left(*EVERYTHING)

    assert sweep(RetentionRules(events=None, requests=None, trades=None), days=3000) == {}

    assert left(*EVERYTHING) == before


def test_letters_promotions_and_the_rest_of_the_log_go() -> None:
    DeadLetter.objects.create(stream="s", entry_id="1-0", reason="", size_bytes=1, received_at=NOW)
    OutboxSequence.objects.create(aggregate="entry:1-0", last=1)
    OutboxSequence.objects.create(aggregate="position:BTCUSDT:BOTH", last=7)
    for days in (0, 1):
        moment = NOW + days * DAY
        ModelPromotion.objects.create(model="m", new_version="v", details={}, promoted_at=moment, received_at=moment)
    builders.transition("ess", 1)
    builders.transition("request", "unknown")

    assert sweep(days=100) == {"dead_letters": 1, "promotions": 1, "log": 1, "sequences": 1}

    # It should keep the newest promotion, the counter of what may go on, and what is no story of its own.
    assert (ModelPromotion.objects.count(), OutboxSequence.objects.get().last) == (1, 7)
    assert left(AuditEvent) == {"AuditEvent": 1}


# The journal


def test_what_goes_is_told_in_the_journal_and_the_chain_holds() -> None:
    refused()
    closed()
    builders.transition("ess", 1)

    assert sweep(days=61) == {"events": 2, "log": 1, "requests": 1}
    assert list(JournalWalk().breaks()) == []
    assert sweep(days=91) == {"trades": 1}

    told = [line.details["lines"] for line in AuditEvent.objects.filter(entity="journal").order_by("pk")]
    walk = JournalWalk()
    assert (list(walk.breaks()), told) == ([], [1, 1, 3])
    assert walk.stats.removed_by_retention == 5


def test_nothing_of_the_journal_goes_that_its_owner_keeps() -> None:
    refused()
    closed()
    builders.transition("ess", 1)
    # The first seal makes the chain's head.
    seal_journal()
    before = left(*EVERYTHING)
    for kept in (None, 4000):
        assert JournalHead.objects.update(kept_days=kept) == 1
        # It should leave the decisions, too, whose lines stay.
        assert set(sweep(days=91)) <= {"events"}
    assert left(*EVERYTHING)["AuditEvent"] == before["AuditEvent"]
    assert left(ExecutionRequest, Trade) == {"ExecutionRequest": 2, "Trade": 1}


def test_a_line_without_a_seal_keeps_its_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "seal_journal", lambda: 0)
    refused()
    builders.transition("ess", 1)

    assert sweep(days=61) == {"events": 1}

    monkeypatch.undo()
    assert sweep(days=61) == {"log": 1, "requests": 1}


# How


@pytest.mark.parametrize(
    ("allowed", "line_at"),
    [
        pytest.param(None, NOW, id="no-age-was-named"),
        pytest.param(NOW, NOW + DAY, id="younger-than-that-age"),
        # Not even who names a day to come takes away what happened today.
        pytest.param(NOW + 10_000 * DAY, None, id="of-today"),
    ],
)
def test_the_log_is_append_only_for_everybody_else(allowed: datetime | None, line_at: datetime | None) -> None:
    line = builders.transition("ess", 1, at=line_at or timezone.now())
    if allowed:
        name_age(allowed)

    with pytest.raises(DatabaseError, match="append-only"):
        line.delete()


def test_no_age_lets_a_line_of_the_log_be_changed() -> None:
    line = builders.transition("ess", 1)
    name_age(NOW + DAY)

    with pytest.raises(DatabaseError, match="append-only"):
        line.save()


def test_a_run_ends_after_its_time_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    for _ in range(35):
        builders.outbox_event(sent_at=NOW)

    apply_retention(RULES, clock=lambda: NOW + 31 * DAY, length=timedelta(0))
    assert OutboxEvent.objects.count() == 25

    assert sweep(days=31) == {"events": 25}


@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_holds_is_left_and_nobody_waits() -> None:
    held = builders.outbox_event(sent_at=NOW)
    builders.outbox_event(sent_at=NOW)

    with transaction.atomic():
        OutboxEvent.objects.select_for_update().get(pk=held.pk)
        [deleted] = at_once([lambda: sweep(days=31)])

    assert (deleted, OutboxEvent.objects.get()) == ({"events": 1}, held)


def test_the_account_s_income_goes_when_the_exchange_keeps_it_no_longer() -> None:
    for days in (0, 60):
        at = NOW + days * DAY
        AccountIncome.objects.create(
            kind="FUNDING_FEE", transaction_id=str(days), symbol="BTCUSDT", amount=1, asset="USDT", at=at
        )

    assert sweep(days=89) == {}
    assert sweep(days=91) == {"income": 1}
    assert AccountIncome.objects.get().transaction_id == "60"


def test_every_table_is_kept_within_bounds_or_swept() -> None:
    """A table that grows belongs into the retention; one that refers to a decision goes with it."""
    bounded = {"EssStatus", "Heartbeat", "PolicyValue", "Position", "PositionSlot", "AccountLease", "EntryHold"}
    bounded |= {
        "StreamPosition",
        "KillSwitch",
        "VenueBlock",
        "ExternalPosition",
        "Metric",
        "JournalHead",
        "IncomeReading",
    }
    # What people do by hand is kept for auditors.
    bounded.add("OperatorAction")
    # Made and revoked by hand: what a revoked one has taken in still names it.
    bounded.add("Webhook")
    swept = {table.__name__ for table in EVERYTHING} | {"ModelPromotion", "QuarantinedRow", "SeenNonce", "StreamLoss"}
    # By its own age: the exchange keeps its lines no longer.
    swept.add("AccountIncome")
    # Rolled up by age: samples become minutes, hours and days.
    swept.add("EquityPoint")
    # Seals of lines that are gone side by side become one.
    swept.add("JournalSeal")
    ours = list(apps.get_app_config("execution").get_models())
    stories = {ExecutionRequest, Order, Trade, Bracket}

    assert {model.__name__ for model in ours} == bounded | swept
    parts = {model for model, _ in rows.PARTS}
    for model in ours:
        refers = {field.related_model for field in model._meta.concrete_fields if field.is_relation}
        assert not refers & stories or model in parts or model.__name__ in bounded


def test_every_kind_of_log_line_is_swept() -> None:
    source = "".join(file.read_text() for file in ROOT.glob("execution/**/*.py"))
    kinds = set(re.findall(r'log_(?:step|line)\(\s*"(\w+)"', source))

    assert kinds - {"request", "order", "trade"} == set(rows.STANDALONE)


# The bus


def test_an_incoming_stream_is_shortened_once_everybody_has_read_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execution.adapters.stream_upkeep.STREAM_LENGTH", 100)
    stream, group = stream_of("model.promoted"), group_of("model.promoted")
    desk.redis.xgroup_create(stream, "neighbour", id="0", mkstream=True)
    for number in range(1000):
        desk.redis.xadd(stream, {"n": number})
    desk.redis.xgroup_create(stream, group, id="0")
    everything: Any = {stream: ">"}

    # It should take nothing that a group has not read, or has read and not acknowledged.
    assert shorten(desk.redis, stream) == 0
    desk.redis.xreadgroup(group, "us", everything, count=1000, noack=True)
    assert shorten(desk.redis, stream) == 0
    given: Any = desk.redis.xreadgroup("neighbour", "they", everything, count=1000)
    assert shorten(desk.redis, stream) == 0

    desk.redis.xack(stream, "neighbour", *(entry_id for entry_id, _ in given[0][1]))
    assert shorten(desk.redis, stream) > 0
    assert 100 <= desk.redis.xlen(stream) < 300


def test_readers_that_are_gone_are_forgotten_unless_they_hold_something(desk: Desk) -> None:
    stream, group = stream_of("model.promoted"), group_of("model.promoted")
    assert forget_readers(desk.redis, stream, group) == 0
    desk.redis.xgroup_create(stream, group, id="0", mkstream=True)
    desk.redis.xadd(stream, {"n": 1})
    everything: Any = {stream: ">"}
    desk.redis.xreadgroup(group, "holds", everything)
    desk.redis.xreadgroup(group, "idle", everything)

    assert forget_readers(desk.redis, stream, group) == 0
    assert forget_readers(desk.redis, stream, group, idle_ms=-1) == 1

    readers: Any = desk.redis.xinfo_consumers(stream, group)
    assert [reader["name"] for reader in readers] == [b"holds"]
