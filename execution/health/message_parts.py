"""Judges the event bus and the outbox: lag, losses, stuck entries and broken streams."""

from collections.abc import Iterable
from datetime import timedelta

from execution.health.inputs import Component, HealthInputs, Status, age_seconds, silence, total_lag
from execution.models import StreamLoss
from execution.outbox.payloads import EVENT_TYPES
from execution.queries.health_rows import SLICE_MAX_AGE
from execution.store.heartbeats import (
    BRIDGE,
    RELAY,
)

# Streams hold about 10,000 entries: from here on decisions are in danger of being trimmed unread.
LAG_THAT_DEGRADES = 1000
# An entry is handled within moments, unless its stream is not read or it fails again and again.
OLDEST_ENTRY = timedelta(seconds=30)


def event_bus_health(health_inputs: HealthInputs) -> Component:
    error, weight = health_inputs.redis.error, Status.DOWN
    lag = total_lag(health_inputs)
    if error is None and (silent := silence(health_inputs, BRIDGE, SLICE_MAX_AGE)):
        error = f"bridge {silent}"
    if error is None and lag is not None and lag > LAG_THAT_DEGRADES:
        error, weight = f"lag={lag} expected<={LAG_THAT_DEGRADES}", Status.DEGRADED
    if error is None and health_inputs.rows and health_inputs.rows.losses:
        error, weight = "; ".join(map(lost, health_inputs.rows.losses)), Status.DEGRADED
    ages = entry_ages(health_inputs)
    stuck = [f"{name}={age:.0f}s" for name, age in ages.items() if age > OLDEST_ENTRY.total_seconds()]
    if error is None and (broken := _broken(health_inputs, health_inputs.lags)):
        error, weight = broken, Status.DEGRADED
    if error is None and stuck:
        error = f"oldest entry {' '.join(stuck)} expected<={OLDEST_ENTRY.total_seconds():.0f}s"
        weight = Status.DEGRADED
    details = {"lag": dict(health_inputs.lags), "oldest_seconds": ages}
    return Component(error=error, latency_ms=health_inputs.redis.latency_ms, details=details, weight=weight)


def entry_ages(health_inputs: HealthInputs) -> dict[str, float]:
    """Return how many seconds the oldest entry of each incoming stream has waited, 0 where none waits."""
    oldest = health_inputs.oldest_entries
    return {name: max(0.0, age_seconds(health_inputs, oldest.get(name)) or 0.0) for name in health_inputs.lags}


def lost(loss: StreamLoss) -> str:
    """Describe what is gone of a stream. The ids show its sender what to send again."""
    number = "an unknown number of" if loss.entries is None else loss.entries
    end = f" before {loss.before_id}" if loss.before_id else " when the stream was lost"
    return f"{number} entries of {loss.event_type} gone unread behind {loss.after_id}{end}"


def outbox_health(health_inputs: HealthInputs) -> Component:
    silent = silence(health_inputs, RELAY, SLICE_MAX_AGE)
    error = f"relay {silent}" if silent else _broken(health_inputs, EVENT_TYPES)
    return Component(error=error or None, weight=Status.DEGRADED)


def _broken(health_inputs: HealthInputs, names: Iterable[str]) -> str:
    """Name the streams that are out of order. All others go on."""
    errors = [
        f"stream {name} {health_inputs.broken_streams[name]}" for name in names if name in health_inputs.broken_streams
    ]
    return "; ".join(errors)
