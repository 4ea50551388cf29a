"""How many orders the exits of an entry take, and whether the account has room for them."""

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.domain import policy as keys
from execution.domain.exit_orders import exit_orders_for, judge_room
from execution.domain.exits import ExitPlan
from execution.domain.lots import LotRule
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.review import AskedTarget

D = Decimal
LOT = LotRule(step=D("0.001"), minimum=D("0.002"), maximum=D("0.010"))
PLAN = ExitPlan(
    stop_price=D(49000),
    stop_defaulted=False,
    targets=(AskedTarget(price=D(51000), share=D("0.5")), AskedTarget(price=D(52000), share=D("0.5"))),
    target_defaulted=False,
    callback_percent=None,
    activation_price=None,
    break_even=False,
    break_even_buffer=D(0),
    time_exit_seconds=None,
)


@pytest.mark.parametrize(
    ("quantity", "plan", "orders"),
    [
        # One stop, and a target for each half.
        ("0.010", PLAN, 3),
        # Above the maximum: two stops, and two halves of 0.006.
        ("0.012", PLAN, 4),
        # Two stops of 0.010 and 0.010, two orders of each half.
        ("0.022", PLAN, 3 + 2 * 2),
        ("0.010", replace(PLAN, stop_price=None), 2),
        ("0.012", replace(PLAN, callback_percent=D(1)), 6),
        ("0.012", replace(PLAN, callback_percent=D(1), stop_price=None), 4),
        # Halves of 0.0015 are floored to 0.001, below the minimum: no order.
        ("0.003", PLAN, 1),
        ("0.004", PLAN, 3),
        ("0.010", replace(PLAN, targets=()), 1),
    ],
)
def test_every_exit_counts_in_parts_of_the_lot(quantity: str, plan: ExitPlan, orders: int) -> None:
    assert exit_orders_for(D(quantity), plan, LOT) == orders


@pytest.mark.parametrize(
    ("positions", "resting", "needed", "numbers", "passed"),
    [
        ("30", 198, 2, "expected<=200 actual=200 resting=198 needed=2", True),
        ("30", 198, 3, "expected<=200 actual=201 resting=198 needed=3", False),
        ("100", 0, 201, "expected<=200 actual=201 resting=0 needed=201", False),
        # An exchange with more room says so by the positions that it takes.
        ("101", 199, 3, "expected<=202 actual=202 resting=199 needed=3", True),
        ("101", 200, 3, "expected<=202 actual=203 resting=200 needed=3", False),
    ],
)
def test_an_account_has_room_for_a_stop_and_a_target_of_each_position(
    positions: str, resting: int, needed: int, numbers: str, *, passed: bool
) -> None:
    policy = Policy(values={keys.MAX_POSITIONS: D(positions)}, version=1)

    verdict = judge_room(resting=resting, needed=needed, policy=policy)
    assert (verdict.rule, verdict.numbers) == ("exit_orders_room", numbers)
    assert verdict.refusal is (None if passed else Reason.EXITS_NOT_PLACEABLE)
