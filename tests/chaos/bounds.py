"""For how long a position may be without its stop, by row and number of workers: one place for all bounds.

Every cell has `USUAL_SECONDS`, but where the fault kills what places stops: nobody can place one before it is back.
There the bound is `MARGIN` times the worst that a published run of the matrix has shown for the row. Which position a
kill meets is chance, so the run with the worst counts, not the last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

USUAL_SECONDS = 5.0
MARGIN = 1.5
# Rows in which the position is closed instead: MAX_UNPROTECTED_SECONDS is 2.
CLOSED_INSTEAD: Mapping[int, float] = {33: 4.0, 34: 4.0}
# One process is killed with a filled entry in its hands.
OTHERS_GO_ON: Mapping[int, float] = {96: 3.0, 97: 3.0}
# Connections have fallen silent, or Redis takes nothing: who finds that out first places the stop.
NOBODY_HEARD: Mapping[int, float] = {86: 10.0, 87: 10.0, 89: 10.0, 90: 10.0}
# Held by stops of our own while the exchange takes none: the rows themselves bound the time from the stop's price on.
HELD_BY_SOFTWARE: Mapping[int, float] = {93: 120.0, 94: 120.0, 95: 120.0}
# `--soak` as docs/chaos.md has it: who places stops is killed every 5 to 20 s for half an hour.
SOAK = 0


@dataclass(frozen=True, kw_only=True)
class Published:
    """The longest time without a stop that `docs/chaos-results.md` has shown, and the commit that it was run on."""

    seconds: float
    commit: str


# 0 workers: each number of workers that has no line of its own.
WORST: Mapping[tuple[int, int], Published] = {
    # Workers are killed at random all the time.
    (65, 0): Published(seconds=16.32, commit="4d8e61d"),
    (SOAK, 0): Published(seconds=21.0, commit="d845e34"),
}


def unprotected_seconds(row: int, workers: int) -> float:
    """Return for how long a position may be without its stop in a cell."""
    worst = WORST.get((row, workers)) or WORST.get((row, 0))
    if worst is None:
        return {**CLOSED_INSTEAD, **OTHERS_GO_ON, **NOBODY_HEARD, **HELD_BY_SOFTWARE}.get(row, USUAL_SECONDS)
    return max(USUAL_SECONDS, round(MARGIN * worst.seconds, 1))
