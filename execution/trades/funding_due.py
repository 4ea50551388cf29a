"""Decides whether funding can be in a trade's books, and how new a reading of the income has to be for it.

A list of income costs a weight of 30. The exchange pays funding on the hour, and the user-data stream reports it. So a
trade that began and ended between two hours, with a stream that has covered all of it and reported none, has no
funding; and one reading a while after the last hour serves every trade that closes before the next.
"""

from datetime import UTC, datetime, timedelta

from execution.models import Trade
from execution.store.heartbeats import FUNDING_REPORTED, last_heartbeat
from execution.store.stream_freshness import fills_streamed_since

HOUR = timedelta(hours=1)
# How long before or after its hour the exchange may pay funding, and how long after it the income may lack the line.
PAID_WITHIN, SHOWN_WITHIN = timedelta(minutes=1), timedelta(minutes=10)


def funding_due(trade: Trade, *, learned_at: datetime, now: datetime, present: datetime) -> datetime | None:
    """Return when the reading of income has to have begun, by our clock, None when the trade has no funding.

    Args:
        trade: with its request.
        learned_at: when we learned of what the books are closed for; never is a newer reading needed.
        now: by our clock.
        present: the same moment by the exchange's clock.

    """
    begun_at = min(trade.created_at, trade.request.received_at)
    streamed_since = fills_streamed_since(now)
    if streamed_since is None or streamed_since > begun_at:
        # Nothing says that no funding was paid in between.
        return learned_at
    ended_at = min(present, trade.exit_at or present)
    moments = []
    if (hour := last_hour(ended_at + PAID_WITHIN)) >= trade.entry_at - PAID_WITHIN:
        moments.append(hour + SHOWN_WITHIN + (now - present))
    reported = last_heartbeat(FUNDING_REPORTED)
    if reported and reported.at >= begun_at - PAID_WITHIN:
        moments.append(reported.at + SHOWN_WITHIN)
    return min(learned_at, max(moments)) if moments else None


def last_hour(moment: datetime) -> datetime:
    """Return the last full hour, in UTC, not after this moment."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
