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

from execution.domain.funding import Change, FundingLine, Holding, funding_parts, rate_of
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

    paid = funding_parts(line(str(D("-0.05") * sign), rate=rate), order)
    received = funding_parts(line(str(D("0.02") * sign), rate=rate), order)

    # It should go by the sign, whoever closes first
    assert (paid, received) == ({LONG: D("-0.05") * sign}, {SHORT: D("0.02") * sign})


def test_sides_of_one_size_are_told_apart_by_the_sign() -> None:
    both = [HELD_LONG, holding(SHORT, (-HOUR, "-0.010"))]

    assert funding_parts(line("-0.05"), both) == {LONG: D("-0.05")}
    assert funding_parts(line("0.05"), both) == {SHORT: D("0.05")}


def test_one_line_for_both_sides_is_split_into_what_each_is_due() -> None:
    assert funding_parts(line("-0.03"), [HELD_LONG, HELD_SHORT]) == {LONG: D("-0.05"), SHORT: D("0.02")}


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
    assert funding_parts(line(amount), [HELD_LONG]) == ({} if part is None else {LONG: D(part)})


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
    assert funding_parts(line("-0.05"), [holding(LONG, (entered, "0.010"), (left, "-0.010"))]) == parts


def test_a_line_that_is_booked_late_is_of_its_funding_time() -> None:
    """The line carries a time five seconds later: the first trade is out by then, and the next one is in."""
    before = holding(LONG, (-HOUR, "0.010"), (timedelta(seconds=2), "-0.010"))
    after = holding(OTHER, (timedelta(seconds=3), "0.010"))
    late = line("-0.05", at=DUE + timedelta(seconds=5))

    assert funding_parts(late, [before, after]) == {LONG: D("-0.05")}


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
    assert funding_parts(line(amount), [holding(LONG, *fills)]) == {LONG: D(expected)}


def test_two_trades_that_change_in_the_millisecond_share_no_line_twice() -> None:
    first = holding(LONG, (-HOUR, "0.010"), (timedelta(0), "-0.010"))
    second = Holding(trade_id=OTHER, changes=[Change(at=DUE, number=9, signed=D("0.004"))])

    assert funding_parts(line("-0.05"), [first, second]) == {LONG: D("-0.05")}
    assert funding_parts(line("-0.02"), [first, second]) == {OTHER: D("-0.02")}


def test_without_a_rate_only_a_single_holder_is_told() -> None:
    assert funding_parts(line("-0.05", rate=None), [HELD_LONG]) == {LONG: D("-0.05")}
    assert funding_parts(line("-0.05", rate=None), [HELD_LONG, HELD_SHORT]) == {}
    assert funding_parts(line("-0.05", rate=replace(RATE, mark=D(0))), [HELD_LONG]) == {LONG: D("-0.05")}


def test_a_line_in_another_asset_is_judged_by_its_value_and_shared_in_its_asset() -> None:
    """In BNFCR at 0.5 USDT: 0.15 are worth 0.075, of which 0.010 of 0.015 BTC are ours."""
    strange = FundingLine(amount=D("-0.15"), value=D("-0.075"), at=DUE, rate=RATE)

    assert funding_parts(strange, [HELD_LONG]) == {LONG: D("-0.1")}


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

    parts = funding_parts(paid, held)

    total = sum(parts.values(), D(0))
    # It should never give away more than there is, and all of it when nobody else held that side
    assert abs(total) <= abs(amount)
    assert all(part * amount >= 0 for part in parts.values()) or total == amount
    if not beside and amount:
        assert total == amount


# Times at their edges


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        # Within a minute on either side it is the nearest.
        (DUE + timedelta(minutes=1), DUE),
        (DUE - timedelta(minutes=1), DUE),
        # Later it is the last before, for nine hours.
        (DUE + timedelta(minutes=1) + MS, DUE),
        (DUE + timedelta(hours=9), DUE),
        (DUE + timedelta(hours=9) + MS, None),
        (DUE - timedelta(minutes=1) - MS, None),
    ],
)
def test_a_line_belongs_to_a_rate_for_nine_hours(at: datetime, expected: datetime | None) -> None:
    found = rate_of(at, [RATE])

    assert (found and found.at) == expected


