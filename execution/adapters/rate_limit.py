"""The rate limiter of requests to one exchange address, shared by all processes through Redis.

Its rules (lanes, calendar windows, holds) are in `rate_limit.lua`, which runs inside Redis: every decision is atomic
for all processes.
"""

import itertools
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from redis import Redis, RedisError
from redis.typing import EncodableT

from execution.adapters.local_limit import LocalQuota
from execution.domain.holds import FIRST_PROBE_SECONDS, HOLD_CAPS, LONGEST_PROBE_PAUSE_SECONDS, hold_length
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import (
    HELD,
    SHARES,
    Cost,
    Counter,
    CounterState,
    LimiterState,
    Limits,
    Permit,
    Throttled,
    WindowUsage,
)

log = structlog.get_logger(__name__)
CAPS = ", ".join(f"{who} = {cap * 1000:.0f}" for who, cap in HOLD_CAPS.items())
PRELUDE = f"""local HOLD_CAPS = {{ {CAPS} }}
local FIRST_PROBE_MS = {FIRST_PROBE_SECONDS * 1000:.0f}
local LONGEST_PROBE_PAUSE_MS = {LONGEST_PROBE_PAUSE_SECONDS * 1000:.0f}
"""
SCRIPT = PRELUDE + Path(__file__).with_suffix(".lua").read_text()
# After Redis has failed, no request waits for it again this soon.
REDIS_PAUSE_SECONDS = 1.0
# Longest pause between two attempts of a waiting request, in milliseconds: a header may have made room meanwhile.
PAUSES_MS = {Lane.PROTECT: 20, Lane.CLOSE: 50, Lane.ENTRY: 250, Lane.READ: 250}
SHORTEST_PAUSE = 0.001
# What a network may delay one request more than another, beyond the uncertainty of the clock's measurement.
GUARD_MS = 100
NOT_REPORTED = -1
# `admit` answers 0 to try again, less when refused, 1 to send, and this to send as a probe through a hold.
GO_AS_PROBE = 2
# What `admit` answers, as redis-py reads it: outcome, pause in milliseconds, starts of both order windows, the limit or
# hold that blocks, and how many values of the shared state no limiter could have written and were corrected.
AdmitAnswer = tuple[int, int, int, int, bytes, int]


