"""Judges the records: stored rows, results of trades, the journal and the invariants."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from execution.health.inputs import Component, HealthInputs, Status, heartbeat, monitor_max_age, silence
from execution.queries.health_rows import Incomplete
from execution.queries.refused_exits import MOST_NAMED
from execution.store.heartbeats import (
    JOURNAL,
    MONITOR,
    ORACLE,
    PROTECTOR,
)

# It is sealed every five seconds.
JOURNAL_MAX_AGE = timedelta(minutes=5)


def rows_health(health_inputs: HealthInputs) -> Component:
    """Judge whether every stored row can be used. One that cannot is passed over, and stays unattended."""
    aside = health_inputs.rows.set_aside if health_inputs.rows else ()
    errors = [row.sentence for row in aside[:MOST_NAMED]]
    if len(aside) > len(errors):
        errors.append(f"and {len(aside) - len(errors)} more")
    words = [f"quarantined: {'; '.join(errors)}"] if errors else []
    beats = (heartbeat(health_inputs, MONITOR), heartbeat(health_inputs, PROTECTOR))
    # What the last sweeps could not do, because another session holds a row of it.
    held = {what: since for beat in beats if beat for what, since in (beat.details.get("held") or {}).items()}
    words += [f"held by another session since {since}: {what}" for what, since in list(held.items())[:MOST_NAMED]]
    details = {"quarantined": len(aside), "held": len(held)}
    return Component(error="; ".join(words) or None, details=details, weight=Status.DEGRADED)


def books_health(health_inputs: HealthInputs) -> Component:
    """Judge whether the results of the last day are whole. Limits assume the worse for what has no value."""
    found = health_inputs.rows.incomplete if health_inputs.rows else Incomplete()
    trades = "trade" if found.count == 1 else "trades"
    error = f"net of {found.count} {trades} of the last day is incomplete: no known value of {', '.join(found.assets)}"
    details = {"incomplete": found.count, "assets": list(found.assets)}
    return Component(error=error if found.count else None, details=details, weight=Status.DEGRADED)


def journal_health(health_inputs: HealthInputs) -> Component:
    """Judge whether the journal's hash chain follows its lines: what has no seal can be changed unseen."""
    beat = heartbeat(health_inputs, JOURNAL)
    details = beat.details if beat else {}
    error = silence(health_inputs, JOURNAL, JOURNAL_MAX_AGE) if beat else None
    if error is None and beat and not beat.healthy:
        error = f"lines without a seal for {details.get('oldest_unsealed_seconds')}s: a transaction does not end"
    return Component(error=error, details=dict(details), weight=Status.DEGRADED)


def oracle_health(health_inputs: HealthInputs) -> Component:
    """Judge whether every invariant holds that the monitor checks: a violation that stands is named."""
    beat = heartbeat(health_inputs, ORACLE)
    details = beat.details if beat else {}
    standing = [row for row in details.get("suspects", ()) if row.get("stands")]
    errors = [_of_violation(row, health_inputs.now) for row in standing[:MOST_NAMED]]
    if len(standing) > len(errors):
        errors.append(f"and {len(standing) - len(errors)} more")
    # Where the whole cycle is silent, that stands under the exchange.
    if beat and not silence(health_inputs, MONITOR, monitor_max_age(health_inputs)):
        silent = silence(health_inputs, ORACLE, monitor_max_age(health_inputs))
        errors += [f"invariants: {silent}"] if silent else []
    return Component(error="; ".join(errors) or None, details={"standing": standing}, weight=Status.DEGRADED)


def _of_violation(row: Mapping[str, str], now: datetime) -> str:
    age = (now - datetime.fromisoformat(row["first_at"])).total_seconds()
    return f"{row['symbol']} {row['position_side']} {row['kind']} {row['subject']}: {row['numbers']} for={age:.0f}s"
