"""Amendment of resting orders: what changes, what stays, what is refused."""

from typing import Any

import pytest

from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.orders import Order
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.trader import BTC, D, Trader


def amend(trader: Trader, order: Order, quantity: str, price: str, **terms: Any) -> Order:
    ticket = AmendTicket(
        symbol=BTC, side=order.side, quantity=D(quantity), price=D(price), order_id=order.order_id, **terms
    )
    return trader.exchange.amendments.amend(trader.account, ticket)


def test_new_price_and_quantity_under_the_same_ids(trader: Trader) -> None:
    order = trader.bid("0.010", "49000", client_id="a")

    amend(trader, order, "0.020", "49500", modify_id=77)

    assert (order.status, order.quantity, order.price, order.client_id) == ("NEW", D("0.020"), D("49500"), "a")
    assert order.stp == "NONE"
    assert trader.account.exposures[BTC, "BOTH"].bids == D("990")
    [record] = trader.exchange.amendments.history(trader.account, order.order_id)
    assert (record.price_before, record.price_after, record.count, record.modify_id) == (D(49000), D(49500), 1, 77)


def test_amended_order_queues_behind_and_may_take(trader: Trader) -> None:
    first, second = trader.bid("0.010", "49000"), trader.bid("0.010", "48000")
    amend(trader, second, "0.010", "49000")
    assert [order.order_id for order in trader.market.book.bids] == [first.order_id, second.order_id]

    amend(trader, first, "0.010", "50500")
    assert (first.status, first.average_price) == ("FILLED", D("50000.10"))


def test_smaller_order_queues_behind_too(trader: Trader) -> None:
    first, second = trader.bid("0.010", "49000"), trader.bid("0.010", "49000")
    amend(trader, first, "0.008", "49000")
    assert [order.order_id for order in trader.market.book.bids] == [second.order_id, first.order_id]


def test_quantity_below_what_is_filled_cancels(trader: Trader) -> None:
    price, available = trader.market.book.best("SELL")
    order = trader.bid(str(available + 1), str(price))
    assert (order.status, order.remaining) == ("PARTIALLY_FILLED", D(1))

    amend(trader, order, str(available), str(price))

    assert (order.status, order.executed) == ("CANCELED", available)


def test_post_only_order_that_would_take_is_cancelled(trader: Trader) -> None:
    order = trader.bid("0.010", "49000", time_in_force="GTX")
    amend(trader, order, "0.010", "50000.10")
    assert (order.status, order.executed) == ("CANCELED", D(0))


@pytest.mark.parametrize(
    ("quantity", "price", "terms", "code"),
    [
        ("0.010", "49000", {}, -5027),
        ("0.010", "49000.05", {}, -4014),
        ("0.0005", "49000", {}, -1111),
        ("10", "49000", {}, -2019),
        ("0.020", "49000", {"reduce_only": True}, -5047),
        ("0.010", "53000", {}, -4016),
    ],
)
def test_refusals_leave_the_order_as_it_was(
    trader: Trader, quantity: str, price: str, terms: dict[str, Any], code: int
) -> None:
    order = trader.bid("0.010", "49000")
    with pytest.raises(ExchangeError) as caught:
        amend(trader, order, quantity, price, **terms)
    assert caught.value.code == code
    assert (order.status, order.quantity, order.price) == ("NEW", D("0.010"), D("49000"))
    assert trader.exchange.amendments.history(trader.account, order.order_id) == []


def test_notional_below_the_minimum(trader: Trader) -> None:
    trader.price("30000")
    order = trader.bid("0.002", "29000")
    with pytest.raises(ExchangeError) as caught:
        amend(trader, order, "0.001", "29000")
    assert (caught.value.code, caught.value.msg) == (-5029, "Order's notional must be no smaller than 50.")


def test_order_that_has_ended(trader: Trader) -> None:
    order = trader.buy("0.010")
    with pytest.raises(ExchangeError) as caught:
        amend(trader, order, "0.020", "49000")
    assert caught.value.code == -2013
