"""The service's figures in the text format of Prometheus, collected anew whenever they are asked for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from rest_framework.request import Request

from execution.api.base import JsonView
from execution.api.health import health_inputs
from execution.domain.metrics import CYCLE, FILL_TO_STOP, REPAIRS, STREAM_LAG, UNCOVERED
from execution.domain.oracle import VIOLATIONS, Kind
from execution.domain.rate_limits import CircuitState, LimiterState
from execution.health.condition import judge_health
from execution.health.entry_parts import oldest_decision_age, policy_age, queue_ages
from execution.health.inputs import HealthInputs, age_seconds, heartbeat
from execution.health.message_parts import entry_ages
from execution.queries.figures import MeasuredFigures, measured_figures
from execution.queries.health_rows import covering
from execution.queries.metrics import BookCounts, book_counts
from execution.queries.refused_exits import RefusedExit
from execution.store.heartbeats import MONITOR, ORACLE, POLICY, PROTECTOR, USER_STREAM
from execution.store.stream_freshness import MARK_STREAM

PREFIX = "execution_"
# One label value, or one for each label.
L = TypeVar("L", str, tuple[str, str])


class PrometheusView(JsonView):
    """`GET /metrics`."""

    def query_parameters(self) -> None:
        """Take any: scrapers may be configured to send some."""

    @extend_schema(operation_id="prometheus", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002 -- the framework's signature
        registry = CollectorRegistry()
        registry.register(ServiceCollector())
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class ServiceCollector(Collector):
    """Collects anew at every call, so that any number of web processes shows the same figures."""

    def collect(self) -> Iterator[Metric]:
        found = health_inputs()
        yield from _health(found)
        yield from _oracle(found)
        yield from _queues(found)
        try:
            counts = book_counts()
        except (DatabaseError, InterfaceError):
            yield gauge("database_up", "Whether PostgreSQL answers", 0)
            return
        yield gauge("database_up", "Whether PostgreSQL answers", 1)
        yield from _measured(measured_figures())
        yield from _books(counts, found)
        yield from _mail(counts, found)

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: otherwise registering would already collect."""
        return ()


def gauge(name: str, meaning: str, value: float | None) -> GaugeMetricFamily:
    """Return one number. An unknown one has a name and no sample."""
    family = GaugeMetricFamily(PREFIX + name, meaning)
    if value is not None:
        family.add_metric([], value)
    return family


def labelled(name: str, meaning: str, labels: str, values: Mapping[L, float]) -> GaugeMetricFamily:
    """Return one number for each combination of label values. A space divides the labels' names."""
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=labels.split())
    for words, value in values.items():
        family.add_metric([words] if isinstance(words, str) else words, value)
    return family


def counted(name: str, meaning: str, labels: str, values: Mapping[tuple[str, str], float]) -> CounterMetricFamily:
    """Return a number that only grows, for each combination of label values."""
    family = CounterMetricFamily(PREFIX + name, meaning, labels=labels.split())
    for words, value in values.items():
        family.add_metric(words, value)
    return family


