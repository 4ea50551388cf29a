"""Beat keeps its periods when the clock is set."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.beat import PersistentScheduler

from execution_project.celery import app as project
from execution_project.scheduler import SteadyScheduler

PERIOD = 10.0


class Clock:
    """A wall clock that may be set, and a steady one that may not."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.set_by = timedelta(0)

    def monotonic(self) -> float:
        return self.steady

    def now(self) -> datetime:
        return datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=self.steady) + self.set_by

    def time(self) -> float:
        return self.now().timestamp()


class Beat:
    """A scheduler whose clock and broker are the test's."""

    def __init__(self, kind: type[Any], clock: Clock, file: Path) -> None:
        app = Celery("test", broker="memory://", set_as_current=False)
        app.conf.update(timezone="UTC", result_expires=None)
        app.conf.beat_schedule = {
            name: {"task": name, "schedule": PERIOD * factor} for name, factor in (("watch", 1), ("tidy", 2))
        }
        self.sent: Counter[str] = Counter()
        self.clock = clock
        self.scheduler = kind(app, schedule_filename=str(file))
        if isinstance(self.scheduler, SteadyScheduler):
            self.scheduler.wall, self.scheduler.steady = clock.time, clock.monotonic
        self.scheduler.apply_entry = lambda entry, **_: self.sent.update([entry.name])

    def run(self, seconds: int) -> Counter[str]:
        """Tick once a second as beat does, and return what was sent."""
        self.sent = Counter()
        for _ in range(seconds):
            self.clock.steady += 1
            while self.scheduler.tick() == 0:
                pass
        return self.sent

    def close(self) -> None:
        self.scheduler.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    # Of every application: an entry that comes back from the file asks the current one.
    monkeypatch.setattr(Celery, "now", lambda _app: clock.now())
    return clock


@pytest.fixture
def beat(clock: Clock, tmp_path: Path) -> Iterator[Beat]:
    started = Beat(SteadyScheduler, clock, tmp_path / "schedule")
    yield started
    started.close()


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_periods_are_kept_over_a_clock_that_is_set(beat: Beat, hours: int) -> None:
    assert beat.run(100) == {"watch": 10, "tidy": 5}

    beat.clock.set_by += timedelta(hours=hours)

    # It should neither fall silent nor make up for what was never missed.
    found = beat.run(100)
    assert 9 <= found["watch"] <= 11
    assert 4 <= found["tidy"] <= 6


def test_a_clock_that_drifts_changes_nothing(beat: Beat) -> None:
    for _ in range(10):
        beat.clock.set_by += timedelta(seconds=0.05)
        beat.run(10)

    assert beat.run(100)["watch"] == 10


def test_runs_that_were_noted_under_a_later_clock_are_forgotten(clock: Clock, tmp_path: Path) -> None:
    first = Beat(SteadyScheduler, clock, tmp_path / "schedule")
    first.run(30)
    first.close()
    clock.set_by -= timedelta(hours=1)

    again = Beat(SteadyScheduler, clock, tmp_path / "schedule")

    assert again.run(100)["watch"] >= 9
    again.close()


def test_without_it_an_hour_back_is_an_hour_of_silence(clock: Clock, tmp_path: Path) -> None:
    """The fault that it is there for; when this fails, Celery keeps its periods itself."""
    plain = Beat(PersistentScheduler, clock, tmp_path / "schedule")
    plain.run(30)
    clock.set_by -= timedelta(hours=1)

    assert plain.run(100) == {}
    plain.close()


def test_the_service_uses_it() -> None:
    assert project.conf.beat_scheduler == "execution_project.scheduler:SteadyScheduler"
