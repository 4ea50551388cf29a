"""What beat drives: two of them, none, and sweeps that take longer than their period."""

from dataclasses import replace

from tests.chaos.cell import Cell, pause
from tests.chaos.matrix import ONCE, row
from tests.chaos.rows.protection import place, stop_covers
from tests.chaos.world import MONITOR_INTERVAL_SECONDS

POSITIONS = "/fapi/v3/positionRisk"
WATCHED_SECONDS = 10.0


@row(19, "beat runs twice")
def beat_runs_twice(cell: Cell) -> None:
    cell.opened(3)
    beat = cell.stack.programs["beat"]
    schedule = cell.world.folder / "second-beat-schedule"
    cell.stack.launch(replace(beat, name="beat-2", command=(*beat.command[:-1], str(schedule))))
    pause(MONITOR_INTERVAL_SECONDS)
    cell.paper.clear_ledger()
    pause(WATCHED_SECONDS)
    sweeps = cell.sent("GET", POSITIONS)
    cell.stack.kill("beat-2")
    cell.saw(f"{sweeps} sweeps in {WATCHED_SECONDS:.0f} s with two beats")
    # It should not place a second stop; and sweep about as often as with one.
    assert cell.sent("POST", "/fapi/v1/algoOrder") == 0
    assert sweeps <= WATCHED_SECONDS / MONITOR_INTERVAL_SECONDS + 2, f"{sweeps} sweeps in {WATCHED_SECONDS:.0f} s"


@row(20, "beat stops", workers=ONCE)
def beat_stops(cell: Cell) -> None:
    symbol = cell.symbols[0]
    answer = place(cell, symbol, price=float(cell.price_away(symbol, fraction=-0.001)))
    assert answer["status"] == "placed", answer
    cell.stack.kill("beat")
    # It should be told, and the stream should still cover what fills.
    cell.wait(lambda: cell.world.health()["status"] != "OK", "health tells", within=3 * MONITOR_INTERVAL_SECONDS + 3)
    cell.saw(str(cell.world.health().get("reasons"))[:60])
    cell.paper.control("POST", "orders/fill", {"order": answer["client_order_id"], "fraction": 1})
    cell.wait(lambda: stop_covers(cell, symbol), "the stop is placed without the monitor", within=5)


@row(21, "sweep longer than its period", workers=ONCE)
def sweep_longer_than_its_period(cell: Cell) -> None:
    cell.opened(2)
    cell.fault(POSITIONS, "delay", method="GET", ms=2500, count=None)
    pause(3)
    cell.paper.clear_ledger()
    pause(WATCHED_SECONDS)
    sweeps = cell.sent("GET", POSITIONS)
    # It should skip, not overlap and not pile up.
    assert 1 <= sweeps <= WATCHED_SECONDS / 2.5 + 1, f"{sweeps} sweeps"
    cell.saw(f"{sweeps} sweeps of 2.5 s in {WATCHED_SECONDS:.0f} s")
