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
from execution.models import Heartbeat, StreamLoss, Transition
from execution.outbox.payloads import EVENT_TYPES
from execution.queries.refused_exits import MOST_NAMED, RefusedExit
from execution.risk.entry_gate import Obstacle
from execution.risk.policy_store import REFUSED
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
class Vitals:
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
    lease_says: Obstacle | None = None
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


def judge(vitals: Vitals) -> Condition:
    """Return the verdict: the worst that any part makes of the whole."""
    components = {
        "binance": _exchange(vitals),
        "event_bus": _event_bus(vitals),
        "trade_store": Component(
            error=vitals.database.error, latency_ms=vitals.database.latency_ms, details={"backend": "postgresql"}
        ),
        "rate_limiter": _rate_limiter(vitals),
        "circuit_breaker": _circuit_breaker(vitals),
        "ess": _ess(vitals),
        "policy": _policy(vitals),
        "entries": _entries(vitals),
        "terms": _terms(vitals),
        "positions": _positions(vitals),
        "outbox": _outbox(vitals),
        "user_stream": _user_stream(vitals),
        "protector": _protector(vitals),
        "orders": _orders(vitals),
        "queues": _queues(vitals),
        "decisions": _decisions(vitals),
        "exits": _exits(vitals),
        "books": _books(vitals),
        "rows": _rows(vitals),
        "journal": _journal(vitals),
        "oracle": _oracle(vitals),
    }
    broken = {name: part for name, part in components.items() if part.error}
    reasons = tuple(f"{name}: {part.error}" for name, part in broken.items())
    return Condition(status=_worst(vitals, broken), components=components, reasons=reasons)


def not_ready(vitals: Vitals) -> tuple[str, ...]:
    """Return what is missing before requests can be served; the exchange is not asked for."""
    stores = {"database": vitals.database.error, "redis": vitals.redis.error}
    reasons = [f"{name}: {error}" for name, error in stores.items() if error]
    if not vitals.migrated:
        reasons.append("database: migrations are not applied")
    parts = ((MONITOR, _monitor_max_age(vitals)), (BRIDGE, SLICE_MAX_AGE))
    reasons += [f"{part}: {error}" for part, most in parts if (error := silence(vitals, part, most))]
    if vitals.lease_says and not vitals.reconciled:
        reasons.append(f"entries: {_words(vitals.lease_says)}")
    return tuple(reasons)


def age_seconds(vitals: Vitals, moment: datetime | None) -> float | None:
    return round((vitals.now - moment).total_seconds(), 3) if moment else None


def heartbeat(vitals: Vitals, part: str) -> Heartbeat | None:
    return vitals.rows.heartbeats.get(part) if vitals.rows else None


def total_lag(vitals: Vitals) -> int | None:
    """Return the sum of the lags that are known; None when none is."""
    known = [lag for lag in vitals.lags.values() if lag is not None]
    return sum(known) if known else None


def _worst(vitals: Vitals, broken: Mapping[str, Component]) -> Status:
    weights = {part.weight for part in broken.values()}
    if Status.DOWN not in weights:
        return Status.DEGRADED if weights else Status.OK
    stores_answer = not vitals.database.error and not vitals.redis.error
    first_run_awaited = heartbeat(vitals, MONITOR) is None or heartbeat(vitals, BRIDGE) is None
    return Status.STARTING if stores_answer and first_run_awaited else Status.DOWN


def _monitor_max_age(vitals: Vitals) -> timedelta:
    return vitals.monitor_interval * MONITOR_INTERVALS


def silence(vitals: Vitals, part: str, most: timedelta) -> str | None:
    """Return how long a part has been silent when that is too long."""
    beat = heartbeat(vitals, part)
    if beat is None:
        return "has not run yet"
    age = vitals.now - beat.at
    # A clock that was set back must not make a part that is silent look fresh; one that runs beats anew at once.
    if age < -CLOCKS_DIFFER:
        return f"last run {-age.total_seconds():.0f}s ahead of the clock"
    return f"last run {age.total_seconds():.0f}s ago, expected<={most.total_seconds():.0f}s" if age > most else None


