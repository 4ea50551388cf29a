"""The limiter on real Valkey: every window safe, lanes with a reserve, headers that correct, holds that all obey.

The exchange's clock is what `learn_clock` says it is, so that a test chooses where in a window it stands.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
import time_machine
from redis import Redis

from execution.adapters.rate_limit import GUARD_MS, RateLimiter
from execution.adapters.redis_bus import redis_connection
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import Cost, Counter, Limits, Permit, Throttled, WindowUsage
from tests.support.threads import at_once

LIMITS = Limits(weight=2400, orders_10s=300, orders_1m=1200)
ORDER = Cost(orders_10s=1, orders_1m=1)
ENTRY = Cost(orders_10s=1, orders_1m=1, cover_orders=2)
READ, SWEEP = Cost(weight=1), Cost(weight=40)
# A minute's first moment at the exchange, far from today so that nothing depends on when the tests run.
MINUTE = 1_790_000_040_000


def limiter_of(redis: "Redis", *, per_minute: int = 100_000, limits: Limits = LIMITS) -> RateLimiter:
    return RateLimiter(redis, per_minute=per_minute, limits=limits)


def stand(limiter: RateLimiter, seconds: float, *, minute: int = 0) -> None:
    """Set the exchange's clock to a moment of a minute."""
    limiter.learn_clock(MINUTE + minute * 60_000 + seconds * 1000, measured_at=monotonic(), uncertainty_ms=0)


@pytest.fixture
def limiter(redis: "Redis") -> RateLimiter:
    """A limiter that has seen its windows begin, early in a minute: all of them are empty and known."""
    found = limiter_of(redis)
    begin(found)
    return found


def begin(limiter: RateLimiter) -> None:
    stand(limiter, 30, minute=-1)
    take(limiter, Lane.READ)
    stand(limiter, 1)


def take(limiter: RateLimiter, lane: Lane, cost: Cost = READ, *, within: float = 0) -> Permit:
    ticket = limiter.admit(lane, cost, max_wait_seconds=within)
    assert isinstance(ticket, Permit), ticket
    return ticket


def drain(limiter: RateLimiter, lane: Lane, cost: Cost = ORDER, *, most: int = 10_000) -> int:
    """Take without waiting until it is denied, and return how often it was granted."""
    taken = 0
    while taken < most and isinstance(limiter.admit(lane, cost, max_wait_seconds=0), Permit):
        taken += 1
    return taken


def drain_at(
    limiter: RateLimiter, lane: Lane, cost: Cost = ORDER, *, second: float, most: int = 10_000, uncertainty_ms: int = 0
) -> int:
    """Drain at one moment of the minute: the exchange's clock stands still, however slow the machine is."""
    taken = 0
    while taken < most:
        limiter.learn_clock(MINUTE + second * 1000, measured_at=monotonic(), uncertainty_ms=uncertainty_ms)
        if not isinstance(limiter.admit(lane, cost, max_wait_seconds=0), Permit):
            break
        taken += 1
    return taken


def denied(limiter: RateLimiter, lane: Lane, cost: Cost = READ, *, within: float = 0) -> Throttled:
    denial = limiter.admit(lane, cost, max_wait_seconds=within)
    assert isinstance(denial, Throttled), denial
    return denial


# Windows


def test_no_window_admits_more_than_its_limit(limiter: RateLimiter) -> None:
    taken = [drain(limiter, Lane.PROTECT)]
    for second in (11, 21, 31, 41, 51):
        stand(limiter, second)
        taken.append(drain(limiter, Lane.PROTECT))

    # It should fill the windows of ten seconds to the last order, and stop at the minute's limit.
    assert taken == [300, 300, 300, 300, 0, 0]
    assert denied(limiter, Lane.PROTECT, ORDER).blocked_by == "orders_1m"
    stand(limiter, 1, minute=1)
    assert drain(limiter, Lane.PROTECT) == 300


@pytest.mark.parametrize(
    ("lane", "second", "expected"),
    [
        (Lane.PROTECT, 1.1, 300),
        # Kept free of 300: 2 % of what is left of the window, 1 % at least. 300 - 5.34, 300 - 3.06, 300 - 3.
        (Lane.CLOSE, 1.1, 294),
        (Lane.CLOSE, 4.9, 296),
        (Lane.CLOSE, 9.5, 297),
        # 10 %, and 3 % at least: 300 - 26.7, 300 - 15.3, 300 - 9.
        (Lane.ENTRY, 1.1, 273),
        (Lane.ENTRY, 4.9, 284),
        (Lane.ENTRY, 9.5, 291),
    ],
)
def test_each_lane_leaves_free_what_goes_before_it(
    limiter: RateLimiter, lane: Lane, second: float, expected: int
) -> None:
    assert drain_at(limiter, lane, second=second) == expected
    # The room that is left is there for who goes before.
    assert drain_at(limiter, Lane.PROTECT, second=second) == 300 - expected


