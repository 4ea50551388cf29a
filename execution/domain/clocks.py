"""The clock that callers pass in, and ages under clocks that may be set back."""

from collections.abc import Callable
from datetime import datetime, timedelta

Clock = Callable[[], datetime]
# What lies further in the future than this was noted under a clock that has been set back since.
CLOCKS_DIFFER = timedelta(seconds=60)
LONG_AGO = timedelta(days=1)


def age_of(moment: datetime, now: datetime) -> timedelta:
    """Return how long ago something was noted, or LONG_AGO when a clock was set back in between.

    Otherwise a caller that waits for an age would wait for as long as the clock was set back.
    """
    return LONG_AGO if moment > now + CLOCKS_DIFFER else now - moment
