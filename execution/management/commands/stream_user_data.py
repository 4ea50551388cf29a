"""Reads the exchange's user-data stream until it is stopped.

One process at a time reads it, any further one stands by.
"""

import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import structlog
from django.db import DatabaseError, InterfaceError, connection

from execution import wiring
from execution.management.commands.check_exchange import log_setup_problems
from execution.management.terminal import TerminalCommand
from execution.operations.single_flight import Duty, single_flight
from execution.user_stream.mark_prices import MarkWatch, watch_marks
from execution.user_stream.session import Session
from execution.workflow import protector_caller, stream_starters
from execution_project.start_checks import refuse_unsafe_start
from execution_project.waits import Kind, hold

log = structlog.get_logger(__name__)
STAND_BY_SECONDS = 0.5
DATABASE_SECONDS = 1.0
ALIVE_SECONDS = 2.0
# It looks up from its reading every half second.
MARKS_END_SECONDS = 2.0


class Command(TerminalCommand):
    """`manage.py stream_user_data`: what the supervisor runs beside the workers."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--alive-file", type=Path, help="touched every two seconds, standing by too")

    def handle(self, *_: object, alive_file: Path | None, **__: object) -> None:
        self._alive_file, self._touched = alive_file, -ALIVE_SECONDS
        self._stopping = Event()
        hold(Kind.STREAM)
        refuse_unsafe_start()
        connection.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        if wiring.setup_rules().checks_key:
            # Beside the stream, which must not wait for it: this process alone runs from the start, and once.
            Thread(target=lambda: log_setup_problems(wiring.exchange()), daemon=True).start()
        stood_by = False
        while self._goes_on():
            try:
                had_duty = self._take_duty()
            except (DatabaseError, InterfaceError) as error:
                # The lock is gone with its session, and what was reported meanwhile is not stored: begin anew.
                log.warning("user_stream_lost_database", error=type(error).__name__)
                connection.close()
                self._stopping.wait(DATABASE_SECONDS)
                continue
            if not had_duty and not stood_by:
                log.info("user_stream_stands_by")
            stood_by = not had_duty
            self._stopping.wait(STAND_BY_SECONDS)

    def _take_duty(self) -> bool:
        """Watch the stream while this process has the duty. False when another process has it."""
        with single_flight(Duty.STREAM_USER_DATA) as held:
            if held:
                log.info("user_stream_on_duty")
                self._watch()
            return held

    def _watch(self) -> None:
        session = Session(
            stream=wiring.user_stream(),
            starters=stream_starters(),
            rules=wiring.stream_rules(),
            clock=wiring.clock,
        )
        # The duty is a lock of this session of the database: with another one another process may have it by now.
        duty_of = connection.connection
        with session, self._marks_watched():
            while self._goes_on() and connection.connection is duty_of:
                session.step()

    @contextmanager
    def _marks_watched(self) -> Iterator[None]:
        """Compare stops with mark prices beside the stream, while this process has the duty."""
        ends = Event()
        thread = Thread(target=watch_marks, args=(self._mark_watch, ends), name="mark prices", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join(MARKS_END_SECONDS)

    def _mark_watch(self) -> MarkWatch:
        return MarkWatch(stream=wiring.mark_stream(), call_protector=protector_caller(), clock=wiring.clock)

    def _goes_on(self) -> bool:
        """Whether no stop was asked for. Touches the alive file on the way."""
        now = time.monotonic()
        if self._alive_file is not None and now - self._touched >= ALIVE_SECONDS:
            self._alive_file.touch()
            self._touched = now
        return not self._stopping.is_set()
