from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.brackets import (
    Exposure,
    Leg,
    Plan,
    Resting,
    Wanted,
    break_even_at,
    compare,
    is_tighter,
    round_stop,
    round_target,
    split,
    stop_fraction,
    stop_price_at,
    target_distance,
    target_price_at,
    target_quantities,
    wanted_legs,
)
from execution.domain.lots import LotRule
from execution.domain.trading import Direction, OrderPurpose

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
    assert stop_fraction(direction, Decimal(50000), Decimal(stop)) == Decimal(distance)
    assert target_distance(direction, Decimal(50000), Decimal(stop)) == -Decimal(distance)


@given(directions, prices, fractions)
def test_a_price_at_a_distance_has_that_distance(direction: Direction, price: Decimal, fraction: Decimal) -> None:
    stop, target = stop_price_at(direction, price, fraction), target_price_at(direction, price, fraction)

    assert stop_fraction(direction, price, stop) == fraction
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
    assert stop_fraction(direction, entry, rounded) >= stop_fraction(direction, entry, stop)


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


# Plans

STEP, MINIMUM, TICK = Decimal("0.001"), Decimal("0.001"), Decimal("0.1")
STOP = Leg(id=1, purpose=OrderPurpose.STOP, price=Decimal(49000))
quantities = st.integers(1, 5000).map(lambda steps: steps * STEP)
shares_lists = st.lists(st.integers(1, 100), min_size=1, max_size=6).map(
    lambda parts: [Decimal(part) / max(100, sum(parts)) for part in parts]
)


def planned(*shares: str | Decimal, minimum: Decimal = MINIMUM, **legs: Leg) -> Plan:
    """A plan with one stop and targets of these shares, 51000 and up; `legs` replace targets by their name t2, t3."""
    targets = [
        legs.get(
            f"t{number}",
            Leg(id=number, purpose=OrderPurpose.TARGET, price=Decimal(49000 + number * 1000), share=Decimal(share)),
        )
        for number, share in enumerate(shares, start=2)
    ]
    return Plan(legs=(STOP, *targets), tick=TICK, step=STEP, minimum=minimum)


def wants(plan: Plan, filled: str, still_open: str = "", **how: bool) -> list[str]:
    exposure = Exposure(filled=Decimal(filled), open=Decimal(still_open or filled), **how)
    return [format(want.quantity, "f") for want in wanted_legs(plan, exposure)]


def test_a_stop_covers_everything_and_targets_their_shares() -> None:
    assert wants(planned("0.5", "0.3", "0.2"), "0.010") == ["0.010", "0.005", "0.003", "0.002"]
    # It should floor the running sum, so that the last target brings the rest
    assert wants(planned("0.33", "0.33", "0.34"), "0.010") == ["0.010", "0.003", "0.003", "0.004"]
    # It should leave what no share names to the stop
    assert wants(planned("0.5"), "0.010") == ["0.010", "0.005"]


def test_a_part_below_the_minimum_goes_to_the_last_target() -> None:
    assert wants(planned("0.3", "0.3", "0.4"), "0.002") == ["0.002", "0.001", "0.001"]
    assert wants(planned("0.2", "0.3", "0.5", minimum=Decimal("0.003")), "0.010") == ["0.010", "0.003", "0.007"]
    # What even the last one cannot close is left to the stop
    assert wants(planned("0.5", minimum=Decimal("0.003")), "0.004") == ["0.004"]


def test_a_target_that_is_done_wants_nothing_and_the_others_keep_their_parts() -> None:
    plan = planned(
        "0.5",
        "0.3",
        "0.2",
        t2=Leg(
            id=2,
            purpose=OrderPurpose.TARGET,
            price=Decimal(51000),
            share=Decimal("0.5"),
            executed=Decimal("0.005"),
            done=True,
        ),
    )

    assert wants(plan, "0.010", "0.005") == ["0.005", "0.003", "0.002"]
    # It should hand what the entry fills afterwards to the last one
    assert wants(plan, "0.020", "0.015") == ["0.015", "0.006", "0.009"]


def test_a_target_that_is_partly_filled_wants_its_rest() -> None:
    plan = planned(
        "0.5",
        "0.5",
        t2=Leg(
            id=2,
            purpose=OrderPurpose.TARGET,
            price=Decimal(51000),
            share=Decimal("0.5"),
            executed=Decimal("0.002"),
        ),
    )

    assert wants(plan, "0.010", "0.008") == ["0.008", "0.003", "0.005"]


