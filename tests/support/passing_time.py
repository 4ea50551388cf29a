"""Lets pauses of our own code pass at once: what waits before it tries again finds its steady clock ahead by that."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
from tenacity import nap

from execution.orders import query_inflight
from execution.protection import ensure_exits

# Pauses between two tries of one thread. Who waits for a limit that Redis keeps waits by the time of Redis.
PAUSING: tuple[ModuleType, ...] = (query_inflight, ensure_exits, nap)


class PassingTime:
    """Stands for the module `time`: each thread's steady clock runs on and is ahead by what this thread has skipped."""

    def __init__(self) -> None:
        self._own = threading.local()

    @property
    def skipped(self) -> float:
        """Seconds that this thread did not wait."""
        return float(getattr(self._own, "skipped", 0.0))

    def sleep(self, seconds: float) -> None:
        self._own.skipped = self.skipped + seconds

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped


@contextmanager
def pauses_pass_at_once() -> Iterator[PassingTime]:
    """Skip the pauses within: as many tries, in the same order, and nothing waits."""
    passing = PassingTime()
    with pytest.MonkeyPatch.context() as patch:
        for module in PAUSING:
            patch.setattr(module, "time", passing)
        yield passing
