"""Splitting what reduces by the exchange's lots: sums, steps and bounds, for any lot and any quantity."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.lots import LotRule, Split, closing_parts, entry_lot, lot_parts, lot_rule, out_of_reach, split_of
from execution.domain.trading import OrderType
from tests.unit.examples import BTCUSDT

D = Decimal
steps = st.sampled_from(["0.001", "0.01", "0.5", "1", "3"]).map(D)


@st.composite
def lots(draw: st.DrawFn) -> LotRule:
    """A lot whose minimum and maximum may lie off its step, and close together."""
    step = draw(steps)
    least = draw(st.integers(1, 50)) * step
    most = least + draw(st.integers(0, 400)) * step / draw(st.sampled_from([1, 3]))
    return LotRule(step=step, minimum=least, maximum=most)


amounts = st.integers(1, 100_000).map(lambda thousandths: D(thousandths) / 1000)


@pytest.mark.parametrize(
    ("quantity", "minimum", "maximum", "parts"),
    [
        ("0.150", "0.001", "0.12", ["0.12", "0.030"]),
        ("0.120", "0.001", "0.12", ["0.120"]),
        ("0.245", "0.001", "0.12", ["0.12", "0.12", "0.005"]),
        # The last part would be below the minimum: the one before it leaves enough.
        ("0.125", "0.010", "0.12", ["0.115", "0.010"]),
        ("0.0009", "0.001", "0.12", []),
        # Minimum and maximum are one: as many of that as there is room for.
        ("8", "4", "4", ["4", "4"]),
        ("4", "4", "4", ["4"]),
        ("11.9", "4", "4", ["4", "4"]),
        # No two orders between 3 and 4 add up to 5.
        ("5", "3", "4", ["4"]),
        ("0.1505", "0.001", "0.1205", ["0.120", "0.030"]),
    ],
)
def test_parts_by_hand(quantity: str, minimum: str, maximum: str, parts: list[str]) -> None:
    lot = LotRule(step=D("0.001"), minimum=D(minimum), maximum=D(maximum))
    assert lot_parts(D(quantity), lot) == [D(part) for part in parts]


@given(lots(), amounts)
def test_every_part_is_an_order_that_the_exchange_takes(lot: LotRule, quantity: Decimal) -> None:
    parts = lot_parts(quantity, lot)

    assert all(part % lot.step == 0 and lot.minimum <= part <= lot.maximum for part in parts)
    assert sum(parts, D(0)) <= quantity
    assert parts == sorted(parts, reverse=True)


@given(lots(), amounts)
def test_parts_add_up_to_the_quantity_on_its_step_in_as_few_orders_as_can_be(lot: LotRule, quantity: Decimal) -> None:
    parts = lot_parts(quantity, lot)
    on_step = quantity // lot.step * lot.step
    most = lot.maximum // lot.step * lot.step

    if lot.minimum <= on_step and most >= 2 * lot.minimum:
        assert sum(parts, D(0)) == on_step
        assert len(parts) == ceil(Fraction(on_step) / Fraction(most))
    # Else nothing larger could be sent either.
    assert quantity - sum(parts, D(0)) < max(lot.step, lot.minimum) or most < 2 * lot.minimum


@given(lots(), amounts)
def test_a_split_is_counted_as_its_parts_are(lot: LotRule, quantity: Decimal) -> None:
    parts = lot_parts(quantity, lot)

    assert split_of(quantity, lot) == Split(number=len(parts), total=sum(parts, Decimal(0)))


def test_what_takes_millions_of_orders_is_counted_and_not_made() -> None:
    lot = LotRule(step=Decimal("0.001"), minimum=Decimal("0.001"), maximum=Decimal(120))

    assert split_of(Decimal("1e15"), lot) == Split(number=8_333_333_333_334, total=Decimal("1e15"))


@given(lots(), amounts, amounts)
def test_a_larger_quantity_is_never_closed_by_less(lot: LotRule, one: Decimal, other: Decimal) -> None:
    small, large = sorted([one, other])

    assert sum(lot_parts(small, lot), D(0)) <= sum(lot_parts(large, lot), D(0))
    assert len(lot_parts(small, lot)) <= len(lot_parts(large, lot))


@given(lots(), amounts)
def test_where_the_exchange_trims_everything_is_closed(lot: LotRule, quantity: Decimal) -> None:
    parts = closing_parts(quantity, lot, trims=True)
    most = lot.maximum // lot.step * lot.step

    if most >= 2 * lot.minimum:
        assert sum(parts, D(0)) >= quantity
        # It should ask for no more than what the exchange's grid adds.
        assert sum(parts, D(0)) < max(quantity + lot.step, lot.minimum + lot.step)
        assert out_of_reach(quantity, lot, trims=True) == 0


@given(lots(), amounts)
def test_where_it_does_not_nothing_is_closed_twice(lot: LotRule, quantity: Decimal) -> None:
    left = out_of_reach(quantity, lot, trims=False)

    assert sum(closing_parts(quantity, lot, trims=False), D(0)) + left == quantity
    assert left >= 0


@pytest.mark.parametrize(
    ("quantity", "step", "minimum", "maximum", "parts"),
    [
        # Minimum and maximum lie off the step: 0.02 and 0.05 are what can be sent.
        ("0.12", "0.01", "0.015", "0.055", ["0.05", "0.05", "0.02"]),
        ("0.11", "0.01", "0.015", "0.055", ["0.05", "0.04", "0.02"]),
        ("0.019", "0.01", "0.015", "0.055", []),
        ("0.02", "0.01", "0.015", "0.055", ["0.02"]),
        # Three of at least 3 are more than 8 and two of at most 3.5: two is the most.
        ("8", "0.5", "3", "3.5", ["3.5", "3.5"]),
        ("11", "0.5", "3", "3.5", ["3.5", "3.5", "3.5"]),
        # A minimum above the maximum takes nothing, and neither does a quantity of nothing.
        ("5", "1", "4", "3", []),
        ("0", "1", "0", "3", []),
        ("-1", "1", "0", "3", []),
        ("0.5", "1", "0", "3", []),
        ("1", "1", "2", "3", []),
        ("-7", "1", "2", "3", []),
        # The maximum is less than a step.
        ("2", "1", "0", "0.5", []),
        ("2", "1", "0.2", "0.5", []),
    ],
)
def test_parts_on_a_grid_of_their_own(quantity: str, step: str, minimum: str, maximum: str, parts: list[str]) -> None:
    lot = LotRule(step=D(step), minimum=D(minimum), maximum=D(maximum))

    assert lot_parts(D(quantity), lot) == [D(part) for part in parts]


@pytest.mark.parametrize(
    ("quantity", "trimmed", "exact", "left"),
    [
        ("0.004", ["0.02"], [], "0.004"),
        ("0.021", ["0.03"], ["0.02"], "0.001"),
        ("0.053", ["0.04", "0.02"], ["0.05"], "0.003"),
        ("0.05", ["0.05"], ["0.05"], "0"),
        ("0", [], [], "0"),
        ("-0.01", [], [], "0"),
    ],
)
def test_what_closes_a_quantity_off_the_lot(quantity: str, trimmed: list[str], exact: list[str], left: str) -> None:
    lot = LotRule(step=D("0.01"), minimum=D("0.015"), maximum=D("0.055"))

    assert closing_parts(D(quantity), lot, trims=True) == [D(part) for part in trimmed]
    assert closing_parts(D(quantity), lot, trims=False) == [D(part) for part in exact]
    assert out_of_reach(D(quantity), lot, trims=False) == D(left)
    assert out_of_reach(D(quantity), lot, trims=True) == 0


@pytest.mark.parametrize(("limit_step", "market_step", "step"), [("0.001", "0.01", "0.01"), ("0.01", "0.001", "0.01")])
@pytest.mark.parametrize("order_type", [OrderType.LIMIT, OrderType.MARKET])
def test_an_entry_lies_on_the_step_of_its_exits_too(
    order_type: OrderType, limit_step: str, market_step: str, step: str
) -> None:
    rules = replace(
        BTCUSDT, limit_step=D(limit_step), market_step=D(market_step), limit_min_quantity=D("0.002"),
        market_min_quantity=D("0.003"), limit_max_quantity=D(50), market_max_quantity=D(20),
    )  # fmt: skip
    least, most = ("0.002", 50) if order_type is OrderType.LIMIT else ("0.003", 20)

    assert entry_lot(rules, order_type) == LotRule(step=D(step), minimum=D(least), maximum=D(most))
    # It should take the stricter of the two filters for a market order
    turned = replace(rules, limit_min_quantity=D("0.004"), limit_max_quantity=D(10))
    assert lot_rule(turned, OrderType.MARKET) == LotRule(
        step=max(D(limit_step), D(market_step)), minimum=D("0.004"), maximum=D(10)
    )
