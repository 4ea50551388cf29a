"""A worker that stood still while others settled its work (SIGSTOP, a swapped-out machine) does nothing on waking."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from execution.domain.trading import OrderPurpose, OrderType
from execution.models import AuditEvent, EssStatus, ExecutionRequest, Fill, Order, OutboxEvent, PositionSlot, Trade
from execution.orders.submit import LONGEST_WAIT_BEFORE_SENDING, OrderSpec, persist_order, take_attempt
from tests.support.desk import RECV_WINDOW_MS, Desk
from tests.support.threads import at_once
from tests.support.victim import Victim
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
BOOKS = (ExecutionRequest, Order, Trade, Fill, PositionSlot, AuditEvent, OutboxEvent)


def books() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in BOOKS]


def settle(desk: Desk) -> None:
    for _ in range(3):
        desk.clock.let_pass(12)
        desk.cycle()


def asleep(process: Victim, mark: Path) -> None:
    eventually(lambda: mark.exists() and process.stopped, within=30, what="the worker stands still")


def until_too_late(order: Order) -> None:
    """Wait in real time: the worker that wakes up knows no other."""
    latest = order.sent_at + LONGEST_WAIT_BEFORE_SENDING
    eventually(lambda: datetime.now(UTC) > latest, within=30, every=0.2, what="its time to send is over")


@pytest.mark.parametrize(("point", "sent"), [("ENTRY_WRITTEN", 0), ("ORDER_SIGNED", 1)])
def test_entry_of_a_worker_that_slept_is_not_executed(
    desk: Desk, victim: Callable[..., Victim], tmp_path: Path, point: str, sent: int
) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    mark = tmp_path / "asleep"

    with victim("step", "place_order", str(request_id), CRASH_POINT=f"{point}:1:STOP:{mark}") as process:
        asleep(process, mark)
        settle(desk)
        assert desk.request(request_id).state == "NOT_ACCEPTED"
        # Somebody else has the symbol now.
        other = desk.trade_opened()
        before = books()
        until_too_late(desk.order(request_id, "ENTRY"))
        process.go_on()
        process.hear("done")

    # It should not have sent, or what it had signed already was refused for its age; the books are as they were.
    late = [order for order in desk.ledger.entries_sent if order["newClientOrderId"].startswith("es1-e")]
    assert len(late) == sent + 1
    assert [order["clientOrderId"] for order in desk.ledger.entries] == [desk.order(other, "ENTRY").client_order_id]
    assert books() == before
    desk.check()


def test_stop_of_a_worker_that_slept_neither_doubles_nor_closes(
    desk: Desk, victim: Callable[..., Victim], tmp_path: Path
) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="place_order")
    mark = tmp_path / "asleep"

    with victim("step", "protect_position", str(request_id), CRASH_POINT=f"STOP_WRITTEN:1:STOP:{mark}") as process:
        asleep(process, mark)
        settle(desk)
        assert desk.request(request_id).state == "RECORDED"
        before = books()
        until_too_late(Order.objects.filter(request_id=request_id, purpose="STOP").earliest("id"))
        process.go_on()
        process.hear("done")

    # It should have left the stop to those who placed it meanwhile.
    assert (len(desk.ledger.live_stops), len(desk.ledger.live_targets)) == (1, 1)
    assert books() == before
    desk.check()


def intended(desk: Desk) -> Order:
    """Write an entry as `place_order` does, without sending it."""
    request = desk.request(desk.decide())
    desk.run(request.pk, until="guard_safety")
    request.refresh_from_db()
    assert request.quantity
    entry = OrderSpec(purpose=OrderPurpose.ENTRY, sequence=1, order_type=OrderType.MARKET, quantity=request.quantity)
    row = persist_order(request, entry, recv_window_ms=RECV_WINDOW_MS, now=desk.clock())
    assert row
    return row[0]


def test_next_attempt_is_taken_by_one_of_two(desk: Desk) -> None:
    order = intended(desk)
    copies = [Order.objects.select_related("request").get(pk=order.pk) for _ in range(2)]

    taken = at_once([lambda one=one: take_attempt(one, now=desk.clock()) for one in copies])  # type: ignore[misc]

    assert sorted(taken) == [False, True]
    order.refresh_from_db()
    assert order.attempts == 2


def test_attempt_that_waits_for_another_one_is_not_taken(desk: Desk) -> None:
    order = intended(desk)
    first, second = (Order.objects.select_related("request").get(pk=order.pk) for _ in range(2))

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert take_attempt(first, now=desk.clock())
            waiting = pool.submit(in_own_connection, lambda: take_attempt(second, now=desk.clock()))
            eventually(somebody_waits_for_a_lock, within=30, what="the second one waits for the row")
        taken = waiting.result(30)

    assert not taken
    order.refresh_from_db()
    assert order.attempts == 2


def in_own_connection(call: Callable[[], bool]) -> bool:
    try:
        return call()
    finally:
        connection.close()


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        # Not pg_stat_activity: within a transaction it shows what it showed first.
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool((cursor.fetchone() or (0,))[0])


def test_no_attempt_is_taken_once_others_have_moved_the_order(desk: Desk) -> None:
    order = intended(desk)
    Order.objects.filter(pk=order.pk).update(state="UNKNOWN")

    assert not take_attempt(order, now=desk.clock())


@pytest.mark.parametrize("why", ["too old", "tripped"])
def test_entry_is_not_sent_again_when_it_may_not_be_sent_any_more(desk: Desk, why: str) -> None:
    order = intended(desk)
    if why == "tripped":
        EssStatus.objects.update(permitted=False, state="TRIPPED")
    later = timedelta(seconds=61 if why == "too old" else 0)

    assert not take_attempt(order, now=desk.clock() + later)
    order.refresh_from_db()
    assert order.attempts == 1


def test_no_exit_is_written_for_a_trade_that_is_closed(desk: Desk) -> None:
    """The symbol's next position is not the business of who slept over the end of the last one."""
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    request = desk.request(request_id)
    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    close = OrderSpec(
        purpose=OrderPurpose.CLOSE, sequence=1, order_type=OrderType.MARKET, quantity=desk.trade(request_id).quantity
    )

    assert persist_order(request, close, recv_window_ms=RECV_WINDOW_MS, now=desk.clock()) is None
    assert Order.objects.filter(purpose="CLOSE").count() == 0
