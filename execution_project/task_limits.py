"""Keeps the time limit of tasks in a pool of threads, which Celery keeps in a pool of processes only.

A thread cannot be killed. At its limit its task gets the exception that a task of a pool process gets (the limit that
Celery calls soft), as soon as it does anything at all. All that it may wait for is bounded: execution_project/waits.py.
A thread that does nothing for as long as the longest of those waits is stuck where nobody has foreseen it: then the
process ends, as the killed pool process does, and its supervisor starts it again. Its tasks are delivered anew.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from celery import bootsteps
from celery.concurrency.thread import TaskPool
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import task_postrun, task_prerun

log = structlog.get_logger(__name__)
LOOK_SECONDS = 0.5
# From the limit until the process ends: longer than any single wait of a task.
GRACE_SECONDS = 40.0
# Of the process: it could not end a task.
EX_STUCK = 70


@dataclass(kw_only=True)
class _Running:
    task: str
    thread: int
    began: float
    told: bool = False


def end_process() -> None:
    os._exit(EX_STUCK)


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Let a thread of this process raise an exception at its next step.

    It cannot be taken back: CPython 3.11 and 3.12 keep on looking for an exception that is exchanged for none, in every
    thread and for good, and a traced call then never begins.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class TaskLimits:
    """Watches the tasks of this process's threads; `begin` and `end` are called in those threads."""

    def __init__(
        self,
        limit_seconds: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        give_up: Callable[[], None] = end_process,
    ) -> None:
        self._limit = limit_seconds
        self._monotonic = monotonic
        self._give_up = give_up
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="task-limits", daemon=True).start()

    def begin(self, task_id: str, task: str) -> None:
        with self._lock:
            self._running[task_id] = _Running(task=task, thread=threading.get_ident(), began=self._monotonic())

    def end(self, task_id: str) -> None:
        """Forget a task; an exception that reaches its thread only here ends here, and does not meet the next one."""
        try:
            self._forget(task_id)
        except SoftTimeLimitExceeded:
            # It comes once, and may have come before the task was forgotten.
            self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        with self._lock:
            # What `look` has raised under this lock comes with this call at the latest.
            self._running.pop(task_id, None)

    def look(self) -> None:
        """Tell the tasks that are beyond their limit, and end the process when one of them does not hear."""
        now = self._monotonic()
        with self._lock:
            late = [running for running in self._running.values() if now - running.began >= self._limit]
            for running in late:
                if not running.told:
                    running.told = True
                    log.error("task_beyond_its_limit", task=running.task, limit_seconds=self._limit)
                    raise_in(running.thread, SoftTimeLimitExceeded)
            stuck = [running.task for running in late if now - running.began >= self._limit + GRACE_SECONDS]
        if stuck:
            log.critical("task_stuck", tasks=stuck)
            self._give_up()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()


class LimitsStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of each worker's start: in a pool of threads, tasks have their limit from then on."""

    requires = ("celery.worker.components:Pool",)

    def include_if(self, worker: Any) -> bool:
        return issubclass(worker.pool_cls, TaskPool)

    def start(self, worker: Any) -> None:
        limits = TaskLimits(worker.app.conf.task_time_limit)
        task_prerun.connect(lambda task_id, task, **_: limits.begin(task_id, task.name), weak=False)
        task_postrun.connect(lambda task_id, **_: limits.end(task_id), weak=False)
        limits.start()
