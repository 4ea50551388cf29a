"""The limiter's backstop while Redis is away: a small quota for one process, for stops and exits.

No process can count for all of them then. So each allows itself little enough that many of them stay below the limits:
exits, and the small reads that exits need, but neither entries nor bulk reads.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from execution.domain.holds import FIRST_PROBE_SECONDS, hold_length, probe_pause
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import Cost, Counter, Limits, Permit, Throttled

# Of each limit, what one process may use alone: sixteen processes together stay below it.
SHARE = 1 / 16
LARGEST_READ = 5
LENGTHS = {Counter.REQUESTS: 60, Counter.WEIGHT: 60, Counter.ORDERS_10S: 10, Counter.ORDERS_1M: 60}
EXITS = frozenset({Lane.PROTECT, Lane.CLOSE})
PAUSE_SECONDS = 0.05


class LocalQuota:
    """Counts what one process has used in the last seconds. Safe for threads.

    Its windows slide, so they hold wherever the exchange's calendar windows begin.
    """

    def __init__(self, *, per_minute: int, limits: Limits, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._limits = limits
        self._monotonic = monotonic
        self._used: dict[Counter, deque[tuple[float, int]]] = defaultdict(deque)
        self._until: dict[Waits, float] = {}
        # Of the present hold: exits that looked through it, and when the next one may.
        self._probes, self._probe_at = 0, 0.0
        self._lock = threading.Lock()

    def admit(self, lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Permit | Throttled:
        """Wait for a turn within this process's quota.

        What is neither an exit nor a small read is throttled at once.
        """
        if cost.weight > LARGEST_READ or (lane not in EXITS and (lane is Lane.ENTRY or cost.orders_10s)):
            return Throttled(blocked_by="redis", wait_seconds=0)
        deadline = self._monotonic() + max_wait_seconds
        while True:
            with self._lock:
                taken = self._take(lane, cost)
            if isinstance(taken, Permit):
                return taken
            left = deadline - self._monotonic()
            if left <= 0:
                return Throttled(blocked_by=f"local:{taken}", wait_seconds=0)
            time.sleep(min(PAUSE_SECONDS, left))

    def hold(self, who: Waits, seconds: float) -> None:
        """Remember a hold, so that it is honoured also when Redis goes away after it."""
        with self._lock:
            now = self._monotonic()
            if not any(now < until for until in self._until.values()):
                self._probes, self._probe_at = 0, now + FIRST_PROBE_SECONDS
            self._until[who] = max(self._until.get(who, 0.0), now + hold_length(who, seconds))

    def passed(self, cost: Cost) -> None:
        """Forget the holds that a probe has gone through."""
        with self._lock:
            self._probes, self._probe_at = 0, 0.0
            self._until.pop(Waits.EVERYBODY, None)
            if cost.orders_10s:
                self._until.pop(Waits.ORDERS, None)

    def release(self) -> None:
        """Forget every hold."""
        with self._lock:
            self._until.clear()

    def learn_limits(self, limits: Limits) -> None:
        self._limits = limits

    def _take(self, lane: Lane, cost: Cost) -> Permit | str:
        """Count a request and return its permit, or return the limit or hold that blocks it."""
        now = self._monotonic()
        held = self._held(cost, now)
        probe = bool(held) and lane in EXITS and now >= self._probe_at
        if held and not probe:
            return held
        amounts = {
            Counter.REQUESTS: 1,
            Counter.WEIGHT: cost.weight,
            Counter.ORDERS_10S: cost.orders_10s,
            Counter.ORDERS_1M: cost.orders_1m,
        }
        wanted = {counter: amount for counter, amount in amounts.items() if amount}
        for counter, amount in wanted.items():
            if self._lately_used(counter, now) + amount > max(1, int(self._limit(counter) * SHARE)):
                return counter.value
        for counter, amount in wanted.items():
            self._used[counter].append((now, amount))
        if probe:
            self._probes += 1
            self._probe_at = now + probe_pause(self._probes)
        return Permit(cost=cost, shared=False, probe=probe)

    def _held(self, cost: Cost, now: float) -> str:
        if now < self._until.get(Waits.EVERYBODY, 0.0):
            return f"hold:{Waits.EVERYBODY}"
        if cost.orders_10s and now < self._until.get(Waits.ORDERS, 0.0):
            return f"hold:{Waits.ORDERS}"
        return ""

    def _lately_used(self, counter: Counter, now: float) -> int:
        """Return what was used in the last seconds, as many as the counter's window has."""
        used = self._used[counter]
        while used and used[0][0] <= now - LENGTHS[counter]:
            used.popleft()
        return sum(amount for _, amount in used)

    def _limit(self, counter: Counter) -> int:
        limits = self._limits
        return {
            Counter.REQUESTS: self._per_minute,
            Counter.WEIGHT: limits.weight,
            Counter.ORDERS_10S: limits.orders_10s,
            Counter.ORDERS_1M: limits.orders_1m,
        }[counter]
