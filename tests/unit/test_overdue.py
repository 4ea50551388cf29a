"""When a live stop stops to protect: by the mark price, by how far and for how long, and by its trigger."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain import policy as keys
from execution.domain.overdue import LiveStop, OverdueRule, Watch, sentence, soonest, trigger_level, watch
from execution.domain.policy import Policy
from execution.domain.trading import Side

D = Decimal
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RULE = OverdueRule(ticks=D(2), fraction=D("0.0002"), patience=timedelta(seconds=2))
LONG, SHORT = Side.SELL, Side.BUY
TICK = D("0.1")


def stop(side: Side = LONG, **fields: object) -> LiveStop:
    return LiveStop(**({"side": side, "level": D(50000), "tick": TICK} | fields))  # type: ignore[arg-type]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_the_policy_names_its_numbers() -> None:
    values = {
        keys.STOP_OVERDUE_TICKS: D(5),
        keys.STOP_OVERDUE_FRACTION: D("0.001"),
        keys.STOP_OVERDUE_SECONDS: D("0.5"),
    }
    rule = OverdueRule.of(Policy(values=values, version=1))
    assert rule == OverdueRule(ticks=D(5), fraction=D("0.001"), patience=timedelta(seconds=0.5))
    assert OverdueRule.of(Policy(values={}, version=0)) == RULE


# Two basis points of 50,000 are 10; two ticks are more where the tick is coarse.
@pytest.mark.parametrize(
    ("side", "tick", "mark", "passed"),
    [
        (LONG, "0.1", "49990", False),
        (LONG, "0.1", "49989.9", True),
        (LONG, "0.1", "50000", False),
        (LONG, "0.1", "60000", False),
        (LONG, "10", "49980", False),
        (LONG, "10", "49979.9", True),
        (SHORT, "0.1", "50010", False),
        (SHORT, "0.1", "50010.1", True),
        (SHORT, "0.1", "50000", False),
        (SHORT, "0.1", "40000", False),
        (SHORT, "10", "50020", False),
        (SHORT, "10", "50020.1", True),
    ],
)
def test_a_stop_is_passed_by_more_than_the_larger_margin(side: Side, tick: str, mark: str, *, passed: bool) -> None:
    found = watch(stop(side, tick=D(tick)), D(mark), RULE, now=NOW)
    assert found.passed_since == (NOW if passed else None)
    assert not found.overdue


BARE = OverdueRule(ticks=D(0), fraction=D(0), patience=timedelta(0))
ONE = OverdueRule(ticks=D(1), fraction=D(0), patience=timedelta(0))


@pytest.mark.parametrize(
    ("side", "mark", "bare", "one"),
    [
        (LONG, "50001", False, False),
        (LONG, "50000", True, False),
        (LONG, "49999", True, False),
        (LONG, "49998", True, True),
        (SHORT, "49999", False, False),
        (SHORT, "50000", True, False),
        (SHORT, "50001", True, False),
        (SHORT, "50002", True, True),
    ],
)
def test_without_a_margin_a_stop_is_passed_at_its_price(side: Side, mark: str, *, bare: bool, one: bool) -> None:
    assert watch(stop(side, tick=D(1)), D(mark), BARE, now=NOW).overdue is bare
    assert watch(stop(side, tick=D(1)), D(mark), ONE, now=NOW).overdue is one


@pytest.mark.parametrize(("side", "mark"), [(LONG, "49000"), (SHORT, "51000")])
@pytest.mark.parametrize(("seconds", "overdue"), [(0, False), (1.999, False), (2, True), (600, True)])
def test_it_is_overdue_when_it_was_passed_for_long_enough(
    side: Side, mark: str, seconds: float, *, overdue: bool
) -> None:
    found = watch(stop(side, passed_since=ago(seconds)), D(mark), RULE, now=NOW)
    assert (found.overdue, found.passed_since) == (overdue, ago(seconds))
    assert found.due_at == ago(seconds) + timedelta(seconds=2)


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_a_mark_that_comes_back_forgives_and_an_unknown_one_does_not(side: Side) -> None:
    assert watch(stop(side, passed_since=ago(60)), D(50000), RULE, now=NOW) == Watch()
    assert watch(stop(side, passed_since=ago(1)), None, RULE, now=NOW).passed_since == ago(1)
    assert watch(stop(side, passed_since=ago(3)), None, RULE, now=NOW).overdue


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize("mark", [None, D(50000), D(40000), D(60000)])
def test_one_that_has_triggered_has_its_time_whatever_the_mark_does(side: Side, mark: Decimal | None) -> None:
    assert watch(stop(side, triggered=True), mark, RULE, now=NOW).passed_since == NOW
    assert not watch(stop(side, triggered=True, passed_since=ago(1.9)), mark, RULE, now=NOW).overdue
    assert watch(stop(side, triggered=True, passed_since=ago(2)), mark, RULE, now=NOW).overdue


def test_a_clock_that_was_set_back_keeps_no_stop_in_time() -> None:
    assert watch(stop(passed_since=NOW + timedelta(hours=1)), D(49000), RULE, now=NOW).overdue


# Trailing stops


def trailing(side: Side, **fields: object) -> LiveStop:
    return stop(side, level=None, callback_percent=D(1), **fields)


@pytest.mark.parametrize(
    ("side", "best", "mark", "level", "passed"),
    [
        (LONG, "51000", "50490", "50490", False),
        (LONG, "51000", "50470", "50490", True),
        (SHORT, "49000", "49490", "49490", False),
        (SHORT, "49000", "49510", "49490", True),
    ],
)
def test_a_trailing_stop_lies_behind_the_best_mark_seen(
    side: Side, best: str, mark: str, level: str, *, passed: bool
) -> None:
    each = trailing(side, best_mark=D(best))
    assert trigger_level(each, D(best)) == D(level)
    found = watch(each, D(mark), RULE, now=NOW)
    assert (found.best_mark, found.passed_since) == (D(best), NOW if passed else None)


@pytest.mark.parametrize(
    ("side", "before", "mark", "best"), [(LONG, 1, 2, 2), (LONG, 2, 1, 2), (SHORT, 2, 1, 1), (SHORT, 1, 2, 1)]
)
def test_the_best_mark_only_improves(side: Side, before: int, mark: int, best: int) -> None:
    assert watch(trailing(side, best_mark=D(before)), D(mark), RULE, now=NOW).best_mark == D(best)
    assert watch(trailing(side, best_mark=D(before)), None, RULE, now=NOW).best_mark == D(before)
    assert watch(trailing(side), D(mark), RULE, now=NOW).best_mark == D(mark)
    assert watch(trailing(side), None, RULE, now=NOW) == Watch()


@pytest.mark.parametrize(("side", "activation", "best"), [(LONG, 52000, 51999), (SHORT, 48000, 48001)])
def test_a_trailing_stop_that_does_not_follow_yet_cannot_be_passed(side: Side, activation: int, best: int) -> None:
    each = stop(side, level=D(activation), callback_percent=D(1), best_mark=D(best))
    assert trigger_level(each, D(best)) is None
    # Far against the position.
    assert watch(each, D(1) if side is LONG else D(99999), RULE, now=NOW).passed_since is None
    assert trigger_level(each, D(activation)) is not None


@given(
    side=st.sampled_from([LONG, SHORT]),
    marks=st.lists(st.decimals(min_value=1, max_value=100_000, places=1), min_size=1, max_size=12),
)
def test_our_level_of_a_trailing_stop_is_never_tighter_than_that_of_who_saw_more(
    side: Side, marks: list[Decimal]
) -> None:
    """The exchange sees every price, we see some: what we call passed has to be passed there."""
    ours: Watch = Watch()
    for mark in marks[::2]:
        ours = watch(trailing(side, best_mark=ours.best_mark), mark, RULE, now=NOW)
    best = max(marks) if side is LONG else min(marks)
    theirs, seen = trigger_level(trailing(side), best), trigger_level(trailing(side), ours.best_mark)
    assert theirs is not None
    assert seen is not None
    assert seen <= theirs if side is LONG else seen >= theirs


def test_the_next_to_be_overdue_is_named() -> None:
    waiting = [Watch(due_at=NOW + timedelta(seconds=each), passed_since=NOW) for each in (1.5, 0.5)]
    assert soonest([Watch(), *waiting, Watch(due_at=ago(9), passed_since=ago(11), overdue=True)], NOW) == timedelta(
        seconds=0.5
    )
    assert soonest([Watch(due_at=ago(1), passed_since=ago(2))], NOW) == timedelta(0)
    assert soonest([Watch()], NOW) is None


def test_it_is_said_in_words_that_can_be_searched_for() -> None:
    assert (
        sentence("es1-s1", D("49000.00"), NOW)
        == "STOP_OVERDUE order=es1-s1 level=49000 since=2026-11-30T12:00:00+00:00"
    )
    assert sentence("es1-r1", None, None) == "STOP_OVERDUE order=es1-r1 level=trailing since=unknown"
