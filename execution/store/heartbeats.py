"""Says that a periodic part of the service has done its work; health reads it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from execution.models import Heartbeat
from execution.store.contention import apart

MONITOR, BRIDGE, RELAY, USER_STREAM = "monitor", "bridge", "relay", "user_stream"
PROTECTOR = "protector"
TERMS = "terms"
JOURNAL = "journal"
POLICY = "policy"
ORACLE = "oracle"
# What is queued for whom (celeryconfig.py): each has a part of its own that proves that somebody finishes work of it.
QUEUES = ("orders", "monitor", "protect", "bridge")


def queue_part(queue: str) -> str:
    """Return the part that a queue's proof is written under."""
    return f"queue:{queue}"


def beat(part: str, *, now: datetime, details: Mapping[str, Any], healthy: bool = True) -> None:
    """Write one part's last run; a row that another session holds is left as it is, and health sees it grow old."""
    with apart(f"heartbeat {part}"):
        Heartbeat.objects.update_or_create(
            part=part, defaults={"at": now, "healthy": healthy, "details": dict(details)}
        )


def has_beaten(part: str, now: datetime, *, within: timedelta) -> bool:
    """Whether a part has beaten within this time; it has not when its last beat lies in the future."""
    at = Heartbeat.objects.filter(part=part).values_list("at", flat=True).first()
    return at is not None and timedelta(0) <= now - at < within
