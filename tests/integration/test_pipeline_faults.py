"""Answers that are lost, late or untrue: the unknown stays so until evidence ends it, and nothing is doubled."""

from decimal import Decimal
from time import monotonic
from typing import Any

import pytest

from execution.domain.closing import LOOK_UPS_SECONDS
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import Cost, Permit, Throttled
from execution.models import Order, PolicyValue, PositionSlot
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER

pytestmark = pytest.mark.django_db
D = Decimal
THROTTLED = {"code": -1008, "msg": "Request throttled by system-level protection."}


def quick_retries(desk: Desk) -> None:
    """Wait a hundredth of a second between attempts."""
    for version, key in enumerate(("execution.retry_backoff_base_sec", "execution.max_retry_backoff_sec"), start=1):
        PolicyValue.objects.create(key=key, value=D("0.01"), source="test", version=version, changed_at=desk.clock())


# Entries


LOST_AFTER: list[Any] = [
    pytest.param({"action": "drop_after"}, id="connection-lost"),
    pytest.param(
        {"action": "reply", "status": 503, "execute": True, "body": {"code": -1000, "msg": "Unknown error"}},
        id="503-unknown",
    ),
    pytest.param(
        {"action": "reply", "status": 503, "execute": True, "body": "<html>bad gateway</html>"}, id="503-without-code"
    ),
    pytest.param(
        {"action": "reply", "status": 400, "execute": True, "body": {"code": -1007, "msg": "Timeout waiting"}},
        id="-1007",
    ),
    pytest.param(
        {"action": "reply", "status": 400, "execute": True, "body": {"code": -1006, "msg": "Unexpected response"}},
        id="-1006",
    ),
    pytest.param(
        {
            "action": "reply",
            "status": 400,
            "execute": True,
            "body": {"code": -4116, "msg": "ClientOrderId is duplicated"},
        },
        id="-4116-duplicate-id",
    ),
    pytest.param({"action": "reply", "status": 200, "execute": True, "body": "not json"}, id="200-unreadable"),
    pytest.param({"action": "reply", "status": 200, "execute": True, "body": {}}, id="200-without-fields"),
]


@pytest.mark.parametrize("fault", LOST_AFTER)
def test_executed_entry_without_an_answer_is_looked_up_at_once_and_covered(desk: Desk, fault: dict[str, Any]) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", **fault)
    request_id = desk.decide()

    # It should not wait for the monitor: the position is open, and naked until its stop stands.
    assert desk.run(request_id) == "RECORDED"

    assert "UNKNOWN" in {step.to_state for step in desk.story(request_id)}
    assert len(desk.ledger.entries_sent) == 1
    assert len(desk.ledger.live_stops) == 1
    assert "order.failed" not in desk.events(request_id)
    desk.check()


@pytest.mark.parametrize("fault", LOST_AFTER)
def test_executed_entry_without_an_answer_is_found_covered_and_never_sent_again(
    desk: Desk, fault: dict[str, Any]
) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", **fault)
    # The queries lag behind the matching engine.
    desk.paper.add_fault(path=ORDER, method="GET", action="hide", count=1 + len(LOOK_UPS_SECONDS))
    request_id = desk.decide()

    # It should say that it does not know, and not that it failed.
    assert desk.run(request_id) == "UNKNOWN"
    assert desk.events(request_id) == []
    assert PositionSlot.objects.get().request_id == request_id

    desk.paper.clear_faults()
    desk.clock.let_pass(3)
    desk.cycle()

    # It should have found, covered and booked the one order.
    assert desk.request(request_id).state == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1
    assert "order.failed" not in desk.events(request_id)
    assert desk.events(request_id)[:6].count("trade.opened") == 1
    desk.check()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"action": "drop_before"}, id="connection-lost"),
        pytest.param({"action": "reply", "status": 503, "body": {"code": -1000, "msg": "Unknown error"}}, id="503"),
        pytest.param({"action": "reply", "status": 400, "body": {"code": -1007, "msg": "Timeout"}}, id="-1007"),
    ],
)
def test_entry_that_never_arrived_is_abandoned_with_evidence_and_never_sent_again(
    desk: Desk, fault: dict[str, Any]
) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", **fault)
    request_id = desk.decide()
    assert desk.run(request_id) == "UNKNOWN"

    # One look-up without a trace is no proof, and none before the order can no longer arrive.
    desk.clock.let_pass(3)
    for _ in range(3):
        desk.cycle()
    assert desk.request(request_id).state == "UNKNOWN"
    assert desk.order(request_id, "ENTRY").missing_readings == 3

    desk.clock.let_pass(30)
    desk.cycle()

    request, order = desk.request(request_id), desk.order(request_id, "ENTRY")
    assert (request.state, request.reason_code, order.state) == ("NOT_ACCEPTED", "ABSENCE_PROVEN", "NOT_ACCEPTED")
    assert "4 look-ups" in request.reason
    assert "no position" in request.reason
    assert desk.event(request_id, "order.failed")["reason_code"] == "ABSENCE_PROVEN"
    assert not PositionSlot.objects.exists()

    # It should never be sent again, by nobody.
    desk.run(request_id)
    desk.cycle()
    assert len(desk.ledger.entries_sent) == 1
    assert desk.ledger.positions == {}
    desk.check()


