"""Judges the service's health from what was measured: pure, so that every sentence of it is tested without a server."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from execution.domain.coverage import Coverage
from execution.domain.outcomes import Waits
from execution.domain.rate_limits import Circuit, CircuitState, LimiterState
from execution.domain.software_stop import ProtectedBy
from execution.domain.trading import PositionSide
from execution.health.rows import SLICE_MAX_AGE, HealthRows, Incomplete, Unsettled, covering
from execution.models import AuditEvent, Heartbeat, StreamLoss
from execution.outbox.payloads import EVENT_TYPES
from execution.queries.refused_exits import MOST_NAMED, RefusedExit
from execution.risk.entry_gate import GateBlock
from execution.risk.policy_store import DENIED
from execution.store.heartbeats import (
    BRIDGE,
    JOURNAL,
    MONITOR,
    ORACLE,
    POLICY,
    PROTECTOR,
    QUEUES,
    RELAY,
    TERMS,
    USER_STREAM,
    queue_part,
)

MONITOR_INTERVALS = 2
# The clocks of several hosts may differ by so much.
CLOCKS_DIFFER = timedelta(seconds=5)
# Streams hold about 10,000 entries: from here on decisions are in danger of being trimmed unread.
LAG_THAT_DEGRADES = 1000
# The exchange's windows are a minute long.
ORDINARY_PAUSE = timedelta(seconds=75)
CORRECTIONS_SHOWN = timedelta(hours=1)
# It is sealed every five seconds.
JOURNAL_MAX_AGE = timedelta(minutes=5)
# An entry is handled within moments, unless its stream is not read or it fails again and again.
OLDEST_ENTRY = timedelta(seconds=30)
# A decision is refused or sent within a second; one that waits for longer will soon be too old to trade.
OLDEST_DECISION = timedelta(seconds=10)


class Status(StrEnum):
    """The whole service in one word; only DOWN and STARTING answer 503."""

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
    # What the account's lease says against entries of this stack.
    lease_says: GateBlock | None = None
    reconciled: bool = True
    # When Redis took the oldest entry of each incoming stream that is not acknowledged yet.
    oldest_entries: Mapping[str, datetime] = field(default_factory=dict)
    # Streams that refuse to be one, incoming and outgoing, by event type.
    broken_streams: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Component:
    """One part of the service; `weight` is what the whole becomes when this part is not healthy."""

    error: str | None = None
    latency_ms: float | None = None
    details: Mapping[str, Any] | None = None
    weight: Status = Status.DOWN

    def as_json(self) -> dict[str, Any]:
        return {
            "healthy": self.error is None,
            "error": self.error,
            "latency_ms": self.latency_ms,
            "details": self.details,
        }


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
        "binance": _exchange(health_inputs),
        "event_bus": _event_bus(health_inputs),
        "trade_store": Component(
            error=health_inputs.database.error,
            latency_ms=health_inputs.database.latency_ms,
            details={"backend": "postgresql"},
        ),
        "rate_limiter": _rate_limiter(health_inputs),
        "circuit_breaker": _circuit_breaker(health_inputs),
        "ess": _ess(health_inputs),
        "policy": _policy(health_inputs),
        "entries": _entries(health_inputs),
        "terms": _terms(health_inputs),
        "positions": _positions(health_inputs),
        "outbox": _outbox(health_inputs),
        "user_stream": _user_stream(health_inputs),
        "protector": _protector(health_inputs),
        "orders": _orders(health_inputs),
        "queues": _queues(health_inputs),
        "decisions": _decisions(health_inputs),
        "exits": _exits(health_inputs),
        "books": _books(health_inputs),
        "rows": _rows(health_inputs),
        "journal": _journal(health_inputs),
        "oracle": _oracle(health_inputs),
    }
    broken = {name: part for name, part in components.items() if part.error}
    reasons = tuple(f"{name}: {part.error}" for name, part in broken.items())
    return Condition(status=_worst(health_inputs, broken), components=components, reasons=reasons)


def not_ready(health_inputs: HealthInputs) -> tuple[str, ...]:
    """Return what is missing before requests can be served; the exchange is not asked for."""
    stores = {"database": health_inputs.database.error, "redis": health_inputs.redis.error}
    reasons = [f"{name}: {error}" for name, error in stores.items() if error]
    if not health_inputs.migrated:
        reasons.append("database: migrations are not applied")
    parts = ((MONITOR, _monitor_max_age(health_inputs)), (BRIDGE, SLICE_MAX_AGE))
    reasons += [f"{part}: {error}" for part, most in parts if (error := silence(health_inputs, part, most))]
    if health_inputs.lease_says and not health_inputs.reconciled:
        reasons.append(f"entries: {_words(health_inputs.lease_says)}")
    return tuple(reasons)


def age_seconds(health_inputs: HealthInputs, moment: datetime | None) -> float | None:
    return round((health_inputs.now - moment).total_seconds(), 3) if moment else None


def heartbeat(health_inputs: HealthInputs, part: str) -> Heartbeat | None:
    return health_inputs.rows.heartbeats.get(part) if health_inputs.rows else None


def total_lag(health_inputs: HealthInputs) -> int | None:
    """Return the sum of the lags that are known; None when none is."""
    known = [lag for lag in health_inputs.lags.values() if lag is not None]
    return sum(known) if known else None


def _worst(health_inputs: HealthInputs, broken: Mapping[str, Component]) -> Status:
    weights = {part.weight for part in broken.values()}
    if Status.DOWN not in weights:
        return Status.DEGRADED if weights else Status.OK
    stores_answer = not health_inputs.database.error and not health_inputs.redis.error
    first_run_awaited = heartbeat(health_inputs, MONITOR) is None or heartbeat(health_inputs, BRIDGE) is None
    return Status.STARTING if stores_answer and first_run_awaited else Status.DOWN


def _monitor_max_age(health_inputs: HealthInputs) -> timedelta:
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


def _exchange(health_inputs: HealthInputs) -> Component:
    """Judge the exchange by the monitor's eyes: health itself never calls it."""
    beat = heartbeat(health_inputs, MONITOR)
    details: Mapping[str, Any] = beat.details if beat else {}
    error = silence(health_inputs, MONITOR, _monitor_max_age(health_inputs))
    if error:
        return Component(error=f"monitor {error}")
    if beat and not beat.healthy:
        return Component(error=str(details.get("error") or "the last monitor cycle could not read it"))
    return Component(latency_ms=details.get("exchange_latency_ms"))


