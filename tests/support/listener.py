"""The user-data stream in the test's own process: driven step by step, and what it starts runs at once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.connector import VenueConnection
from execution.adapters.binance.stream import BinanceUserStream
from execution.models import Heartbeat
from execution.reconciliation.repair import Tools, book_reported_exits
from execution.user_stream.dispatch import Starters
from execution.user_stream.session import Session, StreamRules
from execution.user_stream.stats import PART, Phase
from tests.support.desk import RECV_WINDOW_MS, Desk
from tests.support.waiting import eventually

PATIENCE = timedelta(seconds=30)
RULES = StreamRules(
    keepalive=timedelta(minutes=25),
    renewal=timedelta(hours=23),
    patience=PATIENCE,
    first_pause_seconds=0.02,
    longest_pause_seconds=0.2,
)
# By the computer's clock: no test waits for it.
PING_SECONDS = 60.0
# How much a stopped clock goes on with each step. While the stream covers so little that a slow machine is no silence:
# a step without news takes a tenth of a second. Otherwise the pauses between tries have to pass.
STEP_SECONDS, STEP_SECONDS_WITHOUT_COVER = 0.01, 0.25


@dataclass(kw_only=True)
class Listener:
    """A session of the stream beside a desk. `cycles` false: no monitor cycle may help."""

    desk: Desk
    rules: StreamRules = RULES
    cycles: bool = True
    started: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        exchange = BinanceExchange(
            key=self.desk.paper.key,
            secret=self.desk.paper.secret,
            base_url=self.desk.paper.url,
            timeout_seconds=5,
            recv_window_ms=RECV_WINDOW_MS,
            line=VenueConnection(limiter=self.desk.limiter, clock=self.desk.server_clock),
            rules=self.desk.setup_rules,
        )
        stream = BinanceUserStream(
            exchange=exchange, stream_url=self.desk.paper.stream_url, ping_seconds=PING_SECONDS, clock=self.desk.clock
        )
        starters = Starters(
            cover_and_record=self._counted("cover_and_record", self._cover_and_record),
            cover=self._counted("cover", lambda pk: self.desk.step("protect_position", pk)),
            book_exits=self._counted("book_exits", lambda pk: book_reported_exits(pk, self._tools())),
            run_cycle=self._cycle,
        )
        self.session = Session(stream=stream, starters=starters, rules=self.rules, clock=self.desk.clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.__exit__()

    def until(self, probe: Callable[[], Any], *, what: str, within: float = 20.0) -> Any:
        """Step on until it is so."""

        def stepped() -> Any:
            self.step()
            return probe()

        return eventually(stepped, within=within, what=what, every=0)

    def step(self) -> None:
        """Do what is due and read one event; a stopped clock goes on by a step."""
        self.session.step()
        if self.desk.clock.stopped_at:
            live = self.session.phase is Phase.LIVE
            self.desk.clock.let_pass(STEP_SECONDS if live else STEP_SECONDS_WITHOUT_COVER)

    def connect(self) -> Self:
        """Step on until the stream covers; from then on no cycle runs unless the test lets it."""
        self.until(lambda: self.session.phase is Phase.LIVE, what="the stream covers")
        return self

    def hear(self, kind: str, number: int = 1) -> None:
        """Step on until this many more events of a kind were handled."""
        wanted = self.session.stats.events[kind] + number
        self.until(lambda: self.session.stats.events[kind] >= wanted, what=f"{number} {kind}")

    @property
    def told(self) -> dict[str, Any]:
        """What health is told."""
        beat = Heartbeat.objects.get(pk=PART)
        return {"healthy": beat.healthy, **beat.details}

    def _counted(self, name: str, work: Callable[[UUID], Any]) -> Callable[[UUID], None]:
        def start(subject: UUID) -> None:
            self.started[name] += 1
            work(subject)

        return start

    def _cover_and_record(self, request_id: UUID) -> None:
        if self.desk.step("protect_position", request_id):
            self.desk.step("record_trade", request_id)

    def _cycle(self) -> None:
        self.started["cycle"] += 1
        if self.cycles:
            self.desk.cycle()

    def _tools(self) -> Tools:
        return Tools(
            exchange=self.desk.exchange,
            protection=self.desk._protection(),
            stack=self.desk.stack,
            memory=self.desk.memory,
            clock=self.desk.clock,
            resume=lambda request_id, _state: self._resumed(request_id),
        )

    def _resumed(self, request_id: UUID) -> None:
        self.desk.run(request_id)