def test_one_look_up_after_the_window_is_not_proof(desk: Desk) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_before")
    request_id = desk.decide()
    desk.run(request_id)
    desk.clock.let_pass(60)

    desk.cycle()
    assert desk.request(request_id).state == "UNKNOWN"

    desk.cycle()
    assert desk.request(request_id).state == "NOT_ACCEPTED"


def test_order_that_the_look_up_forgets_is_found_in_the_history(desk: Desk) -> None:
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_after")
    desk.paper.add_fault(path=ORDER, method="GET", action="hide", count=None)
    request_id = desk.decide()
    desk.run(request_id)

    desk.clock.let_pass(10)
    desk.cycle()

    # It should be covered and booked by the first cycle, although the look-up goes on saying that it does not exist.
    assert desk.request(request_id).state == "RECORDED"
    assert desk.order(request_id, "ENTRY").last_evidence.startswith("order history: FILLED")
    assert len(desk.ledger.entries_sent) == 1
    desk.check()


def test_refused_entry_ends_at_once_with_the_exchange_s_reason(desk: Desk) -> None:
    refusal = {"code": -2019, "msg": "Margin is insufficient."}
    desk.paper.add_fault(path=ORDER, method="POST", action="reply", status=400, body=refusal)
    request_id = desk.decide()

    assert desk.run(request_id) == "REJECTED"

    request = desk.request(request_id)
    assert request.reason == "EXCHANGE_REJECTED: code=-2019 message=Margin is insufficient."
    failed = desk.event(request_id, "order.failed")
    assert (failed["error_code"], failed["attempts"], failed["reason_code"]) == (-2019, 1, "EXCHANGE_REJECTED")
    assert len(desk.ledger.entries_sent) == 1
    assert not PositionSlot.objects.exists()
    desk.check()


def test_throttled_entry_is_tried_again_under_the_same_id(desk: Desk) -> None:
    quick_retries(desk)
    desk.paper.add_fault(path=ORDER, method="POST", action="reply", status=503, body=THROTTLED)
    request_id = desk.decide()

    assert desk.run(request_id) == "RECORDED"

    sent = [params["newClientOrderId"] for params in desk.ledger.entries_sent]
    assert sent == [desk.order(request_id, "ENTRY").client_order_id] * 2
    assert desk.order(request_id, "ENTRY").attempts == 2
    desk.check()


def test_entry_that_is_throttled_every_time_is_given_up_after_three_attempts(desk: Desk) -> None:
    quick_retries(desk)
    outside = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
    desk.paper.add_fault(path=ORDER, method="POST", action="reply", status=400, body=outside, count=None)
    request_id = desk.decide()

    assert desk.outcome(request_id) == ("REJECTED", "EXCHANGE_REJECTED")

    sent = {params["newClientOrderId"] for params in desk.ledger.entries_sent}
    assert (len(desk.ledger.entries_sent), len(sent)) == (3, 1)
    failed = desk.event(request_id, "order.failed")
    assert (failed["attempts"], failed["error_code"]) == (3, -1021)


def test_limit_of_requests_silences_every_process(desk: Desk) -> None:
    limit = {"code": -1003, "msg": "Too many requests."}
    desk.paper.add_fault(
        path=ORDER, method="POST", action="reply", status=429, body=limit, headers={"Retry-After": "1"}
    )
    quick_retries(desk)
    request_id = desk.decide()
    other = desk.another()
    started = monotonic()

    assert desk.run(request_id) == "RECORDED"

    # It should have waited for as long as the exchange asked, and sent nothing meanwhile.
    assert monotonic() - started >= 1
    ledger = desk.ledger
    banned_at = next(row["t_ns"] for row in ledger.requests if row["status"] == 429)
    later = [row["t_ns"] for row in ledger.requests if row["t_ns"] > banned_at]
    assert min(later) - banned_at >= 990_000_000
    assert len(ledger.entries_sent) == 2

    # It should silence the others too, exits as well: a banned client that goes on is banned for longer.
    other.limiter.hold(Waits.EVERYBODY, 0.3)
    assert isinstance(desk.limiter.admit(Lane.PROTECT, Cost(), max_wait_seconds=0), Throttled)
    assert isinstance(desk.limiter.admit(Lane.PROTECT, Cost(), max_wait_seconds=5), Permit)
    desk.check()