def test_reserve_that_nobody_needed_is_released_as_the_window_ends(limiter: RateLimiter) -> None:
    first = drain(limiter, Lane.ENTRY)
    stand(limiter, 6)
    later = drain(limiter, Lane.ENTRY)
    stand(limiter, 9.8)
    last = drain(limiter, Lane.ENTRY)

    assert later > 0
    assert last > 0
    # It should keep the last three in a hundred for a stop, up to the end.
    assert first + later + last == 291
    assert drain(limiter, Lane.PROTECT) == 9


def test_request_near_a_boundary_counts_in_both_windows(limiter: RateLimiter) -> None:
    """A clock that is wrong by less than the guard must not turn two safe windows into an unsafe one."""
    stand(limiter, 9.95)
    assert drain(limiter, Lane.PROTECT, most=50) == 50
    stand(limiter, 10.5)
    assert drain(limiter, Lane.PROTECT) == 250

    # It should not begin the next window early either: it may still be this one at the exchange.
    stand(limiter, 20.02)
    assert denied(limiter, Lane.PROTECT, ORDER).blocked_by == "orders_10s"
    stand(limiter, 20 + (GUARD_MS + 10) / 1000)
    assert drain(limiter, Lane.PROTECT) == 300


def test_others_count_up_to_the_last_moment_of_a_window(limiter: RateLimiter) -> None:
    stand(limiter, 5)
    limiter.answered(take(limiter, Lane.PROTECT, ORDER), WindowUsage(orders_10s=298, orders_1m=298))
    # As near to the end as the guard goes, which an uncertain clock makes wider.
    limiter.learn_clock(MINUTE + 9_810, measured_at=monotonic(), uncertainty_ms=100)

    # It should take no more than others have left.
    late = take(limiter, Lane.PROTECT, ORDER)
    assert drain(limiter, Lane.PROTECT) == 300 - 298 - 1
    # A figure of the next window is of the late request alone: this window has room for the one that went over.
    limiter.answered(late, WindowUsage(orders_10s=1, orders_1m=1))
    assert drain_at(limiter, Lane.PROTECT, second=9.81, uncertainty_ms=100) == 1


def test_our_own_ceiling_is_one_more_window(redis: "Redis") -> None:
    limiter = limiter_of(redis, per_minute=100)
    begin(limiter)

    assert drain(limiter, Lane.PROTECT, READ) == 100
    assert denied(limiter, Lane.PROTECT).blocked_by == "requests"


def test_weight_counts_by_request(limiter: RateLimiter) -> None:
    assert drain(limiter, Lane.PROTECT, SWEEP) == 60
    assert denied(limiter, Lane.PROTECT).blocked_by == "weight"
    # It should let orders pass: they weigh nothing.
    assert drain_at(limiter, Lane.ENTRY, second=1.1) == 273


# Many


@pytest.fixture
def others(redis_url: str) -> Iterator[list[RateLimiter]]:
    """Eight limiters, each on a connection of its own."""
    clients = [redis_connection(redis_url) for _ in range(8)]
    yield [limiter_of(client) for client in clients]
    for client in clients:
        client.close()


def test_eight_at_once_get_exactly_the_limit(limiter: RateLimiter, others: list[RateLimiter]) -> None:
    taken = at_once([lambda one=one: drain(one, Lane.PROTECT) for one in others])  # type: ignore[misc]

    assert sum(taken) == 300
    assert limiter.state().counters[Counter.ORDERS_10S].used == 300


@pytest.mark.parametrize("hours", [1, -1])
def test_processes_with_wrong_clocks_share_the_same_windows(
    limiter: RateLimiter, others: list[RateLimiter], hours: int
) -> None:
    """Everybody counts by Redis's clock, so that nobody begins a window of his own."""
    drain(limiter, Lane.PROTECT)

    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True):
        assert denied(others[0], Lane.PROTECT, ORDER).blocked_by == "orders_10s"
        assert limiter.state().counters[Counter.ORDERS_10S].used == 300