def test_targets_shrink_with_a_position_that_others_reduce() -> None:
    assert wants(planned("0.5", "0.3", "0.2"), "0.010", "0.006") == ["0.006", "0.003", "0.001", "0.002"]
    assert wants(planned("0.5", "0.5"), "0.010", "0.001") == ["0.001", "0.001"]


def test_a_trailing_leg_waits_until_the_entry_is_over() -> None:
    trailing = Leg(id=9, purpose=OrderPurpose.TRAILING, price=None, callback_percent=Decimal(1))
    plan = Plan(legs=(STOP, trailing), tick=TICK, step=STEP, minimum=MINIMUM)

    assert wants(plan, "0.004", growing=True) == ["0.004"]
    assert wants(plan, "0.004") == ["0.004", "0.004"]


@given(quantities, shares_lists)
def test_parts_lie_on_steps_and_add_up_to_the_shares_floored_once(quantity: Decimal, shares: list[Decimal]) -> None:
    parts = split(quantity, shares, STEP)

    together = sum(Fraction(quantity) * Fraction(share) for share in shares)
    assert sum(parts) == int(together / Fraction(STEP)) * STEP
    assert all(part >= 0 and part % STEP == 0 for part in parts)


@given(quantities, shares_lists, st.integers(1, 7), st.data())
def test_targets_never_close_more_than_is_open(
    filled: Decimal, shares: list[Decimal], minimum: int, data: st.DataObject
) -> None:
    still_open = data.draw(st.integers(1, int(filled / STEP)).map(lambda steps: steps * STEP))
    least = minimum * STEP
    plan = planned(*shares, minimum=least)

    hedged = data.draw(st.booleans())
    exposure = Exposure(filled=filled, open=still_open, hedged=hedged)
    parts = target_quantities(plan.of(OrderPurpose.TARGET), exposure, plan)

    assert sum(parts) <= still_open
    # In one-way mode the last may take less: its order is as large as the least, and reduce-only trims it.
    assert all(part == 0 or part >= least for part in (parts if hedged else parts[:-1]))


@given(quantities, shares_lists)
def test_a_target_that_fills_leaves_the_orders_of_the_others_as_they_are(
    filled: Decimal, shares: list[Decimal]
) -> None:
    plan = planned(*shares)
    targets = plan.of(OrderPurpose.TARGET)
    before = target_quantities(targets, Exposure(filled=filled, open=filled), plan)
    nearest = next((place for place, part in enumerate(before) if part), None)
    if nearest is None:
        return

    after = [
        replace(leg, executed=before[nearest], done=True) if place == nearest else leg
        for place, leg in enumerate(targets)
    ]
    left = Exposure(filled=filled, open=filled - before[nearest])

    assert target_quantities(after, left, plan) == [
        Decimal(0) if place == nearest else part for place, part in enumerate(before)
    ]


# Comparing

RIGHT = Resting(order_id=11, leg_id=1, quantity=Decimal("0.010"), price=Decimal(49000))
WHOLE = Exposure(filled=Decimal("0.010"), open=Decimal("0.010"))
ONLY_A_STOP = Plan(legs=(STOP,), tick=TICK, step=STEP, minimum=MINIMUM)


@pytest.mark.parametrize(
    ("resting", "missing", "surplus"),
    [
        pytest.param([], 1, (), id="none"),
        pytest.param([RIGHT], 0, (), id="right"),
        pytest.param([replace(RIGHT, price=Decimal("49000.1"))], 0, (), id="right within a tick"),
        pytest.param([replace(RIGHT, price=Decimal("49000.2"))], 1, (), id="wrong price stays until replaced"),
        pytest.param([replace(RIGHT, quantity=Decimal("0.004"))], 1, (), id="too small stays until replaced"),
        pytest.param([replace(RIGHT, quantity=Decimal("0.011"))], 1, (), id="too large stays until replaced"),
        pytest.param([replace(RIGHT, seen=False)], 1, (), id="forgotten by the exchange"),
        pytest.param([replace(RIGHT, quantity=Decimal("0.004")), replace(RIGHT, order_id=12)], 0, (11,), id="replaced"),
        pytest.param([replace(RIGHT, leg_id=7)], 1, (), id="of another plan"),
        pytest.param([RIGHT, replace(RIGHT, order_id=12)], 0, (11,), id="twice: the newer stays"),
    ],
)
def test_what_rests_is_held_against_the_plan(resting: list[Resting], missing: int, surplus: tuple[int, ...]) -> None:
    found = compare(ONLY_A_STOP, WHOLE, resting)

    assert (len(found.missing), found.excess) == (missing, surplus)


