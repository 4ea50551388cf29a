"""With --queue-position a resting order waits behind the volume that stood on its level when it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_exchange.config import AccountConfig, Config
from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.orders import Order, Ticket
from tests.paper_exchange.trader import BTC, D, Trader

# A level of the synthetic book on either side.
LEVEL, ASK_LEVEL = "49990", "50010"


def make_queue() -> Trader:
    return Trader(Config(static_prices=True, queue_position=True), SteppedClock(1_790_000_000_000))


@pytest.fixture
def queue() -> Trader:
    return make_queue()


def touch(trader: Trader, volume: D, price: str = LEVEL) -> None:
    trader.exchange.set_price(BTC, D(price), hold=True, volume=volume)


def amend(trader: Trader, order: Order, quantity: str, price: str = LEVEL) -> None:
    ticket = AmendTicket(symbol=BTC, side="BUY", quantity=D(quantity), price=D(price), order_id=order.order_id)
    trader.exchange.amendments.amend(trader.account, ticket)


def test_the_volume_before_it_trades_first(queue: Trader) -> None:
    stood = queue.market.book.volume_at("BUY", D(LEVEL))
    order = queue.bid("0.010", LEVEL)
    assert order.ahead == stood > 0

    touch(queue, stood - D("0.001"))
    assert (order.status, order.ahead) == ("NEW", D("0.001"))

    touch(queue, D("0.005"))
    # It should take what comes after: a partial fill.
    assert (order.status, order.executed, order.ahead) == ("PARTIALLY_FILLED", D("0.004"), D(0))

    touch(queue, D(1))
    assert (order.status, order.average_price) == ("FILLED", D(LEVEL))
    queue.check_identity()


def test_a_price_beyond_the_level_fills_at_once(queue: Trader) -> None:
    bid, ask = queue.bid("0.010", LEVEL), queue.ask("0.010", ASK_LEVEL)

    touch(queue, D("0.001"), "49989.9")
    assert (bid.status, ask.status) == ("FILLED", "NEW")

    touch(queue, D("0.001"), "50010.1")
    assert (ask.status, ask.average_price) == ("FILLED", D(ASK_LEVEL))


def test_orders_of_one_level_fill_by_arrival(queue: Trader) -> None:
    first, second = queue.bid("0.010", LEVEL), queue.bid("0.010", LEVEL)
    stood = queue.market.book.volume_at("BUY", D(LEVEL))

    touch(queue, stood + D("0.015"))

    assert (first.executed, second.executed) == (D("0.010"), D("0.005"))


def test_an_order_between_the_levels_is_alone(queue: Trader) -> None:
    order = queue.bid("0.010", "49990.5")
    assert order.ahead == 0
    touch(queue, D("0.010"), "49990.5")
    assert order.status == "FILLED"


def test_a_taker_meets_the_volume_before_the_order(queue: Trader) -> None:
    other = queue.exchange.state.add_account(AccountConfig(key="other", secret="s", balance=D(100_000_000)))
    best, stood = queue.market.book.best("BUY")
    order = queue.bid("0.010", str(best))

    def sell(quantity: D) -> None:
        queue.exchange.orders.place(other, Ticket(symbol=BTC, side="SELL", type="MARKET", quantity=quantity))

    sell(stood)
    assert (order.executed, order.ahead) == (D(0), D(0))

    sell(D("0.004"))
    assert (order.executed, order.fills[0].maker) == (D("0.004"), True)


@pytest.mark.parametrize(("quantity", "price"), [("0.008", LEVEL), ("0.012", LEVEL), ("0.010", "49990.10")])
def test_every_amendment_loses_the_place(queue: Trader, quantity: str, price: str) -> None:
    order = queue.bid("0.010", LEVEL)
    touch(queue, D("0.001"))
    place = order.queue_key

    queue.price("50000")
    amend(queue, order, quantity, price)

    assert order.ahead == queue.market.book.volume_at("BUY", D(price))
    assert order.queue_key != place
    assert queue.account.exposures[BTC, "BOTH"].bids == D(quantity) * D(price)


def test_amending_the_price_joins_another_level(queue: Trader) -> None:
    order = queue.bid("0.010", LEVEL)
    amend(queue, order, "0.010", "49980")
    assert order.ahead == queue.market.book.volume_at("BUY", D("49980"))


def test_without_the_setting_a_touch_fills_it_all(trader: Trader) -> None:
    order = trader.bid("0.010", LEVEL)
    touch(trader, D("0.001"))
    assert (order.ahead, order.status) == (None, "FILLED")


@given(volumes=st.lists(st.integers(1, 3_000), min_size=1, max_size=20))
def test_no_more_is_filled_than_came_through(volumes: list[int]) -> None:
    trader = make_queue()
    order = trader.bid("0.500", LEVEL)
    stood = trader.market.book.volume_at("BUY", D(LEVEL))

    for volume in volumes:
        touch(trader, volume * D("0.001"))

    came = sum(volumes) * D("0.001")
    assert order.executed == min(max(came - stood, D(0)), D("0.500"))
    trader.check_identity()
