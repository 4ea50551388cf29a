"""Crash points are silent in a running service, and hit exactly where and when a test says."""

import os
import signal
from pathlib import Path

import pytest

from execution import crash_points
from execution.crash_points import Ambush, CrashPoint, reached, watch_point


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def test_nobody_listens_in_a_running_service() -> None:
    assert crash_points._watchers == []


def test_a_watcher_sees_every_point_until_it_ends() -> None:
    seen: list[CrashPoint] = []
    end = watch_point(seen.append)
    reached(CrashPoint.ENTRY_WRITTEN)
    end()
    reached(CrashPoint.ENTRY_ANSWERED)

    assert seen == [CrashPoint.ENTRY_WRITTEN]


def test_it_hits_at_its_point_on_its_pass(signals: list[tuple[int, int]]) -> None:
    ambush = Ambush.parse("STOP_ANSWERED:2")

    for point in (CrashPoint.STOP_ANSWERED, CrashPoint.STOP_WRITTEN):
        ambush(point)
    assert signals == []
    for _ in range(2):
        ambush(CrashPoint.STOP_ANSWERED)

    # It should have hit on the second pass, and not again on the third.
    assert signals == [(os.getpid(), signal.SIGKILL)]


def test_with_a_mark_it_hits_in_one_process_only(signals: list[tuple[int, int]], tmp_path: Path) -> None:
    setting = f"ENTRY_WRITTEN:1:STOP:{tmp_path}/mark"

    for ambush in (Ambush.parse(setting), Ambush.parse(setting)):
        ambush(CrashPoint.ENTRY_WRITTEN)

    assert signals == [(os.getpid(), signal.SIGSTOP)]
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "setting", ["NOWHERE", "ENTRY_WRITTEN:0", "ENTRY_WRITTEN:1:TERM", "entry_written", "ENTRY_WRITTEN:1:KILL:", ""]
)
def test_what_is_not_a_point_refuses_to_start(setting: str) -> None:
    with pytest.raises(ValueError, match="with a known point"):
        Ambush.parse(setting)
