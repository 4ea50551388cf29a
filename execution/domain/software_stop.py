"""Software stops: the second means of protection, kept while the exchange takes no stop.

The protector compares the mark price with the plan's stop price and closes at market when it is reached. A software
stop never replaces a stop that the exchange takes: the service keeps asking for that one. `domain/overdue.py` decides
whether the price is reached, as for a stop at the exchange, but without its margin and its patience: what is not at the
exchange is overdue as soon as the price is there. Pure.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from execution.domain.clocks import age_of
from execution.domain.money import ZERO
from execution.domain.outcomes import PlaceOutcome, Refused, Unknown
from execution.domain.overdue import OverdueRule
from execution.domain.reasons import Reason

# A mark price that is older may have reached the stop unseen. They come every second, or with each of the protector's
# readings, which it makes every two to three seconds.
WATCHED_WITHIN = timedelta(seconds=5)
# The protector looks every two seconds for what it has to close.
GUARDED_WITHIN = timedelta(seconds=10)
# The stop at the exchange is asked for again after 1, 5, 10 and then every 15 seconds; at once when it took another.
SOON_BESIDE = timedelta(seconds=1)
LONGEST_PAUSE_BESIDE = timedelta(seconds=15)
# While the exchange takes none, one position asks for all: a service that hangs costs each one a time-out.
BETWEEN_PROBES = timedelta(seconds=2)
# One failure is none: the stop is sent again for so long before the second means stands, and a little longer then.
STANDS_AFTER_SECONDS, TRIED_BESIDE_SECONDS = 0.5, 1.0
AT_ONCE = OverdueRule(ticks=ZERO, fraction=ZERO, patience=timedelta(0))
# Refusals that speak of this order or of its position, and not of what the exchange takes at all. Source: Error Code;
# `adapters/binance/outcome_table.py` has the groups.
_OF_THIS_STOP = (
    *(-1013, -1014, -1020, *range(-1136, -1099)),
    *(*range(-4024, -4000), -4062, -4164, -4183, -4184, -4210, -4211),
    *(-2010, -2016, -2018, -2019, -2020, -2021, -2022, -2024, -2026, -2027, -2028),
    *(-4060, -4061, -4104, -4118, -4131, *range(-4144, -4134), -4531),
    *(-5000, -5021, -5022, *range(-5041, -5036)),
)
# -1116: a contract that takes no such order type has none of any price.
OF_THIS_STOP = frozenset(_OF_THIS_STOP) - {-1116}
# The level has passed: what a stop is for has happened.
LEVEL_PASSED = frozenset({-2021, -4142})


class ProtectedBy(StrEnum):
    """What protects a position just now."""

    VENUE = "venue"
    SOFTWARE = "software"
    NONE = "none"


class WithoutStop(IntEnum):
    """What becomes of a position whose stop the exchange does not take within the bound.

    The values are those of the policy key.
    """

    CLOSE = 0
    HOLD_IN_OUTAGE = 1
    HOLD = 2


@dataclass(frozen=True, kw_only=True)
class SoftwareStop:
    """A software stop.

    `seen_at`: when a mark price was last compared with it. `passed_at`: when the price was reached.
    """

    since: datetime
    seen_at: datetime
    passed_at: datetime | None = None

    def flaw(self, *, guarded_at: datetime | None, now: datetime) -> str:
        """Return why it does not protect, or an empty text when it does.

        `guarded_at`: when the protector last looked for what to close.
        """
        if self.passed_at is not None:
            return f"SOFTWARE_STOP reached={self.passed_at.isoformat()}"
        seen = age_of(self.seen_at, now)
        if seen > WATCHED_WITHIN:
            return f"SOFTWARE_STOP unwatched: mark_price_age={seen.total_seconds():.0f}s"
        guarded = None if guarded_at is None else age_of(guarded_at, now)
        # Until the first run after it began, it is as old as itself.
        if age_of(self.since, now) > GUARDED_WITHIN and (guarded is None or guarded > GUARDED_WITHIN):
            age = "never" if guarded is None else f"{guarded.total_seconds():.0f}s"
            return f"SOFTWARE_STOP unguarded: protector_age={age}"
        return ""


def is_outage(outcome: PlaceOutcome | None) -> bool:
    """Whether the exchange takes no such stop for reasons beyond the order and its position.

    No answer, an internal error, a limit of the account, a type that it does not take, a code that is in no table.
    """
    if isinstance(outcome, Unknown):
        return True
    if not isinstance(outcome, Refused) or outcome.by_filters:
        return False
    never_left = outcome.reason is not Reason.EXCHANGE_REJECTED
    return never_left or outcome.retry_safe or outcome.code not in OF_THIS_STOP


def may_hold(outcome: PlaceOutcome | None, wanted: WithoutStop) -> bool:
    """Whether a position whose stop had this outcome is held by a stop of our own, and not closed."""
    if not isinstance(outcome, Refused | Unknown) or wanted is WithoutStop.CLOSE:
        return False
    passed = isinstance(outcome, Refused) and outcome.code in LEVEL_PASSED
    return not passed and (wanted is WithoutStop.HOLD or is_outage(outcome))
