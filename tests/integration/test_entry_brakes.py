"""Every brake on entries, at its edge: what the statements say that stand between an approved entry and the exchange.

One brake at a time, in force for this symbol, for another one, for the account, or over. The statement that starts a
submission, the question before each attempt and the sentence for people have to agree.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from execution.domain.kill_switch import KillLevel
from execution.domain.states import OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose
from execution.models import AccountLease, EntryHold, EssStatus, KillSwitch, Order, PolicyValue, VenueBlock
from execution.orders.submit import take_attempt
from execution.risk.entry_gate import (
    GateBlock,
    Stack,
    closed_with,
    gate_block,
    is_reconciled,
    renew_lease,
)
from execution.risk.pre_send_check import pre_send_check
from execution.store.entry_gates import CLOSED, STANDING, standing_with
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db
SYMBOL, OTHER = "BTCUSDT", "ETHUSDT"
LEASE = timedelta(seconds=30)
TICK = timedelta(microseconds=1)
STACK = Stack(
    account="a" * 64, settings="b" * 64, holder="desk", started_at=NOW - timedelta(hours=1), lease_length=LEASE
)
BOTH_DIRECTIONS = pytest.mark.parametrize("direction", list(Direction))


def truth(condition: str, parameters: list[Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {condition}", parameters)
        return bool(cursor.fetchone()[0])


def switch(**columns: Any) -> None:
    KillSwitch.objects.create(level=KillLevel.ENTRIES, reason="drill", engaged_by="alice", engaged_at=NOW, **columns)


def hold(scope: str) -> None:
    EntryHold.objects.create(scope=scope, reason_code="POSITION_NOT_OURS", reason="seen", since=NOW, seen_at=NOW)


def block_entries(scope: str) -> None:
    VenueBlock.objects.create(
        scope=scope, reason_code="SYMBOL_NOT_TRADING", sentence="halted", alarming=False, since=NOW
    )


def ess(*, permitted: bool) -> None:
    builders.ess(permitted=permitted, state="ARMED" if permitted else "TRIPPED", reason="drill")


@dataclass(frozen=True, kw_only=True)
class Brake:
    """One brake, and what an entry in `SYMBOL` is refused with; None: it passes."""

    name: str
    apply: Callable[[], object]
    code: str | None
    sentence: str = ""


BRAKES = [
    Brake(name="nothing", apply=lambda: None, code=None),
    Brake(
        name="kill switch",
        apply=switch,
        code="KILL_SWITCH_ENGAGED",
        sentence=f"level={KillLevel.ENTRIES} by=alice: drill",
    ),
    Brake(name="released kill switch", apply=lambda: switch(released_at=NOW), code=None),
    Brake(
        name="symbol held",
        apply=lambda: hold(SYMBOL),
        code="POSITION_NOT_OURS",
        sentence="seen (scope=BTCUSDT for 0s)",
    ),
    Brake(
        name="account held",
        apply=lambda: hold("ACCOUNT"),
        code="POSITION_NOT_OURS",
        sentence="seen (scope=ACCOUNT for 0s)",
    ),
    Brake(name="other symbol held", apply=lambda: hold(OTHER), code=None),
    Brake(name="symbol halted", apply=lambda: block_entries(SYMBOL), code="SYMBOL_NOT_TRADING", sentence="halted"),
    Brake(name="account halted", apply=lambda: block_entries("ACCOUNT"), code="SYMBOL_NOT_TRADING", sentence="halted"),
    Brake(name="other symbol halted", apply=lambda: block_entries(OTHER), code=None),
    Brake(
        name="emergency stop",
        apply=lambda: ess(permitted=False),
        code="ESS_BLOCKED",
        sentence="state=TRIPPED (http: drill)",
    ),
    Brake(name="emergency stop armed", apply=lambda: ess(permitted=True), code=None),
]
EACH_BRAKE = pytest.mark.parametrize("brake", BRAKES, ids=lambda each: each.name)


def entry(direction: Direction = Direction.LONG, **columns: Any) -> Order:
    """An entry whose first attempt is written and not settled."""
    owner = builders.approved(state=RequestState.SUBMITTING, direction=direction, symbol=SYMBOL)
    return builders.order(owner, **({"state": OrderState.SUBMITTING, "attempts": 1} | columns))


@EACH_BRAKE
def test_a_submission_starts_unless_a_brake_is_in_force(brake: Brake) -> None:
    builders.lease(STACK)
    brake.apply()

    blocked = brake.code is not None
    assert truth(STANDING, [*standing_with(SYMBOL)]) == blocked
    assert truth(CLOSED, closed_with(STACK, SYMBOL, now=NOW)) == blocked


@EACH_BRAKE
def test_the_sentence_for_people_names_the_brake(brake: Brake) -> None:
    builders.lease(STACK)
    brake.apply()

    found = gate_block(STACK, SYMBOL, now=NOW)

    # The emergency stop is another step's, which asks the service itself.
    if brake.code in {None, "ESS_BLOCKED"}:
        assert found is None
    else:
        assert found == GateBlock(code=found.code if found else None, sentence=brake.sentence)
        assert found.code == brake.code


@BOTH_DIRECTIONS
@EACH_BRAKE
def test_the_last_question_before_the_wire_names_the_brake(brake: Brake, direction: Direction) -> None:
    brake.apply()

    veto = pre_send_check(entry(direction).request, now=NOW)

    assert (veto and (str(veto.code), veto.sentence)) == (brake.code and (brake.code, brake.sentence))


def test_a_newer_policy_is_asked_before_the_wire() -> None:
    request = entry().request
    assert pre_send_check(request, now=NOW) is None

    PolicyValue.objects.create(key="risk.max_positions", value=Decimal(1), source="test", version=1, changed_at=NOW)

    # What the guard saw was not written down with this request, so nothing can be judged again.
    veto = pre_send_check(request, now=NOW)
    assert veto is not None
    assert (veto.code, veto.sentence) == ("POLICY_CHANGED", "inputs=none policy_version=1 approved_with=0")
    request.policy_version = 1
    assert pre_send_check(request, now=NOW) is None


# The next attempt of an order


@EACH_BRAKE
def test_an_entry_is_not_sent_again_under_a_brake_and_an_exit_is(brake: Brake) -> None:
    first = entry()
    stop = builders.order(first.request, purpose=OrderPurpose.STOP, state=OrderState.SUBMITTING)
    brake.apply()

    assert take_attempt(first, now=NOW) == (brake.code is None)
    assert take_attempt(stop, now=NOW)
    assert list(Order.objects.order_by("id").values_list("attempts", flat=True)) == [1 if brake.code else 2, 2]


@pytest.mark.parametrize(
    ("columns", "known_attempts", "after", "taken"),
    [
        ({}, 1, timedelta(0), True),
        # Exactly at its end a decision is young enough, a microsecond later it is not.
        ({}, 1, timedelta(seconds=60), True),
        ({}, 1, timedelta(seconds=60) + TICK, False),
        # Another process has sent it again, or has settled it.
        ({"attempts": 2}, 1, timedelta(0), False),
        ({"state": OrderState.UNKNOWN}, 1, timedelta(0), False),
        ({"state": OrderState.ACCEPTED}, 1, timedelta(0), False),
    ],
)
def test_an_attempt_is_taken_once_and_in_time(
    columns: dict[str, Any], known_attempts: int, after: timedelta, *, taken: bool
) -> None:
    # A second entry is nothing to it.
    builders.order(builders.approved(symbol=OTHER, state=RequestState.SUBMITTING), state=OrderState.SUBMITTING)
    order = entry(**columns)
    order.attempts = known_attempts
    before = Order.objects.get(pk=order.pk)

    assert take_attempt(order, now=NOW + after) == taken

    row = Order.objects.get(pk=order.pk)
    if taken:
        assert (row.attempts, row.sent_at, order.attempts) == (before.attempts + 1, NOW + after, before.attempts + 1)
    else:
        assert (row.attempts, row.sent_at, order.attempts) == (before.attempts, before.sent_at, known_attempts)
    assert Order.objects.exclude(pk=order.pk).get().attempts == 1


# The account's lease


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One state of the account's lease; `waits`: an entry stays where it is; `code`: it is refused."""

    name: str
    columns: dict[str, Any] | None
    sentence: str = ""
    code: str | None = None


