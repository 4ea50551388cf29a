"""A part of a position is a position of its own: same side and price, and the parts add up to the whole."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain import policy as keys
from execution.domain.external import (
    STOPS,
    TARGETS,
    ForeignOrder,
    direction_of,
    exit_quantity_of_others,
    exits_for,
    position_part,
)
from execution.domain.outcomes import PositionReport
from execution.domain.policy import Policy
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
        ("0.015", "LONG", Direction.LONG),
        ("-0.015", "SHORT", Direction.SHORT),
    ],
)
def test_a_part_is_on_the_side_of_the_whole(quantity: str, side: str, direction: Direction) -> None:
    whole = position(Decimal(quantity), side)

    part = position_part(whole, Decimal("0.005"))

    assert (direction_of(part), abs(part.quantity)) == (direction, Decimal("0.005"))
    for figure in ("entry_price", "mark_price", "liquidation_price"):
        assert getattr(part, figure) == getattr(whole, figure)


@given(first=LOTS, second=LOTS, short=st.booleans())
def test_two_parts_are_as_large_as_the_whole(first: int, second: int, short: bool) -> None:  # noqa: FBT001 -- drawn
    sizes = [Decimal(lots) / 1000 for lots in (first, second)]
    whole = position(sum(sizes, Decimal(0)) * (-1 if short else 1))

    parts = [position_part(whole, size) for size in sizes]

    assert sum(part.quantity for part in parts) == whole.quantity
    for figure in ("notional", "initial_margin", "unrealized_pnl"):
        total = sum(getattr(part, figure) for part in parts)
        assert abs(total - getattr(whole, figure)) < Decimal("1e-15")


# What others' orders cover


def order(
    kind: str, side: str, quantity: str, position_side: str = "BOTH", *, closes_all: bool = False
) -> ForeignOrder:
    return ForeignOrder(
        kind=kind, side=side, position_side=position_side, quantity=Decimal(quantity), closes_all=closes_all
    )


@pytest.mark.parametrize(
    ("quantity", "position_side", "exit_side"),
    [("0.010", "BOTH", "SELL"), ("-0.010", "BOTH", "BUY"), ("0.010", "LONG", "SELL"), ("-0.010", "SHORT", "BUY")],
)
def test_only_orders_that_would_close_the_position_cover_it(quantity: str, position_side: str, exit_side: str) -> None:
    row = position(Decimal(quantity), position_side)
    other_side = "BUY" if exit_side == "SELL" else "SELL"
    elsewhere = "LONG" if position_side != "LONG" else "SHORT"

    def covered(*orders: ForeignOrder, kinds: frozenset[str] = STOPS) -> Decimal:
        return exit_quantity_of_others(row, orders, kinds)

    stop = order("STOP_MARKET", exit_side, "0.004", position_side)
    assert covered() == 0
    assert covered(stop) == Decimal("0.004")
    assert covered(stop, replace(stop, kind="STOP")) == Decimal("0.008")
    assert covered(stop, replace(stop, kind="TRAILING_STOP_MARKET", quantity=Decimal("0.005"))) == Decimal("0.009")
    # It should count no more than there is, and one that closes everything as all
    assert covered(stop, stop, stop) == Decimal("0.010")
    assert covered(order("STOP_MARKET", exit_side, "0", position_side, closes_all=True)) == Decimal("0.010")
    # It should leave out the other side, the other position and the other kind
    assert covered(replace(stop, side=other_side)) == 0
    assert covered(replace(stop, position_side=elsewhere)) == 0
    assert covered(replace(stop, kind="TAKE_PROFIT_MARKET"), replace(stop, kind="LIMIT")) == 0
    targets = (replace(stop, kind="TAKE_PROFIT_MARKET"), replace(stop, kind="TAKE_PROFIT"))
    assert covered(*targets, stop, kinds=TARGETS) == Decimal("0.008")


def test_the_kinds_of_exits() -> None:
    assert {"STOP", "STOP_MARKET", "TRAILING_STOP_MARKET"} == STOPS
    assert {"TAKE_PROFIT", "TAKE_PROFIT_MARKET"} == TARGETS


# Where our exits would lie


def exits(
    quantity: str, mark: str, liquidation: str = "0", side: str = "BOTH", **values: str
) -> tuple[Decimal | None, Decimal]:
    """Stop and target of a position from 50000, on a tick of 0.1, by a policy of 2.5 % and 6 % unless it says else."""
    row = replace(position(Decimal(quantity), side), mark_price=Decimal(mark), liquidation_price=Decimal(liquidation))
    policy = Policy(values={getattr(keys, name): Decimal(value) for name, value in values.items()}, version=1)
    found = exits_for(row, policy, Decimal("0.1"))
    return found.stop_price, found.target_price


@pytest.mark.parametrize(
    ("quantity", "side", "mark", "liquidation", "stop", "target"),
    [
        # 2.5 % and 6 % from the entry price, whatever the mark price is between them.
        ("1", "BOTH", "50100", "0", "48750", "53000"),
        ("-1", "BOTH", "49900", "0", "51250", "47000"),
        ("1", "LONG", "50100", "0", "48750", "53000"),
        ("1", "SHORT", "49900", "0", "51250", "47000"),
        # The stop's level has passed, or is nearer than 0.1 % of the mark price: 2.5 % from that instead.
        ("1", "BOTH", "48000", "0", "46800", "53000"),
        ("-1", "BOTH", "52000", "0", "53300", "47000"),
        ("1", "BOTH", "48798.7", "0", "47578.7", "53000"),
        ("1", "BOTH", "48798.9", "0", "48750", "53000"),
        ("-1", "BOTH", "51198.9", "0", "52478.9", "47000"),
        ("-1", "BOTH", "51198.7", "0", "51250", "47000"),
        # The target's level has passed: 6 % from the mark price.
        ("1", "BOTH", "53000", "0", "48750", "56180"),
        ("1", "BOTH", "52999.9", "0", "48750", "53000"),
        ("-1", "BOTH", "47000", "0", "51250", "44180"),
        ("-1", "BOTH", "47000.1", "0", "51250", "47000"),
        # A stop at or beyond liquidation: half-way from there to the mark price.
        ("1", "BOTH", "50100", "48750", "49425", "53000"),
        ("1", "BOTH", "50100", "48749.9", "48750", "53000"),
        ("1", "BOTH", "50100.3", "49000", "49550.1", "53000"),
        ("-1", "BOTH", "49900", "51250", "50575", "47000"),
        ("-1", "BOTH", "49900", "51250.1", "51250", "47000"),
        ("-1", "BOTH", "49900.1", "51000", "50450.1", "47000"),
    ],
)
def test_exits_of_a_position_of_others_on_either_side(
    quantity: str, side: str, mark: str, liquidation: str, stop: str, target: str
) -> None:
    assert exits(quantity, mark, liquidation, side) == (Decimal(stop), Decimal(target))


def test_a_policy_without_a_default_stop_gives_none() -> None:
    assert exits("1", "50100", DEFAULT_STOP="0") == (None, Decimal(53000))
    assert exits("-1", "49900", DEFAULT_STOP="0.01", DEFAULT_TARGET="0.1") == (Decimal(50500), Decimal(45000))
    # It should move a stop that is as near as the policy's least distance
    assert exits("1", "49000", DEFAULT_STOP="0.02", MIN_STOP_DISTANCE="0") == (Decimal(48020), Decimal(53000))


def test_a_position_that_is_out_counts_as_long() -> None:
    assert direction_of(position(Decimal(0))) is Direction.LONG
    assert direction_of(position(Decimal(0), "SHORT")) is Direction.SHORT


@pytest.mark.parametrize(
    ("quantity", "mark", "liquidation", "stop"), [("1", "0.51", "0.49", "0.5"), ("-1", "0.49", "0.51", "0.5")]
)
def test_a_coin_below_a_dollar_is_liquidated_too(quantity: str, mark: str, liquidation: str, stop: str) -> None:
    row = replace(
        position(Decimal(quantity)),
        entry_price=Decimal("0.5"),
        mark_price=Decimal(mark),
        liquidation_price=Decimal(liquidation),
    )

    assert exits_for(row, Policy(values={}, version=0), Decimal("0.01")).stop_price == Decimal(stop)
