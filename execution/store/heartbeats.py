"""Heartbeats: each periodic part of the service records its last run, and health reads it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction

from execution.models import Heartbeat
from execution.store.contention import apart

MONITOR, BRIDGE, RELAY, USER_STREAM = "monitor", "bridge", "relay", "user_stream"
PROTECTOR = "protector"
TERMS = "terms"
JOURNAL = "journal"
POLICY = "policy"
ORACLE = "oracle"
EQUITY = "equity"
# A cycle that reads everything was asked for, and could not run at once.
WHOLE_READING_WANTED = "whole_reading_wanted"
# The mark price has reached a stop or a target.
LEVEL_REACHED = "level_reached"
# The user-data stream has reported that funding was paid.
FUNDING_REPORTED = "funding_reported"
# The queues (celeryconfig.py). Each has a part of its own, which proves that a worker finishes work of it.
QUEUES = ("orders", "monitor", "protect", "bridge")


def queue_part(queue: str) -> str:
    """Return the part that a queue's proof is written under."""
    return f"queue:{queue}"


def beat(part: str, *, now: datetime, details: Mapping[str, object], healthy: bool = True) -> None:
    """Write one part's last run. A row that another session holds stays, and health sees it grow old."""
    with apart(f"heartbeat {part}"), transaction.atomic():
        store_heartbeat(part, healthy=healthy, details=details, now=now)


def has_beaten(part: str, now: datetime, *, within: timedelta) -> bool:
    """Whether a part has beaten within this time.

    It has not when its last beat lies in the future.
    """
    at = Heartbeat.objects.filter(part=part).values_list("at", flat=True).first()
    return at is not None and timedelta(0) <= now - at < within


def last_heartbeat(part: str) -> Heartbeat | None:
    """Return a part's heartbeat, None when it has never run."""
    return Heartbeat.objects.filter(part=part).first()


def last_healthy_heartbeat(part: str, *, since: datetime | None = None) -> Heartbeat | None:
    """Return a part's heartbeat when it is healthy, and not older than `since`."""
    rows = Heartbeat.objects.filter(part=part, healthy=True)
    return (rows if since is None else rows.filter(at__gte=since)).first()


def heartbeat_since(part: str, moment: datetime) -> Heartbeat | None:
    """Return a part's heartbeat when it was written at this moment or later."""
    return Heartbeat.objects.filter(part=part, at__gte=moment).first()


def store_heartbeat(part: str, *, healthy: bool, details: Mapping[str, object], now: datetime) -> None:
    """Write a part's heartbeat in one statement.

    Call it in the transaction that writes what the heartbeat is about.
    """
    row = Heartbeat(part=part, at=now, healthy=healthy, details=dict(details))
    Heartbeat.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["part"], update_fields=["at", "healthy", "details"]
    )
