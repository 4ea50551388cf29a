"""Judges what decides and admits entries: emergency stop, policy, holds, queues and decisions."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from execution.health.inputs import Component, HealthInputs, Status, age_seconds, block_in_words, heartbeat, silence
from execution.models import AuditEvent
from execution.queries.health_rows import SLICE_MAX_AGE
from execution.risk.policy_store import DENIED
from execution.store.heartbeats import (
    POLICY,
    QUEUES,
    queue_part,
)

# A decision is refused or sent within a second; one that waits for longer will soon be too old to trade.
OLDEST_DECISION = timedelta(seconds=10)


def ess_health(health_inputs: HealthInputs) -> Component:
    """Judge whether the emergency stop answers. That it blocks is its work, not a fault."""
    ess = health_inputs.rows.ess if health_inputs.rows else None
    weight = Status.DEGRADED if health_inputs.ess_fail_mode == "open" else Status.DOWN
    if ess is None:
        return Component(details={"state": None, "can_execute": None}, weight=weight)
    age = age_seconds(health_inputs, ess.observed_at)
    details = {"state": ess.state, "can_execute": ess.permitted, "age_seconds": age}
    error = f"unanswered={ess.unanswered} fail_mode={health_inputs.ess_fail_mode}" if ess.unanswered else None
    return Component(error=error, details=details, weight=weight)


def policy_health(health_inputs: HealthInputs) -> Component:
    """Judge the snapshot: old values stay in force, and a value out of bounds is never applied."""
    beat = heartbeat(health_inputs, POLICY)
    refused: Mapping[str, str] = beat.details.get("refused", {}) if beat else {}
    errors = list(refused.values())
    if beat and (unanswered := beat.details.get("unanswered")):
        errors.append(f"unanswered={unanswered}: {beat.details.get('error')}")
    alarms = health_inputs.rows.policy_alarms if health_inputs.rows else ()
    # What the snapshot still refuses is named above.
    errors += [_of_policy(line) for line in alarms if line.reason not in refused.values()]
    capped = health_inputs.rows.policy_capped if health_inputs.rows else {}
    details = {
        "age_seconds": policy_age(health_inputs),
        "refused": dict(refused),
        "capped": {key: f"stored={stored:f} in_force={held:f}" for key, (stored, held) in capped.items()},
        "not_kept": beat.details.get("not_kept", []) if beat else [],
        "by_operator": beat.details.get("by_operator", []) if beat else [],
    }
    return Component(error="; ".join(errors) or None, details=details, weight=Status.DEGRADED)


def _of_policy(line: AuditEvent) -> str:
    """Say what was done to a policy value, or what was tried."""
    if line.to_state == DENIED:
        return line.reason
    return f"loosened: {line.entity_id} {line.from_state}->{line.to_state} by {line.details.get('by') or line.trigger}"


def policy_age(health_inputs: HealthInputs) -> float | None:
    """Return how many seconds ago the policy's source last answered, or None when it never has."""
    beat = heartbeat(health_inputs, POLICY)
    answered = beat.details.get("answered_at") if beat else None
    return age_seconds(health_inputs, datetime.fromisoformat(answered)) if answered else None


def entries_health(health_inputs: HealthInputs) -> Component:
    """Judge whether positions may be opened. Protection and exits go on in any case."""
    holds = health_inputs.rows.holds if health_inputs.rows else ()
    errors = [f"{hold.scope} held: {hold.reason}" for hold in holds]
    if health_inputs.lease_block:
        errors.append(block_in_words(health_inputs.lease_block))
    if health_inputs.rows and (line := health_inputs.rows.lease_corrected):
        stamps = f"renewed_at={line.details['renewed_at']} holder={line.details['holder']}"
        errors.append(f"the account's lease was stamped ahead and is corrected: {stamps}; look at that host's clock")
    details = {"held": {hold.scope: hold.reason_code for hold in holds}}
    return Component(error="; ".join(errors) or None, details=details, weight=Status.DEGRADED)


def queues_health(health_inputs: HealthInputs) -> Component:
    """Judge whether workers finish tasks of each queue.

    Beat sends a proof to each queue every few seconds, which a worker finishes.
    """
    ages = queue_ages(health_inputs)
    # Before the first proof of any queue, beat is about to begin.
    silences = {queue: silence(health_inputs, queue_part(queue), SLICE_MAX_AGE) for queue in QUEUES} if ages else {}
    silent = {queue: error for queue, error in silences.items() if error}
    errors = [f"{queue}: {error}" for queue, error in silent.items()]
    if len(silent) == len(QUEUES):
        # Four workers do not end at once.
        errors.append("beat sends nothing, or no worker runs")
    return Component(error="; ".join(errors) or None, details={"age_seconds": ages}, weight=Status.DEGRADED)


def queue_ages(health_inputs: HealthInputs) -> dict[str, float]:
    """Return how many seconds ago something of each queue was last finished."""
    beats = {queue: heartbeat(health_inputs, queue_part(queue)) for queue in QUEUES}
    return {queue: age_seconds(health_inputs, beat.at) or 0.0 for queue, beat in beats.items() if beat}


def decisions_health(health_inputs: HealthInputs) -> Component:
    """Judge whether decisions are decided: no worker handles one that waits for longer than a moment."""
    age = oldest_decision_age(health_inputs)
    late = age > OLDEST_DECISION.total_seconds()
    error = f"the oldest waits {age:.0f}s, expected<={OLDEST_DECISION.total_seconds():.0f}s" if late else None
    return Component(error=error, details={"oldest_seconds": age}, weight=Status.DEGRADED)


def oldest_decision_age(health_inputs: HealthInputs) -> float:
    """Return how many seconds the oldest decision that has not left yet has waited, 0 without one."""
    return max(
        0.0, age_seconds(health_inputs, health_inputs.rows.oldest_decision_at if health_inputs.rows else None) or 0.0
    )
