"""A part of a position is a position of its own: same side and price, and the parts add up to the whole."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.external import direction_of, part_of
from execution.domain.outcomes import PositionReport
from execution.domain.trading import Direction

LOTS = st.integers(min_value=1, max_value=10_000)


def position(quantity: Decimal, position_side: str = "BOTH") -> PositionReport:
    return PositionReport(
        symbol="BTCUSDT",
        position_side=position_side,
        quantity=quantity,
        entry_price=Decimal(50_000),
        mark_price=Decimal(50_100),
        unrealized_pnl=quantity * 100,
        liquidation_price=Decimal(45_200),
        initial_margin=abs(quantity) * 10_000,
        notional=quantity * 50_100,
    )


@pytest.mark.parametrize(
    ("quantity", "side", "direction"),
    [
        ("0.015", "BOTH", Direction.LONG),
        ("-0.015", "BOTH", Direction.SHORT),
        ("0.015", "SHORT", Direction.SHORT),
        ("-0.015", "SHORT", Direction.SHORT),
    ],
)
def test_a_part_is_on_the_side_of_the_whole(quantity: str, side: str, direction: Direction) -> None:
    whole = position(Decimal(quantity), side)

    part = part_of(whole, Decimal("0.005"))

    assert (direction_of(part), abs(part.quantity)) == (direction, Decimal("0.005"))
    for figure in ("entry_price", "mark_price", "liquidation_price"):
        assert getattr(part, figure) == getattr(whole, figure)


@given(first=LOTS, second=LOTS, short=st.booleans())
def test_two_parts_are_as_large_as_the_whole(first: int, second: int, short: bool) -> None:  # noqa: FBT001 -- drawn
    sizes = [Decimal(lots) / 1000 for lots in (first, second)]
    whole = position(sum(sizes, Decimal(0)) * (-1 if short else 1))

    parts = [part_of(whole, size) for size in sizes]

    assert sum(part.quantity for part in parts) == whole.quantity
    for figure in ("notional", "initial_margin", "unrealized_pnl"):
        total = sum(getattr(part, figure) for part in parts)
        assert abs(total - getattr(whole, figure)) < Decimal("1e-15")
