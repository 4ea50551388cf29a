"""Counts the events of the stream and writes them as a heartbeat, which health and metrics read."""

import os
import socket
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from execution.domain.clocks import Clock
from execution.domain.json_values import JsonObject
from execution.domain.metrics import STREAM_LAG
from execution.domain.stream import News, Unread
from execution.store.heartbeats import beat
from execution.store.metrics import observe

log = structlog.get_logger(__name__)
PART = "user_stream"
BEAT_EVERY = timedelta(seconds=2)
LAGS_KEPT = 512
# Tells the one on duty from the one that stands by.
PROCESS = f"{socket.gethostname()}:{os.getpid()}"


class Phase(StrEnum):
    """How far the stream can be relied upon. The stream covers only when LIVE."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    DOUBTED = "silent, waiting for its first event"
    LIVE = "live"


@dataclass(kw_only=True)
class StreamStats:
    """The figures of one process since it has the duty."""

    clock: Clock
    connections: int = 0
    silences: int = 0
    keys_opened: int = 0
    keys_renewed: int = 0
    margin_calls: int = 0
    last_event_at: datetime | None = None
    last_error: str = ""
    events: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    _lags_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LAGS_KEPT))
    _unwritten_lags: list[float] = field(default_factory=list)
    _beaten: tuple[Phase, datetime] | None = None

    def count(self, news: News) -> None:
        """Count one handled event, with the time from its sending until now."""
        now = self.clock()
        self.events[news.kind] += 1
        self.last_event_at = now
        if news.sent_at is not None:
            # Our clock, when it is behind the exchange's, must not make the average better.
            lag_seconds = max(0.0, (now - news.sent_at).total_seconds())
            self._lags_ms.append(lag_seconds * 1000)
            self._unwritten_lags.append(lag_seconds)
        if isinstance(news, Unread):
            self.misread(news.kind, news.why)

    def misread(self, kind: str, why: str) -> None:
        """Count an event that could not be used, and log the first of its kind."""
        self.unread[kind] += 1
        if self.unread[kind] == 1:
            log.error("stream_event_unread", kind=kind, why=why)

    def beat(self, phase: Phase, **details: object) -> None:
        """Write the heartbeat when it is time, and at once when the phase has changed."""
        now = self.clock()
        if self._beaten is not None and self._beaten[0] is phase and now - self._beaten[1] < BEAT_EVERY:
            return
        self._beaten = (phase, now)
        beat(PART, now=now, healthy=phase is Phase.LIVE, details={**self._figures(phase), **details})
        observe(*((STREAM_LAG, lag_seconds) for lag_seconds in self._unwritten_lags))
        self._unwritten_lags.clear()

    def _figures(self, phase: Phase) -> JsonObject:
        lags = sorted(self._lags_ms)
        return {
            "covering": "stream" if phase is Phase.LIVE else "polling",
            "phase": phase,
            "process": PROCESS,
            "connections": self.connections,
            "silences": self.silences,
            "listen_keys_opened": self.keys_opened,
            "listen_keys_renewed": self.keys_renewed,
            "margin_calls": self.margin_calls,
            "last_event_at": self.last_event_at.isoformat() if self.last_event_at else None,
            "last_error": self.last_error or None,
            "events": dict(self.events),
            "unread": dict(self.unread),
            "lag_ms_last": round(self._lags_ms[-1], 1) if lags else None,
            "lag_ms_p50": round(lags[len(lags) // 2], 1) if lags else None,
            "lag_ms_p99": round(lags[len(lags) * 99 // 100], 1) if lags else None,
        }
