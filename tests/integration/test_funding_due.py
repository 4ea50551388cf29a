"""When a trade's books want a reading of the income: only where funding can be in them, and one reading for many."""

from datetime import UTC, datetime, timedelta

import pytest

from execution.models import Heartbeat, Trade
from execution.store.heartbeats import FUNDING_REPORTED, beat
from execution.trades.funding_due import SHOWN_WITHIN, funding_due
from tests.support import builders

pytestmark = pytest.mark.django_db
# The clocks differ, as two hosts' clocks do.
AHEAD = timedelta(seconds=3)
HOUR = datetime(2026, 3, 2, 16, tzinfo=UTC)
STREAM_SINCE = HOUR - timedelta(days=1)


def at(minutes: float) -> datetime:
    return HOUR + timedelta(minutes=minutes)


def lived(begin: datetime, end: datetime) -> Trade:
    """Return a trade that was entered and has ended at these times of the exchange."""
    trade = builders.trade(entry_at=begin, exit_at=end, created_at=begin - AHEAD)
    trade.request.received_at = begin - AHEAD
    return trade


def due(trade: Trade, *, minutes_later: float = 0, streamed_since: datetime | None = STREAM_SINCE) -> datetime | None:
    present = (trade.exit_at or HOUR) + timedelta(minutes=minutes_later)
    now = present - AHEAD
    if streamed_since is not None:
        beat("user_stream", now=now, details={"connected_since": streamed_since.isoformat()})
    return funding_due(trade, learned_at=now, now=now, present=present)


@pytest.mark.parametrize(
    ("begin", "end"),
    [(1.5, 30), (1.5, 58.5), (61.5, 90)],
    ids=["after the hour", "up to the next", "after the next"],
)
def test_trade_between_two_hours_wants_no_income(begin: float, end: float) -> None:
    assert due(lived(at(begin), at(end))) is None


@pytest.mark.parametrize(
    ("begin", "end"),
    [(-30, 30), (0.5, 30), (-30, -0.5), (-300, 30)],
    ids=["over the hour", "begun just after", "ended just before", "over several"],
)
def test_trade_with_an_hour_in_its_life_wants_income(begin: float, end: float) -> None:
    trade = lived(at(begin), at(end))

    # Ten minutes after the hour no line is missing any more: a reading that began later serves every such trade.
    assert due(trade) == min(at(end), HOUR + SHOWN_WITHIN) - AHEAD
    assert due(trade, minutes_later=60) == HOUR + SHOWN_WITHIN - AHEAD


@pytest.mark.parametrize("since", [None, at(2), at(60)], ids=["no stream", "began in its life", "began after it"])
def test_trade_that_the_stream_has_not_seen_whole_wants_new_income(since: datetime | None) -> None:
    trade = lived(at(1.5), at(30))

    assert due(trade, streamed_since=since) == at(30) - AHEAD


def test_funding_that_the_stream_has_reported_in_its_life_wants_income() -> None:
    trade = lived(at(1.5), at(30))
    beat(FUNDING_REPORTED, now=at(5), details={})
    assert due(trade) == at(5) + SHOWN_WITHIN

    # Reported before its life, it is not its own.
    Heartbeat.objects.filter(part=FUNDING_REPORTED).update(at=at(0))
    assert due(trade) is None
