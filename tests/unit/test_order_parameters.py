from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from execution.adapters.binance.order_parameters import algo_parameters, order_parameters
from execution.domain.ports import OrderTicket
from execution.domain.trading import OrderType, PositionSide, Side, TimeInForce

LIMIT = {
    "client_order_id": "es1-e",
    "symbol": "BTCUSDT",
    "side": Side.BUY,
    "position_side": PositionSide.BOTH,
    "order_type": OrderType.LIMIT,
    "quantity": Decimal("0.010"),
    "price": Decimal(49000),
}


def at_ms(moment: datetime) -> int:
    """The exchange's clock is two seconds ahead of ours."""
    return int(moment.timestamp() * 1000) + 2000


@pytest.mark.parametrize(("ahead", "expected"), [(1, 660), (600, 660), (700, 700), (86_400, 86_400), (-5, 660)])
def test_the_end_at_the_exchange_is_its_own_or_as_soon_as_is_taken(ahead: int, expected: int) -> None:
    now = datetime.now(UTC)

    sent = order_parameters(OrderTicket(**LIMIT, good_till=now + timedelta(seconds=ahead)), at_ms)  # type: ignore[arg-type]

    # Whole seconds, rounded up: never before its own end, and more than 600 s ahead by the exchange's clock.
    good_till = sent["goodTillDate"]
    assert sent["timeInForce"] == "GTD"
    assert isinstance(good_till, int)
    assert good_till % 1000 == 0
    assert 0 <= good_till - at_ms(now) - expected * 1000 < 2000


def test_an_end_in_the_year_10000_is_the_latest_that_is_taken() -> None:
    sent = order_parameters(OrderTicket(**LIMIT, good_till=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)), at_ms)  # type: ignore[arg-type]

    assert sent["goodTillDate"] == 253_402_300_798_000


def test_an_order_without_an_end_rests_until_it_is_cancelled() -> None:
    sent = order_parameters(OrderTicket(**LIMIT), at_ms)  # type: ignore[arg-type]

    assert (sent["timeInForce"], "goodTillDate" in sent) == ("GTC", False)


@pytest.mark.parametrize("kind", [TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTX])
def test_the_exchange_gets_no_end_with_a_time_in_force_that_has_none(kind: TimeInForce) -> None:
    good_till = datetime.now(UTC) + timedelta(hours=1)

    sent = order_parameters(OrderTicket(**LIMIT, time_in_force=kind, good_till=good_till), at_ms)  # type: ignore[arg-type]

    assert (sent["timeInForce"], "goodTillDate" in sent) == (kind, False)


@pytest.mark.parametrize("kind", [TimeInForce.GTC, TimeInForce.GTD])
def test_what_rests_until_a_time_is_gtd_at_the_exchange(kind: TimeInForce) -> None:
    good_till = datetime.now(UTC) + timedelta(hours=1)

    sent = order_parameters(OrderTicket(**LIMIT, time_in_force=kind, good_till=good_till), at_ms)  # type: ignore[arg-type]

    assert (sent["timeInForce"], sent["goodTillDate"]) == ("GTD", -(-at_ms(good_till) // 1000) * 1000)


def test_a_market_order_has_no_time_in_force() -> None:
    ticket = OrderTicket(**LIMIT | {"order_type": OrderType.MARKET, "price": None}, good_till=datetime.now(UTC))  # type: ignore[arg-type]

    assert "timeInForce" not in order_parameters(ticket, at_ms)


# Every word of an order, on both sides

BUY_MARKET = OrderTicket(
    client_order_id="es1-e",
    symbol="BTCUSDT",
    side=Side.BUY,
    position_side=PositionSide.BOTH,
    order_type=OrderType.MARKET,
    quantity=Decimal("0.0100"),
)


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("position_side", list(PositionSide))
@pytest.mark.parametrize("reduce_only", [False, True])
def test_a_market_order_says_side_position_and_whether_it_only_reduces(
    side: Side, position_side: PositionSide, *, reduce_only: bool
) -> None:
    ticket = replace(BUY_MARKET, side=side, position_side=position_side, reduce_only=reduce_only)

    assert order_parameters(ticket, at_ms) == {
        "symbol": "BTCUSDT",
        "side": side.value,
        "type": "MARKET",
        "quantity": "0.01",
        "newClientOrderId": "es1-e",
        "newOrderRespType": "RESULT",
        **({"reduceOnly": "true"} if reduce_only else {}),
        **({} if position_side is PositionSide.BOTH else {"positionSide": position_side.value}),
    }


def test_a_limit_order_says_its_price() -> None:
    ticket = replace(BUY_MARKET, side=Side.SELL, order_type=OrderType.LIMIT, price=Decimal("49000.50"))

    assert order_parameters(ticket, at_ms) == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "quantity": "0.01",
        "price": "49000.5",
        "timeInForce": "GTC",
        "newClientOrderId": "es1-e",
        "newOrderRespType": "RESULT",
    }


@pytest.mark.parametrize(("side", "position_side"), [(Side.SELL, PositionSide.LONG), (Side.BUY, PositionSide.SHORT)])
@pytest.mark.parametrize("order_type", [OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET])
def test_a_conditional_order_waits_for_the_mark_price(
    side: Side, position_side: PositionSide, order_type: OrderType
) -> None:
    ticket = replace(
        BUY_MARKET,
        client_order_id="es1-s",
        side=side,
        position_side=position_side,
        order_type=order_type,
        trigger_price=Decimal("48750.10"),
    )

    assert algo_parameters(ticket) == {
        "symbol": "BTCUSDT",
        "side": side.value,
        "type": order_type.value,
        "quantity": "0.01",
        "positionSide": position_side.value,
        "triggerPrice": "48750.1",
        "algoType": "CONDITIONAL",
        "clientAlgoId": "es1-s",
        "workingType": "MARK_PRICE",
    }


@pytest.mark.parametrize(
    ("activation", "words"), [(None, {}), (Decimal("51000.0"), {"activatePrice": "51000"})], ids=["at once", "later"]
)
def test_a_trailing_stop_has_a_callback_and_no_trigger(activation: Decimal | None, words: dict[str, str]) -> None:
    ticket = replace(
        BUY_MARKET,
        side=Side.SELL,
        order_type=OrderType.TRAILING_STOP_MARKET,
        callback_percent=Decimal("1.20"),
        trigger_price=activation,
        reduce_only=True,
    )

    assert algo_parameters(ticket) == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "TRAILING_STOP_MARKET",
        "quantity": "0.01",
        "reduceOnly": "true",
        "callbackRate": "1.2",
        "algoType": "CONDITIONAL",
        "clientAlgoId": "es1-e",
        "workingType": "MARK_PRICE",
        **words,
    }


def test_a_conditional_order_without_a_trigger_is_a_fault_of_our_own() -> None:
    with pytest.raises(ValueError, match="conditional order es1-e without a trigger price"):
        algo_parameters(replace(BUY_MARKET, order_type=OrderType.STOP_MARKET))


def test_only_a_limit_order_with_a_price_says_one() -> None:
    priced = replace(BUY_MARKET, price=Decimal(49000), good_till=datetime(2030, 1, 1, tzinfo=UTC))
    without = replace(BUY_MARKET, order_type=OrderType.LIMIT)

    for ticket in (priced, without):
        assert {"price", "timeInForce", "goodTillDate"}.isdisjoint(order_parameters(ticket, at_ms))
