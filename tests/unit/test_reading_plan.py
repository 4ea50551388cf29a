"""Which lists of open orders a cycle reads: everything, those in doubt, or those whose turn it is by the budget."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.states import OrderState
from execution.domain.trading import OrderService
from execution.reconciliation.diff import reconcile
from execution.reconciliation.invariants import findings
from execution.reconciliation.reading_plan import (
    LONGEST_INTERVAL,
    WHOLE_EVERY,
    WHOLE_WEIGHT,
    PastReadings,
    RestingOrder,
    lists_in_question,
    lists_to_read,
)
from execution.reconciliation.state import NO_LISTS, WHOLE, LocalState, OrderLists, OurExternal, VenueState
from tests.unit.test_reconcile import BEGUN_AT, ENTRY, JUST_NOW, LOT, NOW, PATIENCE, POSITION, STOP, TARGET, TRADE

CYCLE = timedelta(seconds=10)
ALGO, STANDARD = OrderService.ALGO, OrderService.STANDARD
STARTED = NOW - timedelta(days=1)


def legs(number: int, *, doubtful: int = 0) -> list[RestingOrder]:
    """Return a stop and a target in so many symbols; in some the stop is in doubt."""
    names = [f"X{each}USDT" for each in range(number)]
    stops = [RestingOrder(symbol=name, service=ALGO, in_doubt=each < doubtful) for each, name in enumerate(names)]
    return [*stops, *(RestingOrder(symbol=name, service=ALGO, in_doubt=False) for name in names)]


def past(*, whole: timedelta = CYCLE, resting: timedelta = CYCLE) -> PastReadings:
    return PastReadings(whole_at=NOW - whole, resting_at=NOW - resting)


def test_everything_is_read_when_the_stream_does_not_cover() -> None:
    assert lists_to_read(legs(1), past(), suspects=(), whole_since=None, now=NOW) == WHOLE


@pytest.mark.parametrize(
    "readings",
    [
        PastReadings(),
        past(whole=WHOLE_EVERY),
        # Before a reading was asked for, and before this stack has started.
        past(whole=timedelta(seconds=31)),
        # A clock was set back.
        past(whole=-timedelta(minutes=1)),
    ],
    ids=["none yet", "five minutes ago", "asked for since", "in the future"],
)
def test_everything_is_read_when_it_is_due(readings: PastReadings) -> None:
    asked_for = NOW - timedelta(seconds=30)

    assert lists_to_read([], readings, suspects=(), whole_since=asked_for, now=NOW) == WHOLE


@pytest.mark.parametrize(
    ("symbols", "every"), [(1, 10), (6, 10), (7, 10), (8, 10), (9, 20), (13, 20), (20, 30), (39, 60), (79, 60)]
)
def test_lists_of_resting_orders_are_read_as_often_as_the_budget_allows(symbols: int, every: int) -> None:
    read = [
        lists_to_read(
            legs(symbols),
            past(whole=timedelta(seconds=20), resting=timedelta(seconds=seconds)),
            suspects=(),
            whole_since=STARTED,
            now=NOW,
        ).resting
        for seconds in range(10, 70, 10)
    ]

    assert read == [seconds >= every for seconds in range(10, 70, 10)]
    assert timedelta(seconds=every) <= LONGEST_INTERVAL


@pytest.mark.parametrize(("symbols", "whole"), [(WHOLE_WEIGHT - 1, False), (WHOLE_WEIGHT, True)])
def test_everything_is_read_where_single_lists_would_cost_more(symbols: int, *, whole: bool) -> None:
    found = lists_to_read(legs(symbols), past(resting=LONGEST_INTERVAL), suspects=(), whole_since=STARTED, now=NOW)

    assert found.whole is whole


def test_what_is_in_doubt_is_read_in_each_cycle() -> None:
    found = lists_to_read(legs(13, doubtful=2), past(), suspects=("X7USDT",), whole_since=STARTED, now=NOW)

    named = {("X0USDT", ALGO), ("X1USDT", ALGO), ("X7USDT", ALGO), ("X7USDT", STANDARD)}
    assert found == OrderLists(named=frozenset(named))


def test_list_shows_its_own_symbol_and_service_only() -> None:
    lists = OrderLists(named=frozenset({("X0USDT", ALGO)}))

    shown = [lists.show(symbol, service) for symbol in ("X0USDT", "X1USDT") for service in (ALGO, STANDARD)]
    assert shown == [True, False, False, False]
    assert WHOLE.show("X1USDT", STANDARD)


# What a difference asks for

BOTH = OrderLists(named=frozenset({("BTCUSDT", ALGO), ("BTCUSDT", STANDARD)}))


def unread(positions: Any = (POSITION,), lists: OrderLists = NO_LISTS) -> VenueState:
    return VenueState(open_orders={}, positions=positions, begun_at=BEGUN_AT, lists=lists)


def books(**changes: Any) -> LocalState:
    legs = [replace(STOP, service=ALGO), replace(TARGET, service=ALGO)]
    return replace(LocalState(requests=[], orders=legs, trades=[TRADE]), **changes)


def asked(ours: LocalState, seen: VenueState) -> OrderLists:
    return lists_in_question(ours, seen, patience=PATIENCE, now=NOW)


def test_nothing_more_is_read_while_positions_are_as_booked() -> None:
    assert asked(books(), unread()) == NO_LISTS


@pytest.mark.parametrize("held", [Decimal("0.001"), Decimal("0.003"), Decimal("-0.002"), None])
def test_position_of_another_size_lets_its_orders_be_read(held: Decimal | None) -> None:
    positions = (replace(POSITION, quantity=held),) if held is not None else ()

    assert asked(books(), unread(positions)) == BOTH
    # What was read already is not read again.
    assert asked(books(), unread(positions, OrderLists(named=frozenset({("BTCUSDT", ALGO)})))) == OrderLists(
        named=frozenset({("BTCUSDT", STANDARD)})
    )
    # It would be compared with its own past.
    moving = replace(TRADE, changed_at=NOW)
    assert asked(books(trades=[moving]), unread(positions)) == NO_LISTS


def test_position_that_no_trade_explains_lets_its_orders_be_read_once() -> None:
    external = OurExternal(id=1, symbol="BTCUSDT", position_side="BOTH", direction=TRADE.direction)

    assert asked(books(trades=[], orders=[]), unread()) == BOTH
    assert asked(books(trades=[], orders=[], external=[external]), unread()) == NO_LISTS


@pytest.mark.parametrize(
    "order",
    [
        replace(STOP, closed=True),
        replace(ENTRY, closed=True),
        replace(ENTRY, expires_at=NOW),
        replace(ENTRY, executed_quantity=LOT, booked_quantity=LOT / 2),
    ],
    ids=[
        "leg of a closed trade",
        "rest of a closed entry",
        "entry that has rested for as long as it may",
        "not booked",
    ],
)
def test_order_with_something_to_do_lets_its_list_be_read(order: Any) -> None:
    assert asked(books(orders=[order]), unread()) == BOTH
    # Its own process does it just now.
    assert asked(books(orders=[replace(order, sent_at=JUST_NOW)]), unread()) == NO_LISTS


def test_leg_that_a_newer_one_replaces_lets_its_list_be_read() -> None:
    older = replace(TRADE.resting[0], order_id=13, price=Decimal(48000))

    assert asked(books(trades=[replace(TRADE, resting=(*TRADE.resting, older))]), unread()) == BOTH


# What was not read is not judged


@pytest.mark.parametrize("state", [OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.TRIGGERED])
def test_order_is_looked_up_only_when_its_list_was_read(state: OrderState) -> None:
    ours = books(orders=[replace(STOP, service=ALGO, state=state)])

    def actions(lists: OrderLists) -> list[str]:
        found = reconcile(ours, unread(lists=lists), patience=PATIENCE, now=NOW)
        return [type(action).__name__ for action in found]

    assert actions(NO_LISTS) == actions(OrderLists(named=frozenset({("BTCUSDT", STANDARD), ("ETHUSDT", ALGO)}))) == []
    assert actions(OrderLists(named=frozenset({("BTCUSDT", ALGO)}))) == actions(WHOLE) == ["LookUpOrder"]


def test_position_is_not_judged_unprotected_when_its_stop_was_not_read() -> None:
    kinds = [finding.kind for finding in findings(books(), unread())]
    whole = [finding.kind for finding in findings(books(), unread(lists=WHOLE))]

    assert (kinds, whole) == ([], ["cover_short"])
