"""Orders whose outcome nobody tells: evidence from other sources ends it, and until then nothing stands naked."""

import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from execution.api.health import measure, report_of
from execution.domain.client_ids import client_order_id
from execution.domain.outcomes import ExchangeStatus, OrderReport
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, Order, PositionSlot
from execution.orders.apply_report import apply_report
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db
ALL_ORDERS, ALL_ALGO_ORDERS, OPEN_ALGO_ORDERS = (
    "/fapi/v1/allOrders",
    "/fapi/v1/allAlgoOrders",
    "/fapi/v1/openAlgoOrders",
)
USER_TRADES = "/fapi/v1/userTrades"
UNAVAILABLE = {"action": "reply", "status": 503, "body": {"code": -1000, "msg": "Unknown error"}, "count": None}


def lose(desk: Desk, *, executed: bool = True) -> UUID:
    """Run a decision whose placement gets no answer; its look-ups are hidden at first."""
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after" if executed else "drop_before")
    request_id = desk.decide()
    assert desk.run(request_id) == "UNKNOWN"
    return request_id


def hide(desk: Desk, *paths: str, **fault: Any) -> None:
    """Let the exchange forget: look-ups say that an order does not exist, lists are empty."""
    for path in paths:
        desk.paper.add_fault(path=path, method="GET", action="hide", count=None, id=hidden(path), **fault)


def hidden(path: str) -> str:
    return f"hide-{path.rpartition('/')[2]}"


def unhide(desk: Desk, path: str) -> None:
    desk.paper.control("DELETE", f"faults?id={hidden(path)}")


def cycles(desk: Desk, count: int, *, seconds: float = 10) -> None:
    for _ in range(count):
        desk.clock.let_pass(seconds)
        desk.cycle()