def test_of_several_rates_the_nearest_or_the_latest_before_counts() -> None:
    near = [replace(RATE, at=DUE + timedelta(seconds=seconds)) for seconds in (-40, 10, 50)]
    for order in permutations(near):
        assert rate_of(DUE, order) == near[1]
    hours = [replace(RATE, at=DUE - timedelta(hours=hour)) for hour in (8, 4, 2)]
    for order in permutations(hours):
        assert rate_of(DUE, order) == hours[2]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("late", [timedelta(minutes=1), -timedelta(minutes=1)])
def test_a_line_within_a_minute_is_of_what_was_held_in_between(sign: int, late: timedelta) -> None:
    entered, left = sorted([late / 2, late])
    between = holding(LONG, (entered, str(D("0.010") * sign)), (left + MS, str(D("-0.010") * sign)))

    assert funding_parts(line(str(D("-0.05") * sign), at=DUE + late), [between]) == {LONG: D("-0.05") * sign}
    # It should tell nothing of the time in between when it comes later
    later = late + (MS if late > timedelta(0) else -MS)
    assert funding_parts(line(str(D("-0.05") * sign), at=DUE + later), [between]) == {}


def test_fills_of_a_moment_come_in_the_exchanges_order_whatever_trade_they_are_of() -> None:
    first = Holding(trade_id=LONG, changes=[Change(at=DUE, number=2, signed=D("0.010"))])
    second = Holding(trade_id=OTHER, changes=[Change(at=DUE, number=1, signed=D("0.004"))])

    # It should have seen the second alone before both
    assert funding_parts(line("-0.02"), [first, second]) == {OTHER: D("-0.02")}
    assert funding_parts(line("-0.07"), [first, second]) == {LONG: D("-0.05"), OTHER: D("-0.02")}


@pytest.mark.parametrize("quantity", ["0.010", "-0.010"])
def test_a_trade_that_is_out_shares_nothing(quantity: str) -> None:
    amount = D(quantity) * -5
    out = holding(OTHER, (-HOUR, "0.003"), (-MS, "-0.003"))
    ours = holding(LONG, (-HOUR, quantity))

    assert funding_parts(line(str(amount)), [out, ours]) == {LONG: amount}
    # It should not keep the only holder from a line without a rate, nor from one of a rate of nothing
    for rate in (None, replace(RATE, rate=D(0)), replace(RATE, mark=D(0))):
        assert funding_parts(line(str(amount), rate=rate), [out, ours]) == {LONG: amount}
    # It should give a line without a value to the only holder too
    unvalued = FundingLine(amount=amount, value=None, at=DUE, rate=RATE)
    assert funding_parts(unvalued, [out, ours]) == {LONG: amount}
    assert funding_parts(unvalued, [ours, HELD_SHORT]) == {}


def test_parts_that_do_not_divide_add_up_and_the_last_trade_takes_the_rest() -> None:
    held = [holding(UUID(int=number), (-HOUR, "0.001")) for number in (3, 1, 2)]
    parts = funding_parts(line("-0.015"), held)
    assert parts == {UUID(int=1): D("-0.005"), UUID(int=2): D("-0.005"), UUID(int=3): D("-0.005")}

    # In an asset of which 0.1 are worth 0.015: a third each, and what is lost in rounding to the last.
    strange = FundingLine(amount=D("-0.1"), value=D("-0.015"), at=DUE, rate=RATE)
    assert funding_parts(strange, held) == {
        UUID(int=1): D("-0.033333333333"),
        UUID(int=2): D("-0.033333333333"),
        UUID(int=3): D("-0.033333333334"),
    }


@pytest.mark.parametrize(
    ("amount", "parts"),
    [
        # Within a hundred-thousandth of what both sides are due together: both are in it.
        ("-0.0300003", {LONG: "-0.0500003", SHORT: "0.02"}),
        ("-0.0300000", {LONG: "-0.05", SHORT: "0.02"}),
    ],
)
def test_a_line_for_both_sides_may_differ_by_a_hundred_thousandth(amount: str, parts: dict[UUID, str]) -> None:
    found = funding_parts(line(amount), [HELD_LONG, HELD_SHORT])

    assert sum(found.values(), D(0)) == D(amount)
    assert {trade: round(part, 5) for trade, part in found.items()} == {LONG: D("-0.05"), SHORT: D("0.02")}
    assert set(found) == set(parts)


