"""A connection that waits for no answer without a bound, whatever has become of the server or of the line to it.

`statement_timeout` is the server's promise, and TCP's own time-outs see only a machine that is gone: a server that is
frozen, or a proxy that has lost the other half, keeps both. So the time is kept here, too.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout

from execution_project.waits import database_waits

# PostgreSQL cuts longer names.
LONGEST_NAME = 63
# Names of sessions that we have let go of without a word to the server: they may still hold locks.
_abandoned: set[str] = set()
_bound = threading.local()


class NoAnswerError(psycopg.OperationalError):
    """PostgreSQL has not answered in time; the connection is closed, and what became of the statement is unknown."""


@contextmanager
def answers_within(seconds: float) -> Iterator[None]:
    """Let everything that this thread asks in the block be answered within so many seconds together."""
    before: float | None = getattr(_bound, "until", None)
    until = time.monotonic() + seconds
    _bound.until = until if before is None else min(before, until)
    try:
        yield
    finally:
        _bound.until = before


def seconds_left() -> float | None:
    """Return how long this thread may still wait for PostgreSQL within `answers_within`; None outside of it."""
    until: float | None = getattr(_bound, "until", None)
    return None if until is None else max(0.0, until - time.monotonic())


def session_name(program: str) -> str:
    """Return a name of a session that no other has, by which it can be ended later."""
    return f"{program[: LONGEST_NAME - 13]}-{uuid.uuid4().hex[:12]}"


def take_abandoned() -> list[str]:
    """Return the sessions that this process has given up, once."""
    found = list(_abandoned)
    _abandoned.difference_update(found)
    return found


def give_back(names: list[str]) -> None:
    """Let sessions that could not be ended be tried again with the next connection."""
    _abandoned.update(names)


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's connection; one thread uses it at a time."""

    session = ""
    used_at = 0.0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, within the bound of the process or of the thread, whichever is nearer.

        A wait that is interrupted leaves no connection behind on which a statement still runs.

        Raises:
            NoAnswerError: no answer came; the connection is closed.

        """
        limits = (timeout, seconds_left(), database_waits().answer or None)
        limit = min((each for each in limits if each is not None), default=None)
        try:
            return super().wait(gen, interval, limit)
        except _WaitTimeout:
            self.abandon()
            raise NoAnswerError(f"PostgreSQL has not answered within {limit:.1f}s") from None
        except psycopg.Error:
            raise
        except BaseException:
            # Interrupted, as by a task's time limit: the statement goes on, and nothing else can be asked here.
            self.abandon()
            raise
        finally:
            self.used_at = time.monotonic()

    @property
    def rested_seconds(self) -> float:
        return time.monotonic() - self.used_at

    def abandon(self) -> None:
        """Let go of a connection that does not answer; its session is ended from the next one."""
        if self.session:
            _abandoned.add(self.session)
        self.pgconn.finish()
