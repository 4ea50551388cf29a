"""Notes that the mark price has reached one of our stops or targets: then a position may be gone.

The user-data stream reports the fill. It may be mute, though, and believed: while a level is reached the watchdog of
stops reads the positions.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from execution.domain.trading import OrderPurpose, Side
from execution.store.heartbeats import LEVEL_REACHED, beat, has_beaten
from execution.store.orders import live_levels

# Longer than the pause between two runs of the watchdog, so that one of them sees it.
SEEN_WITHIN = timedelta(seconds=5)


def note_reached_levels(marks: Mapping[str, Decimal], *, now: datetime) -> None:
    """Compare every live stop and target with these mark prices: one statement, and one more when one is reached."""
    levels = live_levels()
    reached = sorted(
        {
            symbol
            for symbol, side, purpose, level in levels
            if symbol in marks and is_reached(side, purpose, level, mark=marks[symbol])
        }
    )
    if reached:
        beat(LEVEL_REACHED, now=now, details={"symbols": reached})


def is_reached(side: str, purpose: str, level: Decimal, *, mark: Decimal) -> bool:
    """Whether a leg of this side executes at this mark price: a selling stop below its level, a target above."""
    below = (side == Side.SELL) == (purpose == OrderPurpose.STOP)
    return mark <= level if below else mark >= level


def level_was_reached(now: datetime) -> bool:
    """Whether a level was reached moments ago."""
    return has_beaten(LEVEL_REACHED, now, within=SEEN_WITHIN)
