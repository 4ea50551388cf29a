"""Cutting lists to what a call asked for: by id, by time, by number, without scanning the whole past."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from paper_exchange.errors import refuse
from paper_exchange.http.calls import Call

Row = TypeVar("Row")
WEEK_MS: Final = 7 * 86_400_000


def time_span(call: Call, most_ms: int = WEEK_MS) -> tuple[int, int] | None:
    """Return (startTime, endTime), one completed by the other; None when neither was sent."""
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    if start is None and end is None:
        return None
    if start is None:
        start = (end or call.now) - most_ms
    if end is None:
        end = min(start + most_ms, call.now)
    if start > end:
        raise refuse(-1023)
    if end - start > most_ms:
        raise refuse(-4165, days=most_ms // 86_400_000)
    return start, end


def by_time(
    rows: Sequence[Row], span: tuple[int, int] | None, now: int, limit: int, time: Callable[[Row], int]
) -> Sequence[Row]:
    """Rows within a span, the oldest `limit` of them; without a span the newest of the last week."""
    if span is not None:
        first = bisect_left(rows, span[0], key=time)
        last = bisect_right(rows, span[1], key=time)
        return rows[first : min(last, first + limit)]
    first = bisect_left(rows, now - WEEK_MS, key=time)
    return rows[max(first, len(rows) - limit) :]


def from_id(rows: Sequence[Row], first_id: int, limit: int, identity: Callable[[Row], int]) -> Sequence[Row]:
    """At most `limit` rows whose id is `first_id` or above."""
    first = bisect_left(rows, first_id, key=identity)
    return rows[first : first + limit]
