"""How long something that was refused is left alone: the pauses by hand, and what counts as a refusal."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from execution.domain.backoff import (
    FIRST_PAUSE,
    LONGEST_PAUSE_COVERED,
    LONGEST_PAUSE_OPEN,
    NEVER_TAKEN,
    Refusals,
    pause_after,
    refusals_of,
)
from execution.domain.states import OrderState

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECOND, MS = timedelta(seconds=1), timedelta(milliseconds=1)


@dataclass(frozen=True)
class Order:
    state: str
    created_at: datetime
    error_code: int | None = None


@pytest.mark.parametrize(
    ("tries", "open_seconds", "covered_seconds"),
    [
        (-1, 5, 5),
        (0, 5, 5),
        (1, 5, 5),
        (2, 10, 10),
        (3, 20, 20),
        (4, 40, 40),
        (5, 60, 80),
        (10, 60, 2560),
        (11, 60, 3600),
        (17, 60, 3600),
        (1000, 60, 3600),
    ],
)
def test_pauses_double_up_to_a_minute_or_an_hour(tries: int, open_seconds: int, covered_seconds: int) -> None:
    assert pause_after(tries, LONGEST_PAUSE_OPEN) == open_seconds * SECOND
    assert pause_after(tries, LONGEST_PAUSE_COVERED) == covered_seconds * SECOND


def test_doubling_ends_before_a_pause_grows_out_of_bounds() -> None:
    longest = timedelta(days=10_000)

    assert pause_after(17, longest) == FIRST_PAUSE * 65_536
    assert pause_after(18, longest) == pause_after(10**9, longest) == FIRST_PAUSE * 65_536


def refusals(tries: int = 3) -> Refusals:
    return Refusals(tries=tries, since=NOW - 60 * SECOND, last_at=NOW, code=-2019, longest_pause=LONGEST_PAUSE_OPEN)


def test_the_next_try_is_after_the_pause_and_not_before() -> None:
    assert refusals().next_at == NOW + 20 * SECOND
    assert refusals().holds_at(NOW)
    assert refusals().holds_at(NOW + 20 * SECOND - MS)
    assert not refusals().holds_at(NOW + 20 * SECOND)
    # It should not wait for as long as a clock was set back
    assert not refusals().holds_at(NOW - timedelta(hours=1))


@pytest.mark.parametrize("state", sorted(OrderState))
def test_only_what_the_exchange_never_took_is_a_refusal(state: OrderState) -> None:
    found = refusals_of([Order(state, NOW, -2019)], LONGEST_PAUSE_OPEN)

    never_taken = state in {OrderState.REJECTED, OrderState.NOT_ACCEPTED}
    assert (found is not None) is never_taken
    assert (state in NEVER_TAKEN) is never_taken


def test_a_row_of_refusals_ends_with_the_last_that_was_taken() -> None:
    taken = Order(OrderState.CANCELED, NOW - 50 * SECOND)
    older = Order(OrderState.REJECTED, NOW - 60 * SECOND, -1)
    row = [
        Order(OrderState.REJECTED, NOW - 40 * SECOND, -2),
        Order(OrderState.NOT_ACCEPTED, NOW - 30 * SECOND),
        Order(OrderState.REJECTED, NOW - 10 * SECOND, -4),
    ]

    assert refusals_of([older, taken, *row], LONGEST_PAUSE_COVERED) == Refusals(
        tries=3,
        since=NOW - 40 * SECOND,
        last_at=NOW - 10 * SECOND,
        code=-4,
        longest_pause=LONGEST_PAUSE_COVERED,
    )
    # It should be none when the last one was taken, or when there is none
    assert refusals_of([*row, taken], LONGEST_PAUSE_OPEN) is None
    assert refusals_of([], LONGEST_PAUSE_OPEN) is None


@pytest.mark.parametrize(
    ("apart", "together", "tries"),
    [
        (SECOND - MS, SECOND, 1),
        (SECOND, SECOND, 3),
        (SECOND + MS, SECOND, 3),
        (0 * MS, 0 * MS, 3),
    ],
)
def test_orders_that_follow_at_once_are_one_try(apart: timedelta, together: timedelta, tries: int) -> None:
    row = [Order(OrderState.REJECTED, NOW + number * apart, -number) for number in range(3)]

    assert refusals_of(row, LONGEST_PAUSE_OPEN, together=together) == Refusals(
        tries=tries, since=NOW, last_at=NOW + 2 * apart, code=-2, longest_pause=LONGEST_PAUSE_OPEN
    )


def test_each_order_is_a_try_unless_somebody_says_otherwise() -> None:
    row = [Order(OrderState.NOT_ACCEPTED, NOW, -1)] * 2

    found = refusals_of(row, LONGEST_PAUSE_OPEN)
    assert found is not None
    assert found.tries == 2
