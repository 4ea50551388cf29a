"""The rows of the fault matrix as data: number, fault, for how many workers, and its story."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos.cell import Bounds, Cell

Story = Callable[[Cell], None]
EACH: Final = (1, 2, 8)
# Where a story starts no two things at once, more workers would show nothing more.
ONCE: Final = (1,)
BOUNDS: Final = Bounds()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault of the matrix and the story that provokes it. `short`: part of the selection for every commit."""

    number: int
    fault: str
    story: Story
    workers: tuple[int, ...]
    bounds: Bounds
    short: bool


ROWS: dict[int, Row] = {}


def row(
    number: int, fault: str, *, workers: tuple[int, ...] = EACH, bounds: Bounds = BOUNDS, short: bool = False
) -> Callable[[Story], Story]:
    """Enter a story into the matrix."""

    def enter(story: Story) -> Story:
        if number in ROWS or number in NOT_THERE_YET:
            raise ValueError(f"row {number} is there twice")
        ROWS[number] = Row(number=number, fault=fault, story=story, workers=workers, bounds=bounds, short=short)
        return story

    return enter


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A row whose function is not built yet; remove its line when it is, and write the story."""

    fault: str
    issue: int


NOT_THERE_YET: Mapping[int, Missing] = {}