def _health(found: HealthInputs) -> Iterator[Metric]:
    yield gauge("healthy", "Whether GET /health answers 200", judge_health(found).healthy)
    yield gauge("redis_up", "Whether Redis answers", found.redis.error is None)
    lags = {event_type: lag for event_type, lag in found.lags.items() if lag is not None}
    yield labelled("stream_lag", "Entries that wait in an incoming stream", "event_type", lags)
    ages = entry_ages(found)
    yield labelled("stream_oldest_entry_seconds", "How long the oldest of them has waited", "event_type", ages)
    yield from _limiter(found.limiter)
    if circuit := found.circuit:
        states = {state.value: float(state is circuit.state) for state in CircuitState}
        yield labelled("circuit_state", "1 at the circuit breaker's present state", "state", states)
        yield gauge("circuit_faults", "Transport faults in a row", circuit.faults)
        opened = CounterMetricFamily(PREFIX + "circuit_opened", "How often it opened", value=circuit.times_opened)
        yield opened
    if found.rows:
        yield gauge("active_positions", "Positions at the exchange", found.rows.active_positions)
        unsettled, incomplete = found.rows.unsettled, found.rows.incomplete.count
        yield gauge("unsettled_orders", "Orders whose outcome is unknown", unsettled.count)
        yield gauge(
            "trades_incomplete", "Trades of the last day whose net has a part without a known value", incomplete
        )
        yield gauge("unsettled_oldest_seconds", "Age of the oldest of them", age_seconds(found, unsettled.since) or 0)
        alarms = Counter(row.reason_code for row in found.rows.alarms)
        yield labelled("terms_alarms", "Alarms about contracts and the account's settings", "code", alarms)
        yield from _refused(found.rows.refused, found)
        aside = Counter(row.table for row in found.rows.set_aside)
        yield labelled("quarantined_rows", "Stored rows that cannot be used as they are", "table", aside)
    if monitor := heartbeat(found, MONITOR):
        yield gauge("monitor_age_seconds", "Since the last monitor cycle", age_seconds(found, monitor.at))
        yield gauge("monitor_cycle_seconds", "The last cycle's length", monitor.details.get("duration_seconds"))
        yield gauge("monitor_healthy", "Whether that cycle could read the exchange", monitor.healthy)
        repairs = monitor.details.get("repairs", {})
        yield labelled("monitor_repairs", "What the last cycle repaired, by kind", "kind", repairs)
    if protector := heartbeat(found, PROTECTOR):
        yield gauge("protector_age_seconds", "Since the protector's last run", age_seconds(found, protector.at))
    yield from _user_stream(found)
    marks = heartbeat(found, MARK_STREAM)
    age = age_seconds(found, marks.at) if marks else None
    yield gauge("mark_price_age_seconds", "Since the stream of mark prices last sent them", age)
    if policy := heartbeat(found, POLICY):
        yield gauge("policy_age_seconds", "Since the policy's source last answered", policy_age(found))
        yield gauge("policy_unanswered", "Successive questions to it without an answer", policy.details["unanswered"])
        yield gauge("policy_refused", "Its values that are out of bounds", len(policy.details["refused"]))
    if found.rows:
        loosened = len(found.rows.policy_alarms)
        yield gauge("policy_alarms", "Policy values loosened or refused within the last hour, at most 5", loosened)
    if found.rows and (ess := found.rows.ess):
        yield gauge("ess_permitted", "Whether the emergency stop lets entries pass", ess.permitted)
        yield gauge("ess_unanswered", "Successive checks of it without an answer", ess.unanswered)
        yield gauge("ess_age_seconds", "Since its state was last reported", age_seconds(found, ess.observed_at))
        failures = CounterMetricFamily(PREFIX + "ess_failures", "Checks without a usable answer", labels=["kind"])
        for kind, count in ess.failures.items():
            failures.add_metric([kind], count)
        yield failures


def _queues(found: HealthInputs) -> Iterator[Metric]:
    yield labelled("queue_age_seconds", "Since something of a queue was last finished", "queue", queue_ages(found))
    oldest = oldest_decision_age(found) if found.rows else None
    yield gauge("oldest_decision_seconds", "Age of the oldest undecided decision", oldest)


def _oracle(found: HealthInputs) -> Iterator[Metric]:
    if oracle := heartbeat(found, ORACLE):
        standing = Counter(row["kind"] for row in oracle.details.get("suspects", ()) if row.get("stands"))
        kinds = {kind.value: float(standing[kind.value]) for kind in Kind}
        yield labelled("oracle_standing", "Invariants that are broken now", "kind", kinds)
        yield gauge("oracle_age_seconds", "Since the invariants were last checked", age_seconds(found, oracle.at))


