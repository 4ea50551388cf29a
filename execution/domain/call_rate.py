"""Counts calls by key within a sliding window, in memory, so that a flood costs no statements."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 60.0
# Keys that are remembered. A flood of new keys forgets the oldest first.
MOST_KEYS: Final = 10_000


class CallRate:
    """Lets so many calls a minute of each key pass. Safe for threads. It counts for its process alone."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._calls: OrderedDict[object, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: object, *, most: int) -> float:
        """Count a call and return 0, or return after how many seconds the next one may come, uncounted."""
        now = self._monotonic()
        with self._lock:
            calls = self._calls.setdefault(key, deque())
            self._calls.move_to_end(key)
            if len(self._calls) > MOST_KEYS:
                self._calls.popitem(last=False)
            while calls and calls[0] <= now - WINDOW_SECONDS:
                calls.popleft()
            if len(calls) >= most:
                return calls[0] + WINDOW_SECONDS - now
            calls.append(now)
            return 0.0