def test_silent_exchange_leaves_the_request_where_it_is(desk: Desk) -> None:
    desk.paper.add_fault(path="/fapi/v1/depth", method="GET", action="drop_before", count=1)
    request_id = desk.decide()

    assert desk.run(request_id) == "CLEARED"

    # The monitor sends it on its way again.
    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.request(request_id).state == "RECORDED"
    desk.check()


def test_leverage_that_is_refused_refuses_the_entry(desk: Desk) -> None:
    refusal = {"code": -4028, "msg": "Leverage 5 is not valid"}
    desk.paper.add_fault(path="/fapi/v1/leverage", method="POST", action="reply", status=400, body=refusal)
    request_id = desk.decide()

    assert desk.run(request_id) == "DENIED"

    assert desk.request(request_id).reason_code == "LEVERAGE_MISMATCH"
    assert desk.event(request_id, "order.failed")["error_code"] == -4028
    assert desk.ledger.entries_sent == []
    assert not PositionSlot.objects.exists()


# Protection


def test_stop_level_that_has_passed_closes_the_position(desk: Desk) -> None:
    request_id = desk.decide(stop_loss=49000.0, take_profit=51000.0)
    desk.run(request_id, until="place_order")
    desk.paper.set_price("BTCUSDT", "48900")

    assert desk.run(request_id) == "RECORDED"
    desk.cycle()

    # It should be flat, by a reducing order, and closed as the stop that it could not have.
    ledger, trade = desk.ledger, desk.trade(request_id)
    assert (ledger.positions, ledger.live()) == ({}, [])
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "SL", ledger.net_pnl)
    close = desk.order(request_id, "CLOSE")
    assert (close.state, close.reduce_only, close.quantity) == ("FILLED", True, D("0.009"))
    assert len(ledger.entries_sent) == 1
    assert "FLATTENED" in {step.to_state for step in desk.story(request_id)}
    desk.check()


def test_target_level_that_has_passed_takes_the_gain(desk: Desk) -> None:
    request_id = desk.decide(stop_loss=49000.0, take_profit=51000.0)
    desk.run(request_id, until="place_order")
    desk.paper.set_price("BTCUSDT", "51100")

    assert desk.run(request_id) == "RECORDED"
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl) == ("CLOSED", "TP", desk.ledger.net_pnl)
    assert desk.ledger.live() == []
    desk.check()


@pytest.mark.parametrize("code", [-4045, -4120])
def test_stop_that_is_refused_for_good_closes_the_position(desk: Desk, code: int) -> None:
    desk.close_what_has_no_stop()
    desk.paper.add_fault(
        path=ALGO_ORDER, method="POST", action="reply", status=400, body={"code": code, "msg": "no"}, count=None
    )
    request_id = desk.decide()

    assert desk.run(request_id) == "RECORDED"
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason, ledger.positions) == ("CLOSED", "PROTECTION_FAILED", {})
    assert trade.net_pnl == ledger.net_pnl
    # A refusal of that kind is not asked twice.
    assert len(ledger.sent("POST", ALGO_ORDER)) == 1
    desk.check()


@pytest.mark.parametrize("action", ["drop_after", "drop_before"])
@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
def test_leg_without_an_answer_ends_as_exactly_one_live_leg(desk: Desk, action: str, kind: str) -> None:
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action=action, match={"type": kind})
    request_id = desk.decide()

    assert desk.run(request_id) == "RECORDED"

    # A stop stands before the step says so; a target may wait for the monitor.
    assert len(desk.ledger.live_stops) >= 1
    for _ in range(3):
        desk.clock.let_pass(12)
        desk.cycle()
    assert len(desk.ledger.live_stops) == len(desk.ledger.live_targets) == 1
    assert len(desk.ledger.entries_sent) == 1
    desk.check()

    desk.paper.set_price("BTCUSDT", "40000")
    desk.cycle()
    assert desk.trade(request_id).close_reason == "SL"
    desk.check()


