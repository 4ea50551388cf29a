"""Each rule for a person's move of a position's exits, at its edge: what passes, what breaks it, and what is said."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from execution.domain import policy as keys
from execution.domain.brackets import Leg, Plan
from execution.domain.policy import Policy
from execution.domain.protection_moves import (
    LossRoom,
    MoveLimit,
    ProtectionMove,
    Surroundings,
    broken_rules,
    loosens_stop,
)
from execution.domain.trading import Direction, OrderPurpose

D = Decimal
LEGS = (
    Leg(id=1, purpose=OrderPurpose.STOP, price=D(49000)),
    Leg(id=2, purpose=OrderPurpose.TARGET, price=D(51000), share=D("0.5"), done=True),
    Leg(id=3, purpose=OrderPurpose.TARGET, price=D(52000), share=D("0.5")),
    Leg(id=4, purpose=OrderPurpose.TRAILING, price=None, callback_percent=D(1)),
)
PLAN = Plan(legs=LEGS, tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))
WIDER = frozenset({MoveLimit.STOP_DISTANCE})
DEFAULTS = Policy(values={}, version=0)
# One unit that was entered at 50,000, beside nothing else.
ROOM = LossRoom(policy=DEFAULTS, entry_price=D(50000), open_quantity=D(1), others_risk=D(0), lost_today=D(0))
LONG = Surroundings(direction=Direction.LONG, mark_price=D(50000), liquidation_price=D(45000), room=ROOM)
SHORT = Surroundings(direction=Direction.SHORT, mark_price=D(50000), liquidation_price=D(55000), room=ROOM)


@pytest.mark.parametrize(
    ("around", "move", "broken"),
    [
        (LONG, ProtectionMove(stop_price=D("49999.9")), None),
        (LONG, ProtectionMove(stop_price=D(50000)), ("stop_loss", "STOP_ON_WRONG_SIDE: stop=50000 mark=50000")),
        (LONG, ProtectionMove(stop_price=D("45000.1")), None),
        (
            LONG,
            ProtectionMove(stop_price=D(45000)),
            ("stop_loss", "STOP_BEYOND_LIQUIDATION: stop=45000 liquidation=45000"),
        ),
        (
            LONG,
            ProtectionMove(stop_price=D("48999.95")),
            ("stop_loss", "INVALID_FIELD: price=48999.95 is no multiple of tick=0.1"),
        ),
        (SHORT, ProtectionMove(stop_price=D("50000.1")), None),
        (SHORT, ProtectionMove(stop_price=D(50000)), ("stop_loss", "STOP_ON_WRONG_SIDE: stop=50000 mark=50000")),
        (SHORT, ProtectionMove(stop_price=D("54999.9")), None),
        (
            SHORT,
            ProtectionMove(stop_price=D(55000)),
            ("stop_loss", "STOP_BEYOND_LIQUIDATION: stop=55000 liquidation=55000"),
        ),
        (LONG, ProtectionMove(target_prices={2: D("50000.1")}), None),
        (
            LONG,
            ProtectionMove(target_prices={2: D(50000)}),
            ("take_profits.2", "TARGET_ON_WRONG_SIDE: target=50000 mark=50000"),
        ),
        (
            SHORT,
            ProtectionMove(target_prices={2: D(50001)}),
            ("take_profits.2", "TARGET_ON_WRONG_SIDE: target=50001 mark=50000"),
        ),
        (SHORT, ProtectionMove(target_prices={2: D("49999.9")}), None),
        (
            SHORT,
            ProtectionMove(target_prices={2: D(50000)}),
            ("take_profits.2", "TARGET_ON_WRONG_SIDE: target=50000 mark=50000"),
        ),
        (
            SHORT,
            ProtectionMove(stop_price=D("51000.05")),
            ("stop_loss", "INVALID_FIELD: price=51000.05 is no multiple of tick=0.1"),
        ),
        (
            SHORT,
            ProtectionMove(callback_percent=D("0.05")),
            (
                "trailing.callback_percent",
                "TRAILING_OUT_OF_BOUNDS: expected=0.1%..20% in steps of 0.1% actual=0.05%",
            ),
        ),
        (
            LONG,
            ProtectionMove(target_prices={2: D("52000.05")}),
            ("take_profits.2", "INVALID_FIELD: price=52000.05 is no multiple of tick=0.1"),
        ),
        (LONG, ProtectionMove(target_prices={1: D(51500)}), ("take_profits.1", "INVALID_FIELD: target 1 has filled")),
        (
            LONG,
            ProtectionMove(target_prices={3: D(53000)}),
            ("take_profits.3", "INVALID_FIELD: the plan has 2 targets"),
        ),
        (LONG, ProtectionMove(callback_percent=D("0.1")), None),
        (LONG, ProtectionMove(callback_percent=D(20), override=WIDER), None),
        (
            LONG,
            ProtectionMove(callback_percent=D("20.1"), override=WIDER),
            (
                "trailing.callback_percent",
                "TRAILING_OUT_OF_BOUNDS: expected=0.1%..20% in steps of 0.1% actual=20.1%",
            ),
        ),
        (
            LONG,
            ProtectionMove(callback_percent=D("1.05")),
            (
                "trailing.callback_percent",
                "TRAILING_OUT_OF_BOUNDS: expected=0.1%..20% in steps of 0.1% actual=1.05%",
            ),
        ),
    ],
)
def test_rule_at_its_edge(around: Surroundings, move: ProtectionMove, broken: tuple[str, str] | None) -> None:
    assert broken_rules(move, PLAN, around) == ([broken] if broken else [])


def test_every_broken_rule_is_said() -> None:
    move = ProtectionMove(stop_price=D("50000.05"), target_prices={2: D(49000)}, callback_percent=D(50))

    assert [name for name, _ in broken_rules(move, PLAN, LONG)] == [
        "stop_loss",
        "stop_loss",
        "take_profits.2",
        "trailing.callback_percent",
        "trailing.callback_percent",
    ]


def test_what_the_plan_does_not_have_cannot_move() -> None:
    bare = Plan(legs=(), tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))
    move = ProtectionMove(stop_price=D(49000), callback_percent=D(1))

    assert broken_rules(move, bare, LONG) == [
        ("stop_loss", "INVALID_FIELD: the plan has no stop to move"),
        ("trailing.callback_percent", "INVALID_FIELD: the plan has no trailing stop to move"),
    ]


FREE_LONG = replace(LONG, liquidation_price=D(0))
FREE_SHORT = replace(SHORT, liquidation_price=D(0))
# The plan's stop lies 1,000 from the entry, on the losing side of each direction.
SHORT_PLAN = replace(PLAN, legs=(replace(LEGS[0], price=D(51000)), *LEGS[1:]))
SIDES = [(FREE_LONG, PLAN, -1), (FREE_SHORT, SHORT_PLAN, 1)]
ALL = frozenset(MoveLimit)
CEILINGS = {keys.MAX_STOP_DISTANCE: D("0.25"), keys.MAX_OPEN_RISK: D(9000), keys.MAX_DAILY_LOSS: D(9000)}


def limited(around: Surroundings, **room: Any) -> Surroundings:
    return replace(around, room=replace(around.room, **room))


def rules(around: Surroundings, plan: Plan, distance: int, sign: int, *override: MoveLimit) -> list[str]:
    """Return the codes of the rules that a stop so far from the entry breaks."""
    move = ProtectionMove(stop_price=D(50000) + sign * distance, override=frozenset(override))
    return [sentence.split(":")[0] for _, sentence in broken_rules(move, plan, around)]


@pytest.mark.parametrize(("around", "plan", "sign"), SIDES)
def test_a_stop_is_loosened_as_far_as_an_entry_s_may_lie(around: Surroundings, plan: Plan, sign: int) -> None:
    assert rules(around, plan, 5000, sign) == []
    assert rules(around, plan, 5001, sign) == ["STOP_TOO_FAR"]
    assert rules(around, plan, 49999, sign) == ["STOP_TOO_FAR"]


@pytest.mark.parametrize(("around", "plan", "sign"), SIDES)
def test_a_move_that_tightens_is_held_against_no_limit(around: Surroundings, plan: Plan, sign: int) -> None:
    far = replace(plan, legs=(replace(plan.legs[0], price=D(50000) + sign * 20000), *plan.legs[1:]))
    nothing = limited(around, policy=Policy(values={keys.MAX_OPEN_RISK: D(0), keys.MAX_DAILY_LOSS: D(0)}, version=1))

    assert rules(nothing, far, 19999, sign) == []
    assert rules(nothing, far, 20000, sign) == []
    assert rules(nothing, far, 20001, sign) == ["STOP_TOO_FAR", "OPEN_RISK_EXCEEDS_LIMIT", "DAILY_LOSS_EXCEEDS_LIMIT"]


@pytest.mark.parametrize(("around", "plan", "sign"), SIDES)
@pytest.mark.parametrize(
    ("key", "room", "reason"),
    [
        (keys.MAX_OPEN_RISK, {}, "OPEN_RISK_EXCEEDS_LIMIT"),
        (keys.MAX_OPEN_RISK, {"others_risk": D(500)}, "OPEN_RISK_EXCEEDS_LIMIT"),
        (keys.MAX_OPEN_RISK, {"open_quantity": D(2)}, "OPEN_RISK_EXCEEDS_LIMIT"),
        (keys.MAX_OPEN_RISK, {"usd_per_quote": D(2)}, "OPEN_RISK_EXCEEDS_LIMIT"),
        (keys.MAX_DAILY_LOSS, {}, "DAILY_LOSS_EXCEEDS_LIMIT"),
        (keys.MAX_DAILY_LOSS, {"others_risk": D(500)}, "DAILY_LOSS_EXCEEDS_LIMIT"),
        (keys.MAX_DAILY_LOSS, {"lost_today": D(500)}, "DAILY_LOSS_EXCEEDS_LIMIT"),
    ],
)
def test_what_all_stops_may_lose_is_bounded(
    around: Surroundings, plan: Plan, sign: int, key: str, room: dict[str, Decimal], reason: str
) -> None:
    used = room.get("others_risk", D(0)) + room.get("lost_today", D(0))
    most = 2000 * room.get("open_quantity", D(1)) * room.get("usd_per_quote", D(1)) + used
    bounded = limited(around, policy=Policy(values={key: most}, version=1), **room)

    assert rules(bounded, plan, 2000, sign) == []
    assert rules(bounded, plan, 2001, sign) == [reason]


@pytest.mark.parametrize(("around", "plan", "sign"), SIDES)
def test_an_override_names_its_rules_and_ends_at_the_ceilings(around: Surroundings, plan: Plan, sign: int) -> None:
    nothing = Policy(values={keys.MAX_OPEN_RISK: D(0), keys.MAX_DAILY_LOSS: D(0)}, version=1)
    bounded = limited(around, policy=nothing, ceilings=CEILINGS)

    # It should set aside what it names and nothing else.
    assert rules(bounded, plan, 6000, sign, *ALL) == []
    assert rules(bounded, plan, 6000, sign, MoveLimit.STOP_DISTANCE, MoveLimit.OPEN_RISK) == [
        "DAILY_LOSS_EXCEEDS_LIMIT"
    ]
    # It should end at the ceilings.
    assert rules(bounded, plan, 9000, sign, *ALL) == []
    assert rules(bounded, plan, 9001, sign, *ALL) == ["OPEN_RISK_EXCEEDS_LIMIT", "DAILY_LOSS_EXCEEDS_LIMIT"]
    assert rules(limited(bounded, ceilings={keys.MAX_STOP_DISTANCE: D("0.25")}), plan, 12501, sign, *ALL) == [
        "STOP_TOO_FAR"
    ]
    # Without a ceiling the policy's own bounds hold.
    assert rules(around, plan, 25001, sign, *ALL) == ["STOP_TOO_FAR"]


@pytest.mark.parametrize("around", [LONG, SHORT])
def test_a_trailing_stop_follows_no_farther_than_a_stop_may_lie(around: Surroundings) -> None:
    assert broken_rules(ProtectionMove(callback_percent=D(10)), PLAN, around) == []
    [(field, rule)] = broken_rules(ProtectionMove(callback_percent=D("10.1")), PLAN, around)
    assert (field, rule) == (
        "trailing.callback_percent",
        "STOP_TOO_FAR: expected<=0.1 actual=0.101 rule=stop_distance",
    )
    widened = ProtectionMove(callback_percent=D("10.1"), override=WIDER)
    assert broken_rules(widened, PLAN, around) == []


def test_a_position_that_cannot_be_liquidated_has_no_such_bound() -> None:
    move = ProtectionMove(stop_price=D("45000"))

    assert broken_rules(move, PLAN, FREE_LONG) == []


def test_a_target_that_the_plan_does_not_have_hides_no_other() -> None:
    move = ProtectionMove(target_prices={3: D(53000), 1: D(51500), 2: D(49000)})

    assert broken_rules(move, PLAN, LONG) == [
        ("take_profits.3", "INVALID_FIELD: the plan has 2 targets"),
        ("take_profits.1", "INVALID_FIELD: target 1 has filled"),
        ("take_profits.2", "TARGET_ON_WRONG_SIDE: target=49000 mark=50000"),
    ]
    assert broken_rules(ProtectionMove(), PLAN, SHORT) == []


def test_a_short_that_cannot_be_liquidated_has_no_such_bound_either() -> None:
    assert broken_rules(ProtectionMove(stop_price=D(55000)), SHORT_PLAN, FREE_SHORT) == []


@pytest.mark.parametrize(
    ("direction", "stop", "bound"), [(Direction.LONG, "0.3", "0.4"), (Direction.SHORT, "0.7", "0.6")]
)
def test_a_coin_below_a_dollar_has_its_bound(direction: Direction, stop: str, bound: str) -> None:
    around = Surroundings(direction=direction, mark_price=D("0.5"), liquidation_price=D(bound), room=ROOM)
    sentence = f"STOP_BEYOND_LIQUIDATION: stop={stop} liquidation={bound}"

    # It should be the first rule of those that so far a stop breaks.
    assert broken_rules(ProtectionMove(stop_price=D(stop)), PLAN, around)[0] == ("stop_loss", sentence)


def test_a_plan_of_a_stop_alone_has_a_stop_to_move() -> None:
    plan = Plan(legs=LEGS[:1], tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))

    assert broken_rules(ProtectionMove(stop_price=D(49500)), plan, LONG) == []


TWO_STOPS = Plan(
    legs=(
        Leg(id=1, purpose=OrderPurpose.STOP, price=D(49000), share=D("0.5")),
        Leg(id=2, purpose=OrderPurpose.STOP, price=D(48000), share=D("0.5")),
    ),
    tick=D("0.1"),
    step=D("0.001"),
    minimum=D("0.001"),
)


def trailing_plan(*percents: Decimal | None) -> Plan:
    legs = tuple(
        Leg(id=number, purpose=OrderPurpose.TRAILING, price=None, callback_percent=percent)
        for number, percent in enumerate(percents, start=1)
    )
    return Plan(legs=legs, tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))


@pytest.mark.parametrize(
    ("around", "price", "looser"),
    [
        (LONG, D(48500), True),
        (LONG, D(49500), False),
        (LONG, D(47000), True),
        (LONG, D(49000), False),
        (SHORT, D(48500), True),
        (SHORT, D(47500), False),
        (SHORT, D(49500), True),
    ],
)
def test_a_stop_that_loses_more_than_one_of_the_plan_loosens(
    around: Surroundings, price: Decimal, *, looser: bool
) -> None:
    assert loosens_stop(TWO_STOPS, around.direction, price) is looser


@pytest.mark.parametrize("around", [LONG, SHORT])
def test_a_stop_without_a_price_counts_as_nearer(around: Surroundings) -> None:
    plan = replace(TWO_STOPS, legs=(Leg(id=1, purpose=OrderPurpose.STOP, price=None),))

    assert loosens_stop(plan, around.direction, D(50000))


@pytest.mark.parametrize(
    ("around", "stop"),
    [(LONG, D(45500)), (SHORT, D(54500))],
)
def test_each_limit_names_its_numbers(around: Surroundings, stop: Decimal) -> None:
    tight = Policy(
        values={keys.MAX_STOP_DISTANCE: D("0.05"), keys.MAX_OPEN_RISK: D(4000), keys.MAX_DAILY_LOSS: D(4100)}, version=1
    )
    room = replace(ROOM, policy=tight, others_risk=D(100), lost_today=D(50))
    plan = replace(PLAN, legs=(Leg(id=1, purpose=OrderPurpose.STOP, price=D(50000)),))

    broken = [
        sentence for _, sentence in broken_rules(ProtectionMove(stop_price=stop), plan, replace(around, room=room))
    ]

    assert broken == [
        "STOP_TOO_FAR: expected<=0.05 actual=0.09 entry=50000 rule=stop_distance",
        "OPEN_RISK_EXCEEDS_LIMIT: expected<=4000 actual=4600 this_risk=4500 rule=open_risk",
        "DAILY_LOSS_EXCEEDS_LIMIT: expected<=4100 actual=4650 lost=50 open_risk=100 this_risk=4500 rule=daily_loss",
    ]


@pytest.mark.parametrize(
    ("present", "asked", "refused"),
    [
        ((D(1),), D(6), True),
        ((D(6),), D(6), False),
        ((D(7),), D(6), False),
        ((D(7), D(1)), D(6), True),
        ((None,), D(6), True),
        ((D(1),), D(5), False),
        ((), D(6), False),
    ],
)
def test_a_wider_trailing_stop_keeps_the_distance(
    present: tuple[Decimal | None, ...], asked: Decimal, *, refused: bool
) -> None:
    tight = replace(ROOM, policy=Policy(values={keys.MAX_STOP_DISTANCE: D("0.05")}, version=1))

    broken = broken_rules(ProtectionMove(callback_percent=asked), trailing_plan(*present), replace(LONG, room=tight))

    told = ("trailing.callback_percent", "STOP_TOO_FAR: expected<=0.05 actual=0.06 rule=stop_distance")
    assert (told in broken) is refused
