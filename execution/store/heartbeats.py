"""Heartbeats: each periodic part of the service records its last run, and health reads it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from execution.models import Heartbeat
from execution.store.contention import apart

MONITOR, BRIDGE, RELAY, USER_STREAM = "monitor", "bridge", "relay", "user_stream"
PROTECTOR = "protector"
TERMS = "terms"
JOURNAL = "journal"
POLICY = "policy"
ORACLE = "oracle"
# The queues (celeryconfig.py). Each has a part of its own, which proves that a worker finishes work of it.
QUEUES = ("orders", "monitor", "protect", "bridge")


def queue_part(queue: str) -> str:
    """Return the part that a queue's proof is written under."""
    return f"queue:{queue}"


def beat(part: str, *, now: datetime, details: Mapping[str, object], healthy: bool = True) -> None:
    """Write one part's last run. A row that another session holds stays, and health sees it grow old."""
    with apart(f"heartbeat {part}"):
        Heartbeat.objects.update_or_create(
            part=part, defaults={"at": now, "healthy": healthy, "details": dict(details)}
        )


def has_beaten(part: str, now: datetime, *, within: timedelta) -> bool:
    """Whether a part has beaten within this time.

    It has not when its last beat lies in the future.
    """
    at = Heartbeat.objects.filter(part=part).values_list("at", flat=True).first()
    return at is not None and timedelta(0) <= now - at < within
