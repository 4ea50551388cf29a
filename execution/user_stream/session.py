"""Keeps one connection of the user-data stream alive and applies its events, step by step.

A connection is replaced when it ends, when its key is gone, when it is silent although orders change, and before the
exchange cuts it at 24 hours. The old one is read until the new one stands. Every new one is followed by a
reconciliation cycle, because the exchange sends no event twice: until that has run, polling covers.
"""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Self, TypeVar

import structlog
from django.db import DataError, InterfaceError, OperationalError, connection

from execution.domain.clocks import Clock
from execution.domain.ports import ExchangeUnavailableError, StreamClosedError, StreamConnection, UserStream
from execution.domain.states import ImpossibleTransitionError
from execution.domain.stream import KeyExpired, MarginCall, StreamNews
from execution.store.contention import is_busy
from execution.user_stream.apply_event import EventHandlers, apply
from execution.user_stream.dispatch import Dispatcher, Starters
from execution.user_stream.listen_key import ListenKey
from execution.user_stream.position_check import PositionCheck
from execution.user_stream.resync import Resync
from execution.user_stream.silence_detector import SilenceDetector
from execution.user_stream.stats import Phase, StreamStats

log = structlog.get_logger(__name__)
A = TypeVar("A")
# A connection that lived this long was a good one: the next failure counts as the first.
STABLE = timedelta(seconds=60)
WAIT_SECONDS, SHORT_WAIT_SECONDS = 0.1, 0.01
MOST_DRAINED = 1000


@dataclass(frozen=True, kw_only=True)
class StreamRules:
    """When keys are renewed and connections replaced, and how retries are spaced."""

    keepalive: timedelta
    renewal: timedelta
    patience: timedelta
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0


