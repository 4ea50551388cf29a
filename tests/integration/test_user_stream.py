"""The user-data stream: fills, exits and settings are acted upon when they are told, without a monitor cycle."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from execution.models import AuditEvent, Fill
from tests.support.desk import Desk
from tests.support.listener import Listener

pytestmark = pytest.mark.django_db


@pytest.fixture
def listener(desk: Desk) -> Iterator[Listener]:
    desk.clock.stop()
    with Listener(desk=desk) as made:
        yield made.connect()


def cycles(listener: Listener) -> int:
    return listener.started["cycle"]


def test_a_resting_entry_that_fills_is_covered_and_recorded_without_a_cycle(desk: Desk, listener: Listener) -> None:
    before = cycles(listener)
    request_id = desk.signal(price="49000", stop_loss="48000", take_profit="52000")
    assert desk.run(request_id) == "ACCEPTED"

    desk.paper.set_price("BTCUSDT", "48900")
    listener.until(lambda: desk.request(request_id).state == "RECORDED", what="the trade is recorded")

    assert cycles(listener) == before
    trade = desk.trade(request_id)
    assert (trade.state, trade.quantity, trade.entry_price) == ("OPEN", Decimal("0.010"), Decimal(49000))
    assert (desk.order(request_id, "STOP").state, desk.order(request_id, "TARGET").state) == ("ACCEPTED", "ACCEPTED")
    assert desk.order(request_id, "ENTRY").last_evidence.startswith("stream: FILLED")
    desk.check()


def test_a_triggered_stop_closes_the_trade_with_its_reason_and_exact_books(desk: Desk, listener: Listener) -> None:
    before = cycles(listener)
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)

    desk.paper.set_price("BTCUSDT", "48990")
    listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the trade is closed")

    assert cycles(listener) == before
    trade, stop = desk.trade(request_id), desk.order(request_id, "STOP")
    assert (trade.close_reason, stop.state) == ("SL", "FILLED")
    # It should have the books of the exchange, to the last digit.
    wallet = Decimal(desk.paper.summary()["wallet"])
    assert trade.net_pnl == wallet - 10_000
    # The trigger made a new order: it should be linked, also by news that come after the fills.
    assert stop.exchange_order_id
    assert stop.algo_id
    assert Fill.objects.get(trade=trade, entry=False).order == stop
    listener.hear("ALGO_UPDATE")
    assert desk.order(request_id, "STOP").last_evidence.startswith("stream: FILLED")
    # The other leg should be gone.
    assert desk.order(request_id, "TARGET").state == "CANCELED"
    desk.check()


def test_a_stop_cancelled_by_hand_is_replaced_at_once(desk: Desk, listener: Listener) -> None:
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    stop = desk.order(request_id, "STOP")
    before = cycles(listener)

    desk.person.sign_request("DELETE", "/fapi/v1/algoOrder", {"clientAlgoId": stop.client_order_id})
    listener.until(
        lambda: desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"],
        what="another stop stands",
    )

    assert cycles(listener) == before
    desk.check()


def test_a_position_closed_by_hand_is_booked_as_manual(desk: Desk, listener: Listener) -> None:
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    before = cycles(listener)

    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.009", reduceOnly="true")
    listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the trade is closed")

    assert (desk.trade(request_id).close_reason, cycles(listener)) == ("MANUAL", before)
    desk.check()


@pytest.mark.parametrize(
    ("path", "how", "reason"),
    [
        ("close", {"kind": "LIQUIDATION"}, "LIQUIDATION"),
        ("close", {"kind": "ADL"}, "ADL"),
        ("position", {"amount": "0", "client_id": "settlement_autoclose-1"}, "SETTLEMENT"),
    ],
)
def test_what_the_exchange_closes_is_booked_with_its_reason(
    desk: Desk, listener: Listener, path: str, how: dict[str, str], reason: str
) -> None:
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    before = cycles(listener)

    desk.paper.control("POST", path, {"symbol": "BTCUSDT", **how})
    listener.until(lambda: desk.trade(request_id).state == "CLOSED", what="the trade is closed")

    assert (desk.trade(request_id).close_reason, cycles(listener)) == (reason, before)
    assert desk.trade(request_id).net_pnl == desk.ledger.net_pnl


def test_leverage_changed_by_others_is_written_to_the_trade_and_handed_on(desk: Desk, listener: Listener) -> None:
    request_id = desk.trade_opened(stop_loss=49000, take_profit=52000)
    listener.until(lambda: True, what="a step")
    before = cycles(listener)
    desk.clock.let_pass(2)

    desk.person.change_leverage("BTCUSDT", 9)
    listener.hear("ACCOUNT_CONFIG_UPDATE")

    line = AuditEvent.objects.get(entity="trade", entity_id=str(request_id), trigger="leverage_changed")
    assert line.details == {"expected": 5, "actual": 9}
    assert cycles(listener) == before + 1