@pytest.mark.parametrize(("hedged", "kept"), [(False, True), (True, False)])
def test_a_trailing_order_that_is_too_large_stays_where_the_exchange_trims_it(hedged: bool, kept: bool) -> None:  # noqa: FBT001
    trailing = Leg(id=9, purpose=OrderPurpose.TRAILING, price=None, callback_percent=Decimal(1))
    plan = Plan(legs=(trailing,), tick=TICK, step=STEP, minimum=MINIMUM)
    large = Resting(order_id=5, leg_id=9, quantity=Decimal("0.010"), price=None, callback_percent=Decimal(1))
    left = Exposure(filled=Decimal("0.010"), open=Decimal("0.004"), hedged=hedged)

    assert (compare(plan, left, [large]).missing == ()) is kept


def test_nothing_open_wants_nothing_and_leaves_nothing() -> None:
    gone = Exposure(filled=Decimal("0.010"), open=Decimal(0))

    assert compare(ONLY_A_STOP, gone, [RIGHT]).excess == (11,)


@given(directions, prices, ticks)
def test_break_even_lies_beyond_the_entry_by_its_buffer(direction: Direction, entry: Decimal, tick: Decimal) -> None:
    price = break_even_at(direction, entry, Decimal("0.001"), tick)

    assert target_distance(direction, entry, price) >= Decimal("0.001")
    assert abs(price - target_price_at(direction, entry, Decimal("0.001"))) < tick
    assert is_tighter(direction, price, entry)


# Several orders of one leg

WIDE = Plan(legs=(STOP,), tick=TICK, step=STEP, minimum=MINIMUM, maximum=Decimal("0.120"))
ALL = Exposure(filled=Decimal("0.150"), open=Decimal("0.150"))


def stops_of(*quantities: str, begun: bool = False) -> list[Resting]:
    return [
        Resting(order_id=10 + number, leg_id=1, quantity=Decimal(quantity), price=Decimal(49000), begun=begun)
        for number, quantity in enumerate(quantities)
    ]


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize(
    ("open_quantity", "rest", "missing", "surplus"),
    [
        pytest.param("0.150", [], ["0.120", "0.030"], [], id="nothing rests"),
        pytest.param("0.150", ["0.120"], ["0.030"], [], id="a part is missing"),
        pytest.param("0.150", ["0.120", "0.030"], [], [], id="all is right"),
        pytest.param("0.150", ["0.150"], ["0.120", "0.030"], [], id="one order above the maximum stays until then"),
        pytest.param("0.150", ["0.150", "0.120", "0.030"], [], [10], id="and goes when both stand"),
        pytest.param("0.150", ["0.150", "0.120"], ["0.030"], [], id="not before"),
        pytest.param("0.130", ["0.120", "0.030"], ["0.010"], [], id="the rest follows the position"),
        pytest.param("0.130", ["0.120", "0.030", "0.010"], [], [11], id="new before old"),
        pytest.param("0.100", ["0.120", "0.030", "0.100"], [], [10, 11], id="fewer parts than before"),
        pytest.param("0.240", ["0.120", "0.120", "0.120"], [], [10], id="equal parts are counted"),
    ],
)
def test_the_orders_of_a_leg_are_held_against_the_parts_it_wants(
    open_quantity: str,
    rest: list[str],
    missing: list[str],
    surplus: list[int],
    hedged: bool,  # noqa: FBT001
) -> None:
    exposure = replace(ALL, open=Decimal(open_quantity), filled=Decimal("0.240"), hedged=hedged)

    compared = compare(WIDE, exposure, stops_of(*rest))

    assert [want.quantity for want in compared.missing] == [Decimal(part) for part in missing]
    assert list(compared.excess) == surplus


def test_orders_that_execute_just_now_are_left_alone() -> None:
    compared = compare(WIDE, replace(ALL, open=Decimal("0.100")), stops_of("0.070", "0.030", begun=True))

    assert (compared.missing, compared.excess) == ((), ())


