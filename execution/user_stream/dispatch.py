"""Dispatches work from the stream to the workers by ids.

It starts at once, and a burst for one id is one more start.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import structlog

from execution.domain.clocks import Clock

log = structlog.get_logger(__name__)
# Thirty fills of one order within a moment are covered and booked twice, not thirty times.
GAP = timedelta(milliseconds=100)
BROKER_SILENT_PAUSE = timedelta(seconds=1)


class BrokerSilentError(Exception):
    """The broker did not take a task."""


class DispatchedWork(StrEnum):
    """What the workers can be asked to do."""

    COVER_AND_RECORD = "cover_and_record"
    COVER = "cover"
    BOOK_EXITS = "book_exits"


@dataclass(frozen=True, kw_only=True)
class Starters:
    """The tasks, as functions of an id. Each raises BrokerSilentError when the broker does not take it."""

    cover_and_record: Callable[[UUID], None]
    cover: Callable[[UUID], None]
    book_exits: Callable[[UUID], None]
    run_cycle: Callable[[], None]


@dataclass(kw_only=True)
class Dispatcher:
    """Starts work for an id, and once more when it is asked again within a moment."""

    starters: Starters
    clock: Clock
    _started: dict[tuple[DispatchedWork, UUID], datetime] = field(default_factory=dict)
    _due: dict[tuple[DispatchedWork, UUID], datetime] = field(default_factory=dict)

    def ask(self, work: DispatchedWork, subject: UUID) -> None:
        key, now = (work, subject), self.clock()
        last = self._started.get(key)
        self._due.setdefault(key, now if last is None else max(now, last + GAP))
        self.flush()

    def flush(self) -> None:
        """Start what is due. What the broker does not take stays due."""
        now = self.clock()
        for key, due in list(self._due.items()):
            if due <= now:
                self._start(key, now)
        self._started = {key: at for key, at in self._started.items() if now - at < GAP}

    @property
    def is_waiting(self) -> bool:
        return bool(self._due)

    def _start(self, key: tuple[DispatchedWork, UUID], now: datetime) -> None:
        work, subject = key
        start = {
            DispatchedWork.COVER_AND_RECORD: self.starters.cover_and_record,
            DispatchedWork.COVER: self.starters.cover,
            DispatchedWork.BOOK_EXITS: self.starters.book_exits,
        }[work]
        try:
            start(subject)
        except BrokerSilentError:
            log.warning("stream_cannot_hand_over", work=work, subject=str(subject))
            self._due[key] = now + BROKER_SILENT_PAUSE
            return
        del self._due[key]
        self._started[key] = now
