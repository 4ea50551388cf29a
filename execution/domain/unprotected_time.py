"""The times in which stops covered less than the position, from its fills and its stops' lives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.money import ZERO


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A fill, at the exchange's time: what it added to the position, or below zero what it took away."""

    at: datetime
    quantity: Decimal


@dataclass(frozen=True, kw_only=True)
class StopLife:
    """How long a stop of this quantity stood.

    `until` is None for one that stands, or stood until it filled.
    """

    quantity: Decimal
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time in which the stops did not cover all of the position. It lasts while `until` is None.

    `by_stop`: a stop ended it, and not the position's own end.
    """

    since: datetime
    until: datetime | None
    by_stop: bool = False


def gaps(fills: Iterable[Growth], stops: Sequence[StopLife]) -> list[Gap]:
    """Return the times in which the stops did not cover all of the position, oldest first."""
    growths = sorted(fills, key=lambda fill: fill.at)
    ends = [stop.until for stop in stops if stop.until is not None]
    moments = sorted({*(fill.at for fill in growths), *(stop.since for stop in stops), *ends})
    found: list[Gap] = []
    since: datetime | None = None
    for moment in moments:
        held = sum((fill.quantity for fill in growths if fill.at <= moment), ZERO)
        # One position may need several stops.
        standing = [stop for stop in stops if stop.since <= moment and (stop.until is None or moment < stop.until)]
        unprotected = held > sum((stop.quantity for stop in standing), ZERO)
        if unprotected and since is None:
            since = moment
        elif not unprotected and since is not None:
            found.append(Gap(since=since, until=moment, by_stop=held > 0))
            since = None
    return found if since is None else [*found, Gap(since=since, until=None)]
