"""What goes wrong in the middle of a repair: the database, a bug, a blind Algo Service, a breaker without Redis."""

import logging
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import InterfaceError, OperationalError, connection
from redis import Redis

from execution.adapters import breaker as breaker_module
from execution.adapters.breaker import FAULTS_TO_OPEN, CircuitBreaker
from execution.adapters.redis_bus import redis_connection
from execution.crash_points import CrashPoint
from execution.domain.ports import Lane
from execution.domain.rate_limits import CircuitState
from execution.domain.states import RequestState
from execution.models import Order
from tests.integration.test_long_lives import DAY, cycles, hide, let_pass, opened
from tests.integration.test_postgres_faults import cut_own_connection
from tests.support.desk import Desk
from tests.support.interference import at_point
from tests.support.ledger import ALGO_ORDER
from tests.support.log_lines import log_lines
from tests.support.threads import at_once
from tests.support.waiting import eventually

SIDES = ("buy", "sell")


def lose_stop(desk: Desk, request_id: UUID) -> None:
    """Cancel a stop behind the service's back."""
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": desk.order(request_id, "STOP").client_order_id})
    desk.clock.let_pass(5)


# The database


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("side", SIDES)
def test_a_connection_cut_in_a_repair_ends_the_cycle_and_the_next_one_repairs(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened(side=side)
    lose_stop(desk, request_id)
    cut: list[bool] = []

    def cut_once() -> None:
        if not cut:
            cut.append(True)
            cut_own_connection()

    def lost_then_again() -> None:
        with at_point(CrashPoint.REPAIR_BEGUN, cut_once), pytest.raises((OperationalError, InterfaceError)):
            desk.cycle()
        connection.close_if_unusable_or_obsolete()
        assert desk.ledger.live_stops == []
        desk.cycle()

    at_once([lost_then_again])

    # It should have one stop, for everything that is open.
    [stop] = desk.ledger.live_stops
    assert (cut, Decimal(stop["quantity"])) == ([True], desk.trade(request_id).quantity)
    desk.check()


# A bug


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_a_surprise_in_one_repair_keeps_no_other_from_being_done(desk: Desk, side: str) -> None:
    unlucky, lucky = desk.decide("ETHUSDT", side), desk.decide("SOLUSDT", side)
    covered = desk.trade_opened(side=side)
    lose_stop(desk, covered)
    resumed: list[UUID] = []

    def resume(request_id: UUID, _state: RequestState) -> None:
        if request_id == unlucky:
            raise RuntimeError("a bug")
        resumed.append(request_id)

    with log_lines() as logs:
        result = desk.cycle(resume=resume)

    assert (resumed, result.failed, len(desk.ledger.live_stops)) == ([lucky], 1, 1)
    [said] = [line for line in logs if line["event"] == "repair_failed"]
    assert (said["action"], str(unlucky) in said["detail"], said["log_level"]) == ("Resume", True, "error")


# A blind Algo Service


def forget(desk: Desk) -> None:
    """Let the Algo Service know of no order, whether it is asked for or cancelled."""
    hide(desk)
    gone = {"code": -2011, "msg": "Unknown order sent."}
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="reply", status=400, body=gone, count=None)


def alarms(caplog: pytest.LogCaptureFixture) -> list[Any]:
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    return [record.msg for record in records if "order_unsettled" in str(record.msg)]


@pytest.mark.django_db
@pytest.mark.parametrize("days", [0, 4])
@pytest.mark.parametrize("side", SIDES)
def test_stops_that_the_algo_service_forgets_are_alarmed_and_no_third_is_placed(
    desk: Desk, side: str, days: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An order older than three days may be over; that two of one leg are forgotten says that the service is blind."""
    request_id = opened(desk, side)
    let_pass(desk, days * DAY)
    forget(desk)

    cycles(desk, 12, every=timedelta(minutes=1))

    stops = list(Order.objects.filter(request_id=request_id, purpose="STOP").order_by("sequence"))
    assert [(order.state, order.missing_readings >= 2) for order in stops] == [("ACCEPTED", True), ("ACCEPTED", False)]
    assert len(desk.ledger.live_stops) == 2
    # It should say of each leg once that the service forgets, and go on saying it in the row.
    forgetful = [order for order in stops if "the Algo Service forgets its orders" in order.last_evidence]
    assert forgetful
    assert all(order.alarmed_at for order in forgetful)
    named = [line["client_order_id"] for line in alarms(caplog)]
    assert len(named) == len(set(named))
    assert {order.client_order_id for order in forgetful} <= set(named)

    desk.paper.clear_faults()
    cycles(desk, 8, every=timedelta(minutes=1))

    # It should keep exactly one when they are seen again, and end the alarm.
    assert len(desk.ledger.live_stops) == 1
    assert not Order.objects.filter(request_id=request_id, purpose="STOP").exclude(alarmed_at=None).exists()
    desk.check()


@pytest.mark.django_db
@pytest.mark.parametrize("side", SIDES)
def test_parts_of_an_old_stop_that_are_forgotten_together_are_alarmed_and_not_ended(desk: Desk, side: str) -> None:
    """Each is old enough to be over by its retention; that both are gone at once says that the service is blind."""
    desk.paper.control("POST", "symbols", {"symbol": "BTCUSDT", "market_max_quantity": "0.006"})
    price, stop = {"buy": ("49990", "49000"), "sell": ("50010", "51000")}[side]
    request_id = desk.signal(side=side, price=price, stop_loss=stop)
    desk.run(request_id)
    entry = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": entry, "quantity": "0.010"})
    cycles(desk, 2)
    parts = list(Order.objects.filter(request_id=request_id, purpose="STOP").order_by("sequence"))
    assert [order.quantity for order in parts] == [Decimal("0.006"), Decimal("0.004")]
    let_pass(desk, 4 * DAY)
    forget(desk)

    cycles(desk, 6, every=timedelta(minutes=1))

    for order in parts:
        order.refresh_from_db()
    assert [order.state for order in parts] == ["ACCEPTED", "ACCEPTED"]
    assert any("the Algo Service forgets its orders" in order.last_evidence for order in parts if order.alarmed_at)
    desk.paper.clear_faults()
    cycles(desk, 8, every=timedelta(minutes=1))
    assert sum(Decimal(row["quantity"]) for row in desk.ledger.live_stops) == Decimal("0.010")
    desk.check()


# A breaker without Redis


@pytest.mark.parametrize("lane", [Lane.READ, Lane.ENTRY])
def test_a_breaker_that_loses_redis_while_half_open_lets_the_line_be_tried(
    redis: "Redis", monkeypatch: pytest.MonkeyPatch, lane: Lane
) -> None:
    monkeypatch.setattr(breaker_module, "FIRST_OPEN_MS", 50)
    breaker = CircuitBreaker(redis, host="exchange.example")
    for _ in range(FAULTS_TO_OPEN):
        breaker.failed()
    eventually(lambda: breaker.state().state is CircuitState.HALF_OPEN, what="a probe is due")
    # What was read last is believed from here on.
    monkeypatch.setattr(breaker_module, "CACHED_SECONDS", 60.0)
    breaker._known_until = 0.0
    breaker._current()
    away = redis_connection("redis://127.0.0.1:9/0", timeout_seconds=0.2)
    for script in breaker._scripts.values():
        script.registered_client = away

    # It should hold what is not a read as before: nobody else can send the probe in its stead.
    assert breaker.lets_pass(lane, is_read=False) is False
    assert breaker.lets_pass(lane, is_read=True) is True