def test_beyond_that_the_other_side_has_no_part_in_it() -> None:
    assert funding_parts(line("-0.0301"), [HELD_LONG, HELD_SHORT]) == {LONG: D("-0.0301")}


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_trades_that_change_beside_the_other_side_share_no_line_twice(order: tuple[int, ...]) -> None:
    first = holding(LONG, (-HOUR, "0.010"), (timedelta(0), "-0.010"))
    second = Holding(trade_id=OTHER, changes=[Change(at=DUE, number=9, signed=D("0.004"))])
    held = [(first, second, HELD_SHORT)[place] for place in order]

    assert funding_parts(line("-0.05"), held) == {LONG: D("-0.05")}
    assert funding_parts(line("-0.02"), held) == {OTHER: D("-0.02")}
    assert funding_parts(line("0.02"), held) == {SHORT: D("0.02")}


def test_what_both_sides_are_due_is_exact_to_a_hundred_thousandth() -> None:
    out = holding(OTHER, (-HOUR, "0.003"), (-MS, "-0.003"))

    # It should name nobody who held nothing
    assert funding_parts(line("-0.03"), [out, HELD_LONG, HELD_SHORT]) == {LONG: D("-0.05"), SHORT: D("0.02")}
    assert funding_parts(line("-0.030001"), [HELD_LONG, HELD_SHORT]) == {LONG: D("-0.030001")}
    assert funding_parts(line("-0.029999"), [HELD_LONG, HELD_SHORT]) == {LONG: D("-0.029999")}


SIGNS = pytest.mark.parametrize("sign", [1, -1])
# Of a line of 1 the parts may leave a hundred-thousandth, 0.00001, unexplained: 0.000002 BTC at 5 a BTC.


def signed(trade_id: UUID, sign: int, at: timedelta, quantity: str) -> Holding:
    return holding(trade_id, (at, str(D(quantity) * sign)))


@SIGNS
def test_both_sides_are_believed_up_to_the_very_hundred_thousandth(sign: int) -> None:
    """1.5 for the one side and 0.50001 for the other are 0.99999 together."""
    held = [signed(LONG, sign, -HOUR, "0.3"), signed(SHORT, -sign, -HOUR, "0.100002")]

    first = D("-1.500015000150") * sign
    assert funding_parts(line(str(-sign)), held) == {LONG: first, SHORT: -sign - first}


@SIGNS
def test_one_side_that_explains_it_to_the_hundred_thousandth_leaves_the_other_nothing(sign: int) -> None:
    """1.00001 for the one side, and with 0.00001 for the other it would be the line exactly."""
    held = [signed(LONG, sign, -HOUR, "0.200002"), signed(SHORT, -sign, -HOUR, "0.000002")]

    assert funding_parts(line(str(-sign)), held) == {LONG: D(-sign)}


@SIGNS
def test_of_two_moments_that_explain_it_the_first_one_counts(sign: int) -> None:
    """0.99999 before the fill of the millisecond, and 1 behind it: both are a line of 1."""
    held = [signed(LONG, sign, -HOUR, "0.199998"), signed(OTHER, sign, timedelta(0), "0.000002")]

    assert funding_parts(line(str(-sign)), held) == {LONG: D(-sign)}
    # A hundred-millionth less is none, and then the second explains more
    held = [signed(LONG, sign, -HOUR, "0.199997998"), signed(OTHER, sign, timedelta(0), "0.000002002")]
    assert funding_parts(line(str(-sign)), held) == {LONG: D("-0.99998999") * sign, OTHER: D("-0.00001001") * sign}


@SIGNS
@pytest.mark.parametrize("order", [(LONG, OTHER), (OTHER, LONG)])
def test_two_trades_share_a_line_that_is_less_than_theirs_by_their_sizes(sign: int, order: tuple[UUID, UUID]) -> None:
    sizes = {LONG: "0.012", OTHER: "0.006"}
    held = [signed(trade_id, sign, -HOUR, sizes[trade_id]) for trade_id in order]

    assert funding_parts(line(str(D("-0.06") * sign)), held) == {LONG: D("-0.04") * sign, OTHER: D("-0.02") * sign}


@SIGNS
def test_the_smallest_line_of_somebody_else_is_nobodys_of_us(sign: int) -> None:
    smallest = D("0.00000001") * sign

    assert funding_parts(line(str(smallest)), []) == {}
    assert funding_parts(line(str(smallest)), [signed(LONG, sign, HOUR, "0.010")]) == {}