def _exchange(vitals: Vitals) -> Component:
    """Judge the exchange by the monitor's eyes: health itself never calls it."""
    beat = heartbeat(vitals, MONITOR)
    details: Mapping[str, Any] = beat.details if beat else {}
    error = silence(vitals, MONITOR, _monitor_max_age(vitals))
    if error:
        return Component(error=f"monitor {error}")
    if beat and not beat.healthy:
        return Component(error=str(details.get("error") or "the last monitor cycle could not read it"))
    return Component(latency_ms=details.get("exchange_latency_ms"))


def _event_bus(vitals: Vitals) -> Component:
    error, weight = vitals.redis.error, Status.DOWN
    lag = total_lag(vitals)
    if error is None and (silent := silence(vitals, BRIDGE, SLICE_MAX_AGE)):
        error = f"bridge {silent}"
    if error is None and lag is not None and lag > LAG_THAT_DEGRADES:
        error, weight = f"lag={lag} expected<={LAG_THAT_DEGRADES}", Status.DEGRADED
    if error is None and vitals.rows and vitals.rows.losses:
        error, weight = "; ".join(map(lost, vitals.rows.losses)), Status.DEGRADED
    ages = entry_ages(vitals)
    stuck = [f"{name}={age:.0f}s" for name, age in ages.items() if age > OLDEST_ENTRY.total_seconds()]
    if error is None and (broken := _broken(vitals, vitals.lags)):
        error, weight = broken, Status.DEGRADED
    if error is None and stuck:
        error = f"oldest entry {' '.join(stuck)} expected<={OLDEST_ENTRY.total_seconds():.0f}s"
        weight = Status.DEGRADED
    details = {"lag": dict(vitals.lags), "oldest_seconds": ages}
    return Component(error=error, latency_ms=vitals.redis.latency_ms, details=details, weight=weight)


def entry_ages(vitals: Vitals) -> dict[str, float]:
    """Return how long the oldest entry of each incoming stream has waited, in seconds; 0 where none waits."""
    oldest = vitals.oldest_entries
    return {name: max(0.0, age_seconds(vitals, oldest.get(name)) or 0.0) for name in vitals.lags}


def lost(loss: StreamLoss) -> str:
    """Say what is gone of a stream; the ids tell its sender what to send again."""
    number = "an unknown number of" if loss.entries is None else loss.entries
    end = f" before {loss.before_id}" if loss.before_id else " when the stream was lost"
    return f"{number} entries of {loss.event_type} gone unread behind {loss.after_id}{end}"


def _rate_limiter(vitals: Vitals) -> Component:
    """Judge whether requests may leave: full counters are its work; a ban, or a state that others wrote, is not."""
    limiter, details = vitals.limiter, {"tokens_available": None, "rpm_limit": vitals.rpm_limit}
    if limiter is None:
        error = vitals.redis.error or "its state cannot be read"
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


def _circuit_breaker(vitals: Vitals) -> Component:
    """Judge the line to the exchange; while the breaker is not closed, only exits and probes leave."""
    circuit = vitals.circuit
    if circuit is None:
        return Component(error=vitals.redis.error or "its state cannot be read", weight=Status.DEGRADED)
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


def _ess(vitals: Vitals) -> Component:
    """Judge whether the emergency stop answers; that it blocks is its work, not a fault."""
    ess = vitals.rows.ess if vitals.rows else None
    weight = Status.DEGRADED if vitals.ess_fail_mode == "open" else Status.DOWN
    if ess is None:
        return Component(details={"state": None, "can_execute": None}, weight=weight)
    age = age_seconds(vitals, ess.observed_at)
    details = {"state": ess.state, "can_execute": ess.permitted, "age_seconds": age}
    error = f"unanswered={ess.unanswered} fail_mode={vitals.ess_fail_mode}" if ess.unanswered else None
    return Component(error=error, details=details, weight=weight)


