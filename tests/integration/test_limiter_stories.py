"""The limiter between the steps and the exchange: bans that all obey, entries that grow too old, stops that do not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic

import pytest

from execution.adapters.rate_limit import RateLimiter
from execution.domain.outcomes import Waits
from execution.domain.ports import ExchangeUnavailableError, Lane
from execution.domain.rate_limits import Cost, Counter, Limits, Throttled
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

pytestmark = pytest.mark.django_db
HOUR = 3600
BANNED = "Way too many requests; IP banned until {}. Please use the websocket for live updates to avoid bans."


@pytest.fixture(autouse=True)
def _clocks_together_again(desk: Desk) -> Iterator[None]:
    yield
    desk.paper.control("POST", "clock", {"skew_ms": 0})


def banned(desk: Desk, *, ahead_seconds: int, seconds: int) -> None:
    """Let the exchange refuse all, and tell the ban's end by its own clock and in its text alone."""
    until = int((datetime.now(UTC).timestamp() + ahead_seconds + seconds) * 1000)
    body = {"code": -1003, "msg": BANNED.format(until)}
    desk.paper.add_fault(path="/fapi/*", action="reply", status=418, body=body, count=None)


@pytest.mark.parametrize("ahead_seconds", [0, HOUR, -HOUR])
def test_a_ban_s_end_is_read_by_the_exchange_s_clock_and_obeyed_by_all(desk: Desk, ahead_seconds: int) -> None:
    desk.paper.control("POST", "clock", {"skew_ms": ahead_seconds * 1000})
    other = desk.another()
    for process in (desk, other):
        process.exchange.positions()
    banned(desk, ahead_seconds=ahead_seconds, seconds=60)

    with pytest.raises(ExchangeUnavailableError):
        desk.exchange.positions()

    # It should hold the other process at its very next call, exits too, and for as long as the text says.
    came = len(desk.ledger.requests)
    with pytest.raises(ExchangeUnavailableError, match="hold:everybody"):
        other.exchange.positions()
    for lane in Lane:
        denial = other.limiter.admit(lane, Cost(), max_wait_seconds=0)
        assert isinstance(denial, Throttled)
        assert 50 < denial.wait_seconds < 63
    assert len(desk.ledger.requests) == came


def test_a_redis_that_has_lost_the_limits_knows_them_after_one_cycle(desk: Desk) -> None:
    desk.trade_opened()
    newcomer = RateLimiter(desk.redis, per_minute=1200)
    for key in desk.redis.scan_iter("execution:limiter*"):
        desk.redis.delete(key)
    # A process that has never read the listing goes by what is documented.
    assert newcomer.state().counters[Counter.WEIGHT].limit == Limits().weight

    desk.cycle()

    [published] = [row for row in desk.person.exchange_info()["rateLimits"] if row["rateLimitType"] == "REQUEST_WEIGHT"]
    assert newcomer.state().counters[Counter.WEIGHT].limit == published["limit"] != Limits().weight


def test_an_entry_that_has_waited_past_its_age_is_never_sent(desk: Desk) -> None:
    desk.limiter.hold(Waits.ENTRIES, 600)
    request_id = desk.decide()

    # It should wait without a worker and without a place in the queue, and end by its age.
    assert desk.run(request_id) == "APPROVED"
    assert desk.limiter.state().waiting == 0
    desk.clock.let_pass(61)
    assert desk.run(request_id) == "EXPIRED"
    assert not desk.ledger.entries_sent
    desk.check()


def test_a_stop_is_never_too_old_and_waits_for_its_turn(desk: Desk) -> None:
    request_id = desk.trade_opened(stop_loss=49000.0)
    desk.clock.let_pass(HOUR)
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": desk.order(request_id, "STOP").client_order_id})
    desk.limiter.hold(Waits.ENTRIES, 600)
    desk.limiter.hold(Waits.ORDERS, 1.0)
    began = monotonic()

    desk.cycle()

    # It should have left as soon as orders may, an hour after its decision and while entries are held.
    assert desk.order_states(request_id, "STOP") == ["CANCELED", "ACCEPTED"]
    assert monotonic() - began >= 0.9
    desk.check()
