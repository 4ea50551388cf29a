"""What requests cost, which go first when capacity is scarce, and the limiter's state: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from execution.domain.outcomes import Waits
from execution.domain.ports import Lane


class Counter(StrEnum):
    """What is limited: our own ceiling of requests a minute, and the exchange's three."""

    REQUESTS = "requests"
    WEIGHT = "weight"
    ORDERS_10S = "orders_10s"
    ORDERS_1M = "orders_1m"


HELD = (Waits.EVERYBODY, Waits.ORDERS, Waits.ENTRIES)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one request adds to the exchange's counters.

    `cover_orders`: the orders that will follow to protect it.
    """

    weight: int = 0
    orders_10s: int = 0
    orders_1m: int = 0
    cover_orders: int = 0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The exchange's limits.

    Weight per address and minute, orders per account in ten seconds and in a minute.
    """

    weight: int = 2400
    orders_10s: int = 300
    orders_1m: int = 1200


@dataclass(frozen=True, kw_only=True)
class WindowUsage:
    """How much of its windows the exchange reports as used in an answer's headers, or None."""

    weight: int | None = None
    orders_10s: int | None = None
    orders_1m: int | None = None


@dataclass(frozen=True, kw_only=True)
class LaneQuota:
    """What a lane leaves free in a window, as fractions of the limit.

    `at_start` falls evenly to `at_end` over the window.

    `exits` never give way to an unknown state, to others on the account, or to stops that are still to come.
    """

    at_start: float
    at_end: float
    exits: bool


# Stops of what is open go before everything. The unused part of the reserve is released as the window ends,
# so that it is not lost; the last part stays, because a stop may come in the last moment too.
SHARES: Mapping[Lane, LaneQuota] = MappingProxyType(
    {
        Lane.PROTECT: LaneQuota(at_start=0, at_end=0, exits=True),
        Lane.CLOSE: LaneQuota(at_start=0.02, at_end=0.01, exits=True),
        Lane.ENTRY: LaneQuota(at_start=0.10, at_end=0.03, exits=False),
        Lane.READ: LaneQuota(at_start=0.20, at_end=0.04, exits=False),
    }
)


@dataclass(frozen=True, kw_only=True)
class Permit:
    """Permission to send one request.

    The windows are those that its answer's figures will be of, -1 when that is not certain. `probe`: it goes through a
    hold, to see whether that still stands.
    """

    cost: Cost
    window_10s: int = -1
    window_1m: int = -1
    shared: bool = True
    probe: bool = False


@dataclass(frozen=True, kw_only=True)
class Throttled:
    """No permission in time.

    `blocked_by` names the counter or the hold, `wait_seconds` how long it would have taken.
    """

    blocked_by: str
    wait_seconds: float

    def __str__(self) -> str:
        return f"blocked_by={self.blocked_by} needed={self.wait_seconds:.1f}s"


@dataclass(frozen=True, kw_only=True)
class CounterState:
    """One counter in its present window.

    `known` is false until an answer has reported what a lost state had used. `reported_by_exchange` is its own figure.
    """

    limit: int
    used: int
    reported_by_exchange: int
    expected_of_others: int
    known: bool


@dataclass(frozen=True, kw_only=True)
class LimiterState:
    """The limiter's state: counters, holds in seconds, waiting requests, and grants by lane."""

    counters: Mapping[Counter, CounterState]
    holds: Mapping[Waits, float]
    waiting: int
    granted: Mapping[Lane, int]
    refused: Mapping[Lane, int]
    clock_offset_ms: int
    # Of the present hold: exits that looked through it, and when the next one may.
    probes: int = 0
    probe_due_seconds: float = 0.0
    # Values in Redis that none of our rules could have written, since ever, and how long ago the last one was found.
    corrected: int = 0
    corrected_ago_seconds: float | None = None

    @property
    def limit_per_minute(self) -> int:
        """Our own ceiling."""
        return self.counters[Counter.REQUESTS].limit

    @property
    def available(self) -> int:
        """Return how many of our requests may still be sent in this minute."""
        if self.holds[Waits.EVERYBODY]:
            return 0
        own = self.counters[Counter.REQUESTS]
        return max(0, own.limit - own.used)


class CircuitState(StrEnum):
    """Whether the line to the exchange is believed to work."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The breaker's state for all processes.

    `faults`: transport faults in a row, with no answer to any process between.
    """

    state: CircuitState
    probe_due_seconds: float
    faults: int
    times_opened: int