def ago(seconds: float, *, tick: int = 0) -> datetime:
    return NOW - timedelta(seconds=seconds) + tick * TICK


START = STACK.started_at
THEIRS = "theirs=cccccccc ours=bbbbbbbb holder=desk fence=1"
LEASES = [
    Lease(name="fresh", columns={}),
    Lease(name="none", columns=None, sentence="no monitor cycle has compared the books with the exchange yet"),
    Lease(
        name="of another account",
        columns={"account": "d" * 64},
        sentence="no monitor cycle has compared the books with the exchange yet",
    ),
    Lease(name="just not lapsed", columns={"renewed_at": ago(30, tick=1)}),
    Lease(
        name="lapsed",
        columns={"renewed_at": ago(30)},
        sentence="the last monitor cycle ended 30s ago, expected<=30s",
    ),
    Lease(name="reconciled at the start", columns={"reconciled_at": START}),
    Lease(
        name="reconciled before the start",
        columns={"reconciled_at": START - TICK},
        sentence="no monitor cycle has compared the books with the exchange since the start",
    ),
    Lease(
        name="with other settings and alive",
        columns={"settings": "c" * 64, "renewed_at": ago(30)},
        sentence=f"{THEIRS} renewed 30s ago",
        code="ACCOUNT_LEASED_BY_OTHERS",
    ),
    Lease(
        name="with other settings and lapsed",
        columns={"settings": "c" * 64, "renewed_at": ago(30, tick=-1)},
        sentence=f"{THEIRS} renewed 30s ago",
    ),
]
EACH_LEASE = pytest.mark.parametrize("lease", LEASES, ids=lambda each: each.name)


