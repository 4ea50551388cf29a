"""The exits that the guard gives an entry, at every edge: each rule once long and once short."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from execution.domain import policy as keys
from execution.domain.distances import Distance, Measure
from execution.domain.exits import ExitPlan
from execution.domain.liquidation import MarginBracket
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal, RuleVerdict
from execution.domain.safety import Verdict, judge
from execution.domain.trading import Direction, OrderType, TimeInForce
from tests.unit.examples import BTCUSDT, quote

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
ASKED = Proposal(
    symbol="BTCUSDT",
    direction=LONG,
    order_type=OrderType.MARKET,
    notional_usd=D(1000),
    base_quantity=None,
    limit_price=None,
    expected_price=None,
    leverage=10,
    stop_price=None,
    target_price=None,
    confidence=None,
)


def judged(values: dict[str, str] | None = None, brackets: tuple[MarginBracket, ...] = (), **change: Any) -> Verdict:
    policy = Policy(values={getattr(keys, name): D(value) for name, value in (values or {}).items()}, version=1)
    return judge(replace(ASKED, **change), quote=quote(), rules=BTCUSDT, policy=policy, brackets=brackets)


def exits(verdict: Verdict) -> ExitPlan:
    assert verdict.exits is not None
    return verdict.exits


def said(verdict: Verdict, rule: str) -> list[RuleVerdict]:
    return [row for row in verdict.rules if row.rule == rule]


@pytest.mark.parametrize(
    ("asked", "default", "seconds"), [(None, "0", None), (None, "3600", 3600), (60, "3600", 60), (60, "0", 60)]
)
def test_a_time_exit_is_the_decisions_or_the_policys(asked: int | None, default: str, seconds: int | None) -> None:
    found = exits(judged({"DEFAULT_TIME_EXIT": default}, time_exit_seconds=asked)).time_exit_seconds

    assert found == seconds
    assert type(found) is type(seconds)


@pytest.mark.parametrize(
    ("asked", "default", "moves"),
    [(None, "0", False), (None, "1", True), (True, "0", True), (False, "1", False)],
)
def test_break_even_is_the_decisions_or_the_policys(asked: bool | None, default: str, moves: bool) -> None:  # noqa: FBT001
    plan = exits(judged({"BREAK_EVEN": default, "BREAK_EVEN_BUFFER": "0.003"}, break_even=asked))

    assert (plan.break_even, plan.break_even_buffer) == (moves, D("0.003"))


@pytest.mark.parametrize(
    ("asked", "default", "callback", "recorded"),
    [
        (None, "0", None, []),
        (None, "0.02", "2", [(None, "2", "step=0.1% default=True")]),
        (None, "0.00125", "0.2", [(None, "0.2", "step=0.1% default=True")]),
        ("1.5", "0.02", "1.5", []),
        ("1.51", "0", "1.6", [("1.51", "1.6", "step=0.1% default=False")]),
        ("0.1", "0", "0.1", []),
        ("20", "0", "20", []),
    ],
)
def test_a_trailing_stop_is_the_decisions_or_the_policys(
    asked: str | None, default: str, callback: str | None, recorded: list[tuple[str | None, str, str]]
) -> None:
    verdict = judged({"DEFAULT_TRAIL": default}, callback_percent=None if asked is None else D(asked))

    assert verdict.refusal is None
    assert exits(verdict).callback_percent == (None if callback is None else D(callback))
    rows = [(row.before, row.after, row.numbers) for row in said(verdict, "trailing_callback")]
    assert rows == [(before and D(before), D(after), numbers) for before, after, numbers in recorded]


@pytest.mark.parametrize("percent", ["0.09", "20.01"])
def test_a_trailing_stop_out_of_bounds_is_refused_by_its_asked_distance(percent: str) -> None:
    (row,) = said(judged(callback_percent=D(percent)), "trailing_range")

    assert (row.refusal, row.numbers) == (
        Reason.TRAILING_OUT_OF_BOUNDS,
        f"expected=0.1%..20% actual={percent}%",
    )


@pytest.mark.parametrize(
    ("direction", "asked", "activation"),
    [
        (LONG, "50000.19", "50000.1"),
        (LONG, "50000.1", "50000.1"),
        (LONG, "50000.09", None),
        (LONG, "50000", None),
        (LONG, "49000", None),
        (SHORT, "49999.81", "49999.9"),
        (SHORT, "49999.91", None),
        (SHORT, "50000", None),
        (SHORT, "51000", None),
    ],
)
def test_an_activation_that_is_reached_is_none(direction: Direction, asked: str, activation: str | None) -> None:
    verdict = judged(direction=direction, callback_percent=D(1), activation_price=D(asked))

    assert exits(verdict).activation_price == (None if activation is None else D(activation))
    rows = [row.numbers for row in said(verdict, "trailing_activation")]
    assert rows == ([] if activation else [f"activation={asked} reached=50000: it follows at once"])


@pytest.mark.parametrize(("direction", "stop"), [(LONG, "49000"), (SHORT, "51000")])
def test_a_stop_that_was_asked_for_stands_where_the_policy_has_none(direction: Direction, stop: str) -> None:
    verdict = judged({"DEFAULT_STOP": "0"}, direction=direction, stop_price=D(stop))
    assert (verdict.refusal, verdict.stop_price) == (None, D(stop))

    # It should refuse an entry without any, unless the policy allows that
    without = judged({"DEFAULT_STOP": "0"}, direction=direction)
    (row,) = said(without, "stop_required")
    assert (row.refusal, row.numbers) == (Reason.STOP_REQUIRED, "stop=none default=none")
    allowed = judged({"DEFAULT_STOP": "0", "ALLOW_NO_STOP": "1"}, direction=direction)
    assert (allowed.refusal, exits(allowed).stop_price, allowed.stop_price) == (None, None, D(0))
    assert said(allowed, "stop_before_liquidation") == []


@pytest.mark.parametrize(
    ("direction", "stop", "refused"),
    [(LONG, "50100", False), (LONG, "50100.1", True), (SHORT, "49900", False), (SHORT, "49899.9", True)],
)
def test_a_crossing_is_moved_up_to_the_tolerance(direction: Direction, stop: str, refused: bool) -> None:  # noqa: FBT001
    values = {"CROSSING_TOLERANCE": "0.002", "STOP_BUFFER": "0.0005", "MIN_STOP_DISTANCE": "0.004"}
    verdict = judged(values, direction=direction, stop_price=D(stop))

    (row,) = said(verdict, "stop_side")
    assert row.refusal is (Reason.STOP_ON_WRONG_SIDE if refused else None)
    if not refused:
        assert verdict.stop_price == D(49800 if direction is LONG else 50200)
        assert [moved.numbers for moved in said(verdict, "stop_distance")] == ["expected>=0.004 actual=-0.002000"]


@pytest.mark.parametrize(
    ("direction", "target", "notes"),
    [
        (LONG, "75000", []),
        (LONG, "75000.1", ["usual<=0.5 actual=0.500002"]),
        (SHORT, "25000", []),
        (SHORT, "24999.9", ["usual<=0.5 actual=0.500002"]),
    ],
)
def test_a_target_is_far_beyond_the_usual_distance(direction: Direction, target: str, notes: list[str]) -> None:
    verdict = judged(direction=direction, target_price=D(target))

    assert [row.numbers for row in said(verdict, "target_far")] == notes
    assert (verdict.refusal, verdict.target_price) == (None, D(target))


@pytest.mark.parametrize(
    ("direction", "asked", "target"),
    [
        # On a tick of 100, towards the entry may be less than the 0.1 % that a target has to keep.
        (LONG, "50060", "50100"),
        (LONG, "50199", "50100"),
        (SHORT, "49940", "49900"),
        (SHORT, "49801", "49900"),
    ],
)
def test_a_target_on_a_coarse_tick_keeps_its_least_distance(direction: Direction, asked: str, target: str) -> None:
    rules = replace(BTCUSDT, tick_size=D(100))
    policy = Policy(values={}, version=0)
    proposal = replace(ASKED, direction=direction, target_price=D(asked))

    verdict = judge(proposal, quote=quote(), rules=rules, policy=policy)
    assert verdict.target_price == D(target)


@pytest.mark.parametrize(
    ("direction", "stop", "refused"),
    [
        # At 20x and without maintenance margin liquidation lies exactly 5 % away.
        (LONG, "47500.1", False),
        (LONG, "47500", True),
        (SHORT, "52499.9", False),
        (SHORT, "52500", True),
    ],
)
def test_a_stop_at_liquidation_is_refused(direction: Direction, stop: str, refused: bool) -> None:  # noqa: FBT001
    verdict = judged({"MAINTENANCE_MARGIN": "0"}, direction=direction, stop_price=D(stop), leverage=20)

    (row,) = said(verdict, "stop_before_liquidation")
    assert row.refusal is (Reason.STOP_BEYOND_LIQUIDATION if refused else None)
    assert row.numbers.startswith("expected<0.050000 actual=0.0")
    assert row.numbers.endswith(" leverage=20 maintenance=0 notional=1000")


def test_where_policy_and_bracket_agree_the_policy_is_named() -> None:
    # (0.1 - 0.1 + 90 / 1000) / 0.9 is the 10 % of a policy that assumes nothing.
    bracket = MarginBracket(notional_cap=D(5000), rate=D("0.1"), deduction=D(90))
    (row,) = said(judged({"MAINTENANCE_MARGIN": "0"}, (bracket,)), "stop_before_liquidation")

    assert row.numbers == "expected<0.100000 actual=0.025000 leverage=10 maintenance=0 notional=1000"


def away(measure: Measure, amount: str) -> Distance:
    return Distance(measure=measure, amount=D(amount))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(
    ("stop", "target", "fractions"),
    [
        # 2 % and 4 % of the entry price.
        (away(Measure.PERCENT, "2"), away(Measure.PERCENT, "4"), ("0.02", "0.04")),
        # Three times the stop's distance.
        (away(Measure.PERCENT, "1"), away(Measure.R, "3"), ("0.01", "0.03")),
    ],
)
def test_exits_by_distance_lie_there_and_keep_it(
    direction: Direction, stop: Distance, target: Distance, fractions: tuple[str, str]
) -> None:
    plan = exits(judged(direction=direction, stop_distance=stop, target_distance=target))
    reference = {LONG: quote().ask, SHORT: quote().bid}[direction]

    assert plan.stop_price is not None
    found = [abs(price - reference) / reference for price in (plan.stop_price, plan.targets[0].price)]
    # On its tick of 0.1.
    assert [round(each, 4) for each in found] == [D(each) for each in fractions]
    assert (plan.stop_price < reference) == (direction is LONG)
    assert (plan.targets[0].price > reference) == (direction is LONG)
    assert (plan.stop_distance, plan.targets[0].distance) == (stop, target)
    assert (plan.stop_defaulted, plan.target_defaulted) == (False, False)


def test_a_distance_that_a_rule_has_moved_is_not_kept() -> None:
    near: dict[str, Any] = {
        "stop_distance": away(Measure.PERCENT, "0.001"),
        "target_distance": away(Measure.PERCENT, "0.001"),
    }

    plan = exits(judged(**near))

    assert (plan.stop_distance, plan.targets[0].distance) == (None, None)


def test_prices_have_no_distance_to_keep() -> None:
    plan = exits(judged(stop_price=D(49000), target_price=D(52000)))

    assert (plan.stop_distance, plan.targets[0].distance) == (None, None)


def test_only_what_fills_at_once_does_not_rest() -> None:
    assert [each for each in TimeInForce if not each.rests] == [TimeInForce.IOC, TimeInForce.FOK]
