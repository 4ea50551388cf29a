"""Reads the exchange's lists of the past completely: in windows of less than a week, each by pages.

The exchange answers one week from the start at most, and `limit` rows a page: a short answer to a long question proves
nothing about the rest. Every list of the past is read through here: fills, orders of both services, income, rates.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from execution.adapters.binance.calls import ApiCaller
from execution.adapters.binance.connector import Connector
from execution.adapters.binance.rows import Row
from execution.domain.ports import Lane

log = structlog.get_logger(__name__)
PAGE = 1000
# Every list documents "less than 7 days" between start and end; both ends belong to the window.
WINDOW_MS = 7 * 86_400_000
# Trades and income are kept for three months, orders for 90 days: nothing is asked of what is older.
RETENTION_MS = 90 * 86_400_000
# Our clock and the exchange's may differ by this much between two measurements.
CLOCK_MARGIN = timedelta(minutes=1)
MARGIN_MS = int(CLOCK_MARGIN / timedelta(milliseconds=1))


@dataclass(frozen=True, kw_only=True)
class HistorySource:
    """One list of the past.

    `fetch` requests a page with the parameters that it is given, `identity` and `time` are a row's id and the name of
    its time in ms. `from_id` names the parameter that requests rows from an id on, where there is one: only it leads
    through a millisecond with more rows than a page.
    """

    fetch: Callable[..., Iterable[Row]]
    identity: Callable[[Row], Hashable]
    time: str
    from_id: str = ""
    lane: Lane = Lane.READ


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row with its identity and time in ms."""

    identity: Hashable
    at_ms: int
    row: Row


class History:
    """Walks the lists of the past for one client."""

    def __init__(self, client: Connector, calls: ApiCaller) -> None:
        self._client = client
        self._calls = calls

    def walk(self, source: HistorySource, since: datetime) -> Iterator[Row]:
        """Yield every row since a time, each once, oldest window first. The caller may stop early.

        Raises:
            ExchangeUnavailableError: a page was not answered. The rows yielded before are not all.

        """
        seen: set[Hashable] = set()
        start = self._first_ms(since)
        while True:
            end = start + WINDOW_MS - 1
            for entry in self._window(source, start, end):
                if entry.identity not in seen:
                    seen.add(entry.identity)
                    yield entry.row
            # Asked after the page: its answer may have shown that the exchange's clock is ahead of the measured one.
            if end >= self._client.exchange_ms() + MARGIN_MS:
                return
            start = end + 1

    def _first_ms(self, since: datetime) -> int:
        now = self._client.exchange_ms()
        # A time of our clock may be ahead of the exchange's present, where its past does not begin.
        wanted = min(self._client.since_ms(since), now - MARGIN_MS)
        return max(wanted, now - RETENTION_MS + MARGIN_MS)

    def _window(self, source: HistorySource, start: int, end: int) -> Iterator[Entry]:
        """Yield a window's rows, page by page.

        Which rows a full page keeps is documented nowhere. So the next page begins in the millisecond in which this one
        ends, and rows that may lie before a first page are requested too.
        """
        while start <= end:
            page = self._page(source, startTime=start, endTime=end)
            yield from page
            if len(page) < PAGE:
                return
            first, last = min(entry.at_ms for entry in page), max(entry.at_ms for entry in page)
            if first == last:
                yield from self._rest_of_moment(source, page, first)
                yield from self._window(source, start, first - 1)
                start = last + 1
                continue
            if start < first:
                yield from self._window(source, start, first)
            start = last

    def _rest_of_moment(self, source: HistorySource, page: list[Entry], moment: int) -> Iterator[Entry]:
        """Yield the remaining rows of a millisecond that has filled a page alone."""
        if not source.from_id:
            # No parameter leads any further.
            log.error("history_moment_cut_off", moment_ms=moment, rows=len(page))
            return
        while len(page) == PAGE and page[-1].at_ms <= moment:
            following = max(int(str(entry.identity)) for entry in page) + 1
            page = self._page(source, **{source.from_id: following})
            yield from (entry for entry in page if entry.at_ms <= moment)

    def _page(self, source: HistorySource, **which: int) -> list[Entry]:
        """Read one page. A row without its id or its time makes the answer unusable."""
        return self._calls.read(
            lambda: [
                Entry(identity=source.identity(row), at_ms=int(row[source.time]), row=row)
                for row in source.fetch(limit=PAGE, **which)
            ],
            lane=source.lane,
        )