def _event_bus(health_inputs: HealthInputs) -> Component:
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
    """Return how long the oldest entry of each incoming stream has waited, in seconds; 0 where none waits."""
    oldest = health_inputs.oldest_entries
    return {name: max(0.0, age_seconds(health_inputs, oldest.get(name)) or 0.0) for name in health_inputs.lags}


def lost(loss: StreamLoss) -> str:
    """Say what is gone of a stream; the ids tell its sender what to send again."""
    number = "an unknown number of" if loss.entries is None else loss.entries
    end = f" before {loss.before_id}" if loss.before_id else " when the stream was lost"
    return f"{number} entries of {loss.event_type} gone unread behind {loss.after_id}{end}"


def _rate_limiter(health_inputs: HealthInputs) -> Component:
    """Judge whether requests may leave: full counters are its work; a ban, or a state that others wrote, is not."""
    limiter, details = health_inputs.limiter, {"tokens_available": None, "rpm_limit": health_inputs.rpm_limit}
    if limiter is None:
        error = health_inputs.redis.error or "its state cannot be read"
        return Component(error=error, details=details, weight=Status.DEGRADED)
    said = [_of_hold(limiter, who, left) for who, left in limiter.holds.items() if left and alarms(who, left)]
    ago = limiter.corrected_ago_seconds
    if ago is not None and ago < CORRECTIONS_SHOWN.total_seconds():
        said.append(f"{limiter.corrected} values in Redis were not ours and are corrected, the last {ago:.0f}s ago")
    return Component(
        error="; ".join(said) or None,
        details=details | {"tokens_available": limiter.available} | limiter_details(limiter),
        weight=Status.DEGRADED,
    )