def test_protection_goes_before_who_has_waited_longer(redis: "Redis") -> None:
    # Protection takes all that a window has: whoever goes second, waits for the next.
    limiter, longer, protection = (limiter_of(redis, limits=replace(LIMITS, orders_10s=3)) for _ in range(3))
    whole = Cost(orders_10s=3, orders_1m=3)
    begin(limiter)
    take(limiter, Lane.PROTECT, whole)

    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(take, longer, Lane.CLOSE, ORDER, within=20)
        until_waiting(limiter, 1)
        goes_first = pool.submit(take, protection, Lane.PROTECT, whole, within=20)
        until_waiting(limiter, 2)
        stand(limiter, 10 + GUARD_MS / 1000)
        goes_first.result(20)

        assert not waits.done()
        assert limiter.state().waiting == 1
        stand(limiter, 20 + GUARD_MS / 1000)
        waits.result(20)
    assert limiter.state().waiting == 0


def test_those_who_wait_longer_are_not_overtaken(limiter: RateLimiter, others: list[RateLimiter]) -> None:
    """A heavy read that waits must not starve because light ones always find room before it."""
    drain(limiter, Lane.PROTECT, READ, most=2200)
    stand(limiter, 1)
    with ThreadPoolExecutor(1) as pool:
        heavy = pool.submit(take, others[0], Lane.READ, SWEEP, within=200)
        until_waiting(limiter, 1)

        assert denied(others[1], Lane.READ, READ).blocked_by == "weight"
        # It should give it up as soon as the reserve is released far enough.
        stand(limiter, 45)
        heavy.result(20)
    take(others[1], Lane.READ, READ)


def until_waiting(limiter: RateLimiter, count: int) -> None:
    started = monotonic()
    while limiter.state().waiting < count:
        assert monotonic() - started < 30


def test_waiter_that_died_is_forgotten(limiter: RateLimiter, redis: "Redis") -> None:
    drain(limiter, Lane.PROTECT, READ, most=1915)
    redis.zadd("execution:limiter:exchange:queue", {"gone-1 40 0 0": 3 * 2e15})
    redis.zadd("execution:limiter:exchange:leases", {"gone-1 40 0 0": 1})

    take(limiter, Lane.READ, READ)
    assert redis.zcard("execution:limiter:exchange:queue") == 0


def test_wait_in_vain_is_denied_at_once_and_takes_nothing(limiter: RateLimiter) -> None:
    drain(limiter, Lane.PROTECT)
    started = monotonic()

    denial = denied(limiter, Lane.ENTRY, ORDER, within=3)

    # The room that it would need comes seconds after it has stopped waiting.
    assert (denial.blocked_by, denial.wait_seconds > 5) == ("orders_10s", True)
    assert monotonic() - started < denial.wait_seconds
    assert limiter.state().counters[Counter.ORDERS_10S].used == 300
    assert limiter.state().refused[Lane.ENTRY] == 1


def test_exit_waits_for_as_long_as_it_may(limiter: RateLimiter) -> None:
    drain(limiter, Lane.PROTECT)
    stand(limiter, 9.5)
    started = monotonic()

    take(limiter, Lane.PROTECT, ORDER, within=10)

    assert monotonic() - started >= 0.5


# Cover that is to come


def test_entry_leaves_room_for_its_own_stop_and_target(limiter: RateLimiter) -> None:
    entries = drain_at(limiter, Lane.ENTRY, ENTRY, second=1.1)

    # It should take a third of what is there, less the reserve, 300 - 26.7: each entry brings two more orders.
    assert entries == 91
    assert drain_at(limiter, Lane.PROTECT, second=1.1, most=180) == 180

    # It should forget what never came: two windows later the room is there again.
    assert drain_at(limiter, Lane.ENTRY, ENTRY, second=31.1) == 91


def test_waiting_for_room_takes_nothing_and_does_not_queue(limiter: RateLimiter) -> None:
    assert limiter.await_room(Lane.ENTRY, ENTRY, max_wait_seconds=0) is None
    assert limiter.state().counters[Counter.ORDERS_10S].used == 0

    drain(limiter, Lane.PROTECT)
    started = monotonic()
    ahead = limiter.await_room(Lane.ENTRY, ENTRY, max_wait_seconds=3)
    assert ahead is not None
    assert (ahead.blocked_by, ahead.wait_seconds > 5) == ("orders_10s", True)
    assert monotonic() - started < ahead.wait_seconds
    assert limiter.state().waiting == 0

    # It should wait for room that is near.
    stand(limiter, 9.8)
    assert limiter.await_room(Lane.ENTRY, ENTRY, max_wait_seconds=10) is None


# What the exchange tells