def _policy(vitals: Vitals) -> Component:
    """Judge the snapshot: old values stay in force, and a value out of bounds is never applied."""
    beat = heartbeat(vitals, POLICY)
    refused: Mapping[str, str] = beat.details.get("refused", {}) if beat else {}
    said = list(refused.values())
    if beat and (unanswered := beat.details.get("unanswered")):
        said.append(f"unanswered={unanswered}: {beat.details.get('error')}")
    alarms = vitals.rows.policy_alarms if vitals.rows else ()
    # What the snapshot still refuses is named above.
    said += [_of_policy(line) for line in alarms if line.reason not in refused.values()]
    capped = vitals.rows.policy_capped if vitals.rows else {}
    details = {
        "age_seconds": policy_age(vitals),
        "refused": dict(refused),
        "capped": {key: f"stored={stored:f} in_force={held:f}" for key, (stored, held) in capped.items()},
        "not_kept": beat.details.get("not_kept", []) if beat else [],
        "by_operator": beat.details.get("by_operator", []) if beat else [],
    }
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _of_policy(line: Transition) -> str:
    """Say what was done to a policy value, or what was tried."""
    if line.to_state == REFUSED:
        return line.reason
    return f"loosened: {line.entity_id} {line.from_state}->{line.to_state} by {line.details.get('by') or line.trigger}"


def policy_age(vitals: Vitals) -> float | None:
    """Return how long ago the policy's source has last answered; None when it never has."""
    beat = heartbeat(vitals, POLICY)
    answered = beat.details.get("answered_at") if beat else None
    return age_seconds(vitals, datetime.fromisoformat(answered)) if answered else None


def _entries(vitals: Vitals) -> Component:
    """Judge whether positions may be opened; protection and exits go on in any case."""
    holds = vitals.rows.holds if vitals.rows else ()
    said = [f"{hold.scope} held: {hold.reason}" for hold in holds]
    if vitals.lease_says:
        said.append(_words(vitals.lease_says))
    if vitals.rows and (line := vitals.rows.lease_corrected):
        stamps = f"renewed_at={line.details['renewed_at']} holder={line.details['holder']}"
        said.append(f"the account's lease was stamped ahead and is corrected: {stamps}; look at that host's clock")
    details = {"held": {hold.scope: hold.reason_code for hold in holds}}
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _terms(vitals: Vitals) -> Component:
    """Judge what the exchange says of contracts and account: halts under open positions, settings changed outside."""
    beat = heartbeat(vitals, TERMS)
    said = [f"{row.reason_code}: {row.sentence}" for row in (vitals.rows.alarms if vitals.rows else ())]
    if beat and not beat.healthy:
        said.append(f"not read: {beat.details.get('error')}")
    elif beat and (silent := silence(vitals, TERMS, _monitor_max_age(vitals))):
        said.append(silent)
    details = {"age_seconds": age_seconds(vitals, beat.at if beat else None)} | (beat.details if beat else {})
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _positions(vitals: Vitals) -> Component:
    """Judge whether live stops cover every position that we answer for, and whether it is as large as our trade."""
    beat = heartbeat(vitals, MONITOR)
    larger: Mapping[str, str] = beat.details.get("larger", {}) if beat else {}
    said = [f"{symbol} {sentence}" for symbol, sentence in sorted(larger.items())]
    uncovered = vitals.rows.uncovered if vitals.rows else ()
    said += [_of_uncovered(vitals, each) for each in uncovered if each.symbol not in larger]
    named = {each.symbol: each.sentence for each in uncovered if each.protected_by is ProtectedBy.NONE}
    by_software = {each.symbol: each.sentence for each in uncovered if each.protected_by is ProtectedBy.SOFTWARE}
    details = {"larger": dict(larger), "uncovered": named, "protected_by_software": by_software}
    return Component(error="; ".join(said) or None, details=details, weight=Status.DEGRADED)


