"""Counts over whole tables, kept for a while by each process once the tables are large."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.core.cache import cache

C = TypeVar("C")
# What is found faster than this is always found anew.
DEAR_SECONDS = 0.05
# How much longer than it took a dear count is kept: asking takes a twentieth of the time at most.
KEPT_TIMES = 20


def kept(name: str, count: Callable[[], C], *, monotonic: Callable[[], float] = time.monotonic) -> C:
    """Return what `count` finds, or what it found a moment ago when finding it took long.

    `monotonic` measures that time in seconds.
    """
    known: C | None = cache.get(name)
    if known is not None:
        return known
    begun = monotonic()
    found = count()
    took = monotonic() - begun
    if took > DEAR_SECONDS:
        cache.set(name, found, took * KEPT_TIMES)
    return found
