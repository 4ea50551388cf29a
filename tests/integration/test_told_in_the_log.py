"""What the log tells an operator: each refusal once, at INFO, with id, code and numbers; routine is no warning."""

from collections.abc import Iterator
from typing import Any

import pytest

from execution.orders.end_request import expire_request
from tests.support.desk import Desk
from tests.support.listener import Listener
from tests.support.log_lines import log_lines

pytestmark = pytest.mark.django_db
LEG = "leg_ended_without_fill"


def only(logs: list[Any], event: str) -> dict[str, Any]:
    found = [line for line in logs if line["event"] == event]
    assert len(found) == 1, logs
    return dict(found[0])


@pytest.mark.parametrize(("side", "stop"), [("buy", 51000.0), ("sell", 49000.0)])
def test_a_refusal_of_the_guard_is_told_with_its_numbers(desk: Desk, side: str, stop: float) -> None:
    request_id = desk.signal(side=side, stop_loss=stop)
    with log_lines() as logs:
        assert desk.run(request_id) == "DENIED"

    told = only(logs, "request_ended")
    assert (told["log_level"], told["request_id"], told["state"]) == ("info", str(request_id), "DENIED")
    assert (told["symbol"], told["side"], told["code"]) == ("BTCUSDT", side, "STOP_ON_WRONG_SIDE")
    assert told["reason"] == desk.request(request_id).reason
    assert told["reason"].startswith("STOP_ON_WRONG_SIDE: ")
    assert str(int(stop)) in told["reason"]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_refusal_of_the_exchange_is_told_too(desk: Desk, side: str) -> None:
    request_id = desk.signal(side=side)
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="refuse", code=-2019, count=1)
    with log_lines() as logs:
        assert desk.run(request_id) == "REJECTED"

    told = only(logs, "request_ended")
    assert (told["log_level"], told["request_id"], told["code"]) == ("info", str(request_id), "EXCHANGE_REJECTED")
    assert "-2019" in told["reason"]


def test_a_message_that_is_not_understood_is_told_with_its_entry(desk: Desk) -> None:
    entry_id = desk.publish("ai.decision.made", {"symbol": "BTCUSDT", "side": "sideways"})
    with log_lines() as logs:
        desk.read_bus()

    told = only(logs, "event_refused")
    assert (told["log_level"], told["entry_id"], told["code"]) == ("info", entry_id, "INVALID_FIELD")
    assert "side" in told["reason"]


def test_who_loses_the_race_for_an_end_tells_nothing(desk: Desk) -> None:
    request_id = desk.signal(stop_loss=51000.0)
    stale = desk.request(request_id)
    desk.run(request_id)
    with log_lines() as logs:
        assert expire_request(stale, now=desk.clock()) is False

    assert [line for line in logs if line["event"] == "request_ended"] == []


@pytest.fixture
def listener(desk: Desk) -> Iterator[Listener]:
    desk.clock.stop()
    with Listener(desk=desk) as made:
        yield made.connect()


@pytest.mark.parametrize(("side", "price"), [("buy", "51010"), ("sell", "48990")])
def test_legs_that_go_with_their_position_are_no_warning(desk: Desk, listener: Listener, side: str, price: str) -> None:
    stop, target = (49000, 51000) if side == "buy" else (51000, 49000)
    request_id = desk.trade_opened(side=side, stop_loss=stop, take_profit=target)
    with log_lines() as logs:
        desk.paper.set_price("BTCUSDT", price)
        listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the trade is closed")
        listener.until(lambda: desk.order(request_id, "STOP").state == "CANCELED", what="its stop is gone")

    assert [line for line in logs if line["event"] == LEG and line["log_level"] == "warning"] == []


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_stop_that_others_cancel_is_a_warning(desk: Desk, listener: Listener, side: str) -> None:
    stop, target = (49000, 51000) if side == "buy" else (51000, 49000)
    request_id = desk.trade_opened(side=side, stop_loss=stop, take_profit=target)
    order = desk.order(request_id, "STOP")
    with log_lines() as logs:
        desk.person.sign_request("DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": order.client_order_id})
        listener.until(lambda: desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"], what="another stop")

    told = only(logs, LEG)
    assert (told["log_level"], told["client_order_id"]) == ("warning", order.client_order_id)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_target_that_is_replaced_is_no_warning(desk: Desk, listener: Listener, side: str) -> None:
    stop, target = (49000, 51000) if side == "buy" else (51000, 49000)
    request_id = desk.trade_opened(side=side, stop_loss=stop, take_profit=target)
    order = desk.order(request_id, "TARGET")
    with log_lines() as logs:
        desk.person.sign_request("DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": order.client_order_id})
        listener.until(lambda: desk.order_states(request_id, "TARGET") == ["CANCELED", "ACCEPTED"], what="another")

    assert only(logs, LEG)["log_level"] == "info"
