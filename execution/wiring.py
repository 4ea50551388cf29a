"""The only place that chooses adapters. All other code takes them as arguments."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from queue import Empty, LifoQueue
from urllib.parse import urlsplit

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.clock import ServerClock
from execution.adapters.binance.connector import VenueConnection
from execution.adapters.binance.mark_stream import BinanceMarkStream
from execution.adapters.binance.settings_cache import SettingsCache
from execution.adapters.binance.setup import SetupRules
from execution.adapters.binance.stream import BinanceUserStream
from execution.adapters.breaker import CircuitBreaker
from execution.adapters.memory import RedisMemory
from execution.adapters.mirror import RedisTradeMirror
from execution.adapters.rate_limit import RateLimiter
from execution.adapters.redis_bus import (
    RedisClient,
    RedisEventBus,
    RedisSilentError,
    Seal,
    plain_entry,
    redis_connection,
    signing_as,
)
from execution.adapters.risk_safety import HttpRiskSafety
from execution.domain.closing import protective_seconds
from execution.domain.external import ExternalPositions
from execution.domain.ports import EventBus, Exchange, MarkStream, Memory, RiskSafety, TradeMirror, UserStream
from execution.domain.rate_limits import Circuit, LimiterState
from execution.domain.signatures import SigningKey, SigningRules
from execution.domain.trading import SymbolLists
from execution.operations.retention import RetentionRules
from execution.protection.bracket_manager import ProtectionRules
from execution.reconciliation.diff import Patience
from execution.reconciliation.enforce_ess_trip import TripAction
from execution.risk.entry_gate import Stack
from execution.risk.ess import EssRules
from execution.signals.accept import EVENT_TYPES
from execution.signals.inbox import IntakeRules
from execution.user_stream.session import StreamRules
from execution_project.addresses import peer_may_be_any_service
from execution_project.env import Mode, environment
from execution_project.waits import (
    HEALTH_REDIS_SECONDS,
    LIMITER_REDIS_SECONDS,
    REDIS_CHECK_SECONDS,
    REDIS_SECONDS,
)

# HTTP sessions are not shared: one client for each thread, made after the fork.
_local = threading.local()
# Clients that no thread uses at the moment, the one used last on top: its connection is the freshest.
_spare: "LifoQueue[Exchange]" = LifoQueue()
# Of this program; the processes of a pool are forked later and inherit it.
STARTED_AT = datetime.now(UTC)
# Settings by which entries are judged, sent and watched: stacks that differ in one must not trade together.
SHARED_SETTINGS = (
    "binance_recv_window_ms",
    "binance_rate_limit_rpm",
    "risk_safety_service_url",
    "ess_silence",
    "ess_trip_hold_seconds",
    "ess_trip_action",
    "signal_max_age_sec",
    "symbols_allowed",
    "symbols_denied",
    "max_unprotected_seconds",
    "position_monitor_interval_sec",
    "external_positions",
    "policy_ceilings",
)
# A cycle may take long; the account's lease must outlast it.
LEASE_INTERVALS, SHORTEST_LEASE = 3, timedelta(seconds=15)


# What Redis is for those who only read it.
__all__ = ["RedisClient", "RedisSilentError"]


def clock() -> datetime:
    return datetime.now(UTC)


def _redis(url: str, seconds: float) -> RedisClient:
    return redis_connection(url, timeout_seconds=seconds, check_seconds=REDIS_CHECK_SECONDS)


@cache
def bus_redis_client() -> RedisClient:
    return _redis(environment().redis_bus, REDIS_SECONDS)


@cache
def state_redis_client() -> RedisClient:
    return _redis(environment().redis_state, REDIS_SECONDS)


@cache
def health_redis_client() -> RedisClient:
    """Return a client with a short time-out, so that the health page never hangs."""
    return _redis(environment().redis_bus, HEALTH_REDIS_SECONDS)


@cache
def limiter_redis_client() -> RedisClient:
    """Return a client with a short time-out, so that an order never waits for a Redis that hangs."""
    return _redis(environment().redis_state, LIMITER_REDIS_SECONDS)


def exchange() -> Exchange:
    client: Exchange | None = getattr(_local, "exchange", None)
    if client is None:
        client = _local.exchange = _new_exchange()
    return client


@contextmanager
def pooled_exchange() -> Iterator[Exchange]:
    """Lend a client to a short-lived thread. The client's connection to the exchange outlives the thread."""
    try:
        client = _spare.get_nowait()
    except Empty:
        client = _new_exchange()
    try:
        yield client
    finally:
        _spare.put(client)


