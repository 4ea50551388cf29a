"""What the kill switch says now: for REST, the command line, health and the monitor."""

from typing import Any

from execution.models import KillSwitch

RELEASED = "released"


def describe() -> dict[str, Any]:
    """Return the level in force with its story so far, or that nothing is in force."""
    switch = KillSwitch.objects.filter(released_at=None).first()
    if switch is None:
        return {
            "level": RELEASED,
            "reason": None,
            "by": None,
            "engaged_at": None,
            "completed_at": None,
            "report": {},
        }
    return {
        "level": switch.level,
        "reason": switch.reason,
        "by": switch.engaged_by,
        "engaged_at": switch.engaged_at,
        "completed_at": switch.completed_at,
        "report": switch.report,
    }
