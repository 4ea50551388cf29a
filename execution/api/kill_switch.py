"""The kill switch over HTTP: moved at once; the answer waits until no entry is on its way any more, for a moment."""

import time
from datetime import datetime
from typing import Any

from execution import tasks
from execution.api.errors import ConflictError
from execution.domain.authorization import Authorization
from execution.domain.states import OrderState
from execution.domain.trading import OrderPurpose
from execution.models import Order
from execution.queries.kill_switch import describe
from execution.risk.kill_switch import KillSwitchError

# An entry whose order left before the switch is answered within milliseconds; a slow exchange is not waited for.
LONGEST_WAIT_SECONDS, PAUSE_SECONDS = 1.2, 0.02


def move_kill_switch(level: str, reason: str, by: str, *, now: datetime) -> dict[str, Any]:
    """Move the switch and return what is in force.

    Raises:
        ConflictError: it cannot be moved so; nothing was changed.

    """
    try:
        tasks.move_kill_switch(level, Authorization(by=by, reason=reason), now=now)
    except KillSwitchError as error:
        raise ConflictError(str(error), reason_code=str(error).partition(":")[0]) from None
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while _entries_on_their_way() and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return describe()


def _entries_on_their_way() -> bool:
    """Whether an entry is being sent: it was written before the switch, and whatever leaves later asks it first."""
    return Order.objects.filter(purpose=OrderPurpose.ENTRY, state=OrderState.SUBMITTING).exists()
