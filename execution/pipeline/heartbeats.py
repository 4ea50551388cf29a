"""Says that a periodic part of the service has done its work; health reads it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from execution.models import Heartbeat


def beat(part: str, *, now: datetime, details: Mapping[str, Any], healthy: bool = True) -> None:
    """Write one part's last run."""
    Heartbeat.objects.update_or_create(part=part, defaults={"at": now, "healthy": healthy, "details": dict(details)})
