"""All of it at once, with a seed."""

from tests.chaos.cell import Bounds, Cell
from tests.chaos.matrix import row
from tests.chaos.nemesis import strike

# The ten minutes are what `--soak 10` runs; the matrix has an hour for all of its rows.
SECONDS = 90


@row(65, "all of it: random strikes for 90 s", bounds=Bounds(settle_seconds=90))
def all_of_it(cell: Cell) -> None:
    strike(cell, seconds=SECONDS, thorough=True)
