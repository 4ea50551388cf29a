"""Waiting in tests: ask again until it is so, or fail with what was last seen."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
POLL_SECONDS = 0.02


def eventually(
    probe: Callable[[], Value], *, within: float = 5.0, what: str = "condition", every: float = POLL_SECONDS
) -> Value:
    """Return the first true value of `probe`; an AssertionError in it counts as 'not yet'.

    Raises:
        AssertionError: the time is over; names what was waited for and what was seen last.

    """
    deadline = time.monotonic() + within
    while True:
        try:
            value = probe()
            seen = repr(value)
        except AssertionError as error:
            value, seen = None, str(error)
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} s; last seen: {seen}")
        time.sleep(every)
