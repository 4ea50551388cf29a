"""Matching: walking the book, resting, time in force, reduce-only, self-trade prevention, hedge mode."""

import pytest

from paper_exchange.config import AccountConfig
from paper_exchange.core.orders import Ticket
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.trader import BTC, D, Trader


def test_market_order_fills_at_the_best_price(trader: Trader) -> None:
    order = trader.buy("0.010")

    assert (order.status, order.executed, order.average_price) == ("FILLED", D("0.010"), D("50000.10"))


def test_large_market_order_walks_the_levels_and_pays_for_it(trader: Trader) -> None:
    levels = trader.market.book.depth("SELL", 3)
    quantity = levels[0][1] + levels[1][1]
    trader.account.wallet += 1_000_000

    order = trader.buy(str(quantity))

    assert [(fill.price, fill.quantity) for fill in order.fills] == levels[:2]
    # It should leave the third level as the best one until the next price step.
    assert trader.market.book.best("SELL") == levels[2]
    trader.exchange.step()
    assert trader.market.book.best("SELL") == levels[0]


def test_market_order_stops_at_the_take_bound_and_the_rest_expires(trader: Trader) -> None:
    trader.account.wallet += 10_000_000_000
    trader.account.setting(trader.market.symbol).leverage = 1
    trader.exchange.state.markets[BTC].mark = D("47640")

    order = trader.buy("120")

    assert (order.status, order.expiry_reason) == ("EXPIRED", 9)
    assert 0 < order.executed < 120
    assert max(fill.price for fill in order.fills) <= D("47640") * D("1.05")


def test_market_order_is_refused_when_even_the_best_price_is_out_of_bounds(trader: Trader) -> None:
    trader.market.mark = D("40000")
    with pytest.raises(ExchangeError) as caught:
        trader.buy("0.002")
    assert caught.value.code == -4131


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_empty_market(trader: Trader, side: str) -> None:
    trader.market.book.levels = 0
    with pytest.raises(ExchangeError) as caught:
        trader.send(side, "MARKET", "0.001")
    assert caught.value.code == -4131
    # It should still take resting orders, post-only ones too.
    assert trader.send(side, "LIMIT", "0.001", "50000", time_in_force="GTX").status == "NEW"


def test_limit_order_rests_until_the_price_comes(trader: Trader) -> None:
    order = trader.bid("0.010", "49900")
    assert order.status == "NEW"

    trader.price("49900.1")
    assert order.status == "NEW"

    trader.price("49900")
    # It should fill at its own price and pay the maker fee of 0.02 %.
    assert (order.status, order.average_price) == ("FILLED", D("49900"))
    assert (order.fills[0].maker, order.fills[0].commission) == (True, D("0.09980000"))
    assert not trader.account.has_open_orders()


def test_limit_order_that_crosses_takes_at_the_better_price(trader: Trader) -> None:
    order = trader.bid("0.010", "50500")
    assert (order.status, order.average_price, order.fills[0].maker) == ("FILLED", D("50000.10"), False)


def test_ioc_takes_what_is_there_and_expires(trader: Trader) -> None:
    price, available = trader.market.book.best("SELL")

    order = trader.bid(str(available + 1), str(price), time_in_force="IOC")

    assert (order.status, order.executed, order.expiry_reason) == ("EXPIRED", available, 2)


@pytest.mark.parametrize(("time_in_force", "price", "code"), [("FOK", "50000.10", -5021), ("GTX", "50000.10", -5022)])
def test_refusals_that_leave_no_record(trader: Trader, time_in_force: str, price: str, code: int) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.bid("3.500", price, time_in_force=time_in_force)

    assert caught.value.code == code
    assert trader.exchange.state.orders == []
    assert trader.account.orders[BTC] == []


def test_post_only_rests_inside_the_spread(trader: Trader) -> None:
    assert trader.bid("0.010", "50000", time_in_force="GTX").status == "NEW"
    assert trader.market.book.best("BUY") == (D("50000"), D("0.010"))


def test_good_till_date_expires(trader: Trader) -> None:
    end = trader.clock.now_ms() + 601_000
    order = trader.bid("0.010", "49000", time_in_force="GTD", good_till=end)

    trader.clock.advance(600_999)
    trader.exchange.step()
    assert order.status == "NEW"

    trader.clock.advance(1)
    trader.exchange.step()
    assert order.status == "EXPIRED"
    assert trader.market.book.bids.best() is None


def test_good_till_date_too_near(trader: Trader) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.bid("0.010", "49000", time_in_force="GTD", good_till=trader.clock.now_ms() + 600_000)
    assert caught.value.code == -5040


