"""A task of a pool of threads ends at its limit, and a process whose thread hears nothing ends, too."""

import queue
import threading
from contextlib import suppress

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from execution_project.own_clock import LONGEST_PAUSE_SECONDS, LOOK_SECONDS, OwnClock
from execution_project.task_limits import GRACE_SECONDS, TaskLimits
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
