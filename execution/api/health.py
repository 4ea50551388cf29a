"""Health over HTTP: measured at most once a second, without a call to the exchange.

It calls no neighbour service either. It answers within a second whatever hangs: what has not answered by then is named
as silent.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from execution import wiring
from execution.api.base import OpenView
from execution.api.errors import logged
from execution.api.inquiry import Inquiry, UnansweredError
from execution.api.permissions import may_see_details
from execution.api.streams import Streams, look_at_streams
from execution.domain.rate_limits import Circuit, LimiterState
from execution.health.condition import judge_health, not_ready
from execution.health.inputs import HealthInputs, Probe, age_seconds, heartbeat, silence, total_lag
from execution.health.inputs import Status as Overall
from execution.queries.health_rows import SLICE_MAX_AGE, HealthRows, covering, health_rows
from execution.risk.entry_gate import is_reconciled, lease_block
from execution.store.heartbeats import BRIDGE, MONITOR, USER_STREAM
from execution_project.postgres.connection import answers_within
from execution_project.waits import HEALTH_DATABASE_SECONDS, HEALTH_KEPT_SECONDS, HEALTH_SECONDS, Kind, kind_held

CACHED_SECONDS = 1
SERVICE = {"service": settings.SERVICE_NAME, "version": settings.SERVICE_VERSION}
# What /health shows without the service key.
WITHOUT_KEY = ("service", "version", "status", "healthy", "running", "timestamp")
R = TypeVar("R")
HEALTH_ANSWERS = {200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT}


class HealthView(OpenView):
    """The whole service with its parts: 200 while it can trade (OK, DEGRADED), else 503.

    Everybody learns whether it is well; symbols, limits, numbers and reasons are for holders of the service key.
    """

    @extend_schema(operation_id="health", responses=HEALTH_ANSWERS)
    def get(self, request: Request) -> Response:
        report = report_of(health_inputs())
        body = report if may_see_details(request) else short(report)
        return _answer(body, healthy=report["healthy"])


class LivenessView(OpenView):
    """Whether this process answers at all. It asks no store."""

    @extend_schema(operation_id="health_live", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:  # noqa: ARG002 -- the framework's signature
        return Response({"status": "ok", **SERVICE})


class ReadinessView(OpenView):
    """Whether requests can be served: stores, migrations, monitor, bridge, and a cycle since the start."""

    @extend_schema(operation_id="health_ready", responses=HEALTH_ANSWERS)
    def get(self, request: Request) -> Response:
        reasons = not_ready(health_inputs())
        ready = not reasons
        body = {"status": "ready" if ready else "not_ready", **SERVICE, "healthy": ready}
        return _answer(body | ({"reasons": reasons} if may_see_details(request) else {}), healthy=ready)


def health_inputs() -> HealthInputs:
    """Return what was measured within the last second, or measure."""
    found: HealthInputs | None = cache.get("health_inputs")
    if found is None:
        found = measure()
        cache.set("health_inputs", found, CACHED_SECONDS)
    return found


# The body of /health, by its fields.
HealthReport = dict[str, Any]
NO_STREAMS = Streams(queues={}, broken={})


@dataclass(frozen=True, kw_only=True)
class DatabaseAnswer:
    """What PostgreSQL has answered."""

    probe: Probe
    rows: HealthRows | None
    migrated: bool = False


@dataclass(frozen=True, kw_only=True)
class RedisAnswer:
    """What Redis has answered."""

    probe: Probe
    streams: Streams = NO_STREAMS
    limiter: LimiterState | None = None
    circuit: Circuit | None = None


def measure() -> HealthInputs:
    """Ask both stores at the same time, and take the answers that come within a second."""
    now, env, stack = timezone.now(), settings.ENV, wiring.stack()
    database, redis = _read_stores()
    rows, queues = database.rows, redis.streams.queues
    return HealthInputs(
        now=now,
        database=database.probe,
        redis=redis.probe,
        rows=rows,
        lags={name: queue.lag for name, queue in queues.items()},
        oldest_entries={name: queue.oldest_at for name, queue in queues.items() if queue.oldest_at},
        broken_streams=redis.streams.broken,
        limiter=redis.limiter,
        circuit=redis.circuit,
        rpm_limit=env.binance_rate_limit_rpm,
        monitor_interval=timedelta(seconds=env.position_monitor_interval_sec),
        ess_fail_mode=env.ess_silence,
        lease_block=lease_block(rows.lease, stack, now=now) if rows else None,
        reconciled=rows is not None and is_reconciled(rows.lease, stack, now=now),
        migrated=database.migrated,
    )


def _read_stores() -> tuple[DatabaseAnswer, RedisAnswer]:
    """Return what both stores answer. A web process asks each in a thread of its own."""
    if kind_held() is not Kind.WEB:
        return _ask_database(), _ask_redis()
    # Redis is asked meanwhile.
    DATABASE.put()
    redis = _in_time(REDIS, RedisAnswer)
    return _in_time(DATABASE, lambda probe: DatabaseAnswer(probe=probe, rows=None)), redis


def _in_time(inquiry: Inquiry[R], without: Callable[..., R]) -> R:
    try:
        return inquiry.ask()
    except UnansweredError as error:
        return without(probe=Probe(error=str(error)))


def _ask_database() -> DatabaseAnswer:
    now, account = timezone.now(), wiring.stack().account
    probe, rows = _probe(lambda: _rows_in_time(now, account=account))
    return DatabaseAnswer(probe=probe, rows=rows, migrated=rows is not None and _migrated())


def _ask_redis() -> RedisAnswer:
    probe, streams = _probe(lambda: look_at_streams(wiring.health_redis_client()))
    # One silence of Redis is enough to wait for.
    if streams is None:
        return RedisAnswer(probe=probe)
    limiter, circuit = _probe(wiring.limiter_state)[1], _probe(wiring.circuit_state)[1]
    return RedisAnswer(probe=probe, streams=streams, limiter=limiter, circuit=circuit)


def _ask_database_apart() -> DatabaseAnswer:
    # No request of Django's begins and ends in this thread, which would look after its connection.
    connection.close_if_unusable_or_obsolete()
    return _ask_database()


DATABASE = Inquiry(_ask_database_apart, seconds=HEALTH_SECONDS, kept_seconds=HEALTH_KEPT_SECONDS)
REDIS = Inquiry(_ask_redis, seconds=HEALTH_SECONDS, kept_seconds=HEALTH_KEPT_SECONDS)


def _rows_in_time(now: datetime, *, account: str) -> HealthRows:
    """Read within health's own bound, so that a frozen database is reported and not waited for."""
    with answers_within(HEALTH_DATABASE_SECONDS):
        return health_rows(now, account=account)


