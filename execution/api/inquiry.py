"""Asks a store in a thread of its own, so that a page is answered in time whatever hangs.

A thread cannot be stopped. A question that is not answered in time goes on until its own bound ends it. A caller that
asks meanwhile gets the answer of before while that is fresh, and then an error.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTimeError
from threading import Lock
from typing import Generic, TypeVar

R = TypeVar("R")


class UnansweredError(Exception):
    """A store has not answered in time."""


class Inquiry(Generic[R]):
    """One question at a time. Callers that ask while it is open wait for the same answer.

    Args:
        question: asked in the thread; bounds of its own end it some time.
        seconds: how long an answer is waited for, from when the question was put.
        kept_seconds: how long an answer counts when the next one is late: a machine that is busy is not one that hangs.

    """

    def __init__(self, question: Callable[[], R], *, seconds: float, kept_seconds: float = 0.0) -> None:
        self._question, self._seconds, self._kept_seconds = question, seconds, kept_seconds
        self._lock = Lock()
        # Made when it is needed: a server forks after this module is imported, and threads do not survive that.
        self._thread: ThreadPoolExecutor | None = None
        self._open: tuple[Future[R], float] | None = None
        self._last: tuple[R, float] | None = None

    def ask(self) -> R:
        """Return the answer, or when it is late the last one.

        Raises:
            UnansweredError: there was none in time.
            Exception: whatever the question raised.

        """
        answer, put_at = self.put()
        try:
            return answer.result(max(0.0, put_at + self._seconds - time.monotonic()))
        except NotInTimeError:
            if answer.done():
                # It came in the last moment, or the question has raised this itself.
                return answer.result()
        last = self._last
        if last is not None and time.monotonic() - last[1] <= self._kept_seconds:
            return last[0]
        raise UnansweredError(f"no answer within {self._seconds:g}s")

    def in_its_thread(self, work: Callable[[], object]) -> None:
        """Do something in the thread, behind a question that is open, and wait for it."""
        if self._thread is not None:
            self._thread.submit(work).result()

    def put(self) -> tuple["Future[R]", float]:
        """Put the question unless it is open. Return its future answer, and since when it is open."""
        with self._lock:
            if self._open is None or self._open[0].done():
                self._thread = self._thread or ThreadPoolExecutor(1, "inquiry")
                self._open = (self._thread.submit(self._put), time.monotonic())
            return self._open

    def _put(self) -> R:
        answer = self._question()
        self._last = (answer, time.monotonic())
        return answer
