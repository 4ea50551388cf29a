"""Whose a line of funding is: both sides, both positions modes, sizes, and the millisecond of a fill."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.funding import Change, FundingLine, Holding, parts_of, rate_of
from execution.domain.outcomes import FundingRate

D = Decimal
DUE = datetime(2026, 3, 2, 16, tzinfo=UTC)
MS = timedelta(milliseconds=1)
LONG, SHORT, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
RATE = FundingRate(rate=D("0.0001"), mark=D(50000), at=DUE)


def holding(trade_id: UUID, *changes: tuple[timedelta, str]) -> Holding:
    """A trade of these fills: signed quantities, at times around the funding, numbered as they are written."""
    return Holding(
        trade_id=trade_id,
        changes=[Change(at=DUE + at, number=number, signed=D(signed)) for number, (at, signed) in enumerate(changes)],
    )


def line(amount: str, *, at: datetime = DUE, rate: FundingRate | None = RATE) -> FundingLine:
    return FundingLine(amount=D(amount), value=D(amount), at=at, rate=rate)


HOUR = timedelta(hours=1)
HELD_LONG = holding(LONG, (-HOUR, "0.010"))
HELD_SHORT = holding(SHORT, (-HOUR, "-0.004"))


@pytest.mark.parametrize("order", [*permutations([HELD_LONG, HELD_SHORT])])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_side_of_a_hedge_has_its_own_line(order: tuple[Holding, ...], sign: int) -> None:
    """0.010 x 50000 x 0.0001 = 0.05 for the long side, 0.004 x 50000 x 0.0001 = 0.02 for the short one."""
    rate = replace(RATE, rate=RATE.rate * sign)

    paid = parts_of(line(str(D("-0.05") * sign), rate=rate), order)
    received = parts_of(line(str(D("0.02") * sign), rate=rate), order)

    # It should go by the sign, whoever closes first
    assert (paid, received) == ({LONG: D("-0.05") * sign}, {SHORT: D("0.02") * sign})


def test_sides_of_one_size_are_told_apart_by_the_sign() -> None:
    both = [HELD_LONG, holding(SHORT, (-HOUR, "-0.010"))]

    assert parts_of(line("-0.05"), both) == {LONG: D("-0.05")}
    assert parts_of(line("0.05"), both) == {SHORT: D("0.05")}


def test_one_line_for_both_sides_is_split_into_what_each_is_due() -> None:
    assert parts_of(line("-0.03"), [HELD_LONG, HELD_SHORT]) == {LONG: D("-0.05"), SHORT: D("0.02")}


@pytest.mark.parametrize(
    ("amount", "part"),
    [
        # Ours alone, and with 0.005 and 0.0001 of somebody else's beside it.
        ("-0.05", "-0.05"),
        ("-0.075", "-0.05"),
        ("-0.0505", "-0.05"),
        # Less than ours: what somebody has closed of it is not booked yet.
        ("-0.03", "-0.03"),
        # The position was turned: nothing of it is ours.
        ("0.02", None),
    ],
)
def test_what_others_hold_beside_us_is_theirs(amount: str, part: str | None) -> None:
    assert parts_of(line(amount), [HELD_LONG]) == ({} if part is None else {LONG: D(part)})


@pytest.mark.parametrize(
    ("entered", "left", "parts"),
    [
        (-HOUR, -MS, {}),
        (MS, HOUR, {}),
        (-MS, MS, {LONG: D("-0.05")}),
    ],
)
def test_only_who_held_at_the_funding_time_has_a_part(
    entered: timedelta, left: timedelta, parts: Mapping[UUID, Decimal]
) -> None:
    assert parts_of(line("-0.05"), [holding(LONG, (entered, "0.010"), (left, "-0.010"))]) == parts


def test_a_line_that_is_booked_late_is_of_its_funding_time() -> None:
    """The line carries a time five seconds later: the first trade is out by then, and the next one is in."""
    before = holding(LONG, (-HOUR, "0.010"), (timedelta(seconds=2), "-0.010"))
    after = holding(OTHER, (timedelta(seconds=3), "0.010"))
    late = line("-0.05", at=DUE + timedelta(seconds=5))

    assert parts_of(late, [before, after]) == {LONG: D("-0.05")}


@pytest.mark.parametrize(
    ("fills", "amount", "expected"),
    [
        # Entered, or left, in the very millisecond: the line tells that it was held.
        ([(timedelta(0), "0.010")], "-0.05", "-0.05"),
        ([(-HOUR, "0.010"), (timedelta(0), "-0.010")], "-0.05", "-0.05"),
        # In two parts, of which the line had seen one.
        ([(timedelta(0), "0.004"), (timedelta(0), "0.006")], "-0.02", "-0.02"),
        ([(-HOUR, "0.010"), (timedelta(0), "-0.006"), (timedelta(0), "-0.004")], "-0.02", "-0.02"),
    ],
)
def test_the_millisecond_of_a_fill(fills: list[tuple[timedelta, str]], amount: str, expected: str) -> None:
    assert parts_of(line(amount), [holding(LONG, *fills)]) == {LONG: D(expected)}


def test_two_trades_that_change_in_the_millisecond_share_no_line_twice() -> None:
    first = holding(LONG, (-HOUR, "0.010"), (timedelta(0), "-0.010"))
    second = Holding(trade_id=OTHER, changes=[Change(at=DUE, number=9, signed=D("0.004"))])

    assert parts_of(line("-0.05"), [first, second]) == {LONG: D("-0.05")}
    assert parts_of(line("-0.02"), [first, second]) == {OTHER: D("-0.02")}


def test_without_a_rate_only_a_single_holder_is_told() -> None:
    assert parts_of(line("-0.05", rate=None), [HELD_LONG]) == {LONG: D("-0.05")}
    assert parts_of(line("-0.05", rate=None), [HELD_LONG, HELD_SHORT]) == {}
    assert parts_of(line("-0.05", rate=replace(RATE, mark=D(0))), [HELD_LONG]) == {LONG: D("-0.05")}


def test_a_line_in_another_asset_is_judged_by_its_value_and_shared_in_its_asset() -> None:
    """In BNFCR at 0.5 USDT: 0.15 are worth 0.075, of which 0.010 of 0.015 BTC are ours."""
    strange = FundingLine(amount=D("-0.15"), value=D("-0.075"), at=DUE, rate=RATE)

    assert parts_of(strange, [HELD_LONG]) == {LONG: D("-0.1")}


def test_the_rate_of_a_line_is_the_nearest_or_the_last_before_it() -> None:
    rates = [replace(RATE, at=DUE - timedelta(hours=8)), RATE, replace(RATE, at=DUE + timedelta(hours=8))]

    assert rate_of(DUE + timedelta(seconds=30), rates) == rates[1]
    assert rate_of(DUE - timedelta(seconds=30), rates) == rates[1]
    assert rate_of(DUE + timedelta(hours=3), rates) == rates[1]
    assert rate_of(DUE - timedelta(hours=9), rates) is None


@given(
    quantities=st.lists(st.integers(-1000, 1000).filter(bool), min_size=1, max_size=4),
    beside=st.integers(0, 1000),
    rate=st.integers(-300_000, 300_000).filter(bool),
    mark=st.integers(1, 10_000_000),
)
def test_parts_and_the_rest_are_the_line_to_the_last_digit(
    quantities: list[int], beside: int, rate: int, mark: int
) -> None:
    held = [holding(UUID(int=number), (-HOUR, f"{quantity}e-3")) for number, quantity in enumerate(quantities)]
    longs = sum(quantity for quantity in quantities if quantity > 0) + beside
    funding = FundingRate(rate=D(rate) / D(100_000_000), mark=D(mark) / 100, at=DUE)
    amount = (-D(longs) / 1000 * funding.mark * funding.rate).quantize(D("1e-8"))
    paid = FundingLine(amount=amount, value=amount, at=DUE, rate=funding)

    parts = parts_of(paid, held)

    total = sum(parts.values(), D(0))
    # It should never give away more than there is, and all of it when nobody else held that side
    assert abs(total) <= abs(amount)
    assert all(part * amount >= 0 for part in parts.values()) or total == amount
    if not beside and amount:
        assert total == amount
