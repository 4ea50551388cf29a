"""Reducing orders against what already reduces: each way of the switch, each position mode, long and short."""

from typing import Any

import pytest

from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.assumptions import assume
from paper_exchange.core.orders import Order
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import BTC, D, Trader

WAYS = [("refuse_2022", -2022), ("refuse_4118", -4118)]


def choose(trader: Trader, **switches: Any) -> None:
    for name, value in switches.items():
        trader.exchange.state.assumptions = assume(trader.exchange.state.assumptions, {name: value})


def reduce(trader: Trader, mode: Mode, kind: str, quantity: str) -> Order:
    price = mode.beyond(2) if kind == "LIMIT" else "0"
    return trader.send(mode.closing, kind, quantity, price, **mode.terms)


def code_of(caught: pytest.ExceptionInfo[ExchangeError]) -> int:
    return caught.value.code


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["LIMIT", "MARKET"])
@pytest.mark.parametrize(("way", "code"), WAYS)
def test_position_that_is_covered_refuses_further_reducers(
    trader: Trader, mode: Mode, kind: str, way: str, code: int
) -> None:
    choose(trader, reducing=way)
    mode.prepare(trader, "0.010")
    resting = [mode.rest(trader, "0.006"), mode.rest(trader, "0.004", 3)]

    with pytest.raises(ExchangeError) as caught:
        reduce(trader, mode, kind, "0.002")
    assert code_of(caught) == code
    # It should leave those that rest alone, and take the next one once one of them is gone.
    assert [order.status for order in resting] == ["NEW", "NEW"]
    trader.exchange.orders.cancel(trader.account, BTC, resting[1].order_id, None)
    assert reduce(trader, mode, kind, "0.004").status == ("NEW" if kind == "LIMIT" else "FILLED")


def test_refusal_is_minus_2022_unless_chosen_otherwise(trader: Trader) -> None:
    MODES[0].prepare(trader, "0.010")
    MODES[0].rest(trader, "0.010")
    with pytest.raises(ExchangeError) as caught:
        MODES[0].rest(trader, "0.001", 2)
    assert (code_of(caught), caught.value.msg) == (-2022, "ReduceOnly Order is rejected.")


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["LIMIT", "MARKET"])
def test_trim_takes_them_and_never_executes_more_than_the_position(trader: Trader, mode: Mode, kind: str) -> None:
    choose(trader, reducing="trim")
    mode.prepare(trader, "0.010")
    first = mode.rest(trader, "0.010")
    second = reduce(trader, mode, kind, "0.008")

    trader.price(mode.beyond(3))
    assert trader.position(mode.position_side).amount == 0
    assert first.executed + second.executed == D("0.010")
    # What had nothing left to reduce ends by the exchange's hand.
    left = [order for order in (first, second) if order.status != "FILLED"]
    assert [(order.status, order.expiry_reason) for order in left] == [("EXPIRED", 4)]


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("way", ["refuse_2022", "refuse_4118", "trim"])
def test_without_a_position_nothing_reduces(trader: Trader, mode: Mode, way: str) -> None:
    choose(trader, reducing=way)
    mode.prepare(trader)
    for kind in ("LIMIT", "MARKET"):
        with pytest.raises(ExchangeError) as caught:
            reduce(trader, mode, kind, "0.002")
        assert code_of(caught) == -2022


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_partly_covered_position_takes_the_rest(trader: Trader, mode: Mode) -> None:
    mode.prepare(trader, "0.010")
    mode.rest(trader, "0.006")
    assert mode.rest(trader, "0.004", 2).status == "NEW"


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_more_than_what_is_left(trader: Trader, mode: Mode) -> None:
    """A reduce-only order may be too large, a closing one of hedge mode may not."""
    mode.prepare(trader, "0.010")
    mode.rest(trader, "0.006")
    if not mode.is_hedge:
        assert mode.rest(trader, "0.008", 2).status == "NEW"
        return
    with pytest.raises(ExchangeError) as caught:
        mode.rest(trader, "0.008", 2)
    assert code_of(caught) == -2022


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_conditional_orders_do_not_count_before_their_trigger(trader: Trader, mode: Mode) -> None:
    mode.prepare(trader, "0.010")
    mode.stop(trader, "0.010")
    mode.stop(trader, "0.010", 2)
    assert mode.rest(trader, "0.010").status == "NEW"
    # Nor are they held against what rests when they are placed.
    assert mode.stop(trader, "0.010", 3).status == "NEW"


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("way", ["refuse_2022", "refuse_4118", "trim"])
def test_triggered_order_passes_what_rests(trader: Trader, mode: Mode, way: str) -> None:
    choose(trader, reducing=way)
    mode.prepare(trader, "0.010")
    resting = mode.rest(trader, "0.010")
    stop = mode.stop(trader, "0.010")

    trader.price(mode.against(1))
    assert (stop.status, trader.position(mode.position_side).amount) == ("FINISHED", D(0))
    assert (resting.status, resting.expiry_reason) == ("EXPIRED", 4)


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize(
    ("way", "reason"), [("refuse_2022", "Reduce Only reject"), ("refuse_4118", "ReduceOnly Order Failed")]
)
def test_triggered_order_is_refused_when_chosen_so(trader: Trader, mode: Mode, way: str, reason: str) -> None:
    choose(trader, reducing=way, reducing_at_trigger=True)
    mode.prepare(trader, "0.010")
    mode.rest(trader, "0.010")
    stop, closing = mode.stop(trader, "0.010"), mode.stop(trader, steps=2)

    trader.price(mode.against(1))
    assert (stop.status, stop.order) == ("REJECTED", None)
    assert stop.reject_reason.startswith(reason)
    assert abs(trader.position(mode.position_side).amount) == D("0.010")

    # closePosition closes in any case.
    trader.price(mode.against(2))
    assert (closing.status, trader.position(mode.position_side).amount) == ("FINISHED", D(0))


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_amendment_cannot_grow_past_what_is_left(trader: Trader, mode: Mode) -> None:
    mode.prepare(trader, "0.010")
    order = mode.rest(trader, "0.004")
    mode.rest(trader, "0.004", 2)
    amend = trader.exchange.amendments.amend

    def grown(quantity: str) -> AmendTicket:
        return AmendTicket(
            symbol=BTC, side=mode.closing, quantity=D(quantity), price=order.price, order_id=order.order_id
        )

    assert amend(trader.account, grown("0.006")).quantity == D("0.006")
    if not mode.is_hedge:
        assert amend(trader.account, grown("0.009")).quantity == D("0.009")
        return
    with pytest.raises(ExchangeError) as caught:
        amend(trader.account, grown("0.009"))
    assert (code_of(caught), order.quantity) == (-2022, D("0.006"))


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_other_side_of_the_market_is_left_alone(trader: Trader, mode: Mode) -> None:
    """Orders that open, and closing orders of the other position, do not count as reducers."""
    mode.prepare(trader, "0.010")
    trader.send(mode.opening, "LIMIT", "0.010", mode.against(1), **mode.side_terms)
    if mode.is_hedge:
        other = next(one for one in MODES if one.is_hedge and one is not mode)
        trader.send(other.opening, "MARKET", "0.010", **other.side_terms)
        other.rest(trader, "0.010")
    assert mode.rest(trader, "0.010").status == "NEW"
