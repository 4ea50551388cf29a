"""Conditional orders: when they fire, what they become, and what happens when they cannot."""

from typing import Any

import pytest

from paper_exchange.errors import ExchangeError
from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import D, Trader


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "before", "at"),
    [
        ("BUY", "STOP_MARKET", "51000", "50999.90", "51000"),
        ("SELL", "STOP_MARKET", "49000", "49000.10", "49000"),
        ("BUY", "TAKE_PROFIT_MARKET", "49000", "49000.10", "49000"),
        ("SELL", "TAKE_PROFIT_MARKET", "51000", "50999.90", "51000"),
    ],
)
def test_fires_exactly_at_its_trigger(trader: Trader, side: str, kind: str, trigger: str, before: str, at: str) -> None:
    algo = trader.condition(side, kind, "0.010", trigger, client_id="c-1")

    trader.price(before)
    assert (algo.status, algo.order) == ("NEW", None)

    trader.price(at)
    # It should be an ordinary market order under the same client id.
    assert algo.status == "FINISHED"
    assert algo.order is not None
    assert (algo.order.type, algo.order.status, algo.order.client_id) == ("MARKET", "FILLED", "c-1")
    assert algo.order.executed == D("0.010")
    assert not trader.account.open_algos


@pytest.mark.parametrize(
    ("side", "kind", "trigger"),
    [
        ("BUY", "STOP_MARKET", "50000"),
        ("SELL", "STOP_MARKET", "50000"),
        ("BUY", "TAKE_PROFIT_MARKET", "50100"),
        ("SELL", "TAKE_PROFIT_MARKET", "49900"),
    ],
)
def test_condition_that_is_already_met_is_refused(trader: Trader, side: str, kind: str, trigger: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.condition(side, kind, "0.010", trigger)
    assert (caught.value.code, caught.value.msg) == (-2021, "Order would immediately trigger.")
    assert trader.exchange.state.algos == []


def test_stop_limit_becomes_a_resting_limit_order(trader: Trader) -> None:
    algo = trader.condition("SELL", "STOP", "0.010", "49500", price=D("49600"))

    trader.price("49500")
    assert algo.order is not None
    assert (algo.status, algo.order.status, algo.order.price) == ("TRIGGERED", "NEW", D("49600"))

    # It should finish with its order.
    trader.price("49600")
    assert (algo.status, algo.order.status) == ("FINISHED", "FILLED")


def test_cancelling_the_triggered_order_finishes_the_conditional_one(trader: Trader) -> None:
    algo = trader.condition("SELL", "STOP", "0.010", "49500", price=D("49600"), client_id="s")
    trader.price("49500")

    trader.exchange.orders.cancel(trader.account, "BTCUSDT", None, "s")

    assert algo.status == "FINISHED"
    assert algo.order is not None
    assert algo.order.executed == 0


def test_working_type_chooses_the_price_that_counts(trader: Trader) -> None:
    by_mark = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", working_type="MARK_PRICE")
    by_last = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", working_type="CONTRACT_PRICE")

    trader.exchange.move(trader.market, D("49500"), D("48900"))

    assert (by_mark.status, by_last.status) == ("FINISHED", "NEW")


def test_price_protection_holds_the_trigger_while_mark_and_last_differ(trader: Trader) -> None:
    algo = trader.condition("SELL", "STOP_MARKET", "0.010", "47000", price_protect=True)

    trader.exchange.move(trader.market, D("46000"), D("50000"))
    assert algo.status == "NEW"

    trader.exchange.move(trader.market, D("46000"), D("46000"))
    assert algo.status == "FINISHED"


def test_close_position_closes_all_of_it(trader: Trader) -> None:
    trader.buy("0.010")
    algo = trader.condition("SELL", "STOP_MARKET", trigger="49000", close_position=True)
    trader.buy("0.005")

    trader.price("48900")

    assert trader.position().amount == 0
    assert algo.order is not None
    assert (algo.status, algo.order.quantity, algo.order.close_position) == ("FINISHED", D("0.015"), True)


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
def test_second_order_that_closes_all_on_the_same_side_is_refused(trader: Trader, mode: Mode, kind: str) -> None:
    mode.prepare(trader, "0.010")
    sign = 1 if kind == "STOP_MARKET" else -1
    other = {"STOP_MARKET": "TAKE_PROFIT_MARKET", "TAKE_PROFIT_MARKET": "STOP_MARKET"}[kind]
    first = mode.stop(trader, kind=kind, steps=sign)
    # It should take a stop beside a target, and beside one with a quantity.
    assert mode.stop(trader, kind=other, steps=-sign).status == "NEW"
    assert mode.stop(trader, "0.010", kind=kind, steps=2 * sign).status == "NEW"
    with pytest.raises(ExchangeError) as caught:
        mode.stop(trader, kind=kind, steps=2 * sign)
    assert (caught.value.code, caught.value.msg) == (
        -4130,
        "An open stop or take profit order with GTE and closePosition in the direction is existing.",
    )
    # It should take another one when the first is gone.
    trader.exchange.algos.cancel(trader.account, first.algo_id, None)
    assert mode.stop(trader, kind=kind, steps=2 * sign).status == "NEW"


def test_both_sides_may_be_closed_by_an_order_each(trader: Trader) -> None:
    for mode in MODES[:2]:
        assert mode.stop(trader).status == "NEW"


def test_both_positions_of_hedge_mode_may_be_closed_by_an_order_each(trader: Trader) -> None:
    MODES[2].prepare(trader, "0.010")
    for mode in MODES[2:]:
        assert mode.stop(trader).status == "NEW"


def test_close_position_without_a_position_expires(trader: Trader) -> None:
    algo = trader.condition("SELL", "STOP_MARKET", trigger="49000", close_position=True)
    trader.price("48900")
    assert (algo.status, algo.order) == ("EXPIRED", None)


def test_reduce_only_without_a_position_is_rejected_at_its_trigger(trader: Trader) -> None:
    algo = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", reduce_only=True)
    trader.price("48900")
    assert (algo.status, algo.reject_reason, algo.order) == ("REJECTED", "Reduce Only reject", None)
    assert trader.exchange.state.orders == []


def test_margin_is_checked_at_the_trigger_only(trader: Trader) -> None:
    algo = trader.condition("BUY", "STOP_MARKET", "10", "51000")
    trader.price("51000")
    assert (algo.status, algo.reject_reason) == ("REJECTED", "margin not enough")


def test_second_leg_of_a_bracket_does_not_open_a_new_position(trader: Trader) -> None:
    trader.buy("0.010")
    stop = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", reduce_only=True)
    target = trader.condition("SELL", "TAKE_PROFIT_MARKET", "0.010", "51000", reduce_only=True)

    trader.price("51000")
    trader.price("48000")

    assert (target.status, stop.status, stop.reject_reason) == ("FINISHED", "REJECTED", "Reduce Only reject")
    assert trader.position().amount == 0
    trader.check_identity()


@pytest.mark.parametrize(
    ("side", "path", "turn"),
    [("SELL", ["50500", "51000", "50500"], "50490"), ("BUY", ["49500", "49000", "49400"], "49490")],
)
def test_trailing_stop_follows_the_best_price(trader: Trader, side: str, path: list[str], turn: str) -> None:
    algo = trader.condition(side, "TRAILING_STOP_MARKET", "0.010", callback_rate=D(1))
    for price in path:
        trader.price(price)
    assert algo.status == "NEW"

    trader.price(turn)
    assert algo.status == "FINISHED"


def test_trailing_stop_waits_for_its_activation(trader: Trader) -> None:
    algo = trader.condition("SELL", "TRAILING_STOP_MARKET", "0.010", callback_rate=D(1), activate_price=D("51000"))
    trader.price("49000")
    assert (algo.status, algo.activated) == ("NEW", False)

    trader.price("51000")
    assert (algo.status, algo.activated) == ("NEW", True)

    trader.price("50490")
    assert algo.status == "FINISHED"


@pytest.mark.parametrize(("side", "activation"), [("BUY", "50000"), ("SELL", "50000")])
def test_activation_price_that_is_already_passed(trader: Trader, side: str, activation: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        trader.condition(side, "TRAILING_STOP_MARKET", "0.010", callback_rate=D(1), activate_price=D(activation))
    assert caught.value.code == -2021


def test_cancel(trader: Trader) -> None:
    algo = trader.condition("SELL", "STOP_MARKET", "0.010", "49000", client_id="c")

    trader.exchange.algos.cancel(trader.account, None, "c")
    trader.price("48000")
    assert (algo.status, algo.order) == ("CANCELED", None)

    with pytest.raises(ExchangeError) as caught:
        trader.exchange.algos.cancel(trader.account, None, "c")
    assert caught.value.code == -2011


def test_two_hundred_conditional_orders_are_the_limit(trader: Trader) -> None:
    def place(**terms: Any) -> None:
        trader.condition("SELL", "STOP_MARKET", "0.010", "49000", **terms)

    for _ in range(200):
        place()
    with pytest.raises(ExchangeError) as caught:
        place()
    assert (caught.value.code, caught.value.msg) == (-4045, "Reach max stop order limit.")


def test_client_id_is_unique_among_open_conditional_orders(trader: Trader) -> None:
    trader.condition("SELL", "STOP_MARKET", "0.010", "49000", client_id="c")
    with pytest.raises(ExchangeError) as caught:
        trader.condition("SELL", "STOP_MARKET", "0.010", "48000", client_id="c")
    assert caught.value.code == -4116
