"""Each rule for a person's move of a position's exits, at its edge: what passes, what breaks it, and what is said."""

from decimal import Decimal

import pytest

from execution.domain.brackets import Leg, Plan
from execution.domain.protection_moves import ProtectionMove, Surroundings, broken_rules
from execution.domain.trading import Direction, OrderPurpose

D = Decimal
LEGS = (
    Leg(id=1, purpose=OrderPurpose.STOP, price=D(49000)),
    Leg(id=2, purpose=OrderPurpose.TARGET, price=D(51000), share=D("0.5"), done=True),
    Leg(id=3, purpose=OrderPurpose.TARGET, price=D(52000), share=D("0.5")),
    Leg(id=4, purpose=OrderPurpose.TRAILING, price=None, callback_percent=D(1)),
)
PLAN = Plan(legs=LEGS, tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))
LONG = Surroundings(direction=Direction.LONG, mark_price=D(50000), liquidation_price=D(45000))
SHORT = Surroundings(direction=Direction.SHORT, mark_price=D(50000), liquidation_price=D(55000))


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
        (LONG, ProtectionMove(callback_percent=D(20)), None),
        (
            LONG,
            ProtectionMove(callback_percent=D("20.1")),
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
    ]


def test_what_the_plan_does_not_have_cannot_move() -> None:
    bare = Plan(legs=(), tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))
    move = ProtectionMove(stop_price=D(49000), callback_percent=D(1))

    assert broken_rules(move, bare, LONG) == [
        ("stop_loss", "INVALID_FIELD: the plan has no stop to move"),
        ("trailing.callback_percent", "INVALID_FIELD: the plan has no trailing stop to move"),
    ]


def test_a_position_that_cannot_be_liquidated_has_no_such_bound() -> None:
    around = Surroundings(direction=Direction.LONG, mark_price=D(50000), liquidation_price=D(0))

    assert broken_rules(ProtectionMove(stop_price=D("0.1")), PLAN, around) == []


def test_a_target_that_the_plan_does_not_have_hides_no_other() -> None:
    move = ProtectionMove(target_prices={3: D(53000), 1: D(51500), 2: D(49000)})

    assert broken_rules(move, PLAN, LONG) == [
        ("take_profits.3", "INVALID_FIELD: the plan has 2 targets"),
        ("take_profits.1", "INVALID_FIELD: target 1 has filled"),
        ("take_profits.2", "TARGET_ON_WRONG_SIDE: target=49000 mark=50000"),
    ]
    assert broken_rules(ProtectionMove(), PLAN, SHORT) == []


def test_a_short_that_cannot_be_liquidated_has_no_such_bound_either() -> None:
    around = Surroundings(direction=Direction.SHORT, mark_price=D(50000), liquidation_price=D(0))

    assert broken_rules(ProtectionMove(stop_price=D(90000)), PLAN, around) == []


@pytest.mark.parametrize(
    ("direction", "stop", "bound"), [(Direction.LONG, "0.3", "0.4"), (Direction.SHORT, "0.7", "0.6")]
)
def test_a_coin_below_a_dollar_has_its_bound(direction: Direction, stop: str, bound: str) -> None:
    around = Surroundings(direction=direction, mark_price=D("0.5"), liquidation_price=D(bound))

    assert broken_rules(ProtectionMove(stop_price=D(stop)), PLAN, around) == [
        ("stop_loss", f"STOP_BEYOND_LIQUIDATION: stop={stop} liquidation={bound}")
    ]


def test_a_plan_of_a_stop_alone_has_a_stop_to_move() -> None:
    plan = Plan(legs=LEGS[:1], tick=D("0.1"), step=D("0.001"), minimum=D("0.001"))

    assert broken_rules(ProtectionMove(stop_price=D(49500)), plan, LONG) == []
