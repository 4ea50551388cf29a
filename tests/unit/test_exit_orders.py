"""How many orders the exits of an entry take, and whether the account has room for them."""

from dataclasses import replace
from decimal import Decimal

import pytest

from execution.domain import policy as keys
from execution.domain.exit_orders import exit_orders_for, judge_room
from execution.domain.exits import ExitPlan, PlannedTarget
from execution.domain.lots import LotRule
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal
from execution.domain.safety import Verdict, judge
from execution.domain.trading import Direction, InstrumentFilters, OrderType
from tests.unit.examples import BTCUSDT, quote

D = Decimal
LOT = LotRule(step=D("0.001"), minimum=D("0.002"), maximum=D("0.010"))
PLAN = ExitPlan(
    stop_price=D(49000),
    stop_defaulted=False,
    targets=(PlannedTarget(price=D(51000), share=D("0.5")), PlannedTarget(price=D(52000), share=D("0.5"))),
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


def judged(direction: Direction, quantity: str, rules: InstrumentFilters) -> Verdict:
    """Judge a LIMIT entry at 50,000 with a target of its own and the policy's stop."""
    proposal = Proposal(
        symbol="BTCUSDT",
        direction=direction,
        order_type=OrderType.LIMIT,
        notional_usd=None,
        base_quantity=D(quantity),
        limit_price=D(50000),
        expected_price=None,
        leverage=5,
        stop_price=None,
        target_price=D(52000) if direction is Direction.LONG else D(48000),
        confidence=None,
    )
    return judge(proposal, quote=quote(), rules=rules, policy=Policy(values={}, version=0))


@pytest.mark.parametrize("direction", [Direction.LONG, Direction.SHORT])
@pytest.mark.parametrize(("quantity", "closable"), [("0.007", "0.005"), ("0.008", "0.008"), ("0.010", "0.010")])
def test_an_entry_of_which_a_part_could_not_be_closed_is_refused(
    direction: Direction, quantity: str, closable: str
) -> None:
    # Exits are market orders of 0.004 to 0.005: 0.007 is neither one of them nor two.
    rules = replace(BTCUSDT, market_min_quantity=D("0.004"), market_max_quantity=D("0.005"))
    verdict = judged(direction, quantity, rules)

    (row,) = (row for row in verdict.rules if row.rule == "exit_orders")
    assert row.refusal is (None if quantity == closable else Reason.EXITS_NOT_PLACEABLE)
    orders = 2 if quantity == "0.007" else 4
    assert row.numbers == (
        f"expected<=40 actual={orders} quantity={D(quantity).normalize():f} closable={D(closable).normalize():f} "
        "step=0.001 minimum=0.004 maximum=0.005"
    )
    assert verdict.exits is not None
    # It should know an asked target from a default, and a default stop from an asked one
    assert (verdict.exits.target_defaulted, verdict.exits.stop_defaulted) == (False, True)


@pytest.mark.parametrize("direction", [Direction.LONG, Direction.SHORT])
@pytest.mark.parametrize(("quantity", "orders", "passed"), [("0.020", 40, True), ("0.021", 42, False)])
def test_an_entry_whose_exits_are_too_many_orders_is_refused(
    direction: Direction, quantity: str, orders: int, *, passed: bool
) -> None:
    # A stop and a target for all of it, each in parts of 0.001.
    rules = replace(BTCUSDT, market_min_quantity=D("0.001"), market_max_quantity=D("0.001"))
    verdict = judged(direction, quantity, rules)

    (row,) = (row for row in verdict.rules if row.rule == "exit_orders")
    assert row.refusal is (None if passed else Reason.EXITS_NOT_PLACEABLE)
    assert row.numbers.startswith(f"expected<=40 actual={orders} quantity={D(quantity).normalize():f} ")
