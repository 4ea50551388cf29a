"""Exchange filters: the exact code for each thing that can be wrong with an order."""

from typing import Any

import pytest

from paper_exchange.errors import ExchangeError
from tests.paper_exchange.trader import D, Trader


def refusal(trader: Trader, *order: str, **terms: Any) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        trader.send(*order, **terms)
    assert trader.exchange.state.orders == []
    return caught.value


@pytest.mark.parametrize(
    ("kind", "quantity", "price", "code"),
    [
        ("LIMIT", "0.0010001", "49000", -1111),
        ("LIMIT", "0.001", "49000.001", -1111),
        ("LIMIT", "0.001", "49000.05", -4014),
        ("LIMIT", "0.001", "0", -4001),
        ("LIMIT", "0.001", "0.05", -4013),
        ("LIMIT", "0.001", "5000000.10", -4002),
        ("LIMIT", "0", "49000", -4003),
        ("LIMIT", "1000.001", "49000", -4005),
        ("MARKET", "120.001", "0", -4005),
        ("LIMIT", "0.001", "4900", -4164),
    ],
)
def test_price_and_quantity(trader: Trader, kind: str, quantity: str, price: str, code: int) -> None:
    assert refusal(trader, "BUY", kind, quantity, price).code == code


def test_sell_price_too_far_below_the_mark(trader: Trader) -> None:
    error = refusal(trader, "SELL", "LIMIT", "0.001", "47499.90")
    assert (error.code, error.msg) == (-4024, "Limit price can't be lower than 47500.00.")


def test_buy_price_too_far_above_the_mark(trader: Trader) -> None:
    error = refusal(trader, "BUY", "LIMIT", "0.001", "52500.10")
    assert (error.code, error.msg) == (-4016, "Limit price can't be higher than 52500.00.")


def test_trailing_zeros_are_not_precision(trader: Trader) -> None:
    assert trader.bid("0.002000", "49000.0000").status == "NEW"


def test_notional_message_names_the_minimum(trader: Trader) -> None:
    trader.price("4000")
    error = refusal(trader, "BUY", "MARKET", "0.001")
    assert error.msg == "Order's notional must be no smaller than 50 (unless you choose reduce only)."


def test_notional_is_waived_for_reduce_only(trader: Trader) -> None:
    trader.buy("0.001")
    trader.price("4000")
    assert trader.sell("0.001", reduce_only=True).status == "FILLED"


def test_unknown_symbol(trader: Trader) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.exchange.set_price("NOPEUSDT", D(1))
    assert (caught.value.code, caught.value.msg) == (-1121, "Invalid symbol.")


@pytest.mark.parametrize(("client_id", "code"), [("x" * 37, -4015), ("no blanks", -1100), ("äöü", -1100)])
def test_client_id(trader: Trader, client_id: str, code: int) -> None:
    assert refusal(trader, "BUY", "MARKET", "0.001", client_id=client_id).code == code


def test_client_id_is_unique_among_open_orders_only(trader: Trader) -> None:
    first = trader.bid("0.002", "49000", client_id="mine")
    with pytest.raises(ExchangeError) as caught:
        trader.buy("0.001", client_id="mine")
    assert (caught.value.code, caught.value.msg) == (-4116, "ClientOrderId is duplicated.")

    # It should be free again once its order has ended.
    trader.exchange.orders.cancel(trader.account, "BTCUSDT", first.order_id, None)
    assert trader.buy("0.001", client_id="mine").status == "FILLED"


def test_open_order_limit_per_symbol(trader: Trader) -> None:
    for _ in range(200):
        trader.bid("0.002", "49000")
    with pytest.raises(ExchangeError) as caught:
        trader.bid("0.002", "49000")
    assert caught.value.code == -2025


def test_margin_that_is_not_there(trader: Trader) -> None:
    # 10 000 USDT at leverage 20 carry a notional of 200 000.
    assert refusal(trader, "BUY", "MARKET", "4.1").code == -2019


def test_position_beyond_the_bracket_of_the_leverage(trader: Trader) -> None:
    trader.account.setting(trader.market.symbol).leverage = 125
    assert refusal(trader, "BUY", "LIMIT", "6.1", "50000").code == -2027
