"""The service's figures: /api/execution/metrics for the neighbours, /metrics for Prometheus."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries
from redis import Redis

from execution import wiring
from execution.adapters.redis_bus import redis_connection
from execution.domain.states import OrderState, RequestState
from execution.domain.trading import OrderPurpose
from execution.health.exchange_parts import limiter_details
from execution.models import DeadLetter, ExecutionRequest
from execution.models.inbox import InboxOutcome
from execution.protection.coverage import uncovered_since
from tests.support import builders
from tests.support.builders import NOW
from tests.unit.examples import circuit, limiter_state

pytestmark = pytest.mark.django_db

NOWHERE = "redis://127.0.0.1:9/0"
CLIENTS = ("bus_redis_client", "state_redis_client", "health_redis_client", "limiter_redis_client")


@pytest.fixture(autouse=True)
def _fresh(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in CLIENTS:
        monkeypatch.setattr(wiring, name, lambda: redis)
    cache.clear()
    yield
    cache.clear()


def accepted(milliseconds: int, state: OrderState = OrderState.FILLED) -> ExecutionRequest:
    """An entry that the exchange accepted this long after the decision had arrived."""
    request = builders.approved()
    builders.order(request, state=state)
    builders.order(request, purpose=OrderPurpose.STOP)
    at = request.received_at + timedelta(milliseconds=milliseconds)
    builders.transition("request", request.pk, to_state="ACCEPTED", trigger="exchange_accepted", at=at)
    return request


def test_a_service_that_has_done_nothing(client: Client) -> None:
    figures = client.get("/api/execution/metrics").json()
    assert figures.pop("rate_limits")["counters"]["orders_10s"]["limit"] == 300
    assert figures.pop("circuit_breaker") == asdict(circuit())
    assert figures == {
        "orders_placed_total": 0,
        "orders_filled_total": 0,
        "orders_failed_total": 0,
        "success_rate_pct": 0.0,
        "avg_order_latency_ms": 0.0,
        "avg_slippage_pct": 0.0,
        "rate_limit_tokens_available": 120,
        "rate_limit_tokens_per_minute": 1200,
        "covering": "polling",
        "stream_lag_ms_p50": None,
        "stream_lag_ms_p99": None,
    }


def test_figures_are_counted_from_the_rows(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Four entries reached the exchange, three of them have a fill; one is on its way, one was rejected.
    for milliseconds, slippage in ((10, "0.0001"), (20, "0.0003")):
        builders.closed_trade(accepted(milliseconds), slippage_fraction=Decimal(slippage))
    accepted(30, OrderState.ACCEPTED)
    part_filled = accepted(60, OrderState.CANCELED)
    part_filled.orders.filter(purpose=OrderPurpose.ENTRY).update(executed_quantity=Decimal("0.001"))
    builders.order(builders.approved(state=RequestState.SUBMITTING), state=OrderState.SUBMITTING)
    builders.order(builders.approved(state=RequestState.REJECTED), state=OrderState.REJECTED)
    # Three more never got as far as an order; a cancelled one was placed, so it did not fail.
    for state in (RequestState.DENIED, RequestState.EXPIRED, RequestState.NOT_ACCEPTED, RequestState.CANCELED):
        builders.request(state=state)
    monkeypatch.setattr(wiring, "limiter_state", lambda: limiter_state(used=1123))

    figures = client.get("/api/execution/metrics").json()
    assert figures.pop("rate_limits") == limiter_details(limiter_state(used=1123))
    assert figures.pop("circuit_breaker")["state"] == "closed"
    assert figures == {
        "orders_placed_total": 4,
        "orders_filled_total": 3,
        "orders_failed_total": 4,
        "success_rate_pct": 50.0,
        "avg_order_latency_ms": 30.0,
        "avg_slippage_pct": 0.02,
        "rate_limit_tokens_available": 77,
        "rate_limit_tokens_per_minute": 1200,
        "covering": "polling",
        "stream_lag_ms_p50": None,
        "stream_lag_ms_p99": None,
    }


def test_figures_cost_five_statements(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for milliseconds in range(20):
        accepted(milliseconds)

    with django_assert_num_queries(5):
        client.get("/api/execution/metrics")


def test_what_redis_knows_is_unknown_without_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLIENTS:
        monkeypatch.setattr(wiring, name, lambda: redis_connection(NOWHERE, timeout_seconds=0.2))

    answer = client.get("/api/execution/metrics")

    assert answer.status_code == 200
    assert answer.json()["rate_limit_tokens_available"] is None
    assert answer.json()["rate_limits"] is None


def samples(client: Client) -> dict[str, float]:
    """Read /metrics as Prometheus does, into `name{label="word"}` -> number."""
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        sample.name + ("{" + ",".join(sample.labels.values()) + "}" if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_prometheus_sees_the_books(client: Client) -> None:
    protected = builders.trade(accepted(10))
    builders.position(protected)
    naked = builders.trade(symbol="ETHUSDT")
    builders.order(naked.request, purpose=OrderPurpose.STOP, state=OrderState.REJECTED)
    naked_since = uncovered_since()["ETHUSDT"]
    builders.closed_trade(symbol="SOLUSDT")
    builders.request(state=RequestState.DENIED, inbox=builders.inbox(duplicates=19))
    builders.inbox(outcome=InboxOutcome.IGNORED)
    builders.outbox_event(created_at=NOW)
    builders.outbox_event(created_at=NOW, sent_at=NOW)
    DeadLetter.objects.create(stream="s", entry_id="1-0", size_bytes=1, received_at=NOW)

    seen = samples(client)

    assert seen["execution_database_up"] == seen["execution_redis_up"] == 1
    assert seen["execution_healthy"] == 0
    assert seen["execution_requests{RECORDED}"] == 3
    assert seen["execution_requests{DENIED}"] == 1
    assert seen["execution_orders{ENTRY,FILLED}"] == 1
    assert seen["execution_orders{STOP,ACCEPTED}"] == 1
    assert seen["execution_orders{STOP,REJECTED}"] == 1
    assert (seen["execution_trades{OPEN}"], seen["execution_trades{CLOSED}"]) == (2, 1)
    assert seen["execution_unprotected_positions"] == 1
    # It should count from the entry: a stop that was refused never stood. A covered position is not named.
    age = (datetime.now(UTC) - naked_since).total_seconds()
    assert age - 60 < seen["execution_uncovered_seconds{ETHUSDT}"] <= age
    assert naked_since == naked.entry_at
    assert not [name for name in seen if name == "execution_uncovered_seconds{BTCUSDT}"]
    assert seen["execution_inbox_events{ai.decision.made,REQUESTED}"] == 4
    assert seen["execution_inbox_events{ai.decision.made,IGNORED}"] == 1
    assert seen["execution_inbox_duplicates_total"] == 19
    assert seen["execution_dead_letters_total"] == 1
    assert seen["execution_outbox_unsent"] == 1
    assert seen["execution_outbox_oldest_unsent_seconds"] > 0
    assert seen["execution_active_positions"] == 1
    # It should leave out what nobody knows yet, rather than call it 0.
    assert "execution_monitor_age_seconds" not in seen
    assert "execution_ess_permitted" not in seen
    assert "execution_stream_lag{ai.decision.made}" not in seen


def test_prometheus_sees_the_parts(client: Client, redis: Redis) -> None:
    builders.heartbeat("monitor", details={"duration_seconds": 0.25})
    builders.ess(permitted=False, unanswered=3)
    redis.xgroup_create(
        "quantum:stream:ai.decision.made", "quantum:group:execution:ai.decision.made", "0", mkstream=True
    )
    for _ in range(3):
        redis.xadd("quantum:stream:ai.decision.made", {"payload": "{}"})

    seen = samples(client)

    assert seen["execution_monitor_cycle_seconds"] == 0.25
    assert seen["execution_monitor_healthy"] == 1
    assert seen["execution_monitor_age_seconds"] > 0
    assert (seen["execution_ess_permitted"], seen["execution_ess_unanswered"]) == (0, 3)
    assert seen["execution_stream_lag{ai.decision.made}"] == 3
    assert seen["execution_rate_limit_available"] == 120


def test_prometheus_is_told_that_the_database_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("execution.api.prometheus.book_counts", fail)
    monkeypatch.setattr("execution.api.health.health_rows", fail)

    seen = samples(client)

    assert seen["execution_database_up"] == 0
    assert "execution_trades{OPEN}" not in seen
