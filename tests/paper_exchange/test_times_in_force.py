"""The rarer times in force: RPI meets retail flow only, GTE_GTC ends with its position."""

import pytest

from paper_exchange.core.amending import AmendTicket
from paper_exchange.errors import ExchangeError
from paper_exchange.ws.feed import make_publisher
from tests.paper_exchange.trader import BTC, D, Trader


def test_rpi_order_is_seen_by_nobody_and_met_by_retail_flow(trader: Trader) -> None:
    before = trader.market.book.depth("BUY", 5)
    order = trader.bid("0.010", "49999.90", time_in_force="RPI")

    assert trader.market.book.depth("BUY", 5) == before
    assert sum(quantity for _, quantity in trader.market.book.depth("BUY", 5, with_rpi=True)) > sum(
        quantity for _, quantity in before
    )
    # It should let a taker of the API pass it by.
    trader.sell("0.010")
    assert order.status == "NEW"

    trader.price("49999.90")
    assert (order.status, order.fills[0].maker) == ("FILLED", True)
    # 0.005 % of 499.999.
    assert order.fills[0].commission == D("0.02499995")


def test_rpi_order_is_post_only(trader: Trader) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.bid("0.010", "50100", time_in_force="RPI")
    assert caught.value.code == -5022

    order = trader.bid("0.010", "49000", time_in_force="RPI")
    ticket = AmendTicket(symbol=BTC, side="BUY", quantity=D("0.010"), price=D("50100"), order_id=order.order_id)
    trader.exchange.amendments.amend(trader.account, ticket)
    assert order.status == "CANCELED"


def test_rpi_order_can_be_cancelled(trader: Trader) -> None:
    order = trader.bid("0.010", "49999.90", time_in_force="RPI")
    trader.exchange.orders.cancel(trader.account, BTC, order.order_id, None)
    trader.price("49000")
    assert (order.status, order.executed) == ("CANCELED", D(0))


def test_symbol_without_permission_refuses_rpi(trader: Trader) -> None:
    trader.market.symbol.rpi = False
    with pytest.raises(ExchangeError) as caught:
        trader.bid("0.010", "49000", time_in_force="RPI")
    assert caught.value.code == -1115


def test_rpi_depth_stream_shows_it(trader: Trader) -> None:
    stream, plain = (make_publisher(trader.exchange, f"btcusdt@{name}@500ms") for name in ("rpiDepth", "depth"))
    assert stream is not None
    assert plain is not None
    trader.bid("0.010", "49999.90", time_in_force="RPI")
    [event] = stream.poll(trader.clock.now_ms())
    assert isinstance(event, dict)
    assert [price for price, _ in event["b"]] == ["49999.90"]
    [unchanged] = plain.poll(trader.clock.now_ms())
    assert isinstance(unchanged, dict)
    assert unchanged["b"] == []


def test_conditional_orders_end_with_their_position(trader: Trader) -> None:
    trader.buy("0.010")
    tied = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", time_in_force="GTE_GTC")
    free = trader.condition("SELL", "STOP_MARKET", "0.010", "48000")
    trader.sell("0.004")
    assert tied.status == "NEW"

    trader.sell("0.006")
    assert (tied.status, free.status) == ("EXPIRED", "NEW")


def test_triggered_limit_order_ends_with_its_position(trader: Trader) -> None:
    trader.buy("0.010")
    target = trader.condition("SELL", "TAKE_PROFIT", "0.010", "50500", price=D("50600"), time_in_force="GTE_GTC")
    trader.price("50500")
    assert (target.status, target.order is not None and target.order.status) == ("TRIGGERED", "NEW")

    trader.sell("0.010")
    assert target.order is not None
    assert (target.status, target.order.status, target.order.expiry_reason) == ("FINISHED", "EXPIRED", 6)


def test_trigger_without_a_position_opens_nothing(trader: Trader) -> None:
    tied = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", time_in_force="GTE_GTC")
    trader.price("48900")
    assert (tied.status, tied.order) == ("EXPIRED", None)


def test_hedge_mode_knows_which_position_ended(trader: Trader) -> None:
    trader.account.dual_side = True
    trader.buy("0.010", position_side="LONG")
    trader.sell("0.010", position_side="SHORT")
    long = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", time_in_force="GTE_GTC", position_side="LONG")
    short = trader.condition("BUY", "STOP_MARKET", "0.010", "51000", time_in_force="GTE_GTC", position_side="SHORT")
    trader.sell("0.010", position_side="LONG")
    assert (long.status, short.status) == ("EXPIRED", "NEW")
