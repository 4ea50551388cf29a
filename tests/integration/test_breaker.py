"""The circuit breaker on real Valkey: opened by the transport alone, shared by all, tried by reads, no bar to exits."""

from collections.abc import Iterator

import pytest
from redis import Redis

from execution.adapters import breaker as subject
from execution.adapters.breaker import FAULTS_TO_OPEN, CircuitBreaker
from execution.adapters.redis_bus import redis_connection
from execution.domain.outcomes import Accepted, Refused, Unknown
from execution.domain.ports import ExchangeUnavailableError, Lane
from execution.domain.rate_limits import CircuitState
from tests.support.desk import Desk
from tests.support.threads import at_once
from tests.support.waiting import eventually
from tests.unit.test_binance_client import ENTRY, soon

HOST = "exchange.example"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open for a third of a second, and believe nothing that was read before."""
    monkeypatch.setattr(subject, "FIRST_OPEN_MS", 300)
    monkeypatch.setattr(subject, "CACHED_SECONDS", 0.0)


@pytest.fixture
def breaker(redis: "Redis") -> CircuitBreaker:
    return CircuitBreaker(redis, host=HOST)


@pytest.fixture
def others(redis_url: str) -> Iterator[list[CircuitBreaker]]:
    """Five more processes' breakers, each on a connection of its own."""
    clients = [redis_connection(redis_url) for _ in range(FAULTS_TO_OPEN)]
    yield [CircuitBreaker(client, host=HOST) for client in clients]
    for client in clients:
        client.close()


def open_it(breaker: CircuitBreaker) -> None:
    for _ in range(FAULTS_TO_OPEN):
        breaker.failed()


def probe_is_due(breaker: CircuitBreaker) -> bool:
    return breaker.state().state is CircuitState.HALF_OPEN


def test_faults_of_all_processes_open_it_for_all(breaker: CircuitBreaker, others: list[CircuitBreaker]) -> None:
    at_once([other.failed for other in others])

    assert breaker.state().state is CircuitState.OPEN
    assert breaker.state().times_opened == 1
    for lane in (Lane.ENTRY, Lane.READ):
        assert not breaker.lets_pass(lane, is_read=True)
    # It should never hold what closes risk.
    for lane in (Lane.PROTECT, Lane.CLOSE):
        assert breaker.lets_pass(lane, is_read=False)


def test_an_answer_to_anybody_begins_the_count_anew(breaker: CircuitBreaker, others: list[CircuitBreaker]) -> None:
    for _ in range(FAULTS_TO_OPEN - 1):
        breaker.failed()
    assert others[0].lets_pass(Lane.READ, is_read=True)
    others[0].answered()
    breaker.failed()

    assert breaker.state().state is CircuitState.CLOSED
    assert breaker.state().faults == 1


def test_half_open_lets_one_read_go_first(breaker: CircuitBreaker, others: list[CircuitBreaker]) -> None:
    open_it(breaker)
    eventually(lambda: probe_is_due(breaker), what="a probe is due")

    assert not breaker.lets_pass(Lane.ENTRY, is_read=False)
    let = at_once([lambda other=other: other.lets_pass(Lane.READ, is_read=True) for other in others])  # type: ignore[misc]
    assert sum(let) == 1

    # It should close by the probe's answer, for everybody.
    others[let.index(True)].answered()
    assert breaker.lets_pass(Lane.ENTRY, is_read=False)
    assert breaker.state().faults == 0


def test_each_failed_probe_doubles_the_pause(breaker: CircuitBreaker) -> None:
    open_it(breaker)
    eventually(lambda: probe_is_due(breaker), what="a probe is due")
    assert breaker.lets_pass(Lane.READ, is_read=True)
    breaker.failed()

    assert breaker.state().state is CircuitState.OPEN
    assert 0.3 < breaker.state().probe_due_seconds <= 0.6
    assert breaker.state().times_opened == 1


def test_without_redis_the_line_is_tried() -> None:
    alone = CircuitBreaker(redis_connection("redis://127.0.0.1:9/0", timeout_seconds=0.2), host=HOST)

    open_it(alone)
    alone.answered()

    assert alone.lets_pass(Lane.ENTRY, is_read=False)


# With the exchange


@pytest.mark.django_db
def test_refusals_never_open_it(desk: Desk) -> None:
    body = {"code": -2019, "msg": "Margin is insufficient."}
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="reply", status=400, body=body, count=10)

    for _ in range(FAULTS_TO_OPEN + 2):
        assert isinstance(desk.exchange.place(ENTRY, Lane.ENTRY, send_before=soon()), Refused)

    assert desk.breaker.state().faults == 0
    assert len(desk.ledger.entries_sent) == FAULTS_TO_OPEN + 2


@pytest.mark.django_db
def test_dead_line_stops_entries_and_reads_of_all_and_no_exit(desk: Desk) -> None:
    other = desk.another()
    desk.paper.add_fault(id="dead", path="/fapi/*", action="drop_before", count=None)
    for _ in range(FAULTS_TO_OPEN):
        with pytest.raises(ExchangeUnavailableError):
            desk.exchange.open_orders()
    came = len(desk.ledger.requests)

    # It should refuse in every process without touching the line, and say why.
    outcome = other.exchange.place(ENTRY, Lane.ENTRY, send_before=soon())
    assert isinstance(outcome, Refused)
    assert outcome.reason == "CIRCUIT_OPEN"
    assert outcome.message.startswith("host=127.0.0.1:")
    assert outcome.retry_safe
    with pytest.raises(ExchangeUnavailableError, match="CIRCUIT_OPEN"):
        other.exchange.fills_since("BTCUSDT", desk.clock())
    assert len(desk.ledger.requests) == came

    # It should try an exit all the same, and look for positions without their stop.
    with pytest.raises(ExchangeUnavailableError, match="ConnectionError"):
        other.exchange.positions()
    assert isinstance(other.exchange.place(ENTRY, Lane.CLOSE, send_before=soon()), Unknown)

    # It should come back by itself when the line does.
    desk.paper.clear_faults()
    eventually(lambda: reads(other), what="a probe has closed the breaker")
    assert isinstance(desk.exchange.place(ENTRY, Lane.ENTRY, send_before=soon()), Accepted)


def reads(desk: Desk) -> bool:
    try:
        desk.exchange.fills_since("BTCUSDT", desk.clock())
    except ExchangeUnavailableError:
        return False
    return True
