"""What health is judged from, and what a judgement is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from execution.domain.rate_limits import Circuit, LimiterState
from execution.models import Heartbeat
from execution.queries.health_rows import HealthRows
from execution.risk.entry_gate import GateBlock

MONITOR_INTERVALS = 2
# The clocks of several hosts may differ by so much.
CLOCKS_DIFFER = timedelta(seconds=5)


class Status(StrEnum):
    """The whole service in one word. Only DOWN and STARTING answer 503."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    STARTING = "STARTING"
    DOWN = "DOWN"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question to a store: how long its answer took, or why there was none."""

    latency_ms: float | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class HealthInputs:
    """Everything that health is judged from. `rows` is None when the database does not answer."""

    now: datetime
    database: Probe
    redis: Probe
    rows: HealthRows | None
    lags: Mapping[str, int | None]
    limiter: LimiterState | None
    circuit: Circuit | None
    rpm_limit: int
    monitor_interval: timedelta
    ess_fail_mode: Literal["open", "closed"]
    migrated: bool = True
    # What the account's lease has against entries of this stack.
    lease_block: GateBlock | None = None
    reconciled: bool = True
    # When Redis took the oldest entry of each incoming stream that is not acknowledged yet.
    oldest_entries: Mapping[str, datetime] = field(default_factory=dict)
    # Streams that refuse to be one, incoming and outgoing, by event type.
    broken_streams: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of the service. `weight` is what the whole becomes when this part is not healthy."""

    error: str | None = None
    latency_ms: float | None = None
    details: Mapping[str, object] | None = None
    weight: Status = Status.DOWN

    def as_json(self) -> dict[str, object]:
        return {
            "healthy": self.error is None,
            "error": self.error,
            "latency_ms": self.latency_ms,
            "details": self.details,
        }


def age_seconds(health_inputs: HealthInputs, moment: datetime | None) -> float | None:
    return round((health_inputs.now - moment).total_seconds(), 3) if moment else None


def heartbeat(health_inputs: HealthInputs, part: str) -> Heartbeat | None:
    return health_inputs.rows.heartbeats.get(part) if health_inputs.rows else None


def total_lag(health_inputs: HealthInputs) -> int | None:
    """Return the sum of the lags that are known, or None when none is."""
    known = [lag for lag in health_inputs.lags.values() if lag is not None]
    return sum(known) if known else None


def monitor_max_age(health_inputs: HealthInputs) -> timedelta:
    return health_inputs.monitor_interval * MONITOR_INTERVALS


def silence(health_inputs: HealthInputs, part: str, most: timedelta) -> str | None:
    """Return how long a part has been silent when that is too long."""
    beat = heartbeat(health_inputs, part)
    if beat is None:
        return "has not run yet"
    age = health_inputs.now - beat.at
    # A clock that was set back must not make a part that is silent look fresh; one that runs beats anew at once.
    if age < -CLOCKS_DIFFER:
        return f"last run {-age.total_seconds():.0f}s ahead of the clock"
    return f"last run {age.total_seconds():.0f}s ago, expected<={most.total_seconds():.0f}s" if age > most else None


def block_in_words(obstacle: GateBlock) -> str:
    return f"{obstacle.code}: {obstacle.sentence}" if obstacle.code else obstacle.sentence
