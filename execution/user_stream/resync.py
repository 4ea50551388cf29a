"""Closes every gap of the stream with a reconciliation cycle that begins after the gap."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from execution.domain.clocks import Clock
from execution.store.heartbeats import last_healthy_heartbeat
from execution.user_stream.dispatch import BrokerSilentError

log = structlog.get_logger(__name__)
MONITOR = "monitor"
LOOK_EVERY = timedelta(milliseconds=200)
# A cycle that was under way makes the one that we asked for skip, so it is asked for again.
ASK_EVERY = timedelta(seconds=1)


@dataclass(kw_only=True)
class Resync:
    """Knows from when on the books have to be compared, until they have been."""

    run_cycle: Callable[[], None]
    clock: Clock
    since: datetime | None = None
    _looked_at: datetime | None = None
    _asked_at: datetime | None = None

    def require(self) -> None:
        """Ask for a cycle that begins from now on: the exchange may know more than the stream has reported."""
        self.since = self.clock()
        self.ask()

    def ask(self) -> None:
        """Ask for a cycle, at most one a second, without waiting for it."""
        now = self.clock()
        if self._asked_at is not None and now - self._asked_at < ASK_EVERY:
            return
        self._asked_at = now
        try:
            self.run_cycle()
        except BrokerSilentError:
            log.warning("stream_cannot_ask_for_cycle")

    @property
    def is_done(self) -> bool:
        return self.since is None

    def step(self) -> None:
        """Look whether the required cycle has run, and ask again when it has not."""
        now = self.clock()
        if self.since is None or (self._looked_at is not None and now - self._looked_at < LOOK_EVERY):
            return
        self._looked_at = now
        if _cycle_begun_since(self.since):
            log.info("stream_caught_up", seconds=round((now - self.since).total_seconds(), 3))
            self.since = None
            return
        self.ask()


def _cycle_begun_since(moment: datetime) -> bool:
    """Whether a cycle that has read everything began at this moment or later."""
    beat = last_healthy_heartbeat(MONITOR, since=moment)
    whole_at = beat.details.get("orders_read", {}).get("whole_at") if beat else None
    return whole_at is not None and datetime.fromisoformat(whole_at) >= moment