def _refused(refused: Iterable[RefusedExit], found: HealthInputs) -> Iterator[Metric]:
    """Return the exits that the exchange keeps refusing, of several of a kind in one symbol the longest."""
    tries: dict[tuple[str, str], float] = {}
    ages: dict[tuple[str, str], float] = {}
    unanswered: dict[tuple[str, str], float] = {}
    for each in refused:
        if not each.answered:
            unanswered[each.symbol, each.what] = each.tries
            continue
        key = (each.symbol, each.what)
        tries[key] = max(tries.get(key, 0), each.tries)
        ages[key] = max(ages.get(key, 0.0), age_seconds(found, each.since) or 0.0)
    yield labelled("refused_exit_tries", "Successive refusals of a position's exit", "symbol what", tries)
    yield labelled("refused_exit_seconds", "Since the first of them", "symbol what", ages)
    yield labelled("unanswered_exits", "Exits of a position whose outcome is unknown", "symbol what", unanswered)


def _user_stream(found: HealthInputs) -> Iterator[Metric]:
    beat = heartbeat(found, USER_STREAM)
    covers = covering(beat, found.now) == "stream"
    yield gauge("user_stream_covers", "Whether the user-data stream reports fills; else polling", covers)
    if beat is None:
        return
    details = beat.details
    for family, name in (
        (CounterMetricFamily(PREFIX + "user_stream_connections", "Connections opened"), "connections"),
        (CounterMetricFamily(PREFIX + "user_stream_silences", "Connections that missed a report"), "silences"),
        (CounterMetricFamily(PREFIX + "user_stream_listen_keys_opened", "Asked for"), "listen_keys_opened"),
        (CounterMetricFamily(PREFIX + "user_stream_listen_keys_renewed", "Renewed"), "listen_keys_renewed"),
        (CounterMetricFamily(PREFIX + "user_stream_margin_calls", "Margin calls"), "margin_calls"),
    ):
        family.add_metric([], details.get(name, 0))
        yield family
    for family, name in (
        (CounterMetricFamily(PREFIX + "user_stream_events", "Events handled", labels=["kind"]), "events"),
        (CounterMetricFamily(PREFIX + "user_stream_unread", "Events not understood", labels=["kind"]), "unread"),
    ):
        for kind, count in details.get(name, {}).items():
            family.add_metric([kind], count)
        yield family
    yield from _user_stream_times(found, details)


def _user_stream_times(found: HealthInputs, details: Mapping[str, Any]) -> Iterator[Metric]:
    def age(moment: str) -> float | None:
        return age_seconds(found, datetime.fromisoformat(details[moment])) if details.get(moment) else None

    lags = {each: details[f"lag_ms_{each}"] for each in ("p50", "p99") if details.get(f"lag_ms_{each}") is not None}
    yield labelled("user_stream_lag_ms", "From an event's sending to its handling", "quantile", lags)
    yield gauge("user_stream_connected_seconds", "Age of the connection", age("connected_since"))
    yield gauge("user_stream_socket_sign_age_seconds", "Since its last sign of life", age("last_socket_sign_at"))
    yield gauge("user_stream_event_age_seconds", "Since the last event", age("last_event_at"))
    key_age = details.get("listen_key_age_seconds")
    yield gauge("user_stream_listen_key_age_seconds", "Since the listen key was last confirmed", key_age)


def _limiter(state: LimiterState | None) -> Iterator[Metric]:
    available = state.available if state else None
    yield gauge("rate_limit_available", "Requests to the exchange that may still be sent in this minute", available)
    if state is None:
        return
    counters, holds = state.counters.items(), state.holds.items()
    limits = {counter.value: found.limit for counter, found in counters}
    used = {counter.value: found.used for counter, found in counters}
    yield labelled("rate_limit", "Limit of each counter in its window", "counter", limits)
    yield labelled("rate_limit_used", "Used of it in this window", "counter", used)
    held = {who.value: seconds for who, seconds in holds}
    yield gauge("rate_limit_values_corrected", "Values in Redis that were not ours, since ever", state.corrected)
    yield labelled("rate_limit_held_seconds", "How much longer the exchange rate-limits them", "who", held)
    yield gauge("rate_limit_waiting", "Requests that wait for their turn", state.waiting)
    answers = {(lane.name, "granted"): float(count) for lane, count in state.granted.items()}
    answers |= {(lane.name, "refused"): float(count) for lane, count in state.refused.items()}
    yield counted("rate_limit_turns", "Turns asked for, by lane and outcome", "lane outcome", answers)