def alarms(who: Waits, left: float) -> bool:
    """Whether a hold is more than the exchange's ordinary pacing: it stops all of us, or for longer than a window."""
    return who is Waits.EVERYBODY or left > ORDINARY_PAUSE.total_seconds()


def _of_hold(limiter: LimiterState, who: Waits, left: float) -> str:
    if who is Waits.ENTRIES:
        return f"the exchange asks entries to wait, {left:.1f}s more"
    whom = "all of us" if who is Waits.EVERYBODY else "orders"
    probes = f"exits probe it (probes={limiter.probes}, next in {limiter.probe_due_seconds:.0f}s)"
    return f"the exchange bids {whom} wait, {left:.1f}s more; {probes}"


def _circuit_breaker(health_inputs: HealthInputs) -> Component:
    """Judge the line to the exchange; while the breaker is not closed, only exits and probes leave."""
    circuit = health_inputs.circuit
    if circuit is None:
        return Component(error=health_inputs.redis.error or "its state cannot be read", weight=Status.DEGRADED)
    closed = circuit.state is CircuitState.CLOSED
    error = f"{circuit.state.value}, faults={circuit.faults}, probe in {circuit.probe_due_seconds:.1f}s"
    return Component(error=None if closed else error, details=asdict(circuit), weight=Status.DEGRADED)


def limiter_details(limiter: LimiterState) -> dict[str, Any]:
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


def _ess(health_inputs: HealthInputs) -> Component:
    """Judge whether the emergency stop answers; that it blocks is its work, not a fault."""
    ess = health_inputs.rows.ess if health_inputs.rows else None
    weight = Status.DEGRADED if health_inputs.ess_fail_mode == "open" else Status.DOWN
    if ess is None:
        return Component(details={"state": None, "can_execute": None}, weight=weight)
    age = age_seconds(health_inputs, ess.observed_at)
    details = {"state": ess.state, "can_execute": ess.permitted, "age_seconds": age}
    error = f"unanswered={ess.unanswered} fail_mode={health_inputs.ess_fail_mode}" if ess.unanswered else None
    return Component(error=error, details=details, weight=weight)


def _policy(health_inputs: HealthInputs) -> Component:
    """Judge the snapshot: old values stay in force, and a value out of bounds is never applied."""
    beat = heartbeat(health_inputs, POLICY)
    refused: Mapping[str, str] = beat.details.get("refused", {}) if beat else {}
    said = list(refused.values())
    if beat and (unanswered := beat.details.get("unanswered")):
        said.append(f"unanswered={unanswered}: {beat.details.get('error')}")
    alarms = health_inputs.rows.policy_alarms if health_inputs.rows else ()
    # What the snapshot still refuses is named above.
    said += [_of_policy(line) for line in alarms if line.reason not in refused.values()]
    capped = health_inputs.rows.policy_capped if health_inputs.rows else {}
    details = {
        "age_seconds": policy_age(health_inputs),
        "refused": dict(refused),
        "capped": {key: f"stored={stored:f} in_force={held:f}" for key, (stored, held) in capped.items()},
        "not_kept": beat.details.get("not_kept", []) if beat else [],
        "by_operator": beat.details.get("by_operator", []) if beat else [],
    }
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _of_policy(line: AuditEvent) -> str:
    """Say what was done to a policy value, or what was tried."""
    if line.to_state == DENIED:
        return line.reason
    return f"loosened: {line.entity_id} {line.from_state}->{line.to_state} by {line.details.get('by') or line.trigger}"