def user_stream() -> UserStream:
    """Return the user-data stream with a client of its own, which the stream's second thread uses alone."""
    env = environment()
    return BinanceUserStream(
        exchange=_new_exchange(),
        stream_url=env.stream_url,
        ping_seconds=env.user_stream_ping_seconds,
        clock=clock,
        peer_rule=env.exchange_peer_rule,
    )


def mark_stream() -> MarkStream:
    """Return the public stream of mark prices."""
    env = environment()
    return BinanceMarkStream(
        stream_url=env.stream_url,
        ping_seconds=env.user_stream_ping_seconds,
        clock=clock,
        peer_rule=env.exchange_peer_rule,
    )


def stream_rules() -> StreamRules:
    env = environment()
    return StreamRules(
        keepalive=timedelta(seconds=env.user_stream_keepalive_seconds),
        renewal=timedelta(seconds=env.user_stream_renewal_seconds),
        patience=timedelta(seconds=env.user_stream_patience_seconds),
    )


def risk_safety() -> RiskSafety:
    client: RiskSafety | None = getattr(_local, "risk_safety", None)
    if client is None:
        client = _local.risk_safety = new_risk_safety()
    return client


def new_risk_safety() -> RiskSafety:
    """Return a new client, for a caller that needs one answer."""
    env = environment()
    return HttpRiskSafety(
        env.risk_safety_url,
        timeout_seconds=env.ess_timeout_seconds,
        peer_rule=peer_may_be_any_service,
        takes_stand_in=env.mode is not Mode.LIVE,
    )


@cache
def event_bus() -> EventBus:
    return RedisEventBus(bus_redis_client(), EVENT_TYPES, seal=own_seal())


def own_seal() -> Seal:
    env = environment()
    secret = env.event_own_key_secret.get_secret_value()
    return signing_as(env.event_own_key_id, secret.encode()) if secret else plain_entry


def producers_bus(key_id: str) -> EventBus:
    """Return a bus that signs with a producer's key, or sends unsigned without a key id.

    Raises:
        KeyError: EVENT_SIGNING_KEYS has no such key.

    """
    seal = (
        signing_as(key_id, environment().event_keys[key_id].secret.get_secret_value().encode())
        if key_id
        else plain_entry
    )
    return RedisEventBus(bus_redis_client(), EVENT_TYPES, seal=seal)


def memory() -> Memory:
    return RedisMemory(state_redis_client())


def trade_mirror() -> TradeMirror:
    return RedisTradeMirror(state_redis_client())


def limiter_state() -> LimiterState:
    return limiter().state()


def intake_rules() -> IntakeRules:
    env = environment()
    return IntakeRules(
        signal_max_age=timedelta(seconds=env.signal_max_age_sec),
        ess_trip_hold=timedelta(seconds=env.ess_trip_hold_seconds),
        signing=signing_rules(),
    )


@cache
def signing_rules() -> SigningRules | None:
    """Return the keys for signed entries of the bus, or None when EVENT_SIGNING_KEYS names no key."""
    env = environment()
    keys = {
        key_id: SigningKey(
            key_id=key_id,
            producer=key.producer,
            secret=key.secret.get_secret_value().encode(),
            streams=key.streams,
        )
        for key_id, key in env.event_keys.items()
    }
    return SigningRules(keys=keys, max_age=timedelta(seconds=env.event_signature_max_age_sec)) if keys else None


def policy_max_age() -> timedelta:
    return timedelta(seconds=environment().policy_refresh_seconds)


def trip_action() -> TripAction:
    return TripAction(environment().ess_trip_action)


def external_positions() -> ExternalPositions:
    return ExternalPositions(environment().external_positions)


def ess_rules() -> EssRules:
    return EssRules(fail_mode=environment().ess_silence)


def symbol_lists() -> SymbolLists:
    env = environment()
    return SymbolLists(allowed=_symbols(env.symbols_allowed), denied=_symbols(env.symbols_denied))


