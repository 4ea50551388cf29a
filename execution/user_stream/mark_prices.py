"""Reads the stream of mark prices and compares every live stop with them.

So a passed stop is known within a second.

It only notes what it reads and calls the protector, which acts. While it is silent the protector reads prices itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event
from typing import Self
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

from execution.domain.clocks import Clock
from execution.domain.ports import MarkConnection, MarkStream, StreamClosedError
from execution.protection.overdue_stops import Noted, note_marks
from execution.protection.reached_levels import note_reached_levels
from execution.store.heartbeats import beat
from execution.store.stream_freshness import MARK_STREAM
from execution.user_stream.dispatch import BrokerSilentError

log = structlog.get_logger(__name__)
WAIT_SECONDS = 0.5
# Prices come every second: a connection without one for so long is replaced.
MOST_SILENT = timedelta(seconds=10)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=0.5), timedelta(seconds=30)
MOST_DOUBLINGS = 8
DATABASE_SECONDS = 1.0


@dataclass(kw_only=True)
class MarkWatch:
    """One process's reading of mark prices, used by one thread."""

    stream: MarkStream
    call_protector: Callable[[], None]
    clock: Clock
    _connection: MarkConnection | None = None
    _heard_at: datetime | None = None
    _open_not_before: datetime | None = None
    _failures: int = 0
    _due_at: datetime | None = None
    # Requests that the protector was called for already: it comes back to them by itself.
    _called_for: frozenset[UUID] = field(default_factory=frozenset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def step(self, stopping: Event) -> None:
        """Connect when it is due, and read for a moment.

        Raises:
            DatabaseError: nothing can be stored; the caller begins anew.

        """
        if self._connection is None and not self._connected():
            stopping.wait(WAIT_SECONDS)
            return
        try:
            self._read()
        except StreamClosedError as error:
            self._lost(str(error))

    def _connected(self) -> bool:
        now = self.clock()
        if self._open_not_before is not None and now < self._open_not_before:
            return False
        try:
            self._connection = self.stream.connect()
        except StreamClosedError as error:
            self._lost(str(error))
            return False
        self._heard_at = now
        log.info("mark_stream_connected")
        return True

    def _read(self) -> None:
        if self._connection is None:
            return
        marks = self._connection.receive(within_seconds=WAIT_SECONDS)
        now = self.clock()
        if marks is not None:
            self._heard_at, self._failures = now, 0
            self._act_on(note_marks(marks, now=now), now)
            note_reached_levels(marks, now=now)
            beat(MARK_STREAM, now=now, healthy=True, details={"symbols": len(marks)})
            return
        if self._due_at is not None and now >= self._due_at:
            self._act_on(note_marks({}, now=now), now)
        if self._heard_at is not None and now - self._heard_at >= MOST_SILENT:
            self._lost(f"silent for {MOST_SILENT.total_seconds():.0f}s")

    def _act_on(self, noted: Noted, now: datetime) -> None:
        self._due_at = None if noted.next_in is None else now + noted.next_in
        overdue = frozenset(noted.overdue)
        if overdue - self._called_for:
            try:
                self.call_protector()
            except BrokerSilentError as error:
                # Beat calls it every two seconds.
                log.warning("protector_not_called", error=str(error))
        self._called_for = overdue

    def _lost(self, error: str) -> None:
        """Let go of the connection and try again later, exponentially later each time."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        pause = min(FIRST_PAUSE * int(2 ** min(self._failures, MOST_DOUBLINGS)), LONGEST_PAUSE)
        self._failures += 1
        self._open_not_before = self.clock() + pause
        log.warning("mark_stream_lost", error=error, failures=self._failures, again_in_seconds=pause.total_seconds())


def watch_marks(new_watch: Callable[[], MarkWatch], stopping: Event) -> None:
    """Read until it is to stop, in a thread of its own, and wait for a database that is away."""
    try:
        while not stopping.is_set():
            try:
                with new_watch() as watch:
                    while not stopping.is_set():
                        watch.step(stopping)
            except (DatabaseError, InterfaceError) as error:
                log.warning("mark_watch_lost_database", error=type(error).__name__)
                connection.close()
                stopping.wait(DATABASE_SECONDS)
    finally:
        connection.close()
