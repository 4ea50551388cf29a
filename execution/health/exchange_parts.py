"""Judges the connection to the exchange: its answers, limits, breaker, contract states and stream."""

from dataclasses import asdict
from datetime import timedelta

from execution.domain.outcomes import Waits
from execution.domain.rate_limits import CircuitState, LimiterState
from execution.health.inputs import Component, HealthInputs, Status, age_seconds, heartbeat, monitor_max_age, silence
from execution.queries.health_rows import SLICE_MAX_AGE, covering
from execution.store.heartbeats import (
    MONITOR,
    TERMS,
    USER_STREAM,
)

# The exchange's windows are a minute long.
ORDINARY_PAUSE = timedelta(seconds=75)
CORRECTIONS_SHOWN = timedelta(hours=1)


def exchange_health(health_inputs: HealthInputs) -> Component:
    """Judge the exchange by the monitor's last cycle: health itself never calls the exchange."""
    beat = heartbeat(health_inputs, MONITOR)
    details = beat.details if beat else {}
    error = silence(health_inputs, MONITOR, monitor_max_age(health_inputs))
    if error:
        return Component(error=f"monitor {error}")
    if beat and not beat.healthy:
        return Component(error=str(details.get("error") or "the last monitor cycle could not read it"))
    return Component(latency_ms=details.get("exchange_latency_ms"))


def rate_limiter_health(health_inputs: HealthInputs) -> Component:
    """Judge whether requests may leave.

    Full counters are the limiter's work. A ban is a fault, and so are values in Redis that others wrote.
    """
    limiter, details = health_inputs.limiter, {"tokens_available": None, "rpm_limit": health_inputs.rpm_limit}
    if limiter is None:
        error = health_inputs.redis.error or "its state cannot be read"
        return Component(error=error, details=details, weight=Status.DEGRADED)
    errors = [_of_hold(limiter, who, left) for who, left in limiter.holds.items() if left and alarms(who, left)]
    ago = limiter.corrected_ago_seconds
    if ago is not None and ago < CORRECTIONS_SHOWN.total_seconds():
        errors.append(f"{limiter.corrected} values in Redis were not ours and are corrected, the last {ago:.0f}s ago")
    return Component(
        error="; ".join(errors) or None,
        details=details | {"tokens_available": limiter.available} | limiter_details(limiter),
        weight=Status.DEGRADED,
    )


def alarms(who: Waits, left: float) -> bool:
    """Whether a hold is more than the exchange's ordinary pacing: on all requests, or beyond a window."""
    return who is Waits.EVERYBODY or left > ORDINARY_PAUSE.total_seconds()


def _of_hold(limiter: LimiterState, who: Waits, left: float) -> str:
    if who is Waits.ENTRIES:
        return f"the exchange rate-limits entries, {left:.1f}s more"
    whom = "all requests" if who is Waits.EVERYBODY else "orders"
    probes = f"exits probe it (probes={limiter.probes}, next in {limiter.probe_due_seconds:.0f}s)"
    return f"the exchange rate-limits {whom}, {left:.1f}s more; {probes}"


def circuit_breaker_health(health_inputs: HealthInputs) -> Component:
    """Judge the connection to the exchange. Unless the breaker is closed, only exits and probes leave."""
    circuit = health_inputs.circuit
    if circuit is None:
        return Component(error=health_inputs.redis.error or "its state cannot be read", weight=Status.DEGRADED)
    closed = circuit.state is CircuitState.CLOSED
    error = f"{circuit.state.value}, faults={circuit.faults}, probe in {circuit.probe_due_seconds:.1f}s"
    return Component(error=None if closed else error, details=asdict(circuit), weight=Status.DEGRADED)


def limiter_details(limiter: LimiterState) -> dict[str, object]:
    """Return the limiter's state in plain words and numbers."""
    return {
        "counters": {counter.value: asdict(state) for counter, state in limiter.counters.items()},
        "probes": limiter.probes,
        "probe_due_seconds": limiter.probe_due_seconds,
        "corrected": limiter.corrected,
        "held_seconds": {who.value: seconds for who, seconds in limiter.holds.items()},
        "waiting": limiter.waiting,
        "clock_offset_ms": limiter.clock_offset_ms,
    }


def terms_health(health_inputs: HealthInputs) -> Component:
    """Judge the states of contracts and account: halts under open positions, settings changed outside."""
    beat = heartbeat(health_inputs, TERMS)
    errors = [f"{row.reason_code}: {row.sentence}" for row in (health_inputs.rows.alarms if health_inputs.rows else ())]
    if beat and not beat.healthy:
        errors.append(f"not read: {beat.details.get('error')}")
    elif beat and (silent := silence(health_inputs, TERMS, monitor_max_age(health_inputs))):
        errors.append(silent)
    details = {"age_seconds": age_seconds(health_inputs, beat.at if beat else None)} | (beat.details if beat else {})
    return Component(error="; ".join(errors) or None, details=details, weight=Status.DEGRADED)


def user_stream_health(health_inputs: HealthInputs) -> Component:
    """Judge the stream: without it nothing is lost, for the monitor finds the same within its interval."""
    beat = heartbeat(health_inputs, USER_STREAM)
    details = {**(beat.details if beat else {}), "covering": covering(beat, health_inputs.now)}
    error = silence(health_inputs, USER_STREAM, SLICE_MAX_AGE)
    if error is None and beat and not beat.healthy:
        error = str(beat.details.get("phase"))
    return Component(error=f"{error}; polling covers" if error else None, details=details, weight=Status.DEGRADED)