def test_headers_of_one_correct_all(limiter: RateLimiter, others: list[RateLimiter]) -> None:
    """Somebody else trades the account: what they have used is gone for us too."""
    ticket = take(limiter, Lane.ENTRY)
    limiter.answered(take(limiter, Lane.PROTECT, ORDER), WindowUsage(weight=None, orders_10s=200, orders_1m=900))
    limiter.answered(ticket, WindowUsage(weight=2000))

    assert drain(others[0], Lane.PROTECT) == 100
    assert limiter.state().counters[Counter.WEIGHT].used == 2000
    assert limiter.state().counters[Counter.ORDERS_1M].used == 1000


def test_requests_under_way_are_added_to_what_the_exchange_told(limiter: RateLimiter) -> None:
    first, second = take(limiter, Lane.PROTECT, ORDER), take(limiter, Lane.PROTECT, ORDER)
    limiter.answered(first, WindowUsage(orders_10s=100, orders_1m=100))
    assert limiter.state().counters[Counter.ORDERS_10S].used == 101

    # An older figure must not take back a newer one.
    limiter.answered(second, WindowUsage(orders_10s=99, orders_1m=99))
    assert limiter.state().counters[Counter.ORDERS_10S].used == 100


def test_an_answer_that_tells_nothing_makes_no_room(limiter: RateLimiter) -> None:
    """A refusal may come without figures, and yet have been counted."""
    limiter.answered(take(limiter, Lane.PROTECT, ORDER), WindowUsage(orders_10s=101, orders_1m=101))
    for _ in range(10):
        limiter.answered(take(limiter, Lane.PROTECT, ORDER), WindowUsage(weight=1))

    assert limiter.state().counters[Counter.ORDERS_10S].used == 111


def test_answer_of_the_window_before_says_nothing_of_this_one(limiter: RateLimiter) -> None:
    ticket = take(limiter, Lane.PROTECT, ORDER)
    stand(limiter, 11)
    limiter.answered(ticket, WindowUsage(orders_10s=300, orders_1m=300))

    assert limiter.state().counters[Counter.ORDERS_10S].used == 0
    assert limiter.state().counters[Counter.ORDERS_1M].used == 300


def test_others_are_expected_again_and_find_their_room(limiter: RateLimiter) -> None:
    stand(limiter, 9)
    limiter.answered(take(limiter, Lane.PROTECT, ORDER), WindowUsage(orders_10s=101, orders_1m=101))
    stand(limiter, 11)

    # 300 less the reserve of 26.7, and less what others will send: their 100 in nine tenths of the last window make
    # 111.1 in a whole one.
    assert drain_at(limiter, Lane.ENTRY, second=11.1) == 162
    # It should not keep exits from their room for the sake of others.
    assert drain_at(limiter, Lane.PROTECT, second=11.1) == 138


def test_others_are_not_overlooked_while_we_are_busy(limiter: RateLimiter) -> None:
    """The figure that an answer brings is older than what we have let pass since: that must not hide others."""
    limiter.answered(take(limiter, Lane.PROTECT, ORDER), WindowUsage(orders_10s=51, orders_1m=51))
    busy = [take(limiter, Lane.PROTECT, ORDER) for _ in range(60)]
    limiter.answered(busy[0], WindowUsage(orders_10s=52, orders_1m=52))

    told = limiter.state().counters[Counter.ORDERS_10S]
    # It should count ours that are under way, and go on expecting those who sent fifty in the first second.
    assert told.used == 52 + 59
    assert told.expected_of_others > 150


def test_badly_measured_clock_does_not_replace_a_good_one(limiter: RateLimiter, redis: "Redis") -> None:
    before = limiter.state().clock_offset_ms
    limiter.learn_clock(server_ms(redis) + before + 90, measured_at=monotonic(), uncertainty_ms=95)
    assert limiter.state().clock_offset_ms == before

    # It should know a bad one by what it may be wrong, however large that is.
    limiter.learn_clock(server_ms(redis) + before + 900, measured_at=monotonic(), uncertainty_ms=1000)
    assert limiter.state().clock_offset_ms == before

    # It should believe a measurement that contradicts, good or bad.
    limiter.learn_clock(MINUTE + 31_000, measured_at=monotonic(), uncertainty_ms=95)
    assert limiter.state().clock_offset_ms == pytest.approx(before + 30_000, abs=5_000)


def server_ms(redis: "Redis") -> float:
    seconds, micros = redis.time()
    return float(seconds * 1000 + micros / 1000)


def test_published_limits_are_taken_over_by_all(limiter: RateLimiter, others: list[RateLimiter]) -> None:
    limiter.learn_limits(Limits(weight=2400, orders_10s=40, orders_1m=50))

    assert drain(others[0], Lane.PROTECT) == 40
    stand(limiter, 11)
    assert drain(others[0], Lane.PROTECT) == 10


