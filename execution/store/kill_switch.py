"""Engagements of the kill switch. `entry_gates.engaged_switch` reads the one in force."""

from datetime import datetime

from django.db import connection

from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import KillSwitch

# One lock for all processes while the switch is moved, so that two operators cannot both find it released.
SWITCH_LOCK = 0x6B696C6C


def lock_kill_switch() -> None:
    """Wait until no other process moves the kill switch, and hold its lock in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SWITCH_LOCK])


def insert_engagement(level: KillLevel, authorization: Authorization, *, now: datetime) -> KillSwitch:
    """Insert an engagement of the kill switch, which is in force with the commit."""
    return KillSwitch.objects.create(
        level=level, reason=authorization.reason, engaged_by=authorization.by, engaged_at=now
    )
