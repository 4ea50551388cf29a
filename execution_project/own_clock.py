"""Gives the worker of the stops a clock of its own: what beat sends over the broker does not arrive without a broker.

When Redis is silent, read-only or gone, positions fill all the same. So the worker that consumes `protect` looks every
second whether the stops have been looked after lately, by whomever, and does it when nobody has. At its start it does
it in any case: whoever did it last may have died since, with fills that nobody has covered.
"""

import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps
from celery.concurrency.thread import TaskPool

log = structlog.get_logger(__name__)
QUEUE = "protect"
LOOK_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 8.0


class OwnClock:
    """Calls a function at once and then every second, in a thread of its own; after failures ever later.

    The function is told whether this is the first call, and returns whether it did what others should have done.
    """

    def __init__(self, look: Callable[[bool], bool]) -> None:
        self._look = look
        self._pause = LOOK_SECONDS
        self._alone = False
        self._stopping = threading.Event()

    def step(self, *, at_start: bool = False) -> float:
        """Call the function once and return how long to wait then, in seconds."""
        try:
            alone = self._look(at_start)
        except Exception:
            # As a task that fails: it is logged, and the next one is due soon.
            log.exception("own_clock_failed")
            self._pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pause)
            return self._pause
        if alone and not self._alone:
            log.error("stops_without_broker")
        if self._alone and not alone:
            log.warning("broker_brings_stops_again")
        self._alone, self._pause = alone, LOOK_SECONDS
        return self._pause

    def start(self) -> None:
        threading.Thread(target=self._watch, name="own-clock", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _watch(self) -> None:
        pause = self.step(at_start=True)
        while not self._stopping.wait(pause):
            pause = self.step()


class ClockStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of each worker's start, before the broker is asked for; the worker of the stops has a clock from then on.

    Only in a pool of threads: a process that forks children must not run threads beside.
    """

    requires = ("celery.worker.components:Pool",)
    clock: OwnClock | None = None

    def include_if(self, worker: Any) -> bool:
        return QUEUE in worker.app.amqp.queues.consume_from and issubclass(worker.pool_cls, TaskPool)

    def start(self, worker: Any) -> None:  # noqa: ARG002 -- Celery's signature
        from execution.tasks import cover_without_broker  # noqa: PLC0415 -- Django must be set up first

        self.clock = OwnClock(cover_without_broker)
        self.clock.start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002 -- Celery's signature
        if self.clock is not None:
            self.clock.stop()
