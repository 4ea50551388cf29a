"""The service's figures in the text format of Prometheus, collected anew whenever they are asked for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from rest_framework.request import Request

from execution.api.base import JsonView
from execution.api.condition import Vitals, age_seconds, heartbeat, judge
from execution.api.health import vitals
from execution.queries.health import MONITOR
from execution.queries.metrics import BookCounts, book_counts

PREFIX = "execution_"
# One word, or one for each label.
L = TypeVar("L", str, tuple[str, str])


class PrometheusView(JsonView):
    """`GET /metrics`."""

    @extend_schema(operation_id="prometheus", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002 -- the framework's signature
        registry = CollectorRegistry()
        registry.register(ServiceCollector())
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class ServiceCollector(Collector):
    """Collects anew at every call, so that any number of web processes tells the same figures."""

    def collect(self) -> Iterator[Metric]:
        found = vitals()
        yield from _health(found)
        try:
            counts = book_counts()
        except (DatabaseError, InterfaceError):
            yield gauge("database_up", "Whether PostgreSQL answers", 0)
            return
        yield gauge("database_up", "Whether PostgreSQL answers", 1)
        yield from _books(counts)
        yield from _mail(counts, found)

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: otherwise registering would already collect."""
        return ()


def gauge(name: str, meaning: str, value: float | None) -> GaugeMetricFamily:
    """Return one number; an unknown one has a name and no sample."""
    family = GaugeMetricFamily(PREFIX + name, meaning)
    if value is not None:
        family.add_metric([], value)
    return family


def labelled(name: str, meaning: str, labels: str, values: Mapping[L, float]) -> GaugeMetricFamily:
    """Return one number for each combination of words; the labels are divided by a space."""
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=labels.split())
    for words, value in values.items():
        family.add_metric([words] if isinstance(words, str) else words, value)
    return family


def _health(found: Vitals) -> Iterator[Metric]:
    yield gauge("healthy", "Whether GET /health answers 200", judge(found).healthy)
    yield gauge("redis_up", "Whether Redis answers", found.redis.error is None)
    lags = {event_type: lag for event_type, lag in found.lags.items() if lag is not None}
    yield labelled("stream_lag", "Entries that wait in an incoming stream", "event_type", lags)
    yield gauge("rate_limit_available", "Requests to the exchange that may be sent now", found.tokens_available)
    if found.rows:
        yield gauge("active_positions", "Positions at the exchange", found.rows.active_positions)
    if monitor := heartbeat(found, MONITOR):
        yield gauge("monitor_age_seconds", "Since the last monitor cycle", age_seconds(found, monitor.at))
        yield gauge("monitor_cycle_seconds", "The last cycle's length", monitor.details.get("duration_seconds"))
        yield gauge("monitor_healthy", "Whether that cycle could read the exchange", monitor.healthy)
    if found.rows and (ess := found.rows.ess):
        yield gauge("ess_permitted", "Whether the emergency stop lets entries pass", ess.permitted)
        yield gauge("ess_unanswered", "Successive checks of it without an answer", ess.unanswered)


def _books(counts: BookCounts) -> Iterator[Metric]:
    yield labelled("requests", "Decisions by state", "state", counts.requests)
    yield labelled("orders", "Orders by purpose and state", "purpose state", counts.orders)
    yield labelled("trades", "Trades by state", "state", counts.trades)
    yield gauge("unprotected_positions", "Open trades without a live stop at the exchange", counts.unprotected)


def _mail(counts: BookCounts, found: Vitals) -> Iterator[Metric]:
    oldest = age_seconds(found, counts.outbox_oldest) or 0
    yield labelled("inbox_events", "Events in, by type and outcome", "event_type outcome", counts.inbox)
    yield CounterMetricFamily(PREFIX + "inbox_duplicates", "Repeated deliveries, not executed", value=counts.duplicates)
    yield CounterMetricFamily(PREFIX + "dead_letters", "Messages that were not understood", value=counts.dead_letters)
    yield gauge("outbox_unsent", "Events that wait to be sent", counts.outbox_unsent)
    yield gauge("outbox_oldest_unsent_seconds", "Age of the oldest of them", max(oldest, 0))
