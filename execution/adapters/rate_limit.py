"""Our own ceiling on requests to the exchange, shared by all processes through Redis, with lanes and bans."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from execution.domain.ports import Lane

BUCKET_KEY = "execution:limiter:bucket"
BAN_KEY = "execution:limiter:banned"
# A bucket of capacity C refilled at r a second admits C + 60 r in any minute: with these shares, exactly the limit.
CAPACITY_SHARE = 0.1
REFILL_SHARE = 0.9
# What exits may use up and entries and reads may not.
RESERVE_SHARE = 0.25
SHORTEST_PAUSE = 0.005

# Takes one token, or tells how many milliseconds to wait. The clock is Redis's own, the same for everybody.
TAKE = """
local banned = redis.call('PTTL', KEYS[2])
if banned > 0 then return {0, banned, 0} end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local capacity, per_ms, reserve = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(capacity, (tonumber(state[1]) or capacity) + (now - (tonumber(state[2]) or now)) * per_ms)
local wait = 0
if tokens - reserve >= 1 then tokens = tokens - 1 else wait = math.ceil((1 + reserve - tokens) / per_ms) end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
redis.call('PEXPIRE', KEYS[1], 120000)
return {wait == 0 and 1 or 0, wait, math.floor(tokens)}
"""


@dataclass(frozen=True, kw_only=True)
class RateLimitState:
    """Our ceiling a minute, and what is left of it now."""

    limit_per_minute: int
    available: int


class RateLimiter:
    """A token bucket for requests a minute, with a reserve that only protection and closing may touch."""

    def __init__(self, redis: Redis, *, per_minute: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._per_minute = per_minute
        self._capacity = max(1.0, per_minute * CAPACITY_SHARE)
        self._per_ms = per_minute * REFILL_SHARE / 60_000
        self._take = redis.register_script(TAKE)
        self._monotonic = monotonic

    def acquire(self, lane: Lane, *, max_wait_seconds: float) -> bool:
        """Wait for a token; False when none came in time, and then none was taken."""
        deadline = self._monotonic() + max_wait_seconds
        while True:
            granted, wait_ms = self._try(lane)
            if granted:
                return True
            left = deadline - self._monotonic()
            if wait_ms / 1000 > left:
                return False
            time.sleep(max(SHORTEST_PAUSE, min(wait_ms / 1000, left)))

    def ban(self, seconds: float) -> None:
        """Stop everybody until the exchange has forgiven us; a shorter ban does not shorten a longer one."""
        wanted = max(1, int(seconds * 1000))
        if self._redis.pttl(BAN_KEY) < wanted:
            self._redis.set(BAN_KEY, 1, px=wanted)

    def state(self) -> RateLimitState:
        """Return what is left, without taking from it."""
        tokens, at = self._redis.hmget(BUCKET_KEY, "tokens", "at")
        if tokens is None or at is None:
            return RateLimitState(limit_per_minute=self._per_minute, available=int(self._capacity))
        seconds, micros = self._redis.time()
        refilled = float(tokens) + (seconds * 1000 + micros / 1000 - float(at)) * self._per_ms
        return RateLimitState(limit_per_minute=self._per_minute, available=int(min(self._capacity, refilled)))

    def _try(self, lane: Lane) -> tuple[bool, int]:
        reserve = 0.0 if lane in {Lane.PROTECT, Lane.CLOSE} else self._capacity * RESERVE_SHARE
        granted, wait_ms, _ = self._take(keys=[BUCKET_KEY, BAN_KEY], args=[self._capacity, self._per_ms, reserve])
        return bool(granted), int(wait_ms)
