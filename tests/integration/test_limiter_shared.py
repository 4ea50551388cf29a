"""The limiter on real Valkey: one ceiling for all processes, a reserve for protection, and bans that all obey."""

from time import monotonic

from redis import Redis

from execution.adapters.rate_limit import RateLimiter
from execution.domain.ports import Lane
from tests.support.threads import at_once

# 600 a minute: a bucket of 60 that refills 9 a second; a quarter of it is for protection and closing.
PER_MINUTE, CAPACITY, RESERVE = 600, 60, 15


def drain(limiter: RateLimiter, lane: Lane) -> int:
    taken = 0
    while limiter.acquire(lane, max_wait_seconds=0):
        taken += 1
    return taken


def test_two_processes_share_one_bucket(redis: "Redis") -> None:
    first, second = (RateLimiter(redis, per_minute=PER_MINUTE) for _ in range(2))

    taken = at_once([lambda: drain(first, Lane.PROTECT), lambda: drain(second, Lane.PROTECT)])

    assert CAPACITY <= sum(taken) <= CAPACITY + 5
    assert first.state().available == second.state().available <= 1


def test_entries_and_reads_cannot_use_up_what_protection_needs(redis: "Redis") -> None:
    limiter = RateLimiter(redis, per_minute=PER_MINUTE)

    assert CAPACITY - RESERVE <= drain(limiter, Lane.ENTRY) <= CAPACITY - RESERVE + 2
    assert not limiter.acquire(Lane.READ, max_wait_seconds=0)

    assert RESERVE - 1 <= drain(limiter, Lane.CLOSE) <= RESERVE + 2
    assert not limiter.acquire(Lane.PROTECT, max_wait_seconds=0)


def test_waiting_is_bounded_and_takes_nothing_when_it_is_in_vain(redis: "Redis") -> None:
    limiter = RateLimiter(redis, per_minute=PER_MINUTE)
    drain(limiter, Lane.PROTECT)
    started = monotonic()

    # One token comes every 111 ms; the reserve takes 15 of them first.
    assert not limiter.acquire(Lane.ENTRY, max_wait_seconds=0.2)
    assert monotonic() - started < 0.5

    assert limiter.acquire(Lane.PROTECT, max_wait_seconds=1)


def test_no_second_admits_more_than_the_ceiling_allows(redis: "Redis") -> None:
    limiters = [RateLimiter(redis, per_minute=PER_MINUTE) for _ in range(4)]
    drain(limiters[0], Lane.PROTECT)
    started = monotonic()

    def use(limiter: RateLimiter) -> int:
        taken = 0
        while monotonic() - started < 1:
            taken += limiter.acquire(Lane.PROTECT, max_wait_seconds=0.1)
        return taken

    admitted = sum(at_once([lambda limiter=limiter: use(limiter) for limiter in limiters]))  # type: ignore[misc]

    # Refilled at nine tenths of the ceiling, with a thread's slack at the end.
    assert 6 <= admitted <= 9 * (monotonic() - started) + 1


def test_ban_stops_every_lane_of_every_process_until_it_is_over(redis: "Redis") -> None:
    banned, other = (RateLimiter(redis, per_minute=PER_MINUTE) for _ in range(2))
    banned.ban(0.4)
    started = monotonic()

    for lane in Lane:
        assert not other.acquire(lane, max_wait_seconds=0.1)
    assert other.acquire(Lane.PROTECT, max_wait_seconds=2)

    assert monotonic() - started >= 0.39


def test_shorter_ban_does_not_shorten_a_longer_one(redis: "Redis") -> None:
    limiter = RateLimiter(redis, per_minute=PER_MINUTE)
    limiter.ban(60)
    limiter.ban(0.01)

    assert not limiter.acquire(Lane.PROTECT, max_wait_seconds=0.1)


def test_lost_bucket_begins_anew(redis: "Redis") -> None:
    limiter = RateLimiter(redis, per_minute=PER_MINUTE)
    drain(limiter, Lane.PROTECT)
    redis.flushdb()

    assert limiter.acquire(Lane.READ, max_wait_seconds=0)
