"""The verdict on the service's health, sentence by sentence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from execution.domain.rate_limits import CircuitState
from execution.health.condition import judge_health, not_ready
from execution.health.inputs import HealthInputs, Probe, Status, total_lag
from execution.models import EssStatus, Heartbeat, VenueBlock
from execution.queries.health_rows import HealthRows, Unsettled
from tests.unit.examples import circuit, limiter_state

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
HALTED = VenueBlock(
    scope="BTCUSDT", reason_code="SYMBOL_NOT_TRADING", sentence="symbol=BTCUSDT status=BREAK", alarming=True, since=NOW
)


def beat(part: str, seconds_ago: float = 1, **columns: Any) -> Heartbeat:
    return Heartbeat(part=part, at=NOW - timedelta(seconds=seconds_ago), **({"healthy": True} | columns))


def rows(*beats: Heartbeat, ess: EssStatus | None = None, unsettled: Unsettled | None = None) -> HealthRows:
    present = {
        each.part: each
        for each in (beat("monitor"), beat("bridge"), beat("relay"), beat("user_stream"), beat("protector"), *beats)
    }
    return HealthRows(
        heartbeats=present,
        ess=ess,
        active_positions=1,
        orders_last_minute=3,
        last_event_at=NOW,
        unsettled=unsettled or Unsettled(),
    )


def fine(**differences: Any) -> HealthInputs:
    """A service in which everything works, but for the differences."""
    health_inputs = HealthInputs(
        now=NOW,
        database=Probe(latency_ms=1.0),
        redis=Probe(latency_ms=0.5),
        rows=rows(),
        lags={"ai.decision.made": 0, "signal.execute": 0},
        limiter=limiter_state(),
        circuit=circuit(),
        rpm_limit=1200,
        monitor_interval=timedelta(seconds=10),
        ess_fail_mode="open",
    )
    return replace(health_inputs, **differences)


def test_everything_works() -> None:
    condition = judge_health(fine())

    assert condition.status is Status.OK
    assert condition.healthy
    assert condition.reasons == ()
    assert not_ready(fine()) == ()


@pytest.mark.parametrize(
    ("health_inputs", "status", "reason"),
    [
        (fine(database=Probe(error="OperationalError")), Status.DOWN, "trade_store: OperationalError"),
        (fine(redis=Probe(error="ConnectionError")), Status.DOWN, "event_bus: ConnectionError"),
        (fine(rows=rows(beat("monitor", 20.0))), Status.OK, ""),
        (
            fine(rows=rows(unsettled=Unsettled(count=2, oldest="es1-e-1", since=NOW - timedelta(seconds=41.6)))),
            Status.DEGRADED,
            "orders: unsettled=2 oldest=es1-e-1 age=42s",
        ),
        (
            fine(rows=rows(beat("monitor", 21.0))),
            Status.DOWN,
            "binance: monitor last run 21s ago, expected<=20s",
        ),
        (
            fine(rows=rows(beat("monitor", healthy=False, details={"error": "HTTP 418: banned"}))),
            Status.DOWN,
            "binance: HTTP 418: banned",
        ),
        (
            fine(rows=rows(beat("monitor", -3600.0))),
            Status.DOWN,
            "binance: monitor last run 3600s ahead of the clock",
        ),
        (fine(rows=rows(beat("monitor", -4.0))), Status.OK, ""),
        (fine(rows=rows(beat("bridge", 16.0))), Status.DOWN, "event_bus: bridge last run 16s ago, expected<=15s"),
        (
            fine(
                rows=rows(
                    beat(
                        "policy",
                        details={
                            "refused": {"k": "POLICY_VALUE_OUT_OF_BOUNDS: key=k"},
                            "unanswered": 2,
                            "error": "HTTP 500",
                        },
                    )
                )
            ),
            Status.DEGRADED,
            "policy: POLICY_VALUE_OUT_OF_BOUNDS: key=k; unanswered=2: HTTP 500",
        ),
        (
            fine(rows=replace(rows(), alarms=(HALTED,))),
            Status.DEGRADED,
            "terms: SYMBOL_NOT_TRADING: symbol=BTCUSDT status=BREAK",
        ),
        (
            fine(rows=rows(beat("terms", healthy=False, details={"error": "HTTP 500"}))),
            Status.DEGRADED,
            "terms: not read: HTTP 500",
        ),
        (fine(rows=rows(beat("terms", 21.0))), Status.DEGRADED, "terms: last run 21s ago, expected<=20s"),
        (
            fine(rows=rows(beat("monitor", details={"larger": {"BTCUSDT": "POSITION_LARGER_THAN_TRADE: expected=1"}}))),
            Status.DEGRADED,
            "positions: BTCUSDT POSITION_LARGER_THAN_TRADE: expected=1",
        ),
        (fine(rows=rows(beat("relay", 16.0))), Status.DEGRADED, "outbox: relay last run 16s ago, expected<=15s"),
        (
            fine(rows=rows(beat("protector", 16.0))),
            Status.DEGRADED,
            "protector: last run 16s ago, expected<=15s",
        ),
        (
            fine(rows=rows(beat("protector", healthy=False, details={"failed": 2}))),
            Status.DEGRADED,
            "protector: failed=2",
        ),
        (
            fine(rows=rows(beat("user_stream", 16.0))),
            Status.DEGRADED,
            "user_stream: last run 16s ago, expected<=15s; polling covers",
        ),
        (
            fine(rows=rows(beat("user_stream", healthy=False, details={"phase": "catching up"}))),
            Status.DEGRADED,
            "user_stream: catching up; polling covers",
        ),
        (fine(lags={"ai.decision.made": 1000}), Status.OK, ""),
        (fine(oldest_entries={"ai.decision.made": NOW - timedelta(seconds=30)}), Status.OK, ""),
        (
            fine(oldest_entries={"ai.decision.made": NOW - timedelta(seconds=31)}),
            Status.DEGRADED,
            "event_bus: oldest entry ai.decision.made=31s expected<=30s",
        ),
        (fine(lags={"ai.decision.made": 1001}), Status.DEGRADED, "event_bus: lag=1001 expected<=1000"),
        (
            fine(circuit=circuit(CircuitState.OPEN)),
            Status.DEGRADED,
            "circuit_breaker: open, faults=5, probe in 4.0s",
        ),
        (fine(circuit=None), Status.DEGRADED, "circuit_breaker: its state cannot be read"),
        (fine(limiter=None), Status.DEGRADED, "rate_limiter: its state cannot be read"),
        (fine(limiter=limiter_state(used=1200)), Status.OK, ""),
        (
            fine(limiter=limiter_state(banned_seconds=90)),
            Status.DEGRADED,
            "rate_limiter: the exchange rate-limits all requests, 90.0s more; exits probe it (probes=0, next in 0s)",
        ),
    ],
)
def test_each_fault_has_its_weight_and_its_words(health_inputs: HealthInputs, status: Status, reason: str) -> None:
    condition = judge_health(health_inputs)

    assert condition.status is status
    assert condition.healthy == (status in {Status.OK, Status.DEGRADED})
    assert condition.reasons == ((reason,) if reason else ())


def test_a_service_that_has_just_begun_is_starting_not_down() -> None:
    begun = replace(rows(), heartbeats={}, active_positions=0, orders_last_minute=0, last_event_at=None)

    condition = judge_health(fine(rows=begun))
    assert condition.status is Status.STARTING
    assert not condition.healthy
    assert not_ready(fine(rows=begun)) == ("monitor: has not run yet", "bridge: has not run yet")

    # It should be down, not starting, when a store is missing as well.
    assert judge_health(fine(rows=begun, redis=Probe(error="ConnectionError"))).status is Status.DOWN


@pytest.mark.parametrize(("fail_mode", "status"), [("open", Status.DEGRADED), ("closed", Status.DOWN)])
def test_a_silent_emergency_stop_weighs_as_its_fail_mode_says(fail_mode: str, status: Status) -> None:
    silent = EssStatus(state="ARMED", permitted=True, unanswered=2)

    condition = judge_health(fine(rows=rows(ess=silent), ess_fail_mode=fail_mode))

    assert condition.status is status
    assert condition.reasons == (f"ess: unanswered=2 fail_mode={fail_mode}",)


def test_an_emergency_stop_that_blocks_does_its_work() -> None:
    tripped = EssStatus(state="TRIPPED", permitted=False, unanswered=0, observed_at=NOW - timedelta(seconds=4))

    condition = judge_health(fine(rows=rows(ess=tripped)))

    assert condition.status is Status.OK
    assert condition.components["ess"].details == {"state": "TRIPPED", "can_execute": False, "age_seconds": 4.0}


def test_readiness_names_what_is_missing() -> None:
    assert not_ready(fine(database=Probe(error="OperationalError"), rows=None)) == (
        "database: OperationalError",
        "monitor: has not run yet",
        "bridge: has not run yet",
    )
    assert not_ready(fine(migrated=False)) == ("database: migrations are not applied",)

    # It should be ready while only the exchange is out of reach: reads are still served.
    assert not_ready(fine(rows=rows(beat("monitor", healthy=False)))) == ()


def test_an_unknown_lag_stays_unknown() -> None:
    assert total_lag(fine(lags={"ai.decision.made": None, "signal.execute": 4})) == 4
    assert total_lag(fine(lags={"ai.decision.made": None})) is None
