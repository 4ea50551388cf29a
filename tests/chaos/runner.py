"""Runs cells one after another: all rows at one number of workers, then at the next, on the same stores."""

import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg

from tests.chaos.bounds import unprotected_seconds
from tests.chaos.cell import LONG, SHORT, Cell
from tests.chaos.matrix import EACH, NOT_THERE_YET, ROWS, Row
from tests.chaos.report import Verdict
from tests.chaos.sabotage import MUST_CATCH
from tests.chaos.world import World

Say = Callable[[str], None]


def chosen(numbers: Sequence[int], *, short: bool) -> list[Row]:
    """Return the rows asked for, in their order; all that are there when none is named."""
    return [
        row
        for number, row in sorted(ROWS.items())
        if (not numbers or number in numbers) and (row.short or not short or number in numbers)
    ]


def absent(rows: Sequence[Row], numbers: Sequence[int], workers: Sequence[int]) -> list[str]:
    """Return a line for each row, or cell of a row, that is asked for by its number and that the matrix does not have.

    `rows` are the ones chosen, `numbers` those asked for (none: all rows), `workers` the numbers of workers.
    """
    known = {row.number: row for row in rows}
    lines = [f"Row {number} does not exist." for number in numbers if number not in {*known, *NOT_THERE_YET}]
    for row in rows:
        missing = [count for count in workers if count not in row.workers]
        if missing and (numbers or len(missing) == len(workers)):
            wanted, there = _listed(missing), _listed(row.workers)
            lines.append(f"Row {row.number} has no cell for {wanted} workers, only for {there}: {row.fault}")
    return lines


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(str(number) for number in numbers)


def not_there_yet(numbers: Sequence[int]) -> list[Verdict]:
    return [
        Verdict(
            row=number,
            fault=missing.fault,
            workers=0,
            side="",
            result="not there yet",
            seconds=0,
            seen=f"not there yet (issue {missing.issue})",
        )
        for number, missing in sorted(NOT_THERE_YET.items())
        if not numbers or number in numbers
    ]


def side_of(row: int, workers: int, *, seed: int) -> str:
    """Return on which side a cell trades: rows and numbers of workers alternate, and the next seed turns all round."""
    place = EACH.index(workers) if workers in EACH else 0
    return LONG if (row + place + seed) % 2 == 0 else SHORT


def run(world: World, rows: Sequence[Row], workers: Sequence[int], *, seed: int, say: Say) -> Iterator[Verdict]:
    """Yield a verdict for each cell; a red one costs the processes, so that the next cell inherits nothing."""
    for number in workers:
        for row in rows:
            if number not in row.workers:
                continue
            verdict = examine(world, row, number, seed=seed)
            say(f"{'  '.join(verdict.cells())}")
            yield verdict


def examine(world: World, row: Row, workers: int, *, seed: int) -> Verdict:
    """Run one cell: wipe, story, judgement."""
    started = time.monotonic()
    cell = Cell(
        world=world,
        bounds=row.bounds,
        random=Random(f"{seed}/{row.number}/{workers}"),  # noqa: S311 -- repeatable
        side=side_of(row.number, workers, seed=seed),
        unprotected_seconds=unprotected_seconds(row.number, workers),
    )
    try:
        world.begin(workers)
        # What a cycle that was under way has still written about the cell before.
        cell.lost_events |= {row[0] for row in cell.rows("SELECT event_id::text FROM execution_outboxevent")}
        row.story(cell)
        cell.paper.clear_faults()
        # What the story has killed and not started again.
        world.use(workers)
        cell.judge()
    except Exception as error:  # noqa: BLE001 -- whatever went wrong, this cell is red and the next one is run
        _keep_evidence(world.folder / f"row-{row.number}-{workers}.txt", cell)
        _note_oracle(cell)
        world.end_processes()
        # Where the books cannot be read, what was to be traded.
        return _verdict(row, workers, started, cell.side, "; ".join([_first_line(error), *cell.notes]), ok=False)
    return _verdict(row, workers, started, cell.sides_traded() or cell.side, "; ".join(cell.notes), ok=True)


def _note_oracle(cell: Cell) -> None:
    """Note what the service's own oracle has said of what went wrong, if the books can be read."""
    with suppress(psycopg.Error):
        if counted := cell.counted_by_oracle():
            cell.saw(f"oracle counted {counted}")


def _keep_evidence(path: Path, cell: Cell) -> None:
    """Write what went wrong, and what became of every request: the next cell wipes the books."""
    path.write_text(traceback.format_exc())
    try:
        story = cell.rows(
            "SELECT symbol, state, reason_code, reason FROM execution_executionrequest ORDER BY received_at"
        )
    except psycopg.Error as error:
        story = [(str(error),)]
    with path.open("a") as file:
        file.writelines(f"{'  '.join(str(value) for value in line)}\n" for line in story)


def _verdict(row: Row, workers: int, started: float, side: str, seen: str, *, ok: bool) -> Verdict:
    return Verdict(
        row=row.number,
        fault=row.fault,
        workers=workers,
        side=side,
        result="green" if ok else "RED",
        seconds=round(time.monotonic() - started, 1),
        seen=seen,
    )


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0] or _last_line(error)
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"


def _last_line(error: Exception) -> str:
    """Return the source of an assertion without words."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.line} ({Path(frame.filename).name}:{frame.lineno})"


def break_one_by_one(world: World, safeguards: Sequence[str], *, seed: int, say: Say) -> Iterator[tuple[Verdict, bool]]:
    """Yield a verdict for each cell that must notice a broken safeguard, and whether it is red for that reason."""
    for safeguard in safeguards:
        world.break_safeguard(safeguard)
        for catch in MUST_CATCH[safeguard]:
            verdict = examine(world, ROWS[catch.row], catch.workers, seed=seed)
            noticed = verdict.result == "RED" and re.search(catch.text, verdict.seen) is not None
            noticed = (
                noticed
                and re.search(f"oracle counted .*{catch.oracle}" if catch.oracle else "", verdict.seen) is not None
            )
            caught = replace(verdict, fault=f"broken: {safeguard}")
            expected = f"{catch.text} {catch.oracle}".strip()
            say("  ".join((*caught.cells(), "" if noticed else f"(expected: {expected})")))
            yield caught, noticed
    world.break_safeguard("")
