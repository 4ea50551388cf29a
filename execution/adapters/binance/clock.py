"""The exchange's clock as one process has measured it. A request signed with a wrong time is refused."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)
# Quartz drifts by less than a tenth of a second in that time.
MEASURED_SECONDS = 300.0
AGAIN_SECONDS = 5.0
# An answer that took longer is too uncertain. The first one counts in any case.
LONGEST_ROUND_TRIP = 2.0
# An answer that took longer counts, and the clock is measured again soon, because the limiter's windows depend on it.
# Then ever more rarely, because a connection that is that slow stays slow.
QUICK_ROUND_TRIP = 0.1
WORTH_A_LINE_MS = 500.0
# Answers carry the time in a header, to the second: a difference as large as this is a clock that was set.
JUMP_MS = 60_000.0


class ServerClock:
    """Our clock, and how far the exchange's is ahead of it. Shared by the threads of a process."""

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._due_at = 0.0
        self._measured = False
        self._pause = AGAIN_SECONDS
        # By how much the `Date` headers of answers are off, although the clock was measured since.
        self._head_off_ms = 0.0
        self.offset_ms = 0.0
        self.uncertainty_ms = 0.0

    def now_ms(self) -> int:
        return self.at_ms(self._wall())

    def at_ms(self, timestamp: float) -> int:
        """Return a time of our clock (seconds) as the exchange writes it."""
        return int(timestamp * 1000 + self.offset_ms)

    @property
    def is_due(self) -> bool:
        return self._monotonic() >= self._due_at

    def put_off(self) -> None:
        """Let no other thread measure now, nor soon after a failure.

        The old offset is better than another failure.
        """
        self._due_at = self._monotonic() + AGAIN_SECONDS

    def hear(self, header_ms: float) -> None:
        """Note the time of an answer's `Date` header.

        Where a clock was set since, a measurement is due at once. Headers that stay off after that come from another
        machine, and cause no further measurement.
        """
        off = header_ms - self.now_ms()
        if abs(off - self._head_off_ms) > JUMP_MS:
            self._head_off_ms = off
            self._due_at = self._monotonic()

    def ask(self, question: Callable[[], int]) -> bool:
        """Measure by one question. False when the answer took so long that it is too uncertain."""
        began = self._monotonic()
        server_ms = question()
        ended = self._monotonic()
        round_trip = ended - began
        if round_trip > LONGEST_ROUND_TRIP and self._measured:
            return False
        before = self.offset_ms
        # The exchange looked at its clock somewhere between: in the middle, give or take the half.
        self.offset_ms = server_ms - (self._wall() - round_trip / 2) * 1000
        self.uncertainty_ms = round_trip * 500
        self._head_off_ms -= self.offset_ms - before
        self._measured = True
        self._pause = MEASURED_SECONDS if round_trip <= QUICK_ROUND_TRIP else min(MEASURED_SECONDS, self._pause * 2)
        self._due_at = ended + self._pause
        if abs(self.offset_ms - before) > WORTH_A_LINE_MS:
            log.warning("exchange_clock_differs", offset_ms=round(self.offset_ms), was_ms=round(before))
        return True
