"""Something that happens in the middle of a step, at a point that the code names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from execution.crash_points import CrashPoint, watch_point


@contextmanager
def at_point(point: CrashPoint, act: Callable[[], object]) -> Iterator[None]:
    """Act each time that this process reaches the point, for as long as the block lasts."""

    def watcher(reached: CrashPoint) -> None:
        if reached is point:
            act()

    unwatch = watch_point(watcher)
    try:
        yield
    finally:
        unwatch()