def _symbols(text: str) -> frozenset[str]:
    return frozenset(symbol.strip().upper() for symbol in text.split(",") if symbol.strip())


def retention_rules() -> RetentionRules:
    env = environment()
    return RetentionRules(
        events=_age(env.retention_events_days),
        requests=_age(env.retention_requests_days),
        trades=_age(env.retention_trades_days),
    )


def protection_rules() -> ProtectionRules:
    env = environment()
    return ProtectionRules(
        max_unprotected=timedelta(seconds=env.max_unprotected_seconds), recv_window_ms=env.binance_recv_window_ms
    )


def stack() -> Stack:
    """Return this installation as its exchange account knows it, with fingerprints of key and settings."""
    env = environment()
    shared = {name: str(getattr(env, name)) for name in SHARED_SETTINGS}
    interval = timedelta(seconds=env.position_monitor_interval_sec)
    return Stack(
        account=_fingerprint(env.exchange_url, env.exchange_key),
        settings=_fingerprint(json.dumps(shared, sort_keys=True)),
        holder=socket.gethostname(),
        started_at=STARTED_AT,
        lease_length=max(SHORTEST_LEASE, interval * LEASE_INTERVALS),
    )


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def chain_in_place() -> bool:
    """Return whether a step's successor runs in the same process, instead of going through the broker."""
    return environment().chain_in_place


def shortest_sweep_period() -> timedelta:
    """Return how soon after the last sweep the next may start. A beat may come a little early."""
    return timedelta(seconds=0.75 * environment().position_monitor_interval_sec)


def monitor_silent_after() -> timedelta:
    """Return when the monitor counts as silent: two cycles late.

    Then the protector reads the exchange itself.
    """
    return timedelta(seconds=2 * environment().position_monitor_interval_sec + 2)


def patience() -> Patience:
    """Return how long the chain may take before the monitor resumes a request: half a cycle."""
    return Patience(stalled_after=timedelta(seconds=max(2.0, environment().position_monitor_interval_sec / 2)))


def _age(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None


def limiter() -> RateLimiter:
    return _limiter_on(limiter_redis_client())


@cache
def _limiter_on(redis: RedisClient) -> RateLimiter:
    """Return this process's limiter of the exchange's address, which counts paper, testnet and live apart."""
    env = environment()
    return RateLimiter(redis, per_minute=env.binance_rate_limit_rpm, name=urlsplit(env.exchange_url).netloc)


@cache
def server_clock() -> ServerClock:
    """Return the exchange's clock as this process has measured it."""
    return ServerClock()


def setup_rules() -> SetupRules:
    env = environment()
    return SetupRules(
        cache=SettingsCache(
            limiter_redis_client(),
            account=_fingerprint(env.exchange_url, env.exchange_key)[:16],
            secret=env.exchange_secret,
        ),
        position_mode=env.binance_position_mode,
        margin_type=env.binance_margin_type,
        # The paper exchange and the testnet have no page for it, and nothing to withdraw.
        checks_key=env.binance_key_check and env.mode is Mode.LIVE,
    )


def circuit_state() -> Circuit:
    return breaker().state()


def breaker() -> CircuitBreaker:
    return _breaker_on(limiter_redis_client())


@cache
def _breaker_on(redis: RedisClient) -> CircuitBreaker:
    """Return this process's breaker of the exchange's host, which caches the shared state for moments."""
    return CircuitBreaker(redis, host=urlsplit(environment().exchange_url).netloc)


def _new_exchange() -> BinanceExchange:
    env = environment()
    return BinanceExchange(
        key=env.exchange_key,
        secret=env.exchange_secret,
        base_url=env.exchange_url,
        line=VenueConnection(
            limiter=limiter(),
            breaker=breaker(),
            clock=server_clock(),
            peer_rule=env.exchange_peer_rule,
            protective_seconds=protective_seconds(
                env.binance_timeout_seconds, timedelta(seconds=env.max_unprotected_seconds)
            ),
        ),
        rules=setup_rules(),
        timeout_seconds=env.binance_timeout_seconds,
        recv_window_ms=env.binance_recv_window_ms,
    )