class RateLimiter:
    """Permits requests to one exchange address.

    One instance serves one thread or several, as its Redis client allows.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        per_minute: int,
        name: str = "exchange",
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._script = redis.register_script(SCRIPT)
        self._keys = [f"execution:limiter:{name}{part}" for part in ("", ":queue", ":leases")]
        self._per_minute = per_minute
        self._limits = limits or Limits()
        self._monotonic = monotonic
        # Process ids repeat over hosts and containers.
        self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count(1)
        self._local = LocalQuota(per_minute=per_minute, limits=self._limits, monotonic=monotonic)
        self._redis_again_at = 0.0

    def admit(self, lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Permit | Throttled:
        """Wait for a turn. Throttled when none can come in time, and then nothing was used.

        An exit waits for as long as it may. An entry or a read is throttled as soon as it is clear that it waits in
        vain.
        """
        deadline = self._monotonic() + max_wait_seconds
        member = self._member(cost)
        while True:
            left = max(0.0, deadline - self._monotonic())
            answer: AdmitAnswer | None = self._shared(
                "admit", *_lane_arguments(lane, cost), member, left * 1000, PAUSES_MS[lane], 0
            )
            if answer is None:
                return self._local.admit(lane, cost, max_wait_seconds=left)
            outcome, pause_ms, window_10s, window_1m, blocked_by, corrected = answer
            if corrected:
                log.error("limiter_state_corrected", values=corrected)
            if outcome > 0:
                probe = outcome == GO_AS_PROBE
                return Permit(cost=cost, window_10s=window_10s, window_1m=window_1m, probe=probe)
            if outcome < 0:
                return self._denied(blocked_by.decode(), pause_ms / 1000)
            time.sleep(max(SHORTEST_PAUSE, min(pause_ms / 1000, left)))

    def await_room(self, lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Throttled | None:
        """Wait until such a request could leave, without using a turn or queueing for one.

        Throttled, with the limit or hold that blocks it, when it still could not after `max_wait_seconds`.
        """
        deadline = self._monotonic() + max_wait_seconds
        while True:
            ahead = self._look_ahead(lane, cost)
            if ahead is None or ahead.wait_seconds > deadline - self._monotonic():
                return ahead
            time.sleep(max(SHORTEST_PAUSE, ahead.wait_seconds))

    def _look_ahead(self, lane: Lane, cost: Cost) -> Throttled | None:
        answer: AdmitAnswer | None = self._shared("admit", *_lane_arguments(lane, cost), self._member(cost), 0, 0, 1)
        if answer is None:
            return None
        _, pause_ms, _, _, blocked_by, _ = answer
        return Throttled(blocked_by=blocked_by.decode(), wait_seconds=pause_ms / 1000) if pause_ms else None

    def answered(self, permit: Permit, usage: WindowUsage) -> None:
        """Note what an answer's headers reported. The exchange's figures correct ours, for all processes."""
        if not permit.shared:
            return
        cost, figures = permit.cost, (usage.weight, usage.orders_10s, usage.orders_1m)
        reported = (NOT_REPORTED if figure is None else figure for figure in figures)
        windows = (permit.window_10s, permit.window_1m)
        self._shared("answered", *windows, cost.weight, cost.orders_10s, cost.orders_1m, *reported)

    def hold(self, who: Waits, seconds: float) -> None:
        """Keep these requests from being sent, in every process. A shorter hold does not shorten a longer one.

        No hold is longer than the cap of its kind, and exits probe it at intervals: `domain/holds.py`.
        """
        length = hold_length(who, seconds)
        if length < seconds:
            log.error("hold_capped", who=who.value, asked_seconds=seconds, held_seconds=length)
        self._local.hold(who, length)
        self._shared("hold", who.value, max(1.0, length * 1000))

    def passed(self, probe: Permit) -> None:
        """Note that the exchange has served a probe: the hold that it went through is over, for all processes."""
        self._local.passed(probe.cost)
        self._shared("passed", int(probe.cost.orders_10s > 0))
        log.warning("hold_ended_by_probe")

    def release(self) -> None:
        """End every hold because an operator asked for it.

        Raises:
            RedisError: Redis does not answer; nothing was released.

        """
        self._script(keys=self._keys, args=self._arguments("release"))
        self._local.release()

    def learn_limits(self, limits: Limits) -> None:
        """Take over the limits that the exchange publishes, for all processes."""
        self._limits = limits
        self._local.learn_limits(limits)
        self._shared("learn_limits", limits.weight, limits.orders_10s, limits.orders_1m)

    def learn_clock(self, server_ms: float, *, measured_at: float, uncertainty_ms: float) -> None:
        """Follow the exchange's clock and windows. `measured_at` is of the same clock as `monotonic`."""
        age_ms = (self._monotonic() - measured_at) * 1000
        self._shared("learn_clock", server_ms, age_ms, GUARD_MS + uncertainty_ms)

    def state(self) -> LimiterState:
        """Return the state of all counters and holds, without using a turn.

        Raises:
            RedisError: Redis does not answer.

        """
        rows = iter(self._script(keys=self._keys, args=self._arguments("show")))
        values = {name.decode(): int(value) for name, value in zip(rows, rows, strict=True)}
        return LimiterState(
            counters={
                counter: CounterState(
                    limit=values[f"{counter}:limit"],
                    used=values[f"{counter}:used"],
                    reported_by_exchange=values[f"{counter}:reported"],
                    expected_of_others=values[f"{counter}:foreign"],
                    known=bool(values[f"{counter}:known"]),
                )
                for counter in Counter
            },
            holds={who: values[f"hold:{who}"] / 1000 for who in HELD},
            waiting=values["waiting"],
            granted={lane: values[f"granted:{lane.value}"] for lane in Lane},
            refused={lane: values[f"refused:{lane.value}"] for lane in Lane},
            clock_offset_ms=values["offset"],
            probes=values["probes"],
            probe_due_seconds=values["probe_due"] / 1000,
            corrected=values["corrected"],
            corrected_ago_seconds=values["corrected_ago"] / 1000 if values["corrected_ago"] >= 0 else None,
        )

    def _shared(self, action: str, *arguments: EncodableT) -> Any:
        """Run an action in Redis and return its answer. None when Redis is away, or was a moment ago."""
        if self._monotonic() < self._redis_again_at:
            return None
        try:
            return self._script(keys=self._keys, args=self._arguments(action, *arguments))
        except RedisError as error:
            # Every call would wait for the time-out anew, and a stop must not.
            self._redis_again_at = self._monotonic() + REDIS_PAUSE_SECONDS
            log.warning("limiter_without_redis", error=type(error).__name__)
            return None

    def _arguments(self, action: str, *arguments: EncodableT) -> list[EncodableT]:
        limits = self._limits
        return [action, self._per_minute, limits.weight, limits.orders_10s, limits.orders_1m, *arguments]

    def _member(self, cost: Cost) -> str:
        return f"{self._name}-{next(self._numbers)} {cost.weight} {cost.orders_10s} {cost.orders_1m}"

    def _denied(self, blocked_by: str, wait_seconds: float) -> Throttled:
        kind, _, who = blocked_by.partition(":")
        if kind == "hold":
            # This process remembers the hold should Redis go away now.
            self._local.hold(Waits(who), wait_seconds)
        return Throttled(blocked_by=blocked_by, wait_seconds=wait_seconds)


def _lane_arguments(lane: Lane, cost: Cost) -> tuple[EncodableT, ...]:
    share = SHARES[lane]
    return lane.value, int(share.exits), share.at_start, share.at_end, cost.cover_orders