# Holds


def test_ban_stops_every_lane_of_every_process_until_it_is_over(
    limiter: RateLimiter, others: list[RateLimiter]
) -> None:
    started = monotonic()
    limiter.hold(Waits.EVERYBODY, 0.4)

    for lane in Lane:
        assert denied(others[0], lane).blocked_by == "hold:everybody"
    assert limiter.state().available == 0
    take(others[0], Lane.PROTECT, within=5)

    assert monotonic() - started >= 0.39


def test_shorter_hold_does_not_shorten_a_longer_one(limiter: RateLimiter) -> None:
    limiter.hold(Waits.EVERYBODY, 60)
    limiter.hold(Waits.EVERYBODY, 0.01)

    assert denied(limiter, Lane.PROTECT, within=0.1).wait_seconds > 50


def test_throttled_entries_do_not_keep_exits_from_leaving(limiter: RateLimiter, others: list[RateLimiter]) -> None:
    limiter.hold(Waits.ENTRIES, 60)

    assert denied(others[0], Lane.ENTRY, ENTRY).blocked_by == "hold:entries"
    take(others[0], Lane.PROTECT, ORDER)
    take(others[0], Lane.CLOSE, ORDER)
    take(others[0], Lane.READ)


def test_full_order_counter_stops_orders_and_no_reads(limiter: RateLimiter, others: list[RateLimiter]) -> None:
    limiter.hold(Waits.ORDERS, 60)

    assert denied(others[0], Lane.PROTECT, ORDER).blocked_by == "hold:orders"
    take(others[0], Lane.READ)


# Redis


def test_lost_state_counts_as_used_until_an_answer_tells(limiter: RateLimiter, redis: "Redis") -> None:
    drain(limiter, Lane.PROTECT, most=200)
    redis.flushdb()
    stand(limiter, 5)

    # It should let exits have the last tenth, and nobody else more than one question.
    probe = take(limiter, Lane.READ)
    assert denied(limiter, Lane.READ).blocked_by == "requests"
    assert drain(limiter, Lane.PROTECT) == 30
    assert not limiter.state().counters[Counter.ORDERS_10S].known

    # It should believe the first answer.
    limiter.answered(probe, WindowUsage(weight=7))
    assert limiter.state().counters[Counter.WEIGHT].used == 7
    assert limiter.state().counters[Counter.WEIGHT].known
    take(limiter, Lane.READ)


def test_lost_order_counters_are_asked_for_with_one_order(redis: "Redis") -> None:
    limiter = limiter_of(redis)
    stand(limiter, 5)
    limiter.answered(take(limiter, Lane.READ), WindowUsage(weight=1))

    order = take(limiter, Lane.ENTRY, ORDER)
    assert drain(limiter, Lane.ENTRY) == 0
    limiter.answered(order, WindowUsage(weight=1, orders_10s=51, orders_1m=51))

    # 300 less the 51 that are used, which are taken for ours of before the loss, and less the reserve of 15.
    assert drain_at(limiter, Lane.ENTRY, second=5) == 234


def test_without_redis_exits_flow_in_a_small_share_and_entries_do_not() -> None:
    nowhere = redis_connection("redis://127.0.0.1:9/0", timeout_seconds=0.2)
    limiter = limiter_of(nowhere)

    # A sixteenth of 300 orders.
    assert drain(limiter, Lane.PROTECT) == 18
    assert denied(limiter, Lane.ENTRY, ENTRY, within=5).blocked_by == "redis"
    assert denied(limiter, Lane.READ, SWEEP, within=5).blocked_by == "redis"
    take(limiter, Lane.READ)
    limiter.answered(take(limiter, Lane.CLOSE), WindowUsage(weight=1))


def test_hold_is_honoured_when_redis_goes_away_after_it() -> None:
    limiter = limiter_of(redis_connection("redis://127.0.0.1:9/0", timeout_seconds=0.2))
    limiter.hold(Waits.EVERYBODY, 60)

    assert denied(limiter, Lane.PROTECT).blocked_by == "local:hold:everybody"


def test_redis_that_cannot_be_written_is_as_good_as_none(limiter: RateLimiter, redis: "Redis") -> None:
    redis.config_set("min-replicas-to-write", 1)
    try:
        assert not take(limiter, Lane.PROTECT, ORDER).shared
        assert denied(limiter, Lane.ENTRY, ENTRY).blocked_by == "redis"
    finally:
        redis.config_set("min-replicas-to-write", 0)