def test_reduce_only_never_executes_more_than_the_position(trader: Trader) -> None:
    trader.buy("0.005")

    order = trader.sell("0.010", reduce_only=True)

    assert (order.status, order.executed, order.expiry_reason) == ("EXPIRED", D("0.005"), 4)
    assert trader.position().amount == 0


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_reduce_only_without_a_position_is_refused(trader: Trader, side: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.send(side, "MARKET", "0.001", reduce_only=True)
    assert (caught.value.code, caught.value.msg) == (-2022, "ReduceOnly Order is rejected.")


def test_reduce_only_that_resting_orders_already_cover_is_refused(trader: Trader) -> None:
    trader.buy("0.010")
    trader.ask("0.010", "51000", reduce_only=True)
    with pytest.raises(ExchangeError) as caught:
        trader.ask("0.001", "51500", reduce_only=True)
    assert caught.value.code == -2022


def test_resting_reduce_only_expires_with_the_position(trader: Trader) -> None:
    trader.buy("0.010")
    target = trader.ask("0.010", "51000", reduce_only=True)

    trader.sell("0.010")

    assert (target.status, target.expiry_reason, target.executed) == ("EXPIRED", 4, D(0))


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "FILLED"),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
        ("NONE", "FILLED", "FILLED"),
    ],
)
def test_self_trade_prevention(trader: Trader, mode: str, maker: str, taker: str) -> None:
    resting = trader.ask("0.010", "50000")

    taking = trader.buy("0.010", stp=mode)

    assert (resting.status, taking.status) == (maker, taker)
    trader.check_identity()


def test_two_accounts_trade_with_each_other_inside_the_spread(trader: Trader) -> None:
    other = trader.exchange.state.add_account(AccountConfig(key="other", secret="s", balance=D(1000)))
    resting = trader.ask("0.010", "50000")

    taking = trader.exchange.orders.place(other, Ticket(symbol=BTC, side="BUY", type="MARKET", quantity=D("0.010")))

    assert (resting.status, taking.status, taking.average_price) == ("FILLED", "FILLED", D("50000"))
    # It should be one trade with the same id on both sides.
    assert resting.fills[0].trade_id == taking.fills[0].trade_id
    assert (resting.fills[0].maker, taking.fills[0].maker) == (True, False)
    trader.check_identity()


def test_hedge_mode_keeps_two_positions(trader: Trader) -> None:
    trader.account.dual_side = True
    trader.buy("0.010", position_side="LONG")
    trader.sell("0.004", position_side="SHORT")

    assert trader.position("LONG").amount == D("0.010")
    assert trader.position("SHORT").amount == D("-0.004")

    trader.sell("0.010", position_side="LONG")
    assert (trader.position("LONG").amount, trader.position("SHORT").amount) == (D(0), D("-0.004"))


def test_hedge_mode_refusals(trader: Trader) -> None:
    trader.account.dual_side = True
    for terms, code in (
        ({}, -4061),
        ({"position_side": "BOTH"}, -4061),
        ({"position_side": "LONG", "reduce_only": True}, -1106),
        ({"position_side": "LONG"}, -2022),
    ):
        with pytest.raises(ExchangeError) as caught:
            trader.sell("0.010", **terms)
        assert caught.value.code == code


def test_closing_more_than_the_hedge_position_is_refused(trader: Trader) -> None:
    trader.account.dual_side = True
    trader.buy("0.010", position_side="LONG")
    with pytest.raises(ExchangeError) as caught:
        trader.sell("0.011", position_side="LONG")
    assert caught.value.code == -2022


def test_one_way_mode_refuses_position_sides(trader: Trader) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.buy("0.010", position_side="LONG")
    assert caught.value.msg == "Order's position side does not match user's setting."


def test_price_match_takes_the_price_of_the_named_level(trader: Trader) -> None:
    order = trader.bid("0.010", "0", price_match="QUEUE")
    assert (order.status, order.price) == ("NEW", D("49999.90"))


def test_exposure_of_open_orders_returns_to_zero(trader: Trader) -> None:
    first, second = trader.bid("0.010", "49000"), trader.bid("0.020", "49500")
    exposure = trader.account.exposures[BTC, "BOTH"]
    assert exposure.bids == D("490") + D("990")

    trader.price("49500")
    trader.exchange.orders.cancel(trader.account, BTC, first.order_id, None)
    assert (second.status, exposure.bids) == ("FILLED", D(0))
