"""The longest time of each hold on sending, and the pauses at which exits probe through it. Pure.

A hold is what an exchange's answer asks of us, kept in Redis for all processes. Both can be wrong: an answer of a proxy
in between, a number that a neighbour wrote. So every hold has a longest time by its kind, and no hold stops exits
without end: one of them goes through at intervals that double. What the exchange serves ends the hold.
"""

from collections.abc import Mapping
from types import MappingProxyType

from execution.domain.outcomes import Waits

# The exchange bans addresses for two minutes up to three days.
LONGEST_BAN_SECONDS = 3 * 86_400.0
# Its windows are a minute long; a longer pause than a few of them is no pause.
LONGEST_PAUSE_SECONDS = 300.0
HOLD_CAPS: Mapping[Waits, float] = MappingProxyType(
    {Waits.EVERYBODY: LONGEST_BAN_SECONDS, Waits.ORDERS: LONGEST_PAUSE_SECONDS, Waits.ENTRIES: 600.0}
)
# Requests during a ban may prolong it: of three days' ban some three hundred probes see nothing but its end.
FIRST_PROBE_SECONDS, LONGEST_PROBE_PAUSE_SECONDS = 15.0, 900.0
MOST_DOUBLINGS = 16


def hold_length(who: Waits, seconds: float) -> float:
    """Return how many seconds such a hold may last, of those asked for. NaN holds nothing."""
    return max(0.0, min(seconds, HOLD_CAPS[who])) if seconds == seconds else 0.0  # noqa: PLR0124 -- NaN is not itself


def probe_pause(probes: int) -> float:
    """Return how many seconds after so many probes of one hold the next may go: 15, 30, 60 ... up to 900."""
    return min(FIRST_PROBE_SECONDS * float(2 ** min(probes, MOST_DOUBLINGS)), LONGEST_PROBE_PAUSE_SECONDS)