@EACH_LEASE
def test_an_entry_needs_a_fresh_lease_of_this_stack(lease: Lease) -> None:
    if lease.columns is not None:
        builders.lease(STACK, **lease.columns)

    found = gate_block(STACK, SYMBOL, now=NOW)

    assert (found and (found.sentence, found.code)) == ((lease.sentence, lease.code) if lease.sentence else None)
    assert truth(CLOSED, closed_with(STACK, SYMBOL, now=NOW)) == bool(lease.sentence)


def test_settings_changed_by_a_restart_are_no_rival() -> None:
    # The last cycle under the former settings ended at the very moment of the start.
    row = builders.lease(STACK, settings="c" * 64, renewed_at=ago(5))
    restarted = replace(STACK, started_at=row.renewed_at)

    found = gate_block(restarted, SYMBOL, now=NOW)

    assert (found and found.code, found and found.sentence) == (None, f"{THEIRS} renewed 5s ago")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, True),
        ({"reconciled_at": START}, True),
        ({"reconciled_at": START - TICK}, False),
        ({"settings": "c" * 64}, False),
    ],
)
def test_a_stack_is_reconciled_by_its_own_full_cycle(columns: dict[str, Any], *, expected: bool) -> None:
    builders.lease(STACK, **columns)

    assert is_reconciled(AccountLease.objects.get(), STACK, now=NOW) == expected
    assert not is_reconciled(None, STACK, now=NOW)


@pytest.mark.parametrize(
    ("columns", "taken", "fence"),
    [
        (None, True, 1),
        ({}, True, 1),
        # Its own lease is renewed however old it is, under the same fence.
        ({"renewed_at": ago(300)}, True, 1),
        ({"settings": "c" * 64, "renewed_at": ago(30, tick=1)}, False, 1),
        ({"settings": "c" * 64, "renewed_at": ago(30)}, True, 2),
    ],
)
def test_a_lease_is_renewed_by_its_stack_and_taken_over_when_it_has_lapsed(
    columns: dict[str, Any] | None, fence: int, *, taken: bool
) -> None:
    # Another account of the same settings is another lease.
    builders.lease(replace(STACK, account="d" * 64), renewed_at=ago(300))
    if columns is not None:
        builders.lease(STACK, **columns)

    assert renew_lease(STACK, reconciled_at=ago(1), now=NOW) == taken

    row = AccountLease.objects.get(account=STACK.account)
    assert row.fence == fence
    if taken:
        assert (row.settings, row.holder, row.renewed_at, row.reconciled_at) == ("b" * 64, "desk", NOW, ago(1))
    else:
        assert (row.settings, row.renewed_at) == ("c" * 64, ago(30, tick=1))
    # It should have left another account's alone.
    assert AccountLease.objects.get(account="d" * 64).renewed_at == ago(300)
    assert EssStatus.objects.count() == 0
