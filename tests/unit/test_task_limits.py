"""A task of a pool of threads ends at its limit, and a process whose thread hears nothing ends, too."""

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from execution_project.own_clock import LONGEST_PAUSE_SECONDS, LOOK_SECONDS, OwnClock
from execution_project.task_limits import GRACE_SECONDS, TaskLimits, raise_in
from tests.support.waiting import eventually


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Task(threading.Thread):
    """Works until it is told that its time is over."""

    def __init__(self, limits: TaskLimits) -> None:
        super().__init__(daemon=True)
        self._limits = limits
        self.began = threading.Event()
        self.heard = threading.Event()
        self.go_on = threading.Event()

    def run(self) -> None:
        self._limits.begin("1", "a task")
        self.began.set()
        try:
            while not self.go_on.wait(0.001):
                pass
        except SoftTimeLimitExceeded:
            self.heard.set()
        finally:
            self._limits.end("1")


@pytest.fixture
def ends() -> list[str]:
    return []


@pytest.fixture
def untraced() -> Iterator[None]:
    """Measure no lines: in CPython 3.11 no traced call begins while an exception waits for a thread that sleeps."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


def test_a_task_of_a_thread_is_ended_at_its_limit(ends: list[str]) -> None:
    clock = Clock()
    limits = TaskLimits(45, monotonic=clock, give_up=lambda: ends.append("ended"))
    task = Task(limits)
    task.start()
    assert task.began.wait(5)

    clock.now = 44.9
    limits.look()
    assert not task.heard.is_set()
    clock.now = 45
    limits.look()

    # It should end the task, and nothing else.
    assert eventually(task.heard.is_set, within=5, what="the task has heard of its limit")
    task.join(5)
    clock.now += 1000
    limits.look()
    assert ends == []


def test_a_task_that_ends_in_time_is_left_alone(ends: list[str]) -> None:
    clock = Clock()
    limits = TaskLimits(45, monotonic=clock, give_up=lambda: ends.append("ended"))
    task = Task(limits)
    task.start()
    assert task.began.wait(5)
    task.go_on.set()
    task.join(5)

    clock.now = 1000
    limits.look()
    assert not task.heard.is_set()
    assert ends == []


@pytest.mark.usefixtures("untraced")
def test_an_exception_that_comes_late_does_not_leave_the_end_of_its_task() -> None:
    limits = TaskLimits(45)
    seen: list[str] = []

    def ending() -> None:
        limits.begin("1", "a task")
        went.wait(5)
        limits.end("1")
        seen.append("ended")

    went = threading.Event()
    thread = threading.Thread(target=ending, daemon=True)
    thread.start()
    assert thread.ident
    assert eventually(lambda: limits._running, within=5, what="the task has begun")
    with limits._lock:
        went.set()
        at = thread.ident
        assert eventually(lambda: sys._current_frames()[at].f_code.co_name == "_forget", within=5, what="it ends")
        raise_in(at, SoftTimeLimitExceeded)
    thread.join(5)

    assert (seen, limits._running) == (["ended"], {})


TRACED_AFTERWARDS = """
import sys, threading
from celery.exceptions import SoftTimeLimitExceeded
from execution_project.task_limits import TaskLimits

limits, began = TaskLimits(0), threading.Event()

def work():
    limits.begin("1", "a task")
    try:
        began.set()
        while True:
            pass
    except SoftTimeLimitExceeded:
        limits.end("1")

thread = threading.Thread(target=work)
thread.start()
began.wait()
limits.look()
thread.join()
sys.settrace(lambda *_: None)
(lambda: print("called"))()
"""


def test_a_task_that_was_ended_leaves_no_trace_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRACED_AFTERWARDS], capture_output=True, text=True, timeout=60, check=True
    )

    # It should log the task, and still begin a traced call: `make coverage` traces each of them.
    assert done.stdout.splitlines()[-1] == "called"


@pytest.mark.usefixtures("untraced")
def test_a_process_with_a_stuck_task_ends(ends: list[str]) -> None:
    clock = Clock()
    limits = TaskLimits(45, monotonic=clock, give_up=lambda: ends.append("ended"))
    lock, began = threading.Lock(), threading.Event()

    def stuck() -> None:
        limits.begin("1", "a task")
        began.set()
        # A thread that sleeps on a lock hears nothing.
        with suppress(SoftTimeLimitExceeded), lock:
            limits.end("1")

    with lock:
        thread = threading.Thread(target=stuck, daemon=True)
        thread.start()
        assert began.wait(5)
        clock.now = 45 + GRACE_SECONDS - 0.1
        limits.look()
        assert ends == []
        clock.now = 45 + GRACE_SECONDS
        limits.look()
        assert ends == ["ended"]
    thread.join(5)


def test_the_own_clock_looks_at_once_and_then_every_second() -> None:
    told: queue.Queue[bool] = queue.Queue()

    def look(at_start: bool) -> bool:  # noqa: FBT001 -- as the clock calls it
        told.put(at_start)
        return False

    clock = OwnClock(look)
    assert (clock.step(at_start=True), clock.step()) == (LOOK_SECONDS, LOOK_SECONDS)
    assert (told.get_nowait(), told.get_nowait()) == (True, False)
    clock.start()
    assert told.get(timeout=10)
    clock.stop()


def test_the_own_clock_waits_longer_after_each_failure() -> None:
    answers: list[bool | Exception] = [False, True, *(RuntimeError("no database") for _ in range(4)), True, False]

    def look(_: bool) -> bool:  # noqa: FBT001 -- as the clock calls it
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = OwnClock(look)
    assert [clock.step() for _ in range(8)] == [
        LOOK_SECONDS,
        LOOK_SECONDS,
        *(2.0, 4.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
        LOOK_SECONDS,
        LOOK_SECONDS,
    ]