def policy_age(health_inputs: HealthInputs) -> float | None:
    """Return how long ago the policy's source has last answered; None when it never has."""
    beat = heartbeat(health_inputs, POLICY)
    answered = beat.details.get("answered_at") if beat else None
    return age_seconds(health_inputs, datetime.fromisoformat(answered)) if answered else None


def _entries(health_inputs: HealthInputs) -> Component:
    """Judge whether positions may be opened; protection and exits go on in any case."""
    holds = health_inputs.rows.holds if health_inputs.rows else ()
    said = [f"{hold.scope} held: {hold.reason}" for hold in holds]
    if health_inputs.lease_says:
        said.append(_words(health_inputs.lease_says))
    if health_inputs.rows and (line := health_inputs.rows.lease_corrected):
        stamps = f"renewed_at={line.details['renewed_at']} holder={line.details['holder']}"
        said.append(f"the account's lease was stamped ahead and is corrected: {stamps}; look at that host's clock")
    details = {"held": {hold.scope: hold.reason_code for hold in holds}}
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _terms(health_inputs: HealthInputs) -> Component:
    """Judge what the exchange says of contracts and account: halts under open positions, settings changed outside."""
    beat = heartbeat(health_inputs, TERMS)
    said = [f"{row.reason_code}: {row.sentence}" for row in (health_inputs.rows.alarms if health_inputs.rows else ())]
    if beat and not beat.healthy:
        said.append(f"not read: {beat.details.get('error')}")
    elif beat and (silent := silence(health_inputs, TERMS, _monitor_max_age(health_inputs))):
        said.append(silent)
    details = {"age_seconds": age_seconds(health_inputs, beat.at if beat else None)} | (beat.details if beat else {})
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _positions(health_inputs: HealthInputs) -> Component:
    """Judge whether live stops cover every position that we answer for, and whether it is as large as our trade."""
    beat = heartbeat(health_inputs, MONITOR)
    larger: Mapping[str, str] = beat.details.get("larger", {}) if beat else {}
    said = [f"{symbol} {sentence}" for symbol, sentence in sorted(larger.items())]
    uncovered = health_inputs.rows.uncovered if health_inputs.rows else ()
    said += [_of_uncovered(health_inputs, each) for each in uncovered if each.symbol not in larger]
    named = {each.symbol: each.sentence for each in uncovered if each.protected_by is ProtectedBy.NONE}
    by_software = {each.symbol: each.sentence for each in uncovered if each.protected_by is ProtectedBy.SOFTWARE}
    details = {"larger": dict(larger), "uncovered": named, "protected_by_software": by_software}
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _of_uncovered(health_inputs: HealthInputs, found: Coverage) -> str:
    by_software = found.protected_by is ProtectedBy.SOFTWARE
    age = age_seconds(health_inputs, found.software_since if by_software else found.since)
    return found.sentence if age is None else f"{found.sentence} for={age:.0f}s"


def _words(obstacle: GateBlock) -> str:
    return f"{obstacle.code}: {obstacle.sentence}" if obstacle.code else obstacle.sentence


def _protector(health_inputs: HealthInputs) -> Component:
    """Judge whether somebody looks after the stops beside order workers and monitor."""
    beat = heartbeat(health_inputs, PROTECTOR)
    details: Mapping[str, Any] = beat.details if beat else {}
    error = silence(health_inputs, PROTECTOR, SLICE_MAX_AGE)
    if error is None and beat and not beat.healthy:
        error = str(details.get("error") or f"failed={details.get('failed')}")
    return Component(error=error, details=dict(details), weight=Status.DEGRADED)


def _orders(health_inputs: HealthInputs) -> Component:
    """Judge whether the outcome of every order is known, or will be in the ordinary course."""
    unsettled = health_inputs.rows.unsettled if health_inputs.rows else Unsettled()
    age = age_seconds(health_inputs, unsettled.since)
    error = f"unsettled={unsettled.count} oldest={unsettled.oldest} age={age:.0f}s" if age is not None else None
    details = {"unsettled": unsettled.count, "oldest_seconds": age}
    return Component(error=error, details=details, weight=Status.DEGRADED)