def alarms(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [
        record for record in caplog.records if record.levelno == logging.ERROR and "order_unsettled" in str(record.msg)
    ]


# Executed, and forgotten


def test_entry_that_look_up_and_history_forget_is_adopted_by_its_fills(desk: Desk) -> None:
    """The exchange answers for the order's own id, which the fills name, and not for our client id."""
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after")
    request_id = desk.decide()
    hide(desk, ALL_ORDERS)
    hide(desk, ORDER, match={"origClientOrderId": client_order_id(request_id, OrderPurpose.ENTRY, 1)})
    assert desk.run(request_id) == "UNKNOWN"

    cycles(desk, 1)

    # It should be found by the first cycle, covered and booked like any other.
    entry = desk.order(request_id, "ENTRY")
    assert desk.request(request_id).state == "RECORDED"
    assert entry.last_evidence.startswith("fills: FILLED")
    assert entry.exchange_order_id == str(desk.ledger.entries[0]["orderId"])
    assert entry.alarmed_at is None
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_entry_that_nobody_names_is_covered_alarmed_and_settled_later(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the fill and the position say that something came of it; the exchange names no order behind them."""
    hide(desk, ORDER, ALL_ORDERS)
    request_id = lose(desk)

    cycles(desk, 1)

    # It should stay unknown, and its position should have the planned stop.
    request, stop = desk.request(request_id), desk.order(request_id, "STOP")
    assert request.state == "UNKNOWN"
    [live] = desk.ledger.live_stops
    assert (live["clientAlgoId"], live["reduceOnly"]) == (stop.client_order_id, True)
    assert (stop.quantity, stop.trigger_price) == (request.quantity, request.stop_price)

    cycles(desk, 8, seconds=30)

    # It should neither be given up nor sent again, keep one stop, and be said once.
    assert desk.request(request_id).state == "UNKNOWN"
    assert len(desk.ledger.live_stops) == 1
    assert len(desk.ledger.entries_sent) == 1
    assert len(alarms(caplog)) == 1
    assert AuditEvent.objects.filter(trigger="alarm_raised").count() == 1
    evidence = desk.order(request_id, "ENTRY").last_evidence
    assert "unattributed fills=" in evidence
    assert "covered by the planned stop" in evidence
    assert "NOT covered" not in evidence

    unhide(desk, ORDER)
    cycles(desk, 1, seconds=60)

    # It should go on where it stood: the stop is there already.
    assert desk.request(request_id).state == "RECORDED"
    assert desk.order(request_id, "STOP").pk == stop.pk
    assert desk.order(request_id, "ENTRY").alarmed_at is None
    assert "order.failed" not in desk.events(request_id)
    desk.check()


def test_stop_of_an_unsettled_entry_triggers_and_the_books_still_close(desk: Desk) -> None:
    hide(desk, ORDER, ALL_ORDERS)
    request_id = lose(desk)
    cycles(desk, 1)

    desk.paper.set_price("BTCUSDT", "40000")
    cycles(desk, 3)
    assert desk.ledger.positions == {}
    assert desk.request(request_id).state == "UNKNOWN"

    desk.paper.clear_faults()
    cycles(desk, 4, seconds=30)

    # It should have booked the entry and its stop, to the last digit.
    assert desk.request(request_id).state == "RECORDED"
    assert (desk.trade(request_id).state, desk.trade(request_id).close_reason) == ("CLOSED", "SL")
    desk.check()


@pytest.mark.parametrize("silent", [ORDER, ALL_ORDERS, USER_TRADES])
def test_position_of_an_unknown_entry_is_covered_while_a_source_is_silent(
    desk: Desk, silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    hide(desk, ORDER, ALL_ORDERS)
    request_id = lose(desk)
    unhide(desk, silent)
    desk.paper.add_fault(path=silent, method="GET", id="silent", **UNAVAILABLE)

    cycles(desk, 3)

    assert desk.request(request_id).state == "UNKNOWN"
    assert len(desk.ledger.live_stops) == 1
    assert len(alarms(caplog)) == 1

    desk.paper.clear_faults()
    cycles(desk, 2)

    assert desk.request(request_id).state == "RECORDED"
    desk.check()


def test_unsettled_order_is_seen_everywhere_and_blocks_its_symbol(desk: Desk, client: Client) -> None:
    hide(desk, ORDER, ALL_ORDERS)
    request_id = lose(desk)
    cycles(desk, 1)
    entry = desk.order(request_id, "ENTRY")

    # The next decision for the symbol is refused with the reason, in both directions.
    for side in ("buy", "sell"):
        refused = desk.decide(side=side)
        assert desk.run(refused) == "DENIED"
        assert desk.request(refused).reason_code == "ENTRY_UNSETTLED"
        assert str(request_id) in desk.request(refused).reason
    assert PositionSlot.objects.get().request_id == request_id
    # Another symbol trades on.
    elsewhere = desk.signal("ETHUSDT")
    desk.run(elsewhere, until="guard_safety")
    assert desk.request(elsewhere).state == "APPROVED", desk.request(elsewhere).reason

    health = report_of(measure())
    assert health["components"]["orders"]["details"]["unsettled"] == 1
    assert f"unsettled=1 oldest={entry.client_order_id}" in health["components"]["orders"]["error"]
    figures = client.get("/metrics").content.decode()
    assert "execution_unsettled_orders 1.0" in figures

    told = client.get(f"/api/execution/requests/{request_id}").json()
    [order] = [order for order in told["orders"] if order["purpose"] == "entry"]
    assert order["state"] == "UNKNOWN"
    assert order["last_evidence"] == entry.last_evidence
    assert None not in {order["alarmed_at"], order["last_evidence_at"], order["age_seconds"]}

    client.force_login(User.objects.create_superuser("admin", password=None))
    page = client.get(reverse("admin:execution_executionrequest_change", args=[request_id])).content.decode()
    listed = client.get(reverse("admin:execution_order_changelist") + "?alarmed_at__isempty=0").content.decode()
    for shown in (page, listed):
        assert entry.client_order_id in shown
        assert "unattributed fills=" in shown

    desk.paper.clear_faults()
    cycles(desk, 1)

    # It should clear by itself.
    assert report_of(measure())["components"]["orders"] == {
        "healthy": True,
        "error": None,
        "latency_ms": None,
        "details": {"unsettled": 0, "oldest_seconds": None},
    }


# Late, and locked out


def test_entry_that_arrives_after_its_sender_gave_up_is_adopted(desk: Desk) -> None:
    """The request travels for longer than we wait, and its receive window still lets it in."""
    impatient = replace(desk, timeout_seconds=0.3)
    desk.paper.add_fault(path=ORDER, method="POST", action="delay", ms=1500)
    request_id = impatient.decide()
    assert impatient.run(request_id) == "UNKNOWN"
    assert desk.ledger.entries == []

    impatient.clock.let_pass(3)
    eventually(lambda: desk.ledger.entries, within=20, what="the order arrives")
    impatient.cycle()

    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_revoked_key_ends_trading_without_a_storm(desk: Desk) -> None:
    revoked = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
    desk.paper.add_fault(path=ORDER, method="POST", action="reply", status=401, body=revoked, count=None)
    request_id = desk.decide()

    # A placement is refused once, with the exchange's words.
    assert desk.run(request_id) == "REJECTED"
    assert desk.event(request_id, "order.failed")["error_code"] == -2015
    assert len(desk.ledger.entries_sent) == 1

    # When every signed read is refused too, no decision gets as far as the wire, and health says why.
    for path in ("/fapi/v1/openOrders", "/fapi/v1/positionSide/dual", "/fapi/v1/leverage"):
        desk.paper.add_fault(path=path, action="reply", status=401, body=revoked, count=None)
    locked_out = desk.another()
    asked = len(desk.ledger.requests)
    later = desk.decide("ETHUSDT")
    # The exchange refuses to set its leverage.
    assert locked_out.outcome(later) == ("DENIED", "LEVERAGE_MISMATCH")
    assert "-2015" in desk.request(later).reason
    with pytest.raises(AssertionError, match="could not read"):
        locked_out.cycle()
    assert len(desk.ledger.requests) - asked < 20
    assert len(desk.ledger.entries_sent) == 1
    binance = report_of(measure())["components"]["binance"]
    assert (binance["healthy"], "-2015" in binance["error"]) == (False, True)


# Never arrived


def test_what_a_person_trades_meanwhile_does_not_keep_an_absence_from_being_proven(desk: Desk) -> None:
    request_id = lose(desk, executed=False)
    desk.person.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.009", newClientOrderId="web_by_hand")

    cycles(desk, 4)

    # It should attribute the fill by its client id: the position is theirs, and no stop of ours belongs under it.
    assert desk.request(request_id).state == "NOT_ACCEPTED"
    assert desk.ledger.live_stops == []
    assert Order.objects.filter(purpose="STOP").count() == 0


def test_silence_is_not_absence(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    request_id = lose(desk, executed=False)
    desk.paper.add_fault(path=ORDER, method="GET", **UNAVAILABLE)

    cycles(desk, 6)

    assert desk.request(request_id).state == "UNKNOWN"
    assert len(alarms(caplog)) == 1
    assert desk.order(request_id, "ENTRY").last_evidence.startswith("unanswered: ")

    desk.paper.clear_faults()
    cycles(desk, 2)
    assert desk.request(request_id).state == "NOT_ACCEPTED"
    assert report_of(measure())["components"]["orders"]["error"] is None
    desk.check()


# News that nobody asked for


def test_a_report_that_nobody_asked_for_ends_the_doubt(desk: Desk) -> None:
    hide(desk, ORDER, ALL_ORDERS)
    request_id = lose(desk)
    entry, placed = desk.order(request_id, "ENTRY"), desk.ledger.entries[0]
    report = OrderReport(
        client_order_id=entry.client_order_id,
        symbol="BTCUSDT",
        status=ExchangeStatus.FILLED,
        quantity=entry.quantity,
        executed_quantity=entry.quantity,
        order_id=str(placed["orderId"]),
    )

    apply_report(entry, report, now=desk.clock(), source="stream")

    # It should go on from there, as if the answer had come.
    assert (entry.state, entry.request.state) == ("FILLED", "FILLED")
    assert desk.run(request_id) == "RECORDED"
    desk.check()


# Conditional orders


def test_algo_service_that_forgets_for_an_hour_leads_to_one_more_stop_and_no_third(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    hide(desk, ALGO_ORDER, OPEN_ALGO_ORDERS, ALL_ALGO_ORDERS)
    gone = {"code": -2011, "msg": "Unknown order sent."}
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="reply", status=400, body=gone, count=None)

    cycles(desk, 60, seconds=60)

    # Two reducing stops do no harm; that nobody can see them is said once for the stop and once for the target.
    assert len(desk.ledger.live_stops) == 2
    assert Order.objects.filter(request_id=request_id, purpose="STOP").count() == 2
    assert Order.objects.filter(request_id=request_id, purpose="STOP", state="ACCEPTED").count() == 2
    said = [str(record.msg["client_order_id"]) for record in alarms(caplog)]
    assert len(said) == len(set(said)) == 2, said
    assert desk.trade(request_id).state == "OPEN"

    desk.paper.clear_faults()
    cycles(desk, 8, seconds=60)

    # It should keep exactly one when they are seen again.
    assert len(desk.ledger.live_stops) == 1
    desk.check()


def test_leg_that_triggered_while_its_book_forgets_is_found_among_the_ordinary_orders(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0, take_profit=51000.0)
    hide(desk, ALGO_ORDER, OPEN_ALGO_ORDERS, ALL_ALGO_ORDERS)
    desk.paper.set_price("BTCUSDT", "48000")

    cycles(desk, 2)

    trade, stop = desk.trade(request_id), desk.order(request_id, "STOP")
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "SL", desk.ledger.net_pnl)
    assert stop.state == "FILLED"
    [triggered] = [order for order in desk.ledger.orders if order["clientOrderId"] == stop.client_order_id]
    assert stop.exchange_order_id == str(triggered["orderId"])
