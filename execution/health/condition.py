"""Judges the service's health from what was measured, purely, so that tests need no server."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from execution.health.entry_parts import decisions_health, entries_health, ess_health, policy_health, queues_health
from execution.health.exchange_parts import (
    circuit_breaker_health,
    exchange_health,
    rate_limiter_health,
    terms_health,
    user_stream_health,
)
from execution.health.inputs import Component, HealthInputs, Status, block_in_words, heartbeat, monitor_max_age, silence
from execution.health.message_parts import event_bus_health, outbox_health
from execution.health.position_parts import exits_health, orders_health, positions_health, protector_health
from execution.health.record_parts import books_health, journal_health, oracle_health, rows_health
from execution.queries.health_rows import SLICE_MAX_AGE
from execution.store.heartbeats import (
    BRIDGE,
    MONITOR,
)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The verdict, with its parts."""

    status: Status
    components: Mapping[str, Component]
    reasons: tuple[str, ...] = field(default=())

    @property
    def healthy(self) -> bool:
        return self.status in {Status.OK, Status.DEGRADED}


def judge_health(health_inputs: HealthInputs) -> Condition:
    """Return the verdict: the worst that any part makes of the whole."""
    components = {
        "binance": exchange_health(health_inputs),
        "event_bus": event_bus_health(health_inputs),
        "trade_store": Component(
            error=health_inputs.database.error,
            latency_ms=health_inputs.database.latency_ms,
            details={"backend": "postgresql"},
        ),
        "rate_limiter": rate_limiter_health(health_inputs),
        "circuit_breaker": circuit_breaker_health(health_inputs),
        "ess": ess_health(health_inputs),
        "policy": policy_health(health_inputs),
        "entries": entries_health(health_inputs),
        "terms": terms_health(health_inputs),
        "positions": positions_health(health_inputs),
        "outbox": outbox_health(health_inputs),
        "user_stream": user_stream_health(health_inputs),
        "protector": protector_health(health_inputs),
        "orders": orders_health(health_inputs),
        "queues": queues_health(health_inputs),
        "decisions": decisions_health(health_inputs),
        "exits": exits_health(health_inputs),
        "books": books_health(health_inputs),
        "rows": rows_health(health_inputs),
        "journal": journal_health(health_inputs),
        "oracle": oracle_health(health_inputs),
    }
    broken = {name: part for name, part in components.items() if part.error}
    reasons = tuple(f"{name}: {part.error}" for name, part in broken.items())
    return Condition(status=_worst(health_inputs, broken), components=components, reasons=reasons)


def not_ready(health_inputs: HealthInputs) -> tuple[str, ...]:
    """Return what is missing before requests can be served. The exchange is not asked for."""
    stores = {"database": health_inputs.database.error, "redis": health_inputs.redis.error}
    reasons = [f"{name}: {error}" for name, error in stores.items() if error]
    if not health_inputs.migrated:
        reasons.append("database: migrations are not applied")
    parts = ((MONITOR, monitor_max_age(health_inputs)), (BRIDGE, SLICE_MAX_AGE))
    reasons += [f"{part}: {error}" for part, most in parts if (error := silence(health_inputs, part, most))]
    if health_inputs.lease_block and not health_inputs.reconciled:
        reasons.append(f"entries: {block_in_words(health_inputs.lease_block)}")
    return tuple(reasons)


def _worst(health_inputs: HealthInputs, broken: Mapping[str, Component]) -> Status:
    weights = {part.weight for part in broken.values()}
    if Status.DOWN not in weights:
        return Status.DEGRADED if weights else Status.OK
    stores_answer = not health_inputs.database.error and not health_inputs.redis.error
    first_run_awaited = heartbeat(health_inputs, MONITOR) is None or heartbeat(health_inputs, BRIDGE) is None
    return Status.STARTING if stores_answer and first_run_awaited else Status.DOWN