def _queues(health_inputs: HealthInputs) -> Component:
    """Judge whether each queue is worked off: beat sends a proof to each every few seconds, which a worker finishes."""
    silent = {queue: error for queue in QUEUES if (error := _queue_silence(health_inputs, queue))}
    said = [f"{queue}: {error}" for queue, error in silent.items()]
    if len(silent) == len(QUEUES):
        # Four workers do not end at once.
        said.append("beat sends nothing, or nobody works")
    return Component(
        error="; ".join(said) or None, details={"age_seconds": queue_ages(health_inputs)}, weight=Status.DEGRADED
    )


def _queue_silence(health_inputs: HealthInputs, queue: str) -> str | None:
    """Return how long nothing of a queue was finished; before the first proof of any, beat is about to begin."""
    return silence(health_inputs, queue_part(queue), SLICE_MAX_AGE) if queue_ages(health_inputs) else None


def queue_ages(health_inputs: HealthInputs) -> dict[str, float]:
    """Return how many seconds ago something of each queue was last finished."""
    beats = {queue: heartbeat(health_inputs, queue_part(queue)) for queue in QUEUES}
    return {queue: age_seconds(health_inputs, beat.at) or 0.0 for queue, beat in beats.items() if beat}


def _decisions(health_inputs: HealthInputs) -> Component:
    """Judge whether decisions are decided: what waits for longer than a moment is in nobody's hands."""
    age = oldest_decision_age(health_inputs)
    late = age > OLDEST_DECISION.total_seconds()
    error = f"the oldest waits {age:.0f}s, expected<={OLDEST_DECISION.total_seconds():.0f}s" if late else None
    return Component(error=error, details={"oldest_seconds": age}, weight=Status.DEGRADED)


def oldest_decision_age(health_inputs: HealthInputs) -> float:
    """Return for how many seconds the oldest decision that has not left yet has waited; 0 without one."""
    return max(
        0.0, age_seconds(health_inputs, health_inputs.rows.oldest_decision_at if health_inputs.rows else None) or 0.0
    )


def _journal(health_inputs: HealthInputs) -> Component:
    """Judge whether the journal's hash chain follows its lines: what has no seal can be changed unseen."""
    beat = heartbeat(health_inputs, JOURNAL)
    details: Mapping[str, Any] = beat.details if beat else {}
    error = silence(health_inputs, JOURNAL, JOURNAL_MAX_AGE) if beat else None
    if error is None and beat and not beat.healthy:
        error = f"lines without a seal for {details.get('oldest_unsealed_seconds')}s: a transaction does not end"
    return Component(error=error, details=dict(details), weight=Status.DEGRADED)


def _oracle(health_inputs: HealthInputs) -> Component:
    """Judge whether every invariant holds that the monitor checks: a violation that stands is named."""
    beat = heartbeat(health_inputs, ORACLE)
    details: Mapping[str, Any] = beat.details if beat else {}
    standing = [row for row in details.get("suspects", ()) if row.get("stands")]
    said = [_of_violation(row, health_inputs.now) for row in standing[:MOST_NAMED]]
    if len(standing) > len(said):
        said.append(f"and {len(standing) - len(said)} more")
    # Where the whole cycle is silent, that is said of the exchange.
    if beat and not silence(health_inputs, MONITOR, _monitor_max_age(health_inputs)):
        silent = silence(health_inputs, ORACLE, _monitor_max_age(health_inputs))
        said += [f"invariants: {silent}"] if silent else []
    return Component(error="; ".join(said) or None, details={"standing": standing}, weight=Status.DEGRADED)


def _of_violation(row: Mapping[str, Any], now: datetime) -> str:
    age = (now - datetime.fromisoformat(row["first_at"])).total_seconds()
    return f"{row['symbol']} {row['position_side']} {row['kind']} {row['subject']}: {row['numbers']} for={age:.0f}s"


