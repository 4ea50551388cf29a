from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.brackets import round_stop, round_target, stop_at, stop_distance, target_at, target_distance
from execution.domain.trading import Direction

LONG, SHORT = Direction.LONG, Direction.SHORT
directions = st.sampled_from(Direction)
prices = st.decimals(min_value="0.01", max_value="200000", places=4)
fractions = st.decimals(min_value="0.0001", max_value="0.5", places=4)
ticks = st.sampled_from(["0.0001", "0.01", "0.1", "0.5", "1"]).map(Decimal)


@pytest.mark.parametrize(
    ("direction", "stop", "distance"),
    [(LONG, 49000, "0.02"), (LONG, 51000, "-0.02"), (SHORT, 51000, "0.02"), (SHORT, 49000, "-0.02"), (LONG, 50000, 0)],
)
def test_a_stop_lies_on_the_losing_side_and_a_target_on_the_other(
    direction: Direction, stop: int, distance: str
) -> None:
    assert stop_distance(direction, Decimal(50000), Decimal(stop)) == Decimal(distance)
    assert target_distance(direction, Decimal(50000), Decimal(stop)) == -Decimal(distance)


@given(directions, prices, fractions)
def test_a_price_at_a_distance_has_that_distance(direction: Direction, price: Decimal, fraction: Decimal) -> None:
    stop, target = stop_at(direction, price, fraction), target_at(direction, price, fraction)

    assert stop_distance(direction, price, stop) == fraction
    assert target_distance(direction, price, target) == fraction
    # It should put the entry between the two
    assert (stop < price < target) is (direction is LONG)


@given(directions, prices, prices, ticks)
def test_a_stop_is_rounded_away_from_the_entry(
    direction: Direction, entry: Decimal, stop: Decimal, tick: Decimal
) -> None:
    rounded = round_stop(direction, stop, tick)

    assert rounded % tick == 0
    assert abs(rounded - stop) < tick
    assert stop_distance(direction, entry, rounded) >= stop_distance(direction, entry, stop)


@given(directions, prices, prices, ticks)
def test_a_target_is_rounded_towards_the_entry(
    direction: Direction, entry: Decimal, target: Decimal, tick: Decimal
) -> None:
    rounded = round_target(direction, target, tick)

    assert rounded % tick == 0
    assert abs(rounded - target) < tick
    assert target_distance(direction, entry, rounded) <= target_distance(direction, entry, target)


def test_roundings_by_hand() -> None:
    price, tick = Decimal("48750.05"), Decimal("0.10")

    assert [round_stop(LONG, price, tick), round_stop(SHORT, price, tick)] == [Decimal("48750.0"), Decimal("48750.1")]
    assert [round_target(LONG, price, tick), round_target(SHORT, price, tick)] == [
        Decimal("48750.0"),
        Decimal("48750.1"),
    ]
