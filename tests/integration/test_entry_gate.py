"""No position is opened before the first full cycle, beside another stack, or beside what nobody can explain."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from execution.adapters.memory import RedisMemory
from execution.adapters.redis_bus import redis_connection
from execution.domain.client_ids import client_order_id
from execution.domain.trading import OrderPurpose
from execution.models import AccountLease, AuditEvent, EntryHold, ExecutionRequest, Order, PositionSlot
from execution.risk.entry_gate import renew_lease
from tests.support.desk import STACK, Desk
from tests.support.ledger import ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
LEASE = timedelta(seconds=30)


@pytest.fixture
def fresh(desk: Desk) -> Desk:
    """The same stack, started again a moment ago."""
    desk.stack = replace(STACK, started_at=desk.clock(), lease_length=LEASE)
    return desk


def rival_of(desk: Desk) -> Desk:
    """A stack on the same database and account that judges orders by other settings."""
    rival = desk.another()
    rival.stack = replace(desk.stack, settings="c" * 64, holder="rival", started_at=desk.clock())
    return rival


def rest(desk: Desk, client_id: str) -> None:
    """Let an order rest far below the market, as a stack on another database would."""
    terms = {"symbol": "ETHUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.100"}
    desk.person.new_order(**terms, price="2000", newClientOrderId=client_id)


def holds() -> list[tuple[str, str]]:
    return list(EntryHold.objects.order_by("scope").values_list("scope", "reason_code"))


# After a start


def test_entry_waits_for_the_first_full_cycle(fresh: Desk) -> None:
    request_id = fresh.decide()

    assert fresh.run(request_id) == "CLEARED"
    # It should not have asked the exchange for anything that adds risk, nor have taken the symbol.
    assert (fresh.ledger.entries_sent, PositionSlot.objects.count()) == ([], 0)

    fresh.clock.let_pass(3)
    fresh.cycle()

    assert fresh.request(request_id).state == "RECORDED"
    assert len(fresh.ledger.entries_sent) == 1
    fresh.check()


def test_a_cycle_that_could_not_read_the_exchange_does_not_count(fresh: Desk) -> None:
    request_id = fresh.decide()
    fresh.run(request_id)
    fresh.paper.add_fault(path="/fapi/v3/positionRisk", method="GET", action="drop_before", count=None)
    fresh.paper.add_fault(path="/fapi/v2/positionRisk", method="GET", action="drop_before", count=None)
    for _ in range(2):
        fresh.clock.let_pass(12)
        with pytest.raises(AssertionError, match="could not read the exchange"):
            fresh.cycle()

    assert fresh.run(request_id) == "CLEARED"
    # It should expire by age, having traded nothing.
    fresh.clock.let_pass(60)
    fresh.paper.clear_faults()
    fresh.cycle()
    assert (fresh.request(request_id).state, fresh.ledger.entries_sent) == ("EXPIRED", [])


def test_a_cycle_that_began_before_the_start_does_not_count(fresh: Desk) -> None:
    renew_lease(fresh.stack, reconciled_at=fresh.stack.started_at - timedelta(seconds=1), now=fresh.clock())

    assert fresh.run(fresh.decide()) == "CLEARED"


def test_an_approved_entry_waits_after_a_restart_too(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.stack = replace(STACK, started_at=desk.clock())

    assert desk.run(request_id) == "APPROVED"
    assert desk.ledger.entries_sent == []


def test_entry_waits_when_nobody_watches(fresh: Desk) -> None:
    fresh.cycle()
    fresh.clock.let_pass(31)

    assert fresh.run(fresh.decide()) == "CLEARED"


def test_entry_waits_for_a_cycle_when_redis_has_lost_everything(desk: Desk) -> None:
    desk.redis.flushdb()
    request_id = desk.decide()

    assert desk.run(request_id) == "CLEARED"
    assert desk.ledger.entries_sent == []
    desk.clock.let_pass(3)
    desk.cycle()

    assert desk.request(request_id).state == "RECORDED"


def test_entry_waits_while_redis_is_silent() -> None:
    nobody = RedisMemory(redis_connection("redis://127.0.0.1:9/0", timeout_seconds=0.2))

    nobody.mark_intact()

    assert not nobody.is_whole()


def test_exits_and_protection_do_not_wait(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    AccountLease.objects.all().delete()
    EntryHold.objects.create(scope="ACCOUNT", reason_code="FOREIGN_ORDERS", since=desk.clock(), seen_at=desk.clock())

    assert desk.run(request_id) == "RECORDED"
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)


def test_empty_books_beside_a_position_open_nothing_in_its_symbol(fresh: Desk) -> None:
    fresh.person.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    fresh.cycle()

    refused, other = fresh.decide("BTCUSDT"), fresh.decide("ETHUSDT")
    assert (fresh.run(refused), fresh.run(other)) == ("DENIED", "RECORDED")

    request = fresh.request(refused)
    assert request.reason_code == "POSITION_NOT_OURS"
    assert "quantity=0.010 side=BOTH (scope=BTCUSDT for " in request.reason
    assert holds() == [("BTCUSDT", "POSITION_NOT_OURS")]
    # It should not have touched the position.
    assert fresh.ledger.positions["BTCUSDT"] == Decimal("0.010")


def test_symbol_is_free_when_three_cycles_do_not_see_the_position(fresh: Desk) -> None:
    fresh.person.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    fresh.cycle()
    fresh.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.010")

    for left in ([("BTCUSDT", "POSITION_NOT_OURS")],) * 2 + ([],):
        fresh.cycle()
        assert holds() == left
    assert fresh.run(fresh.decide()) == "RECORDED"


def test_trade_that_closes_while_the_exchange_is_read_is_no_stranger(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    second = desk.another()
    observed: Any = desk.exchange.positions

    def positions_then_closed() -> Any:
        seen = observed()
        second.exchange.positions = list  # type: ignore[method-assign]
        desk.paper.set_price("BTCUSDT", "51000")
        second.cycle()
        return seen

    desk.exchange.positions = positions_then_closed  # type: ignore[method-assign]
    desk.cycle()

    assert (desk.trade(request_id).state, holds()) == ("CLOSED", [])


# A second stack


def test_second_stack_with_the_same_settings_trades_too(desk: Desk) -> None:
    second = desk.another()
    second.cycle()

    assert (desk.run(desk.decide("BTCUSDT")), second.run(second.decide("ETHUSDT"))) == ("RECORDED", "RECORDED")
    assert AccountLease.objects.get().fence == 1


def test_second_stack_with_other_settings_opens_nothing(fresh: Desk) -> None:
    fresh.cycle()
    rival = rival_of(fresh)
    fresh.clock.let_pass(1)
    fresh.cycle()
    rival.cycle()

    request_id = rival.decide()
    assert rival.run(request_id) == "DENIED"

    # It should name the settings and the holder, and leave the first stack alone.
    request = rival.request(request_id)
    assert request.reason_code == "ACCOUNT_LEASED_BY_OTHERS"
    assert "theirs=bbbbbbbb ours=cccccccc holder=desk fence=1 renewed " in request.reason
    assert fresh.run(fresh.decide()) == "RECORDED"
    assert len(fresh.ledger.entries_sent) == 1


def test_second_stack_does_not_carry_on_what_the_first_has_begun(fresh: Desk) -> None:
    fresh.cycle()
    request_id = fresh.decide()
    fresh.step("check_ess", request_id)
    fresh.clock.let_pass(3)
    rival = rival_of(fresh)

    rival.cycle()

    assert fresh.request(request_id).state == "CLEARED"
    fresh.cycle()
    assert fresh.request(request_id).state == "RECORDED"


def test_second_stack_protects_what_it_finds_naked(fresh: Desk) -> None:
    fresh.cycle()
    request_id = fresh.decide()
    fresh.run(request_id, until="place_order")
    fresh.clock.let_pass(3)

    rival_of(fresh).cycle()

    assert fresh.request(request_id).state == "RECORDED"
    assert len(fresh.ledger.live_stops) == 1


def test_lease_that_is_not_renewed_is_taken_over_under_a_higher_fence(fresh: Desk) -> None:
    fresh.cycle()
    rival = rival_of(fresh)
    fresh.clock.let_pass(31)
    rival.cycle()

    assert AccountLease.objects.get().fence == 2
    assert rival.run(rival.decide("BTCUSDT")) == "RECORDED"
    # It should not let the first one open anything when it comes back.
    fresh.cycle()
    assert fresh.outcome(fresh.decide("ETHUSDT")) == ("DENIED", "ACCOUNT_LEASED_BY_OTHERS")


def test_settings_changed_by_a_restart_wait_and_are_not_refused(fresh: Desk) -> None:
    fresh.cycle()
    fresh.clock.let_pass(1)
    changed = rival_of(fresh)
    request_id = changed.decide()

    assert changed.run(request_id) == "CLEARED"
    fresh.clock.let_pass(31)
    changed.cycle()
    assert changed.request(request_id).state == "RECORDED"


@pytest.mark.django_db(transaction=True)
def test_account_is_taken_by_one_of_two_at_once(desk: Desk) -> None:
    AccountLease.objects.all().delete()
    stacks = [replace(STACK, settings=letter * 64, holder=letter) for letter in "cd"]
    now = desk.clock()

    calls: list[Callable[[], bool]] = [
        lambda one=one: renew_lease(one, reconciled_at=now, now=now)  # type: ignore[misc]
        for one in stacks
    ]
    taken = at_once(calls)

    assert sorted(taken) == [False, True]
    assert AccountLease.objects.get().settings == stacks[taken.index(True)].settings


def test_stack_that_lost_the_account_between_check_and_sending_sends_nothing(fresh: Desk) -> None:
    """The statement that begins the submission asks again: nobody else can answer in between."""
    fresh.cycle()
    request_id = fresh.decide()
    fresh.run(request_id, until="guard_safety")
    AccountLease.objects.update(settings="c" * 64, holder="rival", fence=2, renewed_at=fresh.clock())

    assert fresh.run(request_id) == "DENIED"
    assert fresh.request(request_id).reason_code == "ACCOUNT_LEASED_BY_OTHERS"
    assert (fresh.ledger.entries_sent, PositionSlot.objects.count()) == ([], 0)


# Orders of nobody that we know


def test_orders_of_a_stack_on_another_database_stop_entries(desk: Desk) -> None:
    theirs = client_order_id(uuid4(), OrderPurpose.ENTRY, 1)
    open_before = desk.trade_opened("SOLUSDT")
    rest(desk, theirs)
    desk.cycle()

    request_id = desk.decide()
    assert desk.run(request_id) == "DENIED"

    assert holds() == [("ACCOUNT", "FOREIGN_ORDERS")]
    assert f"open=1 under our prefix: {theirs} (scope=ACCOUNT" in desk.request(request_id).reason
    assert desk.request(request_id).reason_code == "FOREIGN_ORDERS"
    # It should have left their order, and go on protecting what is ours.
    assert [order["clientOrderId"] for order in desk.person.get_orders()] == [theirs]
    desk.person.sign_request(
        "DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": desk.order(open_before, "STOP").client_order_id}
    )
    for _ in range(2):
        desk.clock.let_pass(12)
        desk.cycle()
    assert len(desk.ledger.live_stops) == 1


def test_entries_go_on_when_the_strange_orders_are_gone(desk: Desk) -> None:
    theirs = client_order_id(uuid4(), OrderPurpose.ENTRY, 1)
    rest(desk, theirs)
    desk.cycle()
    desk.person.cancel_order("ETHUSDT", origClientOrderId=theirs)

    for _ in range(2):
        desk.cycle()
        assert desk.outcome(desk.decide()) == ("DENIED", "FOREIGN_ORDERS")
    desk.cycle()

    assert desk.run(desk.decide()) == "RECORDED"
    steps = list(AuditEvent.objects.filter(entity="hold").order_by("id").values_list("to_state", "trigger"))
    assert steps == [("HELD", "monitor"), ("RELEASED", "monitor")]


def test_operator_releases_entries_and_what_is_still_there_is_held_again(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    rest(desk, client_order_id(uuid4(), OrderPurpose.ENTRY, 1))
    desk.cycle()

    call_command("release_entries", reason="it is my own test")

    assert "released ACCOUNT (FOREIGN_ORDERS: open=1" in capsys.readouterr().out
    assert desk.run(desk.decide()) == "RECORDED"
    released = AuditEvent.objects.get(entity="hold", to_state="RELEASED")
    assert (released.trigger, released.reason) == ("operator", "it is my own test")
    desk.cycle()
    assert holds() == [("ACCOUNT", "FOREIGN_ORDERS")]


def test_nothing_to_release_is_said() -> None:
    with pytest.raises(CommandError, match="no entries are held for ETHUSDT"):
        call_command("release_entries", reason="none", scope="ETHUSDT")


def test_attempt_is_not_repeated_once_entries_are_held(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    EntryHold.objects.create(scope="BTCUSDT", reason_code="POSITION_NOT_OURS", since=desk.clock(), seen_at=desk.clock())

    assert desk.outcome(request_id) == ("DENIED", "POSITION_NOT_OURS")
    assert desk.ledger.sent("POST", ORDER) == []


# Books from an old backup


def test_books_of_an_old_backup_open_nothing_beside_what_they_have_forgotten(fresh: Desk) -> None:
    fresh.cycle()
    old = fresh.trade_opened("SOLUSDT")
    stop = fresh.order(old, "STOP")
    same = {"event_id": str(uuid4()), "timestamp": fresh.clock().isoformat()}
    forgotten = fresh.trade_opened("BTCUSDT", **same)
    with connection.cursor() as cursor:
        # The books as they were before the second decision.
        cursor.execute("ALTER TABLE execution_auditevent DISABLE TRIGGER USER")
        for table, column in TABLES:
            cursor.execute(f"DELETE FROM {table} WHERE {column}::text = %s", [str(forgotten)])  # noqa: S608 -- ours
        cursor.execute("DELETE FROM execution_inboxevent WHERE payload->>'symbol' = 'BTCUSDT'")
        cursor.execute("ALTER TABLE execution_auditevent ENABLE TRIGGER USER")
    fresh.stack = replace(fresh.stack, started_at=fresh.clock())

    # The bus delivers the decision a second time.
    again = fresh.decide("BTCUSDT", **same)
    assert fresh.run(again) == "CLEARED"
    fresh.clock.let_pass(3)
    fresh.cycle()

    # It should hold everything for the orders, and the symbol for the position, and know the older trade still.
    assert holds() == [("ACCOUNT", "FOREIGN_ORDERS"), ("BTCUSDT", "POSITION_NOT_OURS")]
    # The account's hold was placed first, and is named.
    assert fresh.request(again).reason_code == "FOREIGN_ORDERS"
    assert [order["symbol"] for order in fresh.ledger.entries] == ["SOLUSDT", "BTCUSDT"]
    assert Order.objects.get(pk=stop.pk).state == "ACCEPTED"
    assert ExecutionRequest.objects.count() == 2
    # The position that the books have forgotten should still have its stop at the exchange.
    assert len(fresh.ledger.live("STOP_MARKET", "BTCUSDT")) == 1


TABLES = (
    ("execution_fill", "trade_id"),
    ("execution_position", "trade_id"),
    ("execution_trade", "request_id"),
    ("execution_order", "request_id"),
    ("execution_bracketleg", "bracket_id"),
    ("execution_bracket", "request_id"),
    ("execution_positionslot", "request_id"),
    ("execution_outboxevent", "aggregate"),
    ("execution_outboxsequence", "aggregate"),
    ("execution_auditevent", "entity_id"),
    ("execution_executionrequest", "id"),
)