def _rows(health_inputs: HealthInputs) -> Component:
    """Judge whether every stored row can be used: one that cannot is passed over, and nothing looks after it."""
    aside = health_inputs.rows.set_aside if health_inputs.rows else ()
    said = [row.sentence for row in aside[:MOST_NAMED]]
    if len(aside) > len(said):
        said.append(f"and {len(aside) - len(said)} more")
    words = [f"quarantined: {'; '.join(said)}"] if said else []
    held = _held_rows(health_inputs)
    words += [f"held by another session since {since}: {what}" for what, since in list(held.items())[:MOST_NAMED]]
    details = {"quarantined": len(aside), "held": len(held)}
    return Component(error="; ".join(words) or None, details=details, weight=Status.DEGRADED)


def _held_rows(health_inputs: HealthInputs) -> dict[str, str]:
    """Return what the last sweeps could not do because somebody holds a row of it, and since when."""
    beats = (heartbeat(health_inputs, MONITOR), heartbeat(health_inputs, PROTECTOR))
    return {what: since for beat in beats if beat for what, since in (beat.details.get("held") or {}).items()}


def _exits(health_inputs: HealthInputs) -> Component:
    """Judge whether the exchange takes what protects and closes positions; each that it refuses is named."""
    refused = health_inputs.rows.refused if health_inputs.rows else ()
    said = [_refusal(each, health_inputs.now) for each in refused[:MOST_NAMED]]
    if len(refused) > len(said):
        said.append(f"and {len(refused) - len(said)} more")
    shown = [asdict(each) | {"request_id": str(each.request_id)} for each in refused[:MOST_NAMED]]
    details = {"count": len(refused), "refused": [_plain(each) for each in shown]}
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _refusal(each: RefusedExit, now: datetime) -> str:
    wait = max(0.0, (each.next_at - now).total_seconds())
    code = "none" if each.code is None else each.code
    happened = "refused" if each.answered else "unanswered"
    side = "" if each.position_side == PositionSide.BOTH else f" {each.position_side}"
    numbers = f"code={code} tries={each.tries} since={each.since.isoformat()} next_try_in={wait:.0f}s"
    return f"{each.symbol}{side} {each.what} {happened}: {numbers}"


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}


def _books(health_inputs: HealthInputs) -> Component:
    """Judge whether the results of the last day are whole: limits assume the worse for what nobody can value."""
    found = health_inputs.rows.incomplete if health_inputs.rows else Incomplete()
    trades = "trade" if found.count == 1 else "trades"
    error = f"net of {found.count} {trades} of the last day is incomplete: nobody can value {', '.join(found.assets)}"
    details = {"incomplete": found.count, "assets": list(found.assets)}
    return Component(error=error if found.count else None, details=details, weight=Status.DEGRADED)


def _outbox(health_inputs: HealthInputs) -> Component:
    silent = silence(health_inputs, RELAY, SLICE_MAX_AGE)
    error = f"relay {silent}" if silent else _broken(health_inputs, EVENT_TYPES)
    return Component(error=error or None, weight=Status.DEGRADED)


def _broken(health_inputs: HealthInputs, names: Iterable[str]) -> str:
    """Name the streams that are out of order; all others go on."""
    said = [
        f"stream {name} {health_inputs.broken_streams[name]}" for name in names if name in health_inputs.broken_streams
    ]
    return "; ".join(said)


def _user_stream(health_inputs: HealthInputs) -> Component:
    """Judge the stream: without it nothing is lost, for the monitor finds the same within its interval."""
    beat = heartbeat(health_inputs, USER_STREAM)
    details = {**(beat.details if beat else {}), "covering": covering(beat, health_inputs.now)}
    error = silence(health_inputs, USER_STREAM, SLICE_MAX_AGE)
    if error is None and beat and not beat.healthy:
        error = str(beat.details.get("phase"))
    return Component(error=f"{error}; polling covers" if error else None, details=details, weight=Status.DEGRADED)
