"""What beat drives: two of them, none, and sweeps that take longer than their period."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

from celery import Celery

from execution_project.broker_names import EVENT_EXCHANGE, KEY_PREFIX
from tests.chaos.cell import Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.matrix import ONCE, row
from tests.chaos.rows.protection import place, stop_covers
from tests.chaos.world import MONITOR_INTERVAL_SECONDS

# The protector reads positions too; all open orders are read by a sweep alone.
OPEN_ORDERS = "/fapi/v1/openOrders"
WATCHED_SECONDS = 10.0
CYCLE = "execution.tasks.run_monitor_cycle"


@row(19, "beat runs twice")
def beat_runs_twice(cell: Cell) -> None:
    cell.opened(3)
    beat = cell.stack.programs["beat"]
    schedule = cell.world.folder / f"beat-schedule-of-{cell.world.workers}"
    cell.stack.launch(replace(beat, name="beat-2", command=(*beat.command[:-1], str(schedule))))
    # It writes its schedule when it begins, and sends from then on.
    cell.wait(lambda: list(schedule.parent.glob(f"{schedule.name}*")), "the second beat has begun", within=30)
    pause(MONITOR_INTERVAL_SECONDS)
    cell.paper.clear_ledger()
    asked = cycles_asked_for(cell, seconds=WATCHED_SECONDS)
    sweeps = cell.sent("GET", OPEN_ORDERS)
    killed = cell.stack.kill("beat-2")
    one = WATCHED_SECONDS / MONITOR_INTERVAL_SECONDS
    # One beat alone would ask for five.
    cell.struck("cycles asked for by two beats", asked, between=(round(1.5 * one), round(2 * one) + 2))
    cell.struck("second beat ended", ended(killed), exactly=1)
    cell.saw(f"{sweeps} sweeps in {WATCHED_SECONDS:.0f} s")
    # It should not place a second stop; and sweep about as often as with one.
    assert cell.sent("POST", "/fapi/v1/algoOrder") == 0
    assert 1 <= sweeps <= one + 2, f"{sweeps} sweeps in {WATCHED_SECONDS:.0f} s"


def cycles_asked_for(cell: Cell, *, seconds: float) -> int:
    """Return how many cycles the workers were asked for by the clock in the meantime, by their own events."""
    found: Counter[bool] = Counter()

    def count(event: dict[str, Any]) -> None:
        found[event.get("name") == CYCLE and "by_beat" in event.get("kwargs", "")] += 1

    until = time.monotonic() + seconds
    app = Celery(broker=cell.world.valkey.url)
    app.conf.update(broker_transport_options={"global_keyprefix": KEY_PREFIX}, event_exchange=EVENT_EXCHANGE)
    with app, app.connection_for_read() as connection, suppress(TimeoutError):
        receiver = app.events.Receiver(connection, handlers={"task-received": count})
        # It yields after each event, and ends when none comes for so long.
        for _ in receiver.itercapture(limit=None, timeout=seconds, wakeup=False):
            if time.monotonic() >= until:
                break
    return found[True]


@row(20, "beat stops", workers=ONCE)
def beat_stops(cell: Cell) -> None:
    symbol = cell.symbols[0]
    answer = place(cell, symbol, price=float(cell.price_away(symbol, fraction=-0.001)))
    assert answer["status"] == "placed", answer
    cell.wait(cell.is_healthy, "health says OK before")
    killed = cell.stack.kill("beat")
    cell.struck("beat ended", ended(killed), exactly=1)
    # It should be told, and the stream should still cover what fills.
    late = cell.wait(lambda: silence_of_monitor(cell), "health tells", within=3 * MONITOR_INTERVAL_SECONDS + 3)
    cell.saw(late[0])
    cell.paper.control("POST", "orders/fill", {"order": answer["client_order_id"], "fraction": 1})
    cell.wait(lambda: stop_covers(cell, symbol), "the stop is placed without the monitor", within=5)


def silence_of_monitor(cell: Cell) -> list[str]:
    """Return the reasons of health that say since when the monitor has not run."""
    return [reason for reason in cell.world.health().get("reasons") or [] if "monitor last run" in reason]


@row(21, "sweep longer than its period", workers=ONCE)
def sweep_longer_than_its_period(cell: Cell) -> None:
    cell.opened(2)
    fault = cell.fault(OPEN_ORDERS, "delay", method="GET", ms=2500, count=None)
    pause(3)
    cell.paper.clear_ledger()
    pause(WATCHED_SECONDS)
    sweeps = cell.sent("GET", OPEN_ORDERS)
    # It should skip, not overlap and not pile up.
    assert 1 <= sweeps <= WATCHED_SECONDS / 2.5 + 1, f"{sweeps} sweeps"
    cell.struck("sweeps of 2.5 s", cell.hits(fault), between=(2, round((WATCHED_SECONDS + 3) / 2.5) + 1))
    cell.saw(f"{sweeps} of them in {WATCHED_SECONDS:.0f} s")
