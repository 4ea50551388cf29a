"""What stands in the way of an entry, row by row: the SQL that asks at the last moment, and the sentence.

Every condition has one row on either side of it; both must give the same answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from execution.domain.kill_switch import KillLevel
from execution.domain.ports import EntryBlock
from execution.domain.reasons import Reason
from execution.domain.states import RequestState
from execution.health.condition import judge_health
from execution.health.inputs import HealthInputs, Probe
from execution.models import AccountLease, AuditEvent, EntryHold, KillSwitch, PolicyValue, VenueBlock
from execution.models.hold import ACCOUNT
from execution.queries.health_rows import health_rows
from execution.risk.entry_gate import (
    GateBlock,
    Stack,
    closed_with,
    data_loss_block,
    gate_block,
    is_reconciled,
    lease_block,
    renew_lease,
    standing_block,
)
from execution.risk.pre_send_check import pre_send_check
from execution.store.entry_gates import CLOSED, STANDING, engaged_switch, standing_with
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
STACK = Stack(
    account="a" * 64,
    settings="b" * 64,
    holder="one",
    started_at=NOW - timedelta(hours=1),
    lease_length=timedelta(seconds=30),
)
MICROSECOND = timedelta(microseconds=1)


def asked(condition: str, parameters: list[Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {condition}", parameters)
        (answer,) = cursor.fetchone()
    assert isinstance(answer, bool)
    return answer


def standing(symbol: str = "BTCUSDT") -> bool:
    return asked(STANDING, standing_with(symbol))


def closed(symbol: str = "BTCUSDT", stack: Stack = STACK, now: datetime = NOW) -> bool:
    return asked(CLOSED, closed_with(stack, symbol, now=now))


def hold(scope: str, *, ago: timedelta = MINUTE, code: Reason = Reason.POSITION_NOT_OURS) -> EntryHold:
    return EntryHold.objects.create(scope=scope, reason_code=code, reason=f"held {scope}", since=NOW - ago, seen_at=NOW)


def impede(scope: str, *, ago: timedelta = MINUTE, code: Reason = Reason.SYMBOL_NOT_TRADING) -> VenueBlock:
    return VenueBlock.objects.create(
        scope=scope, reason_code=code, sentence=f"impeded {scope}", alarming=False, since=NOW - ago
    )


def switch(**columns: Any) -> KillSwitch:
    defaults = {"level": KillLevel.ENTRIES, "reason": "drill", "engaged_by": "ann", "engaged_at": NOW}
    return KillSwitch.objects.create(**(defaults | columns))


# What stops entries by what we know


def test_nothing_stands_in_the_way_of_an_entry_with_a_lease() -> None:
    builders.lease(STACK)

    assert (standing(), closed(), standing_block("BTCUSDT", now=NOW)) == (False, False, None)
    assert gate_block(STACK, "BTCUSDT", now=NOW) is None
    # It should not be stopped by an emergency stop that permits, nor by a switch that was released
    builders.ess()
    switch(released_at=NOW - SECOND)
    assert (standing(), closed(), engaged_switch()) == (False, False, None)


Row = Callable[[], object]
STOPS: list[tuple[Row, bool, EntryBlock | None]] = [
    (
        switch,
        True,
        EntryBlock(code=Reason.KILL_SWITCH_ENGAGED, sentence="level=entries by=ann: drill"),
    ),
    (lambda: switch(released_at=NOW), False, None),
    (
        lambda: hold("BTCUSDT"),
        True,
        EntryBlock(code=Reason.POSITION_NOT_OURS, sentence="held BTCUSDT (scope=BTCUSDT for 60s)"),
    ),
    (
        lambda: hold(ACCOUNT, ago=SECOND),
        True,
        EntryBlock(code=Reason.POSITION_NOT_OURS, sentence="held ACCOUNT (scope=ACCOUNT for 1s)"),
    ),
    (lambda: hold("ETHUSDT"), False, None),
    (lambda: impede("BTCUSDT"), True, EntryBlock(code=Reason.SYMBOL_NOT_TRADING, sentence="impeded BTCUSDT")),
    (lambda: impede(ACCOUNT), True, EntryBlock(code=Reason.SYMBOL_NOT_TRADING, sentence="impeded ACCOUNT")),
    (lambda: impede("ETHUSDT"), False, None),
]


@pytest.mark.parametrize(("row", "stops", "veto"), STOPS)
def test_what_stands_in_the_way_is_asked_and_told_alike(row: Row, stops: bool, veto: EntryBlock | None) -> None:  # noqa: FBT001
    builders.lease(STACK)
    row()

    assert (standing(), closed()) == (stops, stops)
    assert standing_block("BTCUSDT", now=NOW) == veto
    told = veto and GateBlock(code=veto.code, sentence=veto.sentence)
    assert gate_block(STACK, "BTCUSDT", now=NOW) == told
    # It should be the same at the last moment before sending
    owner = builders.approved(state=RequestState.APPROVED)
    assert pre_send_check(owner, now=NOW) == veto


def test_the_emergency_stop_stands_in_the_way() -> None:
    builders.lease(STACK)
    builders.ess(permitted=False, state="TRIPPED", reason="loss")

    assert (standing(), closed()) == (True, True)
    veto = pre_send_check(builders.approved(state=RequestState.APPROVED), now=NOW)
    assert veto == EntryBlock(code=Reason.ESS_BLOCKED, sentence="state=TRIPPED (http: loss)")


def test_the_strongest_reason_is_told_first_and_the_oldest_of_a_kind() -> None:
    impede("BTCUSDT", ago=2 * MINUTE)
    impede(ACCOUNT, ago=3 * MINUTE, code=Reason.MARKET_DATA_UNAVAILABLE)
    veto = standing_block("BTCUSDT", now=NOW)
    assert veto is not None
    assert (veto.code, veto.sentence) == (Reason.MARKET_DATA_UNAVAILABLE, "impeded ACCOUNT")

    hold("BTCUSDT", ago=MINUTE)
    hold(ACCOUNT, ago=2 * MINUTE)
    veto = standing_block("BTCUSDT", now=NOW)
    assert veto is not None
    assert veto.sentence == "held ACCOUNT (scope=ACCOUNT for 120s)"

    switch()
    veto = standing_block("BTCUSDT", now=NOW)
    assert veto is not None
    assert veto.code is Reason.KILL_SWITCH_ENGAGED

    builders.ess(permitted=False)
    veto = pre_send_check(builders.approved(state=RequestState.APPROVED), now=NOW)
    assert veto is not None
    assert veto.code is Reason.ESS_BLOCKED


# The lease


AHEAD, CORRECTS = "the account's lease is stamped", "the next monitor cycle corrects it"
LEASES: list[tuple[dict[str, Any], bool, Reason | None, str]] = [
    ({}, False, None, ""),
    ({"renewed_at": NOW - 30 * SECOND + MICROSECOND}, False, None, ""),
    ({"renewed_at": NOW - 30 * SECOND}, True, None, "the last monitor cycle ended 30s ago, expected<=30s"),
    ({"renewed_at": NOW - MINUTE}, True, None, "the last monitor cycle ended 60s ago, expected<=30s"),
    ({"reconciled_at": STACK.started_at}, False, None, ""),
    (
        {"reconciled_at": STACK.started_at - MICROSECOND},
        True,
        None,
        "no monitor cycle has compared the books with the exchange since the start",
    ),
    (
        {"settings": "c" * 64, "fence": 3, "holder": "two", "renewed_at": NOW - SECOND},
        True,
        Reason.ACCOUNT_LEASED_BY_OTHERS,
        "theirs=cccccccc ours=bbbbbbbb holder=two fence=3 renewed 1s ago",
    ),
    (
        {"settings": "c" * 64, "renewed_at": NOW - 30 * SECOND},
        True,
        Reason.ACCOUNT_LEASED_BY_OTHERS,
        "theirs=cccccccc ours=bbbbbbbb holder=one fence=1 renewed 30s ago",
    ),
    (
        {"settings": "c" * 64, "renewed_at": NOW - 31 * SECOND},
        True,
        None,
        "theirs=cccccccc ours=bbbbbbbb holder=one fence=1 renewed 31s ago",
    ),
    # Clocks of hosts may differ by a minute; a stamp further ahead proves nothing.
    ({"renewed_at": NOW + MINUTE, "reconciled_at": NOW + MINUTE}, False, None, ""),
    *(
        ({name: NOW + ahead}, True, None, f"{AHEAD} {ahead.total_seconds():.0f}s ahead; {CORRECTS}")
        for name in ("renewed_at", "reconciled_at")
        for ahead in (MINUTE + SECOND, timedelta(days=3650))
    ),
]


@pytest.mark.parametrize(("columns", "shut", "code", "sentence"), LEASES)
def test_a_lease_is_asked_and_told_alike(
    columns: dict[str, Any],
    code: Reason | None,
    sentence: str,
    *,
    shut: bool,
) -> None:
    lease = builders.lease(STACK, **columns)

    assert (standing(), closed()) == (False, shut)
    expected = GateBlock(code=code, sentence=sentence) if shut else None
    assert lease_block(lease, STACK, now=NOW) == expected
    assert gate_block(STACK, "BTCUSDT", now=NOW) == expected


@pytest.mark.parametrize(
    ("renewed", "code"),
    [(timedelta(0), None), (-SECOND, None), (MICROSECOND, Reason.ACCOUNT_LEASED_BY_OTHERS)],
)
def test_other_settings_may_be_our_own_before_the_start(renewed: timedelta, code: Reason | None) -> None:
    started = replace(STACK, started_at=NOW - SECOND)
    lease = builders.lease(STACK, settings="c" * 64, renewed_at=started.started_at + renewed)

    found = lease_block(lease, started, now=NOW)
    assert found is not None
    assert found.code is code


def test_without_a_lease_of_this_account_entries_wait() -> None:
    none = GateBlock(sentence="no monitor cycle has compared the books with the exchange yet")
    assert (closed(), gate_block(STACK, "BTCUSDT", now=NOW)) == (True, none)

    builders.lease(replace(STACK, account="z" * 64))
    assert (closed(), gate_block(STACK, "BTCUSDT", now=NOW)) == (True, none)


def test_a_stack_is_reconciled_by_a_cycle_of_its_own_since_its_start() -> None:
    lease = builders.lease(STACK, reconciled_at=STACK.started_at)

    assert is_reconciled(lease, STACK, now=NOW)
    assert not is_reconciled(None, STACK, now=NOW)
    assert not is_reconciled(lease, replace(STACK, started_at=STACK.started_at + MICROSECOND), now=NOW)
    assert not is_reconciled(lease, replace(STACK, settings="c" * 64), now=NOW)
    lease.renewed_at = NOW + MINUTE + SECOND
    assert not is_reconciled(lease, STACK, now=NOW)


def taken() -> list[tuple[Any, ...]]:
    columns = ("account", "settings", "holder", "fence", "taken_at", "renewed_at", "reconciled_at")
    return list(AccountLease.objects.order_by("account").values_list(*columns))


def test_a_lease_is_taken_once_and_renewed_from_then_on() -> None:
    begun = NOW - SECOND
    assert renew_lease(STACK, reconciled_at=begun, now=NOW)
    assert taken() == [(STACK.account, STACK.settings, "one", 1, NOW, NOW, begun)]
    line = AuditEvent.objects.get()
    assert (line.entity, line.entity_id, line.to_state, line.trigger) == ("lease", STACK.account, "TAKEN", "monitor")
    assert line.details == {"fence": 1, "settings": STACK.settings, "holder": "one"}

    # It should renew without a new fence, whoever of the same settings does
    later = NOW + 10 * SECOND
    assert renew_lease(replace(STACK, holder="two"), reconciled_at=NOW, now=later)
    assert taken() == [(STACK.account, STACK.settings, "two", 1, NOW, later, NOW)]
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("after", "free"), [(30 * SECOND - MICROSECOND, False), (30 * SECOND, True), (31 * SECOND, True)]
)
def test_a_lease_of_other_settings_is_free_when_it_has_lapsed(after: timedelta, free: bool) -> None:  # noqa: FBT001
    builders.lease(STACK)
    builders.lease(replace(STACK, account="z" * 64))
    rival = replace(STACK, settings="c" * 64, holder="two")
    later = NOW + after

    assert renew_lease(rival, reconciled_at=later - SECOND, now=later) is free
    own = (STACK.account, STACK.settings, "one", 1, NOW, NOW, NOW)
    won = (STACK.account, "c" * 64, "two", 2, later, later, later - SECOND)
    # It should touch no other account
    assert taken() == [won if free else own, ("z" * 64, *own[1:])]
    assert AuditEvent.objects.count() == free
    if free:
        assert AuditEvent.objects.get().details["fence"] == 2


YEARS = timedelta(days=3650)


@pytest.mark.parametrize("column", ["renewed_at", "reconciled_at"])
def test_a_lease_that_is_stamped_ahead_is_corrected_with_an_alarm_and_lapses(column: str) -> None:
    builders.lease(STACK, **{column: NOW + YEARS})
    builders.lease(replace(STACK, account="z" * 64), renewed_at=NOW + YEARS)
    rival = replace(STACK, settings="c" * 64, holder="two")

    # It should not be free at once: who holds it may be alive under a clock of its own.
    assert not renew_lease(rival, reconciled_at=NOW, now=NOW)
    assert taken()[0] == (STACK.account, STACK.settings, "one", 1, NOW, NOW, NOW)
    [line] = AuditEvent.objects.all()
    told = (line.entity, line.entity_id, line.to_state, line.trigger, line.details["holder"], line.details[column])
    assert told == ("lease", STACK.account, "CORRECTED", "monitor", "one", (NOW + YEARS).isoformat())
    assert "stamped ahead" in str(entries_of_health())

    assert not renew_lease(rival, reconciled_at=NOW, now=NOW + 29 * SECOND)
    assert renew_lease(rival, reconciled_at=NOW + 30 * SECOND, now=NOW + 30 * SECOND)
    # It should touch no other account.
    assert taken()[1][5] == NOW + YEARS


def entries_of_health() -> str:
    rows = health_rows(NOW + SECOND, account=STACK.account)
    assert rows.lease_corrected is not None
    health_inputs = HealthInputs(
        now=NOW + SECOND,
        database=Probe(),
        redis=Probe(),
        rows=rows,
        lags={},
        limiter=None,
        circuit=None,
        rpm_limit=1200,
        monitor_interval=timedelta(seconds=10),
        ess_fail_mode="open",
    )
    return str(judge_health(health_inputs).components["entries"].error)


def test_a_holder_under_a_clock_that_is_ahead_keeps_its_lease_and_is_told_of_now_and_then() -> None:
    rival = replace(STACK, settings="c" * 64, holder="two")
    for cycle in range(40):
        now = NOW + 10 * cycle * SECOND
        assert renew_lease(STACK, reconciled_at=now, now=now + timedelta(hours=1))
        assert not renew_lease(rival, reconciled_at=now, now=now)

    # Of 400 seconds, one line in five minutes.
    lines = AuditEvent.objects.filter(to_state="CORRECTED").order_by("id").values_list("at", flat=True)
    assert [at - NOW for at in lines] == [timedelta(0), timedelta(minutes=5)]
    assert AccountLease.objects.get().fence == 1


def test_our_own_lease_that_is_stamped_ahead_is_corrected_too() -> None:
    """Else entries would go on without a monitor for as long as it lies ahead."""
    builders.lease(STACK, renewed_at=NOW + YEARS, reconciled_at=NOW + YEARS)
    assert closed()

    assert renew_lease(STACK, reconciled_at=NOW - SECOND, now=NOW)

    assert taken() == [(STACK.account, STACK.settings, "one", 1, NOW, NOW, NOW - SECOND)]
    assert AuditEvent.objects.get().to_state == "CORRECTED"
    assert not closed()


# A policy that has changed


@pytest.mark.parametrize(
    ("approved", "present", "asks"), [(None, 0, False), (0, 1, True), (3, 3, False), (3, 2, False), (3, 4, True)]
)
def test_a_newer_policy_is_asked_before_an_entry_leaves(
    approved: int | None,
    present: int,
    asks: bool,  # noqa: FBT001
) -> None:
    if present:
        for key, version in (("risk.max_leverage", present), ("risk.max_positions", present - 1)):
            PolicyValue.objects.create(key=key, value=5, source="test", version=version, changed_at=NOW)
    owner = builders.approved(state=RequestState.APPROVED, policy_version=approved)

    # Without what the guard saw it cannot be judged again: then the new policy refuses it.
    veto = pre_send_check(owner, now=NOW)
    assert (veto and veto.code) == (Reason.POLICY_CHANGED if asks else None)


def test_what_stands_in_the_way_is_told_before_a_newer_policy() -> None:
    PolicyValue.objects.create(key="risk.max_leverage", value=5, source="test", version=1, changed_at=NOW)
    switch()

    veto = pre_send_check(builders.approved(state=RequestState.APPROVED), now=NOW)
    assert veto is not None
    assert veto.code is Reason.KILL_SWITCH_ENGAGED


@dataclass
class Remembers:
    """A memory of Redis as it is, or lost."""

    whole: bool

    def is_whole(self) -> bool:
        return self.whole

    def mark_intact(self) -> None:
        raise AssertionError("only the monitor leaves marks")


def test_entries_wait_while_redis_has_lost_its_data() -> None:
    assert data_loss_block(Remembers(whole=True)) is None
    assert data_loss_block(Remembers(whole=False)) == GateBlock(
        sentence="Redis has lost its data or is silent, and no monitor cycle has run since"
    )
