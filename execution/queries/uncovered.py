"""Counts positions that live stops do not protect in full now, and since when they do not."""

from collections.abc import Iterable
from datetime import datetime

from execution.domain.coverage import Coverage
from execution.protection.coverage import uncovered_positions


def unprotected_positions() -> int:
    """Return how many of our positions have neither live stops nor software stops for all of it."""
    return len(uncovered_positions())


def uncovered_since(found: Iterable[Coverage] | None = None) -> dict[str, datetime]:
    """Return since when each symbol's position has lacked a stop for all of it.

    In hedge mode it is the longer one's time.
    """
    since: dict[str, datetime] = {}
    for each in uncovered_positions() if found is None else found:
        if each.since:
            since[each.symbol] = min(each.since, since.get(each.symbol, each.since))
    return since
