"""Windows and pages of history: which rows a call selects by time, by id and by number.

Each list with a history has its documented bounds in one place, a `Window`. Where the documentation is silent, the
exchange's assumptions decide. Lists are in the order of time and of ids, and are cut without going through the past.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from paper_exchange.core.retention import DAY_MS, HISTORY_KEPT_MS
from paper_exchange.errors import refuse
from paper_exchange.http.calls import Call

Row = TypeVar("Row")
WEEK_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Bounds of one list: page sizes, reach of a missing time, and longest period (None: undocumented).

    `most_ms` is the longest period between two times, `less_than`: it must be shorter than that. Times in ms.
    """

    page: int
    most: int
    reach_ms: int = WEEK_MS
    most_ms: int | None = WEEK_MS
    less_than: bool = False
    kept_ms: int = HISTORY_KEPT_MS


@dataclass(frozen=True, slots=True)
class Span:
    """Times of a call, both included, and which rows a full page keeps."""

    start: int
    end: int
    keeps_newest: bool


def read_span(call: Call, window: Window, *, everything: bool = False) -> Span:
    """Return what a call means by its times.

    Without any the window's reach, or with `everything` all that is kept.
    """
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    keeps = _kept_rows(call, start, end)
    if start is None and end is None:
        start, end = call.now - (window.kept_ms if everything else window.reach_ms), call.now
    elif start is None:
        start = (end or 0) - window.reach_ms
    elif end is None:
        end = start + window.reach_ms
    else:
        _check_period(call, window, start, end)
    return Span(max(start, call.now - window.kept_ms), end or 0, keeps == "newest")


def has_times(call: Call) -> bool:
    """Return whether a call gives a start or an end."""
    return call.params.has("startTime") or call.params.has("endTime")


def read_from_id(call: Call, window: Window) -> Span:
    """Return the period of a call that names a first id and no times.

    Its page begins with the oldest row.
    """
    week = call.exchange.state.assumptions.first_id_reach == "week"
    return Span(call.now - (WEEK_MS if week else window.kept_ms), call.now, keeps_newest=False)


def within(rows: Sequence[Row], span: Span, time: Callable[[Row], int]) -> Sequence[Row]:
    """Rows whose time lies in a span."""
    return rows[bisect_left(rows, span.start, key=time) : bisect_right(rows, span.end, key=time)]


def after_id(rows: Sequence[Row], first: int, identity: Callable[[Row], int]) -> Sequence[Row]:
    """Rows whose id is `first` or above."""
    return rows[bisect_left(rows, first, key=identity) :]


def cut(rows: Sequence[Row], span: Span, limit: int, wanted: Callable[[Row], bool] | None = None) -> list[Row]:
    """At most `limit` wanted rows, in the order of time: the oldest, or the newest."""
    if span.keeps_newest:
        return _first(reversed(rows), limit, wanted)[::-1]
    return _first(rows, limit, wanted)


def _first(rows: Iterable[Row], limit: int, wanted: Callable[[Row], bool] | None) -> list[Row]:
    return list(islice(filter(wanted, rows) if wanted else rows, limit))


def _kept_rows(call: Call, start: int | None, end: int | None) -> str:
    """Return which rows a full page keeps. Without times the most recent ones, as documented."""
    assumed = call.exchange.state.assumptions
    if start is None:
        return "newest" if end is None else assumed.page_to_end
    return assumed.page_from_start if end is None else assumed.page_between


def _check_period(call: Call, window: Window, start: int, end: int) -> None:
    if start > end:
        raise refuse(-1023)
    most, assumed = window.most_ms, call.exchange.state.assumptions
    if most is None:
        if assumed.long_span == "serve":
            return
        most = WEEK_MS
    exact = end - start == most and window.less_than and assumed.exact_week == "refuse"
    if end - start > most or exact:
        raise refuse(-4165, days=most // DAY_MS)