def _books(counts: BookCounts, found: HealthInputs) -> Iterator[Metric]:
    uncovered = {symbol: age_seconds(found, since) or 0.0 for symbol, since in counts.uncovered_since.items()}
    yield labelled("uncovered_seconds", "How long a position has had no live stop for all of it", "symbol", uncovered)
    yield labelled("requests", "Decisions by state", "state", counts.requests)
    yield labelled("orders", "Orders by purpose and state", "purpose state", counts.orders)
    yield labelled("trades", "Trades by state", "state", counts.trades)
    yield gauge("unprotected_positions", "Positions without any stop for all of it", counts.unprotected)
    means = "Positions by what protects all of them: venue, software or none"
    yield labelled("positions_protected_by", means, "means", counts.protected_by)
    yield gauge("overdue_stops", "Live stops whose price was passed without a fill", counts.overdue_stops)


def _measured(figures: MeasuredFigures) -> Iterator[Metric]:
    """Return what all processes have measured since the first of them."""
    for family, histogram in (
        (HistogramMetricFamily(PREFIX + "fill_to_stop_seconds", "From the first fill to its stop"), FILL_TO_STOP),
        (HistogramMetricFamily(PREFIX + "uncovered_duration_seconds", "Times without full cover, ended"), UNCOVERED),
        (HistogramMetricFamily(PREFIX + "user_stream_lag_seconds", "From an event's sending to us"), STREAM_LAG),
        (HistogramMetricFamily(PREFIX + "monitor_cycle_duration_seconds", "Lengths of monitor cycles"), CYCLE),
    ):
        buckets, seconds = figures.cumulative(histogram)
        family.add_metric([], buckets=buckets, sum_value=seconds)
        yield family
    repairs = CounterMetricFamily(PREFIX + "repairs", "What monitor and protector repaired, by kind", labels=["kind"])
    for kind, number in figures.kinds(REPAIRS).items():
        repairs.add_metric([kind], number)
    yield repairs
    violations = CounterMetricFamily(PREFIX + "oracle_violations", "Invariants found broken", labels=["kind"])
    broken = figures.kinds(VIOLATIONS)
    # Also those that never were: an alarm needs a figure to watch.
    for violated in Kind:
        violations.add_metric([violated.value], broken.get(violated.value, 0))
    yield violations


def _mail(counts: BookCounts, found: HealthInputs) -> Iterator[Metric]:
    oldest = age_seconds(found, counts.outbox_oldest) or 0
    yield labelled("inbox_events", "Events in, by type and outcome", "event_type outcome", counts.inbox)
    yield CounterMetricFamily(PREFIX + "inbox_duplicates", "Repeated deliveries, not executed", value=counts.duplicates)
    yield CounterMetricFamily(PREFIX + "dead_letters", "Messages that were not understood", value=counts.dead_letters)
    yield counted("webhook_alerts", "Alerts of webhooks, by outcome", "webhook outcome", counts.alerts)
    meaning = "Times that entries of an incoming stream were found to be gone unread"
    yield labelled("stream_losses", meaning, "event_type", counts.losses)
    yield labelled("stream_entries_lost", "How many those were, where it is known", "event_type", counts.lost_entries)
    yield gauge("outbox_unsent", "Events that wait to be sent", counts.outbox_unsent)
    yield gauge("outbox_oldest_unsent_seconds", "Age of the oldest of them", max(oldest, 0))
