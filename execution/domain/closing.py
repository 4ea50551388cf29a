"""When another close may follow an unanswered one, and which errors mean that orders hold it. Pure.

A close only ever reduces: reduce-only in one-way mode, by its position side in hedge mode. The exchange trims or
rejects what is more than the position, so a second close beside a first that arrives late never turns a position round.
That is why an exit does not wait for its answer as an entry does.
"""

from datetime import timedelta

from execution.domain.reasons import CloseReason

# An order that protects or closes waits for its answer for this part of the time that a position may be unprotected.
PROTECTIVE_PART = 4
SHORTEST_PROTECTIVE_SECONDS = 1.0
# When an order without an answer is asked for, in seconds after it was sent.
LOOK_UPS_SECONDS = (0.2, 0.5, 1.0)
FIRST_PAUSE_IN_DOUBT = timedelta(seconds=1)
# Each may be what ends an unprotected position: of a hundred of them, that many orders a minute still fit.
LONGEST_PAUSE_IN_DOUBT = timedelta(seconds=8)
MOST_DOUBLINGS = 3
# While a close makes way for itself, no process puts back what it has cancelled. One that dies meanwhile keeps the
# others from it no longer than this.
MAKES_WAY_FOR = timedelta(seconds=2)
# Closing orders that one run sends one after another while none is answered; the next run goes on.
MOST_CLOSES_IN_A_RUN = 3
# The exchange finds nothing that the order would reduce: the position is out, or other orders reduce it already.
NOTHING_TO_REDUCE = frozenset({-2022, -4118})
# With a position still open: orders that rest hold its quantity, or leave less than the smallest order.
QUANTITY_HELD = frozenset({*NOTHING_TO_REDUCE, -4164})
# With these everything has to go, also what other clients let rest.
CLEARS_ALL = frozenset({CloseReason.KILL_SWITCH, CloseReason.ESS_TRIP})


def protective_seconds(usual: float, bound: timedelta) -> float:
    """Return the time-out in seconds of an order that protects or closes, at most `usual`."""
    return min(usual, max(SHORTEST_PROTECTIVE_SECONDS, bound.total_seconds() / PROTECTIVE_PART))


def pause_in_doubt(unanswered: int) -> timedelta:
    """Return the pause before the next close after so many unanswered ones.

    1, 1, 2, 4, 8, 8 seconds.
    """
    doublings = min(max(unanswered - 2, 0), MOST_DOUBLINGS)
    return min(FIRST_PAUSE_IN_DOUBT * int(2**doublings), LONGEST_PAUSE_IN_DOUBT)
