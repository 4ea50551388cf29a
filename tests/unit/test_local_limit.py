"""One process's share while Redis is away: safe in every stretch of a window's length, and for exits first."""

import pytest

from execution.adapters.local_limit import SHARE, LocalQuota
from execution.domain.holds import HOLD_CAPS
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import Cost, Counter, Limits, Permit, Throttled

ORDER = Cost(orders_10s=1, orders_1m=1)
SMALL_READ, LARGEST, SWEEP = Cost(weight=1), Cost(weight=5), Cost(weight=40)
# A sixteenth of 300 orders in ten seconds.
ORDERS = 18


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def share(clock: Clock) -> LocalQuota:
    return LocalQuota(per_minute=1200, limits=Limits(), monotonic=clock)


def drain(share: LocalQuota, cost: Cost = ORDER, *, most: int = 1000) -> int:
    taken = 0
    while taken < most and isinstance(share.admit(Lane.PROTECT, cost, max_wait_seconds=0), Permit):
        taken += 1
    return taken


def denial(share: LocalQuota, lane: Lane, cost: Cost) -> str:
    answer = share.admit(lane, cost, max_wait_seconds=0)
    assert isinstance(answer, Throttled)
    return answer.blocked_by


def test_sixteen_processes_together_stay_within_every_limit() -> None:
    limits = Limits()
    for limit in (limits.orders_10s, limits.orders_1m, limits.weight):
        assert 16 * int(limit * SHARE) <= limit


def test_no_ten_seconds_hold_more_than_the_share_wherever_they_begin(share: LocalQuota, clock: Clock) -> None:
    clock.now = 1009.9
    assert drain(share) == ORDERS

    # It should not begin anew with a calendar that is not the exchange's.
    for now in (1010.1, 1019.8):
        clock.now = now
        assert denial(share, Lane.PROTECT, ORDER) == f"local:{Counter.ORDERS_10S}"
    clock.now = 1019.95
    assert drain(share) == ORDERS


def test_what_was_used_early_is_free_again_first(share: LocalQuota, clock: Clock) -> None:
    assert drain(share, most=10) == 10
    clock.now += 6
    assert drain(share) == ORDERS - 10
    clock.now += 5
    assert drain(share) == 10


def test_exits_and_small_reads_flow_and_nothing_else(share: LocalQuota) -> None:
    assert denial(share, Lane.ENTRY, ORDER) == "redis"
    for lane in Lane:
        assert denial(share, lane, SWEEP) == "redis"
    assert denial(share, Lane.READ, ORDER) == "redis"
    for lane, cost in ((Lane.READ, LARGEST), (Lane.CLOSE, ORDER), (Lane.PROTECT, ORDER), (Lane.PROTECT, LARGEST)):
        assert isinstance(share.admit(lane, cost, max_wait_seconds=0), Permit)


def test_full_share_of_one_counter_takes_nothing_from_the_others(share: LocalQuota) -> None:
    drain(share)

    assert drain(share, SMALL_READ, most=20) == 20


def test_holds_of_before_are_kept(share: LocalQuota, clock: Clock) -> None:
    share.hold(Waits.ORDERS, 30)
    share.hold(Waits.ORDERS, 1)
    assert denial(share, Lane.PROTECT, ORDER) == f"local:hold:{Waits.ORDERS}"
    assert isinstance(share.admit(Lane.READ, SMALL_READ, max_wait_seconds=0), Permit)

    share.hold(Waits.EVERYBODY, 60)
    assert denial(share, Lane.READ, SMALL_READ) == f"local:hold:{Waits.EVERYBODY}"
    clock.now += 60
    assert drain(share) == ORDERS


def probe(share: LocalQuota, lane: Lane, cost: Cost) -> bool:
    answer = share.admit(lane, cost, max_wait_seconds=0)
    assert isinstance(answer, Permit)
    return answer.probe


@pytest.mark.parametrize("lane", [Lane.PROTECT, Lane.CLOSE])
def test_exits_look_through_a_hold_ever_more_seldom(share: LocalQuota, clock: Clock, lane: Lane) -> None:
    share.hold(Waits.EVERYBODY, 1e12)
    for pause in (15, 30, 60, 120, 240, 480, 900, 900):
        clock.now += pause - 0.1
        assert denial(share, lane, ORDER) == f"local:hold:{Waits.EVERYBODY}"
        clock.now += 0.2
        assert denial(share, Lane.READ, SMALL_READ) == f"local:hold:{Waits.EVERYBODY}"
        assert probe(share, lane, ORDER)

    # It should end with what the exchange serves, and by its cap at the latest.
    share.passed(ORDER)
    assert not probe(share, Lane.READ, SMALL_READ)


def test_no_hold_of_before_is_without_an_end(share: LocalQuota, clock: Clock) -> None:
    share.hold(Waits.EVERYBODY, float("inf"))
    share.hold(Waits.ORDERS, float("nan"))
    clock.now += HOLD_CAPS[Waits.EVERYBODY] + 1

    assert not probe(share, Lane.READ, SMALL_READ)


def test_an_operator_ends_the_holds_of_before(share: LocalQuota) -> None:
    share.hold(Waits.EVERYBODY, 60)
    share.release()

    assert not probe(share, Lane.READ, SMALL_READ)
