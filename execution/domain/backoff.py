"""Pauses before a rejected order is sent again: each longer than the last, up to a bound. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise, takewhile
from typing import Protocol

from execution.domain.clocks import age_of
from execution.domain.states import OrderState

FIRST_PAUSE = timedelta(seconds=5)
# What ends or protects a position that nothing else covers is never left alone for longer than this.
LONGEST_PAUSE_OPEN = timedelta(seconds=60)
# A leg beside which another still covers, such as a better stop, a target, a trailing stop.
LONGEST_PAUSE_COVERED = timedelta(hours=1)
MOST_DOUBLINGS = 16
# The order is not at the exchange and never was.
NEVER_TAKEN = frozenset({OrderState.REJECTED, OrderState.NOT_ACCEPTED})


class Try(Protocol):
    """One order of a kind, as far as its refusal matters."""

    @property
    def state(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...

    @property
    def error_code(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """Successive attempts that were rejected.

    `last_at` is when the last of them was, `code` the exchange's error code for it.
    """

    tries: int
    since: datetime
    last_at: datetime
    code: int | None
    longest_pause: timedelta

    @property
    def next_at(self) -> datetime:
        return self.last_at + pause_after(self.tries, self.longest_pause)

    def holds_at(self, now: datetime) -> bool:
        """Whether it is too early for another attempt. A clock that was set back does not prolong it."""
        return age_of(self.last_at, now) < pause_after(self.tries, self.longest_pause)


def pause_after(tries: int, longest: timedelta) -> timedelta:
    """Return the pause after so many refusals in a row: 5, 10, 20, 40 ... seconds, up to the longest."""
    doublings = min(max(tries, 1) - 1, MOST_DOUBLINGS)
    return min(FIRST_PAUSE * int(2**doublings), longest)


def refusals_of(
    orders: Sequence[Try], longest_pause: timedelta, *, together: timedelta = timedelta(0)
) -> Refusals | None:
    """Return the rejections with which the attempts end, or None when the last attempt was accepted.

    `orders` are oldest first.

    `together`: orders that follow one another within less are one try, such as a close that is sent again at once
    because something was cancelled to make way for it.
    """
    refused = list(takewhile(lambda order: order.state in NEVER_TAKEN, reversed(orders)))
    if not refused:
        return None
    return Refusals(
        tries=1 + sum(newer.created_at - older.created_at >= together for newer, older in pairwise(refused)),
        since=refused[-1].created_at,
        last_at=refused[0].created_at,
        code=refused[0].error_code,
        longest_pause=longest_pause,
    )
