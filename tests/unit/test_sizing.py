from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.sizing import LotRule, lot_rule, quantity_for
from execution.domain.trading import OrderType
from tests.unit.examples import BTCUSDT

notionals = st.decimals(min_value="0.01", max_value="1e7", places=2)
prices = st.decimals(min_value="0.00001", max_value="200000", places=5)
steps = st.sampled_from(["0.00001", "0.001", "0.1", "1", "10", "1000"]).map(Decimal)


@given(notionals, prices, steps)
def test_a_quantity_is_a_multiple_of_the_step_and_never_worth_more_than_asked(
    notional: Decimal, price: Decimal, step: Decimal
) -> None:
    quantity = quantity_for(notional, price, LotRule(step=step, minimum=step, maximum=Decimal(10**9)))

    assert quantity % step == 0
    assert quantity * price <= notional
    # It should not waste a whole step either
    assert (quantity + step) * price > notional


def test_too_little_money_for_one_step_buys_nothing() -> None:
    lot = LotRule(step=Decimal("0.001"), minimum=Decimal("0.001"), maximum=Decimal(1000))

    # It should not be enlarged to the step, nor to the minimum
    assert quantity_for(Decimal("49.99"), Decimal(50000), lot) == 0
    assert quantity_for(Decimal(50), Decimal(50000), lot) == Decimal("0.001")


def test_a_limit_order_is_held_against_the_limit_filter_only() -> None:
    rules = replace(BTCUSDT, market_step=Decimal("0.01"), market_max_quantity=Decimal(120))

    assert lot_rule(rules, OrderType.LIMIT) == LotRule(
        step=Decimal("0.001"), minimum=Decimal("0.001"), maximum=Decimal(1000)
    )


@pytest.mark.parametrize(
    ("limit_step", "market_step", "step"), [("0.001", "0.01", "0.01"), ("0.01", "0.001", "0.01"), ("1", "1", "1")]
)
def test_a_market_order_fits_both_filters(limit_step: str, market_step: str, step: str) -> None:
    rules = replace(
        BTCUSDT,
        limit_step=Decimal(limit_step),
        market_step=Decimal(market_step),
        market_min_quantity=Decimal("0.02"),
        market_max_quantity=Decimal(120),
    )

    lot = lot_rule(rules, OrderType.MARKET)

    # It should take the coarser step, the larger minimum and the smaller maximum
    assert lot == LotRule(step=Decimal(step), minimum=Decimal("0.02"), maximum=Decimal(120))
