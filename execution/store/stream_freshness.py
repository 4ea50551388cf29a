"""Whether the streams report fills and mark prices just now, so that they need not be read."""

from datetime import datetime, timedelta

from execution.domain.clocks import age_of
from execution.store.heartbeats import last_healthy_heartbeat

USER_STREAM, MARK_STREAM = "user_stream", "mark_stream"
# Each beats every second or two.
FRESH = timedelta(seconds=5)
# Mark prices come every second; one that is older may have been passed unseen.
MARKS_FRESH = timedelta(seconds=3)


def fills_are_streamed(now: datetime) -> bool:
    """Whether the user-data stream reports fills."""
    return _is_fresh(USER_STREAM, FRESH, now)


def fills_streamed_since(now: datetime) -> datetime | None:
    """Return since when one connection of the user-data stream reports fills, None when it does not just now."""
    row = last_healthy_heartbeat(USER_STREAM)
    since = row.details.get("connected_since") if row and abs(age_of(row.at, now)) <= FRESH else None
    return datetime.fromisoformat(since) if since else None


def marks_are_streamed(now: datetime) -> bool:
    """Whether every live stop was compared with a streamed mark price moments ago."""
    return _is_fresh(MARK_STREAM, MARKS_FRESH, now)


def _is_fresh(part: str, most: timedelta, now: datetime) -> bool:
    beat = last_healthy_heartbeat(part)
    return beat is not None and abs(age_of(beat.at, now)) <= most
