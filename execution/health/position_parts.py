"""Judges what protects and closes positions: stops, protector, orders and refused exits."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from execution.domain.coverage import Coverage
from execution.domain.software_stop import ProtectedBy
from execution.domain.trading import PositionSide
from execution.health.inputs import Component, HealthInputs, Status, age_seconds, heartbeat, silence
from execution.queries.health_rows import SLICE_MAX_AGE, Unsettled
from execution.queries.refused_exits import MOST_NAMED, RefusedExit
from execution.store.heartbeats import (
    MONITOR,
    PROTECTOR,
)


def positions_health(health_inputs: HealthInputs) -> Component:
    """Judge whether live stops protect every position of the service, and whether its size is the trade's."""
    beat = heartbeat(health_inputs, MONITOR)
    larger: Mapping[str, str] = beat.details.get("larger", {}) if beat else {}
    errors = [f"{symbol} {sentence}" for symbol, sentence in sorted(larger.items())]
    uncovered = health_inputs.rows.uncovered if health_inputs.rows else ()
    errors += [_of_uncovered(health_inputs, each) for each in uncovered if each.symbol not in larger]
    named = {each.symbol: each.sentence for each in uncovered if each.protected_by is ProtectedBy.NONE}
    by_software = {each.symbol: each.sentence for each in uncovered if each.protected_by is ProtectedBy.SOFTWARE}
    details = {"larger": dict(larger), "uncovered": named, "protected_by_software": by_software}
    return Component(error="; ".join(errors) or None, details=details, weight=Status.DEGRADED)


def _of_uncovered(health_inputs: HealthInputs, found: Coverage) -> str:
    by_software = found.protected_by is ProtectedBy.SOFTWARE
    age = age_seconds(health_inputs, found.software_since if by_software else found.since)
    return found.sentence if age is None else f"{found.sentence} for={age:.0f}s"


def protector_health(health_inputs: HealthInputs) -> Component:
    """Judge whether the protector looks after the stops beside order workers and monitor."""
    beat = heartbeat(health_inputs, PROTECTOR)
    details = beat.details if beat else {}
    error = silence(health_inputs, PROTECTOR, SLICE_MAX_AGE)
    if error is None and beat and not beat.healthy:
        error = str(details.get("error") or f"failed={details.get('failed')}")
    return Component(error=error, details=dict(details), weight=Status.DEGRADED)


def orders_health(health_inputs: HealthInputs) -> Component:
    """Judge whether the outcome of every order is known, or will be in the ordinary course."""
    unsettled = health_inputs.rows.unsettled if health_inputs.rows else Unsettled()
    age = age_seconds(health_inputs, unsettled.since)
    error = f"unsettled={unsettled.count} oldest={unsettled.oldest} age={age:.0f}s" if age is not None else None
    details = {"unsettled": unsettled.count, "oldest_seconds": age}
    return Component(error=error, details=details, weight=Status.DEGRADED)


def exits_health(health_inputs: HealthInputs) -> Component:
    """Judge whether the exchange takes what protects and closes positions, and name each refusal."""
    refused = health_inputs.rows.refused if health_inputs.rows else ()
    errors = [_refusal(each, health_inputs.now) for each in refused[:MOST_NAMED]]
    if len(refused) > len(errors):
        errors.append(f"and {len(refused) - len(errors)} more")
    shown = [
        asdict(each)
        | {
            "request_id": str(each.request_id),
            "since": each.since.isoformat(),
            "next_at": each.next_at.isoformat(),
        }
        for each in refused[:MOST_NAMED]
    ]
    details = {"count": len(refused), "refused": shown}
    return Component(error="; ".join(errors) or None, details=details, weight=Status.DEGRADED)


def _refusal(each: RefusedExit, now: datetime) -> str:
    wait = max(0.0, (each.next_at - now).total_seconds())
    code = "none" if each.code is None else each.code
    happened = "refused" if each.answered else "unanswered"
    side = "" if each.position_side == PositionSide.BOTH else f" {each.position_side}"
    numbers = f"code={code} tries={each.tries} since={each.since.isoformat()} next_try_in={wait:.0f}s"
    return f"{each.symbol}{side} {each.what} {happened}: {numbers}"