@pytest.mark.parametrize(
    ("hedged", "missing"), [pytest.param(False, ["0.02"], id="one-way"), pytest.param(True, ["0.01"], id="hedge")]
)
def test_an_order_off_the_present_step_is_replaced(hedged: bool, missing: list[str]) -> None:  # noqa: FBT001
    coarse = replace(WIDE, step=Decimal("0.01"), minimum=Decimal("0.01"))
    exposure = Exposure(filled=Decimal("0.015"), open=Decimal("0.015"), hedged=hedged)

    compared = compare(coarse, exposure, stops_of("0.015"))

    # It would be refused when it triggers: in one-way mode a larger order is trimmed, in hedge mode the rest is lost.
    assert [want.quantity for want in compared.missing] == [Decimal(part) for part in missing]
    assert compared.excess == ()


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("quantities", [("0.006", "0.004"), ("0.010",), ("0.004",)])
def test_what_rests_stays_where_the_present_filters_take_no_order_at_all(
    quantities: tuple[str, ...], *, hedged: bool
) -> None:
    """The step has become coarser than the market maximum: a stop that is cancelled could not be placed again."""
    plan = replace(planned(), step=Decimal("0.02"), minimum=Decimal("0.02"), maximum=Decimal("0.006"))
    exposure = Exposure(filled=Decimal("0.010"), open=Decimal("0.010"), hedged=hedged)

    found = compare(plan, exposure, stops_of(*quantities))

    assert (found.missing, found.excess) == ((), ())


def test_an_order_off_the_present_tick_is_left_alone() -> None:
    coarse = replace(WIDE, tick=Decimal(5), legs=(replace(STOP, price=Decimal(48995)),))

    compared = compare(coarse, replace(ALL, open=Decimal("0.030")), stops_of("0.030"))

    assert (compared.missing, compared.excess) == ((), ())


def test_trailing_parts_keep_the_best_price_that_they_have_seen() -> None:
    trail = Leg(id=1, purpose=OrderPurpose.TRAILING, price=None, callback_percent=Decimal(1))
    plan = replace(WIDE, legs=(trail,))
    rest = [replace(order, callback_percent=Decimal(1)) for order in stops_of("0.120", "0.030")]

    shrunk = compare(plan, replace(ALL, open=Decimal("0.125")), rest)
    grown = compare(plan, replace(ALL, filled=Decimal("0.160"), open=Decimal("0.160")), rest)
    small = compare(plan, replace(ALL, open=Decimal("0.100")), rest)

    # Reduce-only trims what is too large; what is lacking is added; what is not needed at all goes.
    assert (shrunk.missing, shrunk.excess) == ((), ())
    assert ([want.quantity for want in grown.missing], grown.excess) == ([Decimal("0.010")], ())
    assert (small.missing, small.excess) == ((), (11,))


@given(quantities, st.integers(1, 200).map(lambda steps: steps * STEP), st.booleans())
def test_what_is_missing_covers_everything_once_it_rests(filled: Decimal, maximum: Decimal, hedged: bool) -> None:  # noqa: FBT001
    plan = replace(WIDE, maximum=maximum)
    exposure = Exposure(filled=filled, open=filled, hedged=hedged)
    wanted = compare(plan, exposure, []).missing
    placed = stops_of(*(str(want.quantity) for want in wanted))

    assert sum(want.quantity for want in wanted) == filled
    assert all(want.quantity <= maximum for want in wanted)
    # It should then want nothing more, and nothing less.
    settled = compare(plan, exposure, placed)
    assert (settled.missing, settled.excess) == ((), ())


# Exact amounts at every edge


def target(number: int, share: str, *, executed: str = "0", done: bool = False) -> Leg:
    return Leg(
        id=number,
        purpose=OrderPurpose.TARGET,
        price=Decimal(49000 + number * 1000),
        share=Decimal(share),
        executed=Decimal(executed),
        done=done,
    )


def parts_of_targets(
    legs: list[Leg], filled: str, still_open: str, *, minimum: str = "0.001", hedged: bool = False
) -> list[Decimal]:
    plan = Plan(legs=(STOP, *legs), tick=TICK, step=STEP, minimum=Decimal(minimum))
    exposure = Exposure(filled=Decimal(filled), open=Decimal(still_open), hedged=hedged)
    return target_quantities(legs, exposure, plan)