@dataclass(kw_only=True)
class Session:
    """One process's connection, used by one thread, with calls to the exchange in a second one."""

    stream: UserStream
    starters: Starters
    rules: StreamRules
    clock: Clock
    _connection: StreamConnection | None = None
    _since: datetime | None = None
    _open_not_before: datetime | None = None
    _failures: int = 0
    # The connection whose long life has excused one failure already.
    _excused: datetime | None = None
    # Why the connection has to be replaced; empty while it is good.
    _replace: str = ""
    _doubted: bool = False
    _all_read: bool = False
    # A call to the exchange; its result takes the answer.
    _call: "Future[Callable[[], None]] | None" = None
    _calls: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def __post_init__(self) -> None:
        self.key = ListenKey(keepalive=self.rules.keepalive)
        self.stats = StreamStats(clock=self.clock)
        self.resync = Resync(run_cycle=self.starters.run_cycle, clock=self.clock)
        self.silence_detector = SilenceDetector(patience=self.rules.patience, clock=self.clock)
        self.handlers = EventHandlers(
            dispatcher=Dispatcher(starters=self.starters, clock=self.clock),
            resync=self.resync,
            silence_detector=self.silence_detector,
            position_check=PositionCheck(clock=self.clock, ask_for_cycle=self.resync.ask),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the connection. The key stays: the next process goes on with it."""
        self._calls.shutdown(wait=True, cancel_futures=True)
        if self._call is not None and self._call.done() and not self._call.cancelled():
            self._finish_call()
        if self._connection is not None:
            self._connection.close()

    @property
    def phase(self) -> Phase:
        if self._connection is None:
            return Phase.CONNECTING
        if not self.resync.is_done:
            return Phase.CATCHING_UP
        return Phase.DOUBTED if self._doubted else Phase.LIVE

    def step(self) -> None:
        """Do what is due and read for a moment.

        Raises:
            DatabaseError: nothing can be stored; the caller lets go of everything and begins anew.

        """
        self._finish_call()
        self._begin_call()
        self._read()
        self.handlers.dispatcher.flush()
        self.handlers.sender_watch.step()
        self.handlers.position_check.step()
        self.resync.step()
        self._doubt_silence()
        self._beat()

    # Calls to the exchange, one at a time beside the reading

    def _begin_call(self) -> None:
        if self._call is not None:
            return
        now = self.clock()
        if self._connection is not None and not self._replace and now - self._opened_at >= self.rules.renewal:
            self._replace = "planned renewal"
        if self._connection is None or self._replace:
            if self._open_not_before is not None and now < self._open_not_before:
                return
            if self.key.is_fresh(now):
                self._submit(self._opened, partial(self.stream.connect, self.key.text))
            else:
                self._submit(self._key_opened, self.stream.open_key)
        elif self.key.wants_renewal(now):
            self.key.note_asking(now)
            self._submit(self._key_renewed, partial(self.stream.renew_key, self.key.text))

    def _submit(self, then: Callable[[A], None], call: Callable[[], A]) -> None:
        def run() -> Callable[[], None]:
            return partial(then, call())

        self._call = self._calls.submit(run)

    def _finish_call(self) -> None:
        if self._call is None or not self._call.done():
            return
        future, self._call = self._call, None
        try:
            take_answer = future.result()
        except (ExchangeUnavailableError, StreamClosedError) as error:
            self._call_failed(str(error))
            return
        take_answer()

    def _key_opened(self, text: str) -> None:
        self.key.confirm(text, self.clock())
        self.stats.keys_opened += 1

    def _key_renewed(self, alive: bool) -> None:  # noqa: FBT001 -- the answer of a call
        if not alive:
            self._lose_key("the exchange knows no living key")
            return
        self.key.confirm(self.key.text, self.clock())
        self.stats.keys_renewed += 1

    def _opened(self, connection: StreamConnection) -> None:
        old, self._connection, self._since = self._connection, connection, self.clock()
        self.stats.connections += 1
        log.info("user_stream_connected", connections=self.stats.connections, because=self._replace or "none was open")
        self._replace = ""
        if old is not None:
            self._drain(old)
        self.silence_detector.begin()
        self.resync.require()

    def _call_failed(self, error: str) -> None:
        """Try again later: a renewal in its own time, anything else after a pause."""
        if self._connection is None or self._replace:
            self._pause(error)
            return
        log.warning("listen_key_not_renewed", error=error)
        self.stats.last_error = error
        if self.key.is_over(self.clock()):
            self._lose_key("not renewed within its hour")

    def _lose_key(self, why: str) -> None:
        self.key.doubt()
        self._replace = why
        # A key that is lost again and again must not have us ask for another one each time.
        self._pause(why)

    # Reading

    @property
    def _opened_at(self) -> datetime:
        return self._since or self.clock()

    def _read(self) -> None:
        seconds = SHORT_WAIT_SECONDS if self._call is not None or self.handlers.dispatcher.is_waiting else WAIT_SECONDS
        if self._connection is None:
            time.sleep(seconds)
            return
        try:
            news = self._connection.receive(within_seconds=seconds)
        except StreamClosedError as error:
            self._connection.close()
            self._connection = None
            self.silence_detector.end()
            self._pause(str(error))
            return
        self._all_read = news is None
        if news is not None:
            self._handle(news)

    def _handle(self, news: StreamNews) -> None:
        try:
            self._apply(news)
        except (ImpossibleTransitionError, DataError) as error:
            self.stats.misread(news.kind, str(error))
            self.resync.ask()
        if isinstance(news, KeyExpired) and news.key in {"", self.key.text}:
            self._lose_key("its hour is over")
        if isinstance(news, MarginCall):
            self.stats.margin_calls += 1
        self._doubted = False
        self.stats.count(news)

    def _apply(self, news: StreamNews) -> None:
        """Apply one event, and once more when its database connection was lost.

        The exchange sends each event once only.

        What meets a row that is held is left to the next reconciliation cycle, so that the events behind it go on.
        """
        try:
            apply(news, self.handlers, now=self.clock())
        except (OperationalError, InterfaceError) as error:
            if isinstance(error, OperationalError) and is_busy(error):
                self.stats.misread(news.kind, str(error))
                self.resync.ask()
                return
            log.warning("stream_applies_again", kind=news.kind, error=type(error).__name__)
            connection.close_if_unusable_or_obsolete()
            apply(news, self.handlers, now=self.clock())

    def _drain(self, old: StreamConnection) -> None:
        """Apply what the replaced connection still holds, and close it."""
        try:
            for _ in range(MOST_DRAINED):
                news = old.receive(within_seconds=SHORT_WAIT_SECONDS)
                if news is None:
                    break
                # The end of its key is why it was replaced.
                if not isinstance(news, KeyExpired):
                    self._handle(news)
        except StreamClosedError as error:
            log.info("user_stream_drained", end=str(error))
        finally:
            old.close()

    def _doubt_silence(self) -> None:
        """Replace a connection that does not report what happens, and have its key asked about anew."""
        # While events wait to be read, the missed one may be among them.
        missed = self.silence_detector.missed() if self._all_read and not self._replace else None
        if missed is None:
            return
        log.error("user_stream_silent", missed=missed, patience_seconds=self.rules.patience.total_seconds())
        self.stats.silences += 1
        self._doubted = True
        self._replace = "silent"
        self.key.doubt()
        self.silence_detector.end()
        self._pause(f"silent: did not report {missed[0]} {missed[1]}")
        self.resync.require()

    def _pause(self, error: str) -> None:
        """Note a failure and when to try again: exponentially later, with jitter against retries in step."""
        now = self.clock()
        good = self._since is not None and self._since != self._excused and now - self._since >= STABLE
        self._excused = self._since
        self._failures = 1 if good else self._failures + 1
        self.stats.last_error = error
        growth = self.rules.first_pause_seconds * 2 ** min(self._failures - 1, 16)
        longest = min(self.rules.longest_pause_seconds, growth)
        # Jitter, not a secret.
        pause = random.uniform(longest / 2, longest)  # noqa: S311
        self._open_not_before = now + timedelta(seconds=pause)
        log.warning("user_stream_lost", error=error, failures=self._failures, again_in_seconds=round(pause, 2))

    def _beat(self) -> None:
        now, connection = self.clock(), self._connection
        self.stats.beat(
            self.phase,
            connected_since=self._since.isoformat() if connection and self._since else None,
            last_socket_sign_at=connection.last_sign_at.isoformat() if connection else None,
            listen_key_age_seconds=self.key.age_seconds(now),
            replacing=self._replace or None,
        )
