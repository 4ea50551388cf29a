"""Starts tasks behind an answer, in one thread: the broker may hang, and the caller must not."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from execution.signals.accept import AcceptedEvent

log = structlog.get_logger(__name__)
MOST_WAITING = 1000
# After a failure: what comes in the meantime is left to the monitor, which resumes it by its state.
PAUSE_SECONDS = 2.0


class BackgroundStarter:
    """Hands accepted events to `start`, which returns False while the broker takes nothing.

    What cannot be handed on is left: its row is committed, and the monitor resumes it.
    """

    def __init__(
        self, start: Callable[[AcceptedEvent], bool], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._start, self._monotonic = start, monotonic
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._lock = threading.Lock()
        # Made when it is needed: a server forks after this module is imported, and threads do not survive that.
        self._thread: ThreadPoolExecutor | None = None
        self._again_at = 0.0

    def start(self, accepted: AcceptedEvent) -> bool:
        """Queue an event, and return whether there was room."""
        if not self._room.acquire(blocking=False):
            log.warning("alert_left_to_the_monitor", request_id=str(accepted.request_id))
            return False
        with self._lock:
            self._thread = self._thread or ThreadPoolExecutor(1, "starter")
            self._thread.submit(self._run, accepted)
        return True

    def wait(self) -> None:
        """Wait until everything that is queued has been tried."""
        if self._thread is not None:
            self._thread.submit(lambda: None).result()

    def _run(self, accepted: AcceptedEvent) -> None:
        try:
            if self._monotonic() < self._again_at:
                return
            if not self._start(accepted):
                self._again_at = self._monotonic() + PAUSE_SECONDS
        except Exception:
            # Whatever it is, the next alert must not fall with it.
            log.exception("alert_not_started", request_id=str(accepted.request_id))
        finally:
            self._room.release()