@pytest.mark.parametrize(
    ("shares", "filled", "still_open", "hedged", "parts"),
    [
        # What lies below a step goes with the last target, where the exchange trims it.
        (("0.5", "0.5"), "0.0105", "0.0105", False, ["0.005", "0.0055"]),
        (("0.5", "0.5"), "0.0105", "0.0105", True, ["0.005", "0.005"]),
        # Not where the shares leave a part to the stop.
        (("0.5", "0.4"), "0.0105", "0.0105", False, ["0.005", "0.004"]),
        # Others have reduced the position to 0.0035: a third of each, and the rest to the last.
        (("0.5", "0.5"), "0.0105", "0.0035", False, ["0.001", "0.0025"]),
        (("0.5", "0.5"), "0.0105", "0.0035", True, ["0.001", "0.002"]),
        # Others have added to it: targets keep what the entry filled, the last takes the rest in one-way mode.
        (("0.5", "0.5"), "0.010", "0.014", True, ["0.005", "0.005"]),
        (("0.5", "0.5"), "0.010", "0.014", False, ["0.005", "0.009"]),
        (("0.5", "0.4"), "0.010", "0.014", False, ["0.005", "0.004"]),
    ],
)
def test_targets_add_up_to_what_they_are_meant_to_close(
    shares: tuple[str, ...],
    filled: str,
    still_open: str,
    parts: list[str],
    *,
    hedged: bool,
) -> None:
    legs = [target(number, share) for number, share in enumerate(shares, start=2)]

    assert parts_of_targets(legs, filled, still_open, hedged=hedged) == [Decimal(part) for part in parts]


@pytest.mark.parametrize(
    ("legs", "still_open", "parts"),
    [
        # Of 0.010: the first has closed its 0.004, the second 0.001 of its 0.003.
        (
            [target(2, "0.4", executed="0.004", done=True), target(3, "0.3", executed="0.001"), target(4, "0.3")],
            "0.005",
            ["0", "0.002", "0.003"],
        ),
        # A finished one that closed less than its share hands the difference to the last that waits.
        (
            [target(2, "0.4", executed="0.002", done=True), target(3, "0.3"), target(4, "0.3")],
            "0.008",
            ["0", "0.003", "0.005"],
        ),
        # The last is finished: then the last that waits is the one before it.
        (
            [target(2, "0.4"), target(3, "0.3"), target(4, "0.3", executed="0.001", done=True)],
            "0.009",
            ["0.004", "0.005", "0"],
        ),
        # One that closed more than its share takes nothing from the others.
        (
            [target(2, "0.4", executed="0.006", done=True), target(3, "0.3"), target(4, "0.3")],
            "0.004",
            ["0", "0.003", "0.001"],
        ),
        # All are finished, or have closed all that was filled: what is left is the stop's.
        (
            [target(2, "0.5", executed="0.004", done=True), target(3, "0.5", executed="0.005", done=True)],
            "0.001",
            ["0", "0"],
        ),
        ([target(2, "0.5", executed="0.010"), target(3, "0.5")], "0.001", ["0", "0"]),
        ([target(2, "0.5", executed="0.012"), target(3, "0.5")], "0.001", ["0", "0"]),
    ],
)
def test_targets_that_have_closed_a_part(legs: list[Leg], still_open: str, parts: list[str]) -> None:
    assert parts_of_targets(legs, "0.010", still_open) == [Decimal(part) for part in parts]


@pytest.mark.parametrize(
    ("minimum", "parts"),
    [
        ("0.002", ["0.002", "0.003", "0.005"]),
        ("0.003", ["0", "0.003", "0.007"]),
        ("0.004", ["0", "0", "0.010"]),
        ("0.010", ["0", "0", "0.010"]),
        # What even all of it is too little for goes to the last in one-way mode, where the exchange trims.
        ("0.011", ["0", "0", "0.010"]),
    ],
)
def test_parts_below_the_minimum_go_to_the_last_target(minimum: str, parts: list[str]) -> None:
    legs = [target(2, "0.2"), target(3, "0.3"), target(4, "0.5")]

    assert parts_of_targets(legs, "0.010", "0.010", minimum=minimum) == [Decimal(part) for part in parts]
    # It should leave it to the stop where the exchange would refuse it
    hedged = parts_of_targets(legs, "0.010", "0.010", minimum=minimum, hedged=True)
    assert hedged == ([Decimal(0)] * 3 if minimum == "0.011" else [Decimal(part) for part in parts])


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ({}, True),
        ({"price": Decimal("49000.1")}, True),
        ({"price": Decimal("48999.9")}, True),
        ({"price": Decimal("49000.11")}, False),
        ({"price": Decimal("48999.89")}, False),
        ({"price": None}, False),
        ({"seen": False}, False),
        ({"seen": False, "begun": True}, False),
        ({"leg_id": 2}, False),
        ({"leg_id": None}, False),
    ],
)
def test_an_order_is_right_within_a_tick_of_its_leg(order: dict[str, object], kept: bool) -> None:  # noqa: FBT001
    found = compare(ONLY_A_STOP, WHOLE, [replace(RIGHT, **order)])  # type: ignore[arg-type]

    assert found.missing == (() if kept else (Wanted(leg=STOP, quantity=Decimal("0.010")),))
    assert found.excess == ()


