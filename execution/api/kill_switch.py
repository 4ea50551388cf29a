"""The kill switch over HTTP: moved at once, answered when no entry is being sent any more.

The answer waits for that a moment only.
"""

import time
from datetime import datetime

from execution.api.errors import ConflictError
from execution.domain.authorization import Authorization
from execution.queries.kill_switch import SwitchState, describe, entry_is_being_sent
from execution.risk.kill_switch import KillSwitchError
from execution.workflow import apply_kill_switch

# An entry whose order left before the switch is answered within milliseconds; a slow exchange is not waited for.
LONGEST_WAIT_SECONDS, PAUSE_SECONDS = 1.2, 0.02


def move_kill_switch(level: str, reason: str, by: str, *, now: datetime) -> SwitchState:
    """Move the switch and return what is in force.

    Raises:
        ConflictError: it cannot be moved so; nothing was changed.

    """
    try:
        apply_kill_switch(level, Authorization(by=by, reason=reason), now=now)
    except KillSwitchError as error:
        raise ConflictError(str(error), reason_code=str(error).partition(":")[0]) from None
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while entry_is_being_sent() and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return describe()
