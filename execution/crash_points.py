"""Named points between two effects, where a test can end or stop the process.

In a running service nothing watches: passing a point costs one look at an empty list.
"""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class CrashPoint(StrEnum):
    """Each lies right behind the effect that it is named after, and before the next one."""

    # Bridge and REST: the inbox's commit, the chain's enqueue, the acknowledgement
    EVENT_READ = "EVENT_READ"
    EVENT_STORED = "EVENT_STORED"
    EVENT_STARTED = "EVENT_STARTED"
    EVENTS_HANDLED = "EVENTS_HANDLED"
    EVENTS_ACKNOWLEDGED = "EVENTS_ACKNOWLEDGED"
    ORDER_STORED = "ORDER_STORED"
    ORDER_STARTED = "ORDER_STARTED"
    # The checks: what was asked, and the commit of the answer
    ESS_ANSWERED = "ESS_ANSWERED"
    ESS_CLEARED = "ESS_CLEARED"
    ENTRY_JUDGED = "ENTRY_JUDGED"
    ENTRY_APPROVED = "ENTRY_APPROVED"
    LEVERAGE_SET = "LEVERAGE_SET"
    REQUEST_ENDED = "REQUEST_ENDED"
    # Row, call, settle of every purpose
    ENTRY_WRITTEN = "ENTRY_WRITTEN"
    ENTRY_ANSWERED = "ENTRY_ANSWERED"
    ENTRY_SETTLED = "ENTRY_SETTLED"
    STOP_WRITTEN = "STOP_WRITTEN"
    STOP_ANSWERED = "STOP_ANSWERED"
    STOP_SETTLED = "STOP_SETTLED"
    TARGET_WRITTEN = "TARGET_WRITTEN"
    TARGET_ANSWERED = "TARGET_ANSWERED"
    TARGET_SETTLED = "TARGET_SETTLED"
    TRAILING_WRITTEN = "TRAILING_WRITTEN"
    TRAILING_ANSWERED = "TRAILING_ANSWERED"
    TRAILING_SETTLED = "TRAILING_SETTLED"
    CLOSE_WRITTEN = "CLOSE_WRITTEN"
    CLOSE_ANSWERED = "CLOSE_ANSWERED"
    CLOSE_SETTLED = "CLOSE_SETTLED"
    ATTEMPT_WRITTEN = "ATTEMPT_WRITTEN"
    ORDER_SIGNED = "ORDER_SIGNED"
    # Cancelling
    CANCEL_BEGUN = "CANCEL_BEGUN"
    CANCEL_ANSWERED = "CANCEL_ANSWERED"
    CANCEL_SETTLED = "CANCEL_SETTLED"
    # Cover and books
    COVER_CONFIRMED = "COVER_CONFIRMED"
    ENTRY_FILLS_READ = "ENTRY_FILLS_READ"
    TRADE_BOOKED = "TRADE_BOOKED"
    EXIT_FILLS_READ = "EXIT_FILLS_READ"
    EXITS_BOOKED = "EXITS_BOOKED"
    # Relay: publishing, marking as sent, the commit of the marks
    OUTBOX_READ = "OUTBOX_READ"
    OUTBOX_PUBLISHED = "OUTBOX_PUBLISHED"
    OUTBOX_MARKED = "OUTBOX_MARKED"
    OUTBOX_COMMITTED = "OUTBOX_COMMITTED"
    # Monitor
    EXCHANGE_OBSERVED = "EXCHANGE_OBSERVED"
    REPAIR_BEGUN = "REPAIR_BEGUN"
    ORDER_LOOKED_UP = "ORDER_LOOKED_UP"
    REPAIR_DONE = "REPAIR_DONE"
    CYCLE_DONE = "CYCLE_DONE"


Watcher = Callable[[CrashPoint], None]
# POINT, then when it is passed for the how-manieth time, by which signal, and the file that lets it happen once only.
SETTING = re.compile(r"(?P<point>[A-Z_]+)(:(?P<passes>[1-9]\d*)(:(?P<signal>KILL|STOP)(:(?P<mark>.+))?)?)?")
_watchers: list[Watcher] = []


def reached(point: CrashPoint) -> None:
    """Call every watcher of this point. A running service has none."""
    for watch_point in _watchers:
        watch_point(point)


def watch_point(watcher: Watcher) -> Callable[[], None]:
    """Call `watcher` at every point from now on. Returns the function that ends this."""
    _watchers.append(watcher)
    return lambda: _watchers.remove(watcher)


@dataclass(kw_only=True)
class Ambush:
    """Ends or stops its own process at one point.

    `mark` is created first, and when it exists already nothing happens: a process that is started again lives on.
    """

    point: CrashPoint
    passes: int = 1
    by: signal.Signals = signal.SIGKILL
    mark: Path | None = None
    _passed: int = field(default=0, init=False)

    @classmethod
    def parse(cls, setting: str) -> "Ambush":
        """Read `POINT[:PASS[:SIGNAL[:MARK FILE]]]`, for example `ENTRY_WRITTEN:1:KILL:/tmp/died`.

        Raises:
            ValueError: not of this form, or no such point.

        """
        found = SETTING.fullmatch(setting)
        if found is None or found["point"] not in CrashPoint.__members__:
            raise ValueError(f"{setting!r} is not POINT[:PASS[:KILL or STOP[:FILE]]] with a known point")
        return cls(
            point=CrashPoint(found["point"]),
            passes=int(found["passes"] or 1),
            by=signal.Signals[f"SIG{found['signal'] or 'KILL'}"],
            mark=Path(found["mark"]) if found["mark"] else None,
        )

    def __call__(self, point: CrashPoint) -> None:
        if point is not self.point:
            return
        self._passed += 1
        if self._passed == self.passes and self._is_first():
            os.kill(os.getpid(), self.by)

    def _is_first(self) -> bool:
        if self.mark is None:
            return True
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