def report_of(found: HealthInputs) -> HealthReport:
    """Return the body of /health: the shape that the system's own health service knows, and more."""
    condition, rows = judge_health(found), found.rows
    monitor = heartbeat(found, MONITOR)
    return {
        **SERVICE,
        "status": condition.status,
        "healthy": condition.healthy,
        "running": condition.status is not Overall.STARTING,
        "mode": settings.ENV.mode,
        "reasons": condition.reasons,
        "components": {name: part.as_json() for name, part in condition.components.items()},
        "covering": covering(heartbeat(found, USER_STREAM), found.now),
        "active_positions": rows.active_positions if rows else None,
        "orders_last_minute": rows.orders_last_minute if rows else None,
        "consumer_started": silence(found, BRIDGE, SLICE_MAX_AGE) is None,
        "consumer_lag": total_lag(found),
        "consumer_lag_by_stream": found.lags,
        "last_event_age_sec": age_seconds(found, rows.last_event_at if rows else None),
        "monitor_last_run_age_sec": age_seconds(found, monitor.at if monitor else None),
        "timestamp": found.now.isoformat(),
    }


def short(report: HealthReport) -> dict[str, object]:
    """Return what callers without the service key may know: the verdict, and which parts are healthy."""
    parts = {name: {"healthy": part["healthy"]} for name, part in report["components"].items()}
    return {name: report[name] for name in WITHOUT_KEY} | {"components": parts}


def _probe(question: Callable[[], R]) -> tuple[Probe, R | None]:
    """Ask a store, and take its silence for an answer too."""
    started = time.perf_counter()
    try:
        answer = question()
    except (DatabaseError, InterfaceError, wiring.RedisSilentError) as error:
        # The first line only, without addresses: health is open to everybody.
        return Probe(error=type(error).__name__), None
    return Probe(latency_ms=round((time.perf_counter() - started) * 1000, 3)), answer


def _migrated() -> bool:
    """Return whether every migration is applied. Once true it stays true for this process."""
    if cache.get("migrated"):
        return True
    executor = MigrationExecutor(connection)
    migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    if migrated:
        cache.set("migrated", True, None)
    return migrated


def _answer(body: dict[str, object], *, healthy: bool) -> Response:
    response = Response(body, status=status.HTTP_200_OK if healthy else status.HTTP_503_SERVICE_UNAVAILABLE)
    return logged(response)