@pytest.mark.parametrize(
    ("quantity", "minimum", "maximum", "begun", "kept"),
    [
        ("0.010", "0.010", "0.010", False, True),
        ("0.010", "0.011", "0.020", False, False),
        ("0.010", "0.001", "0.009", False, False),
        # What executes just now has an odd size and is left to it.
        ("0.010", "0.011", "0.020", True, True),
        ("0.010", "0.001", "0.009", True, True),
        ("0.0105", "0.001", "1", False, False),
        ("0.0105", "0.001", "1", True, True),
    ],
)
def test_an_order_that_would_be_refused_at_its_trigger_is_replaced(
    quantity: str,
    minimum: str,
    maximum: str,
    *,
    begun: bool,
    kept: bool,
) -> None:
    plan = replace(ONLY_A_STOP, minimum=Decimal(minimum), maximum=Decimal(maximum))
    rests = replace(RIGHT, quantity=Decimal(quantity), begun=begun)
    exposure = Exposure(filled=Decimal(quantity), open=Decimal(quantity))

    found = compare(plan, exposure, [rests])
    assert (found.missing == (), found.excess) == (kept, ())


def test_what_is_missing_names_each_leg_with_its_own_quantity() -> None:
    legs = [target(2, "0.5"), target(3, "0.5")]
    trailing = Leg(id=9, purpose=OrderPurpose.TRAILING, price=None, callback_percent=Decimal(1))
    plan = Plan(legs=(STOP, *legs, trailing), tick=TICK, step=STEP, minimum=MINIMUM)
    exposure = Exposure(filled=Decimal("0.011"), open=Decimal("0.011"))

    assert compare(plan, exposure, []).missing == (
        Wanted(leg=STOP, quantity=Decimal("0.011")),
        Wanted(leg=legs[0], quantity=Decimal("0.005")),
        Wanted(leg=legs[1], quantity=Decimal("0.006")),
        Wanted(leg=trailing, quantity=Decimal("0.011")),
    )


def test_each_leg_is_held_against_its_own_orders() -> None:
    legs = [target(2, "0.5"), target(3, "0.5")]
    plan = Plan(legs=(STOP, *legs), tick=TICK, step=STEP, minimum=MINIMUM)
    first = Resting(order_id=21, leg_id=2, quantity=Decimal("0.005"), price=Decimal(51000))
    second = Resting(order_id=31, leg_id=3, quantity=Decimal("0.005"), price=Decimal(52000))
    old = replace(second, order_id=30, quantity=Decimal("0.010"))

    # It should replace the second's older order, and leave the stop's and the first's
    found = compare(plan, WHOLE, [RIGHT, first, old, second])
    assert (found.missing, found.excess) == ((), (30,))
    # It should keep the older one while the right one is missing, and ask for that alone
    found = compare(plan, WHOLE, [RIGHT, first, old])
    assert (found.missing, found.excess) == ((Wanted(leg=legs[1], quantity=Decimal("0.005")),), ())
    # It should cancel the first's order when that one is done, and only then
    done = replace(plan, legs=(STOP, replace(legs[0], executed=Decimal("0.005"), done=True), legs[1]))
    half = Exposure(filled=Decimal("0.010"), open=Decimal("0.005"))
    stop = replace(RIGHT, quantity=Decimal("0.005"))
    assert compare(done, half, [stop, first, second]).excess == (21,)


@pytest.mark.parametrize(
    ("rest", "kept", "missing"),
    [
        (["0.006", "0.004"], [10, 11], []),
        # The larger and newer first: 0.006 and 0.004, not one of three with 0.003.
        (["0.004", "0.006", "0.003"], [10, 11], []),
        (["0.005", "0.005", "0.005"], [11, 12], []),
        (["0.007", "0.007"], [], ["0.006", "0.004"]),
        (["0.006"], [10], ["0.004"]),
        (["0.004", "0.004"], [11], ["0.006"]),
    ],
)
def test_orders_that_add_up_to_the_quantity_are_kept(rest: list[str], kept: list[int], missing: list[str]) -> None:
    plan = replace(ONLY_A_STOP, maximum=Decimal("0.006"))
    found = compare(plan, WHOLE, stops_of(*rest))

    assert [want.quantity for want in found.missing] == [Decimal(part) for part in missing]
    surplus = () if missing else tuple(10 + place for place in range(len(rest)) if 10 + place not in kept)
    assert found.excess == surplus