def test_stop_that_arrives_late_is_one_too_many_and_is_cancelled(desk: Desk) -> None:
    """The first stop's answer and look-up are lost: a second is sent, and then the first turns out to be live."""
    desk.paper.add_fault(path=ALGO_ORDER, method="POST", action="drop_after", match={"type": "STOP_MARKET"})
    desk.paper.add_fault(path=ALGO_ORDER, method="GET", action="hide")
    request_id = desk.decide()

    assert desk.run(request_id) == "RECORDED"
    assert len(desk.ledger.live_stops) == 2

    desk.clock.let_pass(3)
    for _ in range(2):
        desk.cycle()

    assert len(desk.ledger.live_stops) == 1
    assert Order.objects.filter(purpose="STOP", state="CANCELED").count() == 1
    desk.check()


@pytest.mark.real_pauses
def test_stop_that_cannot_be_confirmed_in_time_closes_the_position(desk: Desk) -> None:
    desk.close_what_has_no_stop()
    for method in ("POST", "GET"):
        desk.paper.add_fault(path=ALGO_ORDER, method=method, action="drop_before", count=None)
    request_id = desk.decide()
    started = monotonic()

    assert desk.run(request_id) == "RECORDED"

    # It should have tried for half of the time that a position may be naked, at a measured pace, and then closed it:
    # an exchange that does not answer may not answer the close either.
    assert desk.max_unprotected.total_seconds() / 2 <= monotonic() - started < 60
    # Five a second, and fewer where the tries themselves take long.
    assert 2 <= len(desk.ledger.sent("POST", ALGO_ORDER)) <= 11
    assert desk.ledger.positions == {}
    desk.paper.clear_faults()
    desk.cycle()
    assert desk.trade(request_id).close_reason == "PROTECTION_FAILED"
    desk.check()


def test_fills_that_are_not_listed_yet_are_booked_later(desk: Desk) -> None:
    desk.paper.add_fault(path="/fapi/v1/userTrades", method="GET", action="reply", status=200, body=[])
    request_id = desk.decide()

    assert desk.run(request_id) == "PROTECTED"
    assert len(desk.ledger.live_stops) == 1

    desk.clock.let_pass(3)
    desk.cycle()
    assert desk.request(request_id).state == "RECORDED"
    desk.check()


def test_entry_off_the_step_is_rounded_anew_and_not_dumped(desk: Desk) -> None:
    desk.trade_opened("ETHUSDT")
    # Our process knows the old ones by now: 0.009 is no multiple of 0.004, and the default stop lies off the tick.
    desk.paper.control("POST", "symbols", {"symbol": "BTCUSDT", "step": "0.004", "tick": "0.5"})

    request_id = desk.trade_opened(position_size_usd=500.0)

    entries = [params for params in desk.ledger.entries_sent if params["symbol"] == "BTCUSDT"]
    assert [Decimal(params["quantity"]) for params in entries] == [Decimal("0.009"), Decimal("0.008")]
    assert desk.order(request_id, "ENTRY").quantity == desk.trade(request_id).quantity == Decimal("0.008")
    assert [(row["quantity"], Decimal(row["triggerPrice"]) % Decimal("0.5")) for row in desk.ledger.live_stops][-1] == (
        "0.008",
        Decimal(0),
    )
    # It should tell it, with the old numbers and the new ones.
    told = [line.details for line in desk.story(request_id) if line.trigger == "filters_changed"]
    assert told[0] == {"quantity": ["0.009", "0.008"]}
    assert told[1]["quantity_step"] == ["0.001", "0.004"]
    assert told[1]["tick_size"] == ["0.1", "0.5"]
    desk.check()


def test_entry_below_the_new_minimum_is_refused_once_and_filters_are_read_again(desk: Desk) -> None:
    desk.trade_opened("ETHUSDT")
    # Our process knows the old ones by now.
    desk.paper.control("POST", "symbols", {"symbol": "BTCUSDT", "step": "0.004", "tick": "0.5"})

    refused = desk.decide(position_size_usd=150.0)
    assert desk.outcome(refused) == ("REJECTED", "EXCHANGE_REJECTED")

    # It should not try the same again, and judge the next one by the new step.
    assert len([params for params in desk.ledger.entries_sent if params["symbol"] == "BTCUSDT"]) == 1
    desk.trade_opened(position_size_usd=500.0)
    assert desk.ledger.positions["BTCUSDT"] == Decimal("0.008")
    desk.check()
