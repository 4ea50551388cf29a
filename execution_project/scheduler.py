"""Beat's clock: periods are kept when the clock on the wall is set, back or ahead."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler

# Clocks drift apart by less between two ticks, which are a second apart.
JUMP_SECONDS = 1.0


class SteadyScheduler(PersistentScheduler):  # type: ignore[misc]  # the package brings no types
    """Counts from the last run, which stands in wall time: set back by an hour, nothing would be due for that hour."""

    wall: Callable[[], float] = staticmethod(time.time)
    steady: Callable[[], float] = staticmethod(time.monotonic)
    _offset: float | None = None

    def tick(self, *args: Any, **options: Any) -> float:
        self._follow_the_clock()
        delay: float = super().tick(*args, **options)
        return delay

    def _follow_the_clock(self) -> None:
        """Move all last runs with the clock, and order what is due anew."""
        offset = self.wall() - self.steady()
        jump = 0.0 if self._offset is None else offset - self._offset
        first, self._offset = self._offset is None, offset
        if first:
            self._forget_the_future()
        elif abs(jump) > JUMP_SECONDS:
            for entry in self.schedule.values():
                entry.last_run_at += timedelta(seconds=jump)
            self._heap = None

    def _forget_the_future(self) -> None:
        """Take runs that a former process noted under a later clock as made now."""
        for entry in self.schedule.values():
            entry.last_run_at = min(entry.last_run_at, entry.default_now())