def test_more_orders_than_the_lot_asks_for_are_replaced_by_fewer() -> None:
    found = compare(ONLY_A_STOP, WHOLE, stops_of("0.006", "0.004"))

    assert (found.missing, found.excess) == ((Wanted(leg=STOP, quantity=Decimal("0.010")),), ())


TRAILING = Leg(id=9, purpose=OrderPurpose.TRAILING, price=None, callback_percent=Decimal(1))
TRAILED = Plan(legs=(TRAILING,), tick=TICK, step=STEP, minimum=MINIMUM, maximum=Decimal("0.006"))


def trailing_of(*quantities: str, callback: str = "1") -> list[Resting]:
    return [
        Resting(
            order_id=10 + number, leg_id=9, quantity=Decimal(quantity), price=None, callback_percent=Decimal(callback)
        )
        for number, quantity in enumerate(quantities)
    ]


@pytest.mark.parametrize(
    ("rest", "missing", "surplus"),
    [
        (["0.006", "0.004"], [], ()),
        (["0.006"], ["0.004"], ()),
        (["0.006", "0.006"], [], ()),
        (["0.004", "0.006", "0.002"], [], (12,)),
        # Above the maximum it would be refused at its trigger.
        (["0.010"], ["0.006", "0.004"], ()),
    ],
)
def test_trailing_orders_are_kept_in_their_order_and_topped_up(
    rest: list[str], missing: list[str], surplus: tuple[int, ...]
) -> None:
    found = compare(TRAILED, WHOLE, trailing_of(*rest))

    assert [want.quantity for want in found.missing] == [Decimal(part) for part in missing]
    assert found.excess == surplus


def test_a_trailing_order_with_another_callback_is_replaced() -> None:
    found = compare(TRAILED, WHOLE, trailing_of("0.006", "0.004", callback="1.1"))

    assert [want.quantity for want in found.missing] == [Decimal("0.006"), Decimal("0.004")]
    both = [*trailing_of("0.006", "0.004", callback="1.1")]
    new = [replace(order, order_id=order.order_id + 10, callback_percent=Decimal(1)) for order in both]
    assert compare(TRAILED, WHOLE, [*both, *new]).excess == (10, 11)


def test_a_trailing_leg_of_a_growing_entry_keeps_what_rests_and_wants_nothing() -> None:
    growing = replace(WHOLE, growing=True)
    found = compare(TRAILED, growing, trailing_of("0.004"))
    assert (found.missing, found.excess) == ((), ())

    # It should not keep a stop or target that wants nothing any more
    done = Plan(legs=(STOP, target(2, "1", executed="0.010", done=True)), tick=TICK, step=STEP, minimum=MINIMUM)
    rests = Resting(order_id=21, leg_id=2, quantity=Decimal("0.010"), price=Decimal(51000))
    assert compare(done, growing, [RIGHT, rests]).excess == (21,)


@pytest.mark.parametrize(("hedged", "surplus"), [(False, ()), (True, (11,))])
def test_where_no_order_fits_the_lot_hedge_mode_keeps_only_what_would_be_taken(
    surplus: tuple[int, ...],
    *,
    hedged: bool,
) -> None:
    plan = replace(ONLY_A_STOP, step=Decimal("0.02"), minimum=Decimal("0.02"), maximum=Decimal("0.006"))
    rest = stops_of("0.010", "0.011")
    found = compare(plan, replace(WHOLE, hedged=hedged), rest)

    assert (found.missing, found.excess) == ((), surplus)


def test_a_position_is_closed_in_parts_of_its_lot() -> None:
    lot = LotRule(step=STEP, minimum=MINIMUM, maximum=Decimal("0.120"))
    exposure = Exposure(filled=Decimal("0.2"), open=Decimal("0.1505"))

    assert exposure.closing_parts(lot) == [Decimal("0.120"), Decimal("0.031")]
    assert replace(exposure, hedged=True).closing_parts(lot) == [Decimal("0.120"), Decimal("0.030")]
    assert WIDE.lot == lot
    # It should bound nothing where the exchange names no maximum
    assert ONLY_A_STOP.lot.maximum == 10**12


