"""The steps with the real adapters, called one by one as the tasks call them; every test's way into the service."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from binance.um_futures import UMFutures
from django.db import connection
from redis import Redis

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.clock import ServerClock
from execution.adapters.binance.connector import VenueConnection
from execution.adapters.binance.settings_cache import SettingsCache
from execution.adapters.binance.setup import SetupRules
from execution.adapters.breaker import CircuitBreaker
from execution.adapters.memory import RedisMemory
from execution.adapters.mirror import RedisTradeMirror
from execution.adapters.rate_limit import RateLimiter
from execution.adapters.redis_bus import RedisEventBus
from execution.adapters.risk_safety import HttpRiskSafety
from execution.adapters.stream_names import stream_of
from execution.domain import policy as keys
from execution.domain.external import ExternalPositions
from execution.domain.ports import Exchange, ExchangeUnavailableError, StreamEntry
from execution.domain.rate_limits import Limits
from execution.domain.safety import ANY_SYMBOL
from execution.domain.states import RequestState
from execution.domain.trading import SymbolLists
from execution.models import AuditEvent, ExecutionRequest, Heartbeat, Order, OutboxEvent, Trade
from execution.outbox.relay import send_batch
from execution.pipeline.check_ess import check_ess
from execution.pipeline.guard_safety import guard_safety
from execution.pipeline.place_order import place_order
from execution.pipeline.protect_position import protect_position
from execution.protection.bracket_manager import ProtectionRules
from execution.reconciliation.cycle import CycleResult, run_cycle
from execution.reconciliation.diff import Patience
from execution.reconciliation.repair import Tools
from execution.risk.entry_gate import Stack, renew_lease
from execution.risk.ess import EssRules
from execution.risk.policy_store import set_policy_value
from execution.signals.accept import AI_DECISION, EVENT_TYPES, MANUAL_SIGNAL, accept_entry
from execution.signals.consumer import EventStarters, read_slice
from execution.signals.inbox import IntakeRules
from execution.trades.follow_plan import record_and_follow
from execution.workflow import STEPS
from local_stack.bus import wrapped
from tests.support import decisions
from tests.support.ledger import Ledger
from tests.support.oracle import assert_invariants
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn

RECV_WINDOW_MS = 3000
UNLIMITED = 1_000_000
INTAKE = IntakeRules(signal_max_age=timedelta(seconds=60), ess_trip_hold=timedelta(seconds=900))
PATIENCE = Patience(stalled_after=timedelta(seconds=2))
# A stack that has been running for long, and whose stories need no monitor cycle before their first entry.
STACK = Stack(
    account="a" * 64,
    settings="b" * 64,
    holder="desk",
    started_at=datetime(2020, 1, 1, tzinfo=UTC),
    lease_length=timedelta(days=365),
)
# Prices of the paper exchange at rest: best bid and ask are one tick beside the middle.
BTC, BTC_ASK, BTC_BID = Decimal(50000), Decimal("50000.1"), Decimal("49999.9")
_numbers = count(1)
# What every test takes from here, though it stands where no Django is needed.
decision = decisions.decision


@dataclass
class ShiftedClock:
    """The real clock, ahead by what the test has let pass; once stopped, only what the test lets pass goes by."""

    ahead: timedelta = timedelta(0)
    stopped_at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.stopped_at or datetime.now(UTC)) + self.ahead

    def stop(self) -> None:
        self.stopped_at = datetime.now(UTC)

    def let_pass(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass(kw_only=True)
class Desk:
    """One process's adapters. `another()` is a second process's, with connections of its own."""

    paper: PaperExchange
    risk: RiskSafetyStandIn
    redis: "Redis"
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    fail_mode: Any = "open"
    max_unprotected: timedelta = timedelta(seconds=2)
    timeout_seconds: float = 5.0
    # How long the answer to what protects or closes is waited for; as long as any other without it.
    protective_seconds: float | None = None
    # What the operator demands of the account, as in SetupRules.
    setup: Mapping[str, Any] = field(default_factory=dict)
    stack: Stack = STACK
    lists: SymbolLists = ANY_SYMBOL
    intake: IntakeRules = INTAKE
    external: ExternalPositions = ExternalPositions.IGNORE
    # Whether targets leave beside the stop, as in a running service, or behind it: then a story knows which is first.
    side_by_side: bool = False
    # What the exchange's client counts its ages by.
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._spare: list[Exchange] = []
        # The paper exchange of the tests enforces no limits, and says so in its listing.
        unlimited = Limits(weight=UNLIMITED, orders_10s=UNLIMITED, orders_1m=UNLIMITED)
        self.limiter = RateLimiter(self.redis, per_minute=UNLIMITED, limits=unlimited)
        self.server_clock = ServerClock()
        self.setup_rules = SetupRules(
            cache=SettingsCache(self.redis, account="desk", secret=self.paper.secret), **self.setup
        )
        self.breaker = CircuitBreaker(self.redis, host=urlsplit(self.paper.url).netloc)
        self.exchange = BinanceExchange(
            key=self.paper.key,
            secret=self.paper.secret,
            base_url=self.paper.url,
            timeout_seconds=self.timeout_seconds,
            recv_window_ms=RECV_WINDOW_MS,
            line=VenueConnection(
                limiter=self.limiter,
                breaker=self.breaker,
                clock=self.server_clock,
                protective_seconds=self.protective_seconds,
            ),
            rules=self.setup_rules,
            monotonic=self.monotonic,
        )
        self.risk_safety = HttpRiskSafety(self.risk.url, timeout_seconds=0.5)
        self.bus = RedisEventBus(self.redis, EVENT_TYPES)
        self.mirror = RedisTradeMirror(self.redis)
        self.memory = RedisMemory(self.redis)
        # A person at the same account.
        self.person = self.client(self.paper.key, self.paper.secret)

    def client(self, key: str, secret: str) -> UMFutures:
        """Return the unmodified connector for an account."""
        client = UMFutures(key=key, secret=secret, base_url=self.paper.url, timeout=5)
        client.session.trust_env = False
        return client

    def another(self, *, monotonic: Callable[[], float] = time.monotonic) -> "Desk":
        return Desk(
            paper=self.paper,
            risk=self.risk,
            redis=self.redis,
            clock=self.clock,
            fail_mode=self.fail_mode,
            max_unprotected=self.max_unprotected,
            timeout_seconds=self.timeout_seconds,
            protective_seconds=self.protective_seconds,
            setup=self.setup,
            stack=self.stack,
            lists=self.lists,
            intake=self.intake,
            external=self.external,
            side_by_side=self.side_by_side,
            monotonic=monotonic,
        )

    def start(self) -> None:
        """Take the account, as the first cycle of a stack does when nothing is strange."""
        if not renew_lease(self.stack, reconciled_at=self.clock(), now=self.clock()):
            raise AssertionError("another stack has the account")
        self.memory.mark_intact()

    # Events in

    def decide(self, symbol: str = "BTCUSDT", side: str = "buy", **fields: Any) -> UUID:
        """Take in a decision for 500 USD at market, as the bridge does, and return its request's id."""
        return self._take_in(AI_DECISION, decision(symbol, side, **({"timestamp": self.clock().isoformat()} | fields)))

    def signal(self, symbol: str = "BTCUSDT", side: str = "buy", **fields: Any) -> UUID:
        """Take in a person's order of 0.010; with `price` a LIMIT order."""
        payload = {"symbol": symbol, "side": side, "quantity": "0.010", "request_id": str(uuid4()), "leverage": 5}
        return self._take_in(MANUAL_SIGNAL, payload | fields)

    def publish(self, event_type: str, payload: Mapping[str, Any], *, trace_id: str = "") -> str:
        """Put an event on the real bus in the system's wrapper and return its entry's id."""
        entry = wrapped(event_type, payload, source="test", trace_id=trace_id)
        entry_id: Any = self.redis.xadd(stream_of(event_type), entry)
        return str(entry_id.decode())

    def read_bus(self, *, start: Callable[[UUID], None] | None = None) -> "Started":
        """Read the bus for one slice and return what was started."""
        started = Started()
        starters = EventStarters(
            start_chain=start or started.chains.append,
            apply_policy=started.policies.append,
            work_off_trip=lambda: started.trips.append(True),
        )
        read_slice(self.bus, starters, rules=self.intake, length=timedelta(seconds=0.05), clock=self.clock)
        return started

    # The chain

    def step(self, name: str, request_id: UUID) -> bool:
        """Run one step as its task does; False ends the chain."""
        try:
            return self._steps()[name](request_id)
        except ExchangeUnavailableError:
            return False

    def run(self, request_id: UUID, *, until: str = "") -> RequestState:
        """Run the chain from the request's state on, up to and including the step `until`; return the new state."""
        state = self.request(request_id).state
        for name in STEPS.get(RequestState(state), ()):
            if not self.step(name, request_id) or name == until:
                break
        return RequestState(self.request(request_id).state)

    def outcome(self, request_id: UUID, *, until: str = "") -> tuple[str, str]:
        """Run the chain as `run` does; return the new state with its reason code, which is empty while all is well."""
        state = self.run(request_id, until=until)
        return str(state), str(self.request(request_id).reason_code)

    def trade_opened(self, symbol: str = "BTCUSDT", side: str = "buy", **fields: Any) -> UUID:
        """Carry a decision to its open, protected trade; the arrangement of most stories."""
        request_id = self.decide(symbol, side, **fields)
        state = self.run(request_id)
        if state is not RequestState.RECORDED:
            raise AssertionError(f"not RECORDED but {state}: {self.request(request_id).reason}")
        return request_id

    def _steps(self) -> Mapping[str, Callable[[UUID], bool]]:
        return {
            "check_ess": lambda pk: check_ess(
                pk, risk_safety=self.risk_safety, rules=EssRules(fail_mode=self.fail_mode), clock=self.clock
            ),
            "guard_safety": lambda pk: guard_safety(
                pk,
                exchange=self.exchange,
                stack=self.stack,
                memory=self.memory,
                clock=self.clock,
                lists=self.lists,
            ),
            "place_order": lambda pk: place_order(
                pk, exchange=self.exchange, stack=self.stack, recv_window_ms=RECV_WINDOW_MS, clock=self.clock
            ),
            "protect_position": lambda pk: protect_position(
                pk,
                exchange=self.exchange,
                rules=self._protection(),
                clock=self.clock,
                spare=self._lend if self.side_by_side else None,
            ),
            "record_trade": lambda pk: record_and_follow(
                pk, exchange=self.exchange, rules=self._protection(), clock=self.clock
            ),
        }

    # Monitor and relay

    def tools(self, resume: Callable[[UUID, RequestState], None] | None = None) -> Tools:
        """Return what repairs work with; what they resume runs at once, in this process."""
        return Tools(
            exchange=self.exchange,
            protection=self._protection(),
            stack=self.stack,
            memory=self.memory,
            clock=self.clock,
            resume=resume or (lambda request_id, _state: self._resumed(request_id)),
            external=self.external,
        )

    def cycle(
        self, *, resume: Callable[[UUID, RequestState], None] | None = None, by_beat: bool = False
    ) -> CycleResult:
        """Run one monitor cycle; what it resumes runs at once, in this process. `by_beat`: one of the regular ones."""
        tools = self.tools(resume)
        result = run_cycle(tools, self.mirror, patience=PATIENCE, by_beat=by_beat)
        if result is None:
            raise AssertionError("the monitor could not read the exchange")
        return result

    def relay(self) -> int:
        return send_batch(self.bus, self.mirror, clock=self.clock)

    def close_what_has_no_stop(self) -> None:
        """Let the operator have every position closed whose stop cannot be had, and none held by a software stop."""
        set_policy_value(keys.STOP_UNAVAILABLE, Decimal(0), source="test", now=self.clock())

    # What became of it

    def request(self, request_id: UUID) -> ExecutionRequest:
        return ExecutionRequest.objects.get(pk=request_id)

    def trade(self, request_id: UUID) -> Trade:
        return Trade.objects.get(pk=request_id)

    def order(self, request_id: UUID, purpose: str) -> Order:
        """Return the only order of this purpose."""
        return Order.objects.get(request_id=request_id, purpose=purpose)

    def order_states(self, request_id: UUID, purpose: str) -> list[str]:
        """Return the states of the orders of this purpose, oldest first."""
        orders = Order.objects.filter(request_id=request_id, purpose=purpose).order_by("sequence")
        return list(orders.values_list("state", flat=True))

    def story(self, request_id: UUID) -> list[AuditEvent]:
        """Return the journal of a request, oldest first."""
        return list(AuditEvent.objects.filter(entity="request", entity_id=str(request_id)).order_by("id"))

    def events(self, aggregate: object) -> list[str]:
        """Return the types of an aggregate's events in order, after making sure that their numbers have no gap."""
        rows = list(OutboxEvent.objects.filter(aggregate=str(aggregate)).order_by("id"))
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
        return [row.event_type for row in rows]

    def event(self, aggregate: object, event_type: str) -> dict[str, Any]:
        """Return the payload of the only event of this type."""
        payload: dict[str, Any] = OutboxEvent.objects.get(aggregate=str(aggregate), event_type=event_type).payload
        return payload

    def stream(self, event_type: str) -> list[dict[str, Any]]:
        """Return what stands on the bus for an event type: envelope fields, with the payload parsed."""
        entries: Any = self.redis.xrange(stream_of(event_type))
        found = []
        for _, fields in entries:
            envelope: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
            found.append(envelope | {"payload": json.loads(envelope["payload"])})
        return found

    def told_larger(self) -> dict[str, str]:
        """Return what the last cycle has told health of positions that are larger than their trade."""
        told: dict[str, str] = Heartbeat.objects.get(part="monitor").details["larger"]
        return told

    def mirrored(self, request_id: UUID) -> dict[str, str]:
        """Return the trade's hash in Redis; empty when there is none."""
        fields: Any = self.redis.hgetall(f"trade:{request_id}")
        return {name.decode(): value.decode() for name, value in fields.items()}

    def check(self) -> None:
        """Check every invariant of the oracle."""
        with connection.cursor() as cursor:
            assert_invariants(cursor, self.ledger)

    @property
    def ledger(self) -> Ledger:
        return Ledger.of(self.paper)

    @contextmanager
    def _lend(self) -> Iterator[Exchange]:
        client = self._spare.pop() if self._spare else self.another().exchange
        yield client
        self._spare.append(client)

    def _resumed(self, request_id: UUID) -> None:
        self.run(request_id)

    def _protection(self) -> ProtectionRules:
        return ProtectionRules(max_unprotected=self.max_unprotected, recv_window_ms=RECV_WINDOW_MS)

    def _take_in(self, event_type: str, payload: Mapping[str, Any]) -> UUID:
        now = self.clock()
        accepted = accept_entry(entry(event_type, payload, at=now), rules=INTAKE, now=now)
        if accepted.request_id is None:
            raise AssertionError(f"no request came of {payload}")
        return accepted.request_id


@dataclass
class Started:
    """What a slice of the bridge asked to be done after its commits."""

    chains: list[UUID] = field(default_factory=list)
    policies: list[int] = field(default_factory=list)
    trips: list[bool] = field(default_factory=list)


def entry(event_type: str, payload: Mapping[str, Any], *, at: datetime, trace_id: str = "") -> StreamEntry:
    """Return an event as if it had been put on its stream at that time."""
    fields = wrapped(event_type, payload, source="test", trace_id=trace_id or f"trace-{next(_numbers)}")
    milliseconds = int(at.timestamp() * 1000)
    return StreamEntry(
        stream=stream_of(event_type),
        event_type=event_type,
        entry_id=f"{milliseconds}-{next(_numbers)}",
        fields={str(name).encode(): str(value).encode() for name, value in fields.items()},
    )


def symbols_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(str(row["symbol"]) for row in rows)
