"""Lets one process at a time hold a periodic duty, by a lock of its database session.

The lock ends when its holder does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from execution.store.locks import alone


class Duty(IntEnum):
    """The numbers of the locks, apart from those that the steps use."""

    READ_EVENTS = 0x65780001
    SEND_EVENTS = 0x65780002
    WATCH_POSITIONS = 0x65780003
    STREAM_USER_DATA = 0x65780004
    TIDY_UP = 0x65780005
    ENSURE_COVER = 0x65780006
    CLOSE_REACHED = 0x65780007
    KEEP_FIGURES = 0x65780008


@contextmanager
def single_flight(duty: Duty) -> Iterator[bool]:
    """Yield whether this caller holds the duty now.

    The lock only avoids pile-ups. Correctness never rests on it.
    """
    with alone(duty.value) as held:
        yield held