@pytest.mark.parametrize(
    ("direction", "price", "than", "tighter"),
    [
        (LONG, 49001, 49000, True),
        (LONG, 49000, 49000, False),
        (LONG, 48999, 49000, False),
        (SHORT, 50999, 51000, True),
        (SHORT, 51000, 51000, False),
        (SHORT, 51001, 51000, False),
    ],
)
def test_a_tighter_stop_loses_less(direction: Direction, price: int, than: int, tighter: bool) -> None:  # noqa: FBT001
    assert is_tighter(direction, Decimal(price), Decimal(than)) is tighter


@pytest.mark.parametrize("still_open", ["0", "-0.001"])
def test_nothing_is_wanted_of_a_position_that_is_gone(still_open: str) -> None:
    trailing = Leg(id=9, purpose=OrderPurpose.TRAILING, price=None, callback_percent=Decimal(1))
    plan = Plan(legs=(STOP, target(2, "1"), trailing), tick=TICK, step=STEP, minimum=MINIMUM)
    gone = Exposure(filled=Decimal("0.010"), open=Decimal(still_open))
    rests = [
        RIGHT,
        Resting(order_id=21, leg_id=2, quantity=Decimal("0.010"), price=Decimal(51000)),
        *trailing_of("0.01"),
    ]

    assert wanted_legs(plan, gone) == []
    # It should cancel every leg's orders, the trailing ones too
    found = compare(plan, gone, rests)
    assert (found.missing, found.excess) == ((), (10, 11, 21))


def test_the_newest_of_equal_orders_is_kept_in_whatever_order_they_are_read() -> None:
    newer = replace(RIGHT, order_id=12)

    assert compare(ONLY_A_STOP, WHOLE, [newer, RIGHT]).excess == (11,)
    assert compare(ONLY_A_STOP, WHOLE, [RIGHT, newer]).excess == (11,)


def test_parts_that_each_rest_are_kept_where_larger_ones_add_up_to_nothing() -> None:
    # 0.007 within 0.002 and 0.006 is 0.005 and 0.002; an older order of 0.006 fits the lot too.
    plan = replace(ONLY_A_STOP, minimum=Decimal("0.002"), maximum=Decimal("0.006"))
    exposure = Exposure(filled=Decimal("0.007"), open=Decimal("0.007"))

    found = compare(plan, exposure, stops_of("0.006", "0.005", "0.002"))
    assert (found.missing, found.excess) == ((), (10,))


def test_what_a_trailing_leg_lacks_below_a_step_is_a_whole_step_where_it_is_trimmed() -> None:
    exposure = Exposure(filled=Decimal("0.0105"), open=Decimal("0.0105"))

    found = compare(TRAILED, exposure, trailing_of("0.006"))
    assert [want.quantity for want in found.missing] == [Decimal("0.005")]


def test_what_rests_where_no_order_fits_keeps_no_order_of_another_leg() -> None:
    done = target(2, "1", executed="0.010", done=True)
    plan = Plan(legs=(STOP, done), tick=TICK, step=Decimal("0.02"), minimum=Decimal("0.02"), maximum=Decimal("0.006"))
    rests = Resting(order_id=21, leg_id=2, quantity=Decimal("0.010"), price=Decimal(51000))

    assert compare(plan, WHOLE, [RIGHT, rests]).excess == (21,)


def test_one_order_that_executes_just_now_keeps_those_beside_it() -> None:
    first, second = stops_of("0.006", "0.004")

    for rests in ([replace(first, begun=True), second], [first, replace(second, begun=True)]):
        found = compare(ONLY_A_STOP, WHOLE, rests)
        assert (found.missing, found.excess) == ((), ())


def test_an_order_of_a_leg_without_a_price_is_never_right() -> None:
    leg = replace(STOP, price=None)
    found = compare(replace(ONLY_A_STOP, legs=(leg,)), WHOLE, [RIGHT])

    assert found.missing == (Wanted(leg=leg, quantity=Decimal("0.010")),)


@pytest.mark.parametrize(
    ("direction", "entry", "buffer", "price"),
    [
        (LONG, "50000.04", "0.001", "50050.1"),
        (SHORT, "50000.04", "0.001", "49950.0"),
        (LONG, "50000", "0", "50000"),
        (SHORT, "50000", "0", "50000"),
        (LONG, "50000.01", "0", "50000.1"),
        (SHORT, "50000.01", "0", "50000.0"),
    ],
)
def test_break_even_by_hand(direction: Direction, entry: str, buffer: str, price: str) -> None:
    assert break_even_at(direction, Decimal(entry), Decimal(buffer), TICK) == Decimal(price)