def _of_uncovered(vitals: Vitals, found: Coverage) -> str:
    by_software = found.protected_by is ProtectedBy.SOFTWARE
    age = age_seconds(vitals, found.software_since if by_software else found.since)
    return found.sentence if age is None else f"{found.sentence} for={age:.0f}s"


def _words(obstacle: Obstacle) -> str:
    return f"{obstacle.code}: {obstacle.sentence}" if obstacle.code else obstacle.sentence


def _protector(vitals: Vitals) -> Component:
    """Judge whether somebody looks after the stops beside order workers and monitor."""
    beat = heartbeat(vitals, PROTECTOR)
    details: Mapping[str, Any] = beat.details if beat else {}
    error = silence(vitals, PROTECTOR, SLICE_MAX_AGE)
    if error is None and beat and not beat.healthy:
        error = str(details.get("error") or f"failed={details.get('failed')}")
    return Component(error=error, details=dict(details), weight=Status.DEGRADED)


def _orders(vitals: Vitals) -> Component:
    """Judge whether the outcome of every order is known, or will be in the ordinary course."""
    unsettled = vitals.rows.unsettled if vitals.rows else Unsettled()
    age = age_seconds(vitals, unsettled.since)
    error = f"unsettled={unsettled.count} oldest={unsettled.oldest} age={age:.0f}s" if age is not None else None
    details = {"unsettled": unsettled.count, "oldest_seconds": age}
    return Component(error=error, details=details, weight=Status.DEGRADED)


def _queues(vitals: Vitals) -> Component:
    """Judge whether each queue is worked off: beat sends a proof to each every few seconds, which a worker finishes."""
    silent = {queue: error for queue in QUEUES if (error := _queue_silence(vitals, queue))}
    said = [f"{queue}: {error}" for queue, error in silent.items()]
    if len(silent) == len(QUEUES):
        # Four workers do not end at once.
        said.append("beat sends nothing, or nobody works")
    return Component(error="; ".join(said) or None, details={"age_seconds": queue_ages(vitals)}, weight=Status.DEGRADED)


def _queue_silence(vitals: Vitals, queue: str) -> str | None:
    """Return how long nothing of a queue was finished; before the first proof of any, beat is about to begin."""
    return silence(vitals, queue_part(queue), SLICE_MAX_AGE) if queue_ages(vitals) else None


def queue_ages(vitals: Vitals) -> dict[str, float]:
    """Return how many seconds ago something of each queue was last finished."""
    beats = {queue: heartbeat(vitals, queue_part(queue)) for queue in QUEUES}
    return {queue: age_seconds(vitals, beat.at) or 0.0 for queue, beat in beats.items() if beat}


def _decisions(vitals: Vitals) -> Component:
    """Judge whether decisions are decided: what waits for longer than a moment is in nobody's hands."""
    age = oldest_decision_age(vitals)
    late = age > OLDEST_DECISION.total_seconds()
    error = f"the oldest waits {age:.0f}s, expected<={OLDEST_DECISION.total_seconds():.0f}s" if late else None
    return Component(error=error, details={"oldest_seconds": age}, weight=Status.DEGRADED)


def oldest_decision_age(vitals: Vitals) -> float:
    """Return for how many seconds the oldest decision that has not left yet has waited; 0 without one."""
    return max(0.0, age_seconds(vitals, vitals.rows.oldest_decision_at if vitals.rows else None) or 0.0)


def _journal(vitals: Vitals) -> Component:
    """Judge whether the journal's hash chain follows its lines: what has no seal can be changed unseen."""
    beat = heartbeat(vitals, JOURNAL)
    details: Mapping[str, Any] = beat.details if beat else {}
    error = silence(vitals, JOURNAL, JOURNAL_MAX_AGE) if beat else None
    if error is None and beat and not beat.healthy:
        error = f"lines without a seal for {details.get('oldest_unsealed_seconds')}s: a transaction does not end"
    return Component(error=error, details=dict(details), weight=Status.DEGRADED)


