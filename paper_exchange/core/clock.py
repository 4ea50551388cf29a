"""The exchange's time: the computer's clock, or one that only moves when a test steps it."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Clock(Protocol):
    # How far the time that clients are shown, and against which timestamps are checked, is off the exchange's own.
    skew_ms: int

    def now_ms(self) -> int: ...

    def shown_ms(self) -> int:
        """Time that clients are shown."""
        ...

    def accepted_ms(self) -> tuple[int, ...]:
        """Return the times by any of which a client may stamp its requests."""
        ...

    def wall_ms(self) -> int:
        """Time of the clients' computers, whatever was done to the exchange's own."""
        ...

    def advance(self, milliseconds: int) -> None: ...

    def pin(self, now_ms: int | None) -> None:
        """Stand still at a moment. None lets the clock go again."""
        ...

    def at(self, now_ms: int) -> AbstractContextManager[None]:
        """Let it be another moment inside: one that has passed, whose due is done late."""
        ...

    def reset(self) -> None:
        """Return to where the clock began."""
        ...


class SystemClock:
    """The computer's clock, shifted by what the control API asked for."""

    def __init__(self) -> None:
        self.skew_ms = 0
        self.offset_ms = 0
        self._pinned: int | None = None

    def now_ms(self) -> int:
        if self._pinned is not None:
            return self._pinned
        return time.time_ns() // 1_000_000 + self.offset_ms

    def shown_ms(self) -> int:
        return self.now_ms() + self.skew_ms

    def accepted_ms(self) -> tuple[int, ...]:
        return (self.shown_ms(),) if self.skew_ms else (self.now_ms(), self.wall_ms())

    def pin(self, now_ms: int | None) -> None:
        self._pinned = now_ms

    @contextlib.contextmanager
    def at(self, now_ms: int) -> Iterator[None]:
        before, self._pinned = self._pinned, now_ms
        try:
            yield
        finally:
            self._pinned = before

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def advance(self, milliseconds: int) -> None:
        self.offset_ms += milliseconds
        if self._pinned is not None:
            self._pinned += milliseconds

    def reset(self) -> None:
        if self._pinned is not None:
            self._pinned -= self.offset_ms
        self.offset_ms = self.skew_ms = 0


class SteppedClock:
    """A clock that stands still between steps."""

    def __init__(self, now_ms: int) -> None:
        self.skew_ms = 0
        self._now_ms = self._began = now_ms

    def shown_ms(self) -> int:
        return self._now_ms + self.skew_ms

    def accepted_ms(self) -> tuple[int, ...]:
        return (self.shown_ms(),)

    def now_ms(self) -> int:
        return self._now_ms

    def wall_ms(self) -> int:
        return self._now_ms

    def pin(self, now_ms: int | None) -> None:
        del now_ms  # It stands still anyway.

    @contextlib.contextmanager
    def at(self, now_ms: int) -> Iterator[None]:
        before, self._now_ms = self._now_ms, now_ms
        try:
            yield
        finally:
            self._now_ms = before

    def advance(self, milliseconds: int) -> None:
        self._now_ms += milliseconds

    def reset(self) -> None:
        self._now_ms = self._began
        self.skew_ms = 0