def _oracle(vitals: Vitals) -> Component:
    """Judge whether every invariant holds that the monitor checks: a violation that stands is named."""
    beat = heartbeat(vitals, ORACLE)
    details: Mapping[str, Any] = beat.details if beat else {}
    standing = [row for row in details.get("suspects", ()) if row.get("stands")]
    said = [_of_violation(row, vitals.now) for row in standing[:MOST_NAMED]]
    if len(standing) > len(said):
        said.append(f"and {len(standing) - len(said)} more")
    # Where the whole cycle is silent, that is said of the exchange.
    if beat and not silence(vitals, MONITOR, _monitor_max_age(vitals)):
        silent = silence(vitals, ORACLE, _monitor_max_age(vitals))
        said += [f"invariants: {silent}"] if silent else []
    return Component(error="; ".join(said) or None, details={"standing": standing}, weight=Status.DEGRADED)


def _of_violation(row: Mapping[str, Any], now: datetime) -> str:
    age = (now - datetime.fromisoformat(row["first_at"])).total_seconds()
    return f"{row['symbol']} {row['position_side']} {row['kind']} {row['subject']}: {row['numbers']} for={age:.0f}s"


def _rows(vitals: Vitals) -> Component:
    """Judge whether every stored row can be used: one that cannot is passed over, and nothing looks after it."""
    aside = vitals.rows.set_aside if vitals.rows else ()
    said = [row.sentence for row in aside[:MOST_NAMED]]
    if len(aside) > len(said):
        said.append(f"and {len(aside) - len(said)} more")
    words = [f"quarantined: {'; '.join(said)}"] if said else []
    held = _held_rows(vitals)
    words += [f"held by another session since {since}: {what}" for what, since in list(held.items())[:MOST_NAMED]]
    details = {"quarantined": len(aside), "held": len(held)}
    return Component(error="; ".join(words) or None, details=details, weight=Status.DEGRADED)


def _held_rows(vitals: Vitals) -> dict[str, str]:
    """Return what the last sweeps could not do because somebody holds a row of it, and since when."""
    beats = (heartbeat(vitals, MONITOR), heartbeat(vitals, PROTECTOR))
    return {what: since for beat in beats if beat for what, since in (beat.details.get("held") or {}).items()}


def _exits(vitals: Vitals) -> Component:
    """Judge whether the exchange takes what protects and closes positions; each that it refuses is named."""
    refused = vitals.rows.refused if vitals.rows else ()
    said = [_refusal(each, vitals.now) for each in refused[:MOST_NAMED]]
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


def _books(vitals: Vitals) -> Component:
    """Judge whether the results of the last day are whole: limits assume the worse for what nobody can value."""
    found = vitals.rows.incomplete if vitals.rows else Incomplete()
    trades = "trade" if found.count == 1 else "trades"
    error = f"net of {found.count} {trades} of the last day is incomplete: nobody can value {', '.join(found.assets)}"
    details = {"incomplete": found.count, "assets": list(found.assets)}
    return Component(error=error if found.count else None, details=details, weight=Status.DEGRADED)


def _outbox(vitals: Vitals) -> Component:
    silent = silence(vitals, RELAY, SLICE_MAX_AGE)
    error = f"relay {silent}" if silent else _broken(vitals, EVENT_TYPES)
    return Component(error=error or None, weight=Status.DEGRADED)


def _broken(vitals: Vitals, names: Iterable[str]) -> str:
    """Name the streams that are out of order; all others go on."""
    said = [f"stream {name} {vitals.broken_streams[name]}" for name in names if name in vitals.broken_streams]
    return "; ".join(said)


def _user_stream(vitals: Vitals) -> Component:
    """Judge the stream: without it nothing is lost, for the monitor finds the same within its interval."""
    beat = heartbeat(vitals, USER_STREAM)
    details = {**(beat.details if beat else {}), "covering": covering(beat, vitals.now)}
    error = silence(vitals, USER_STREAM, SLICE_MAX_AGE)
    if error is None and beat and not beat.healthy:
        error = str(beat.details.get("phase"))
    return Component(error=f"{error}; polling covers" if error else None, details=details, weight=Status.DEGRADED)
