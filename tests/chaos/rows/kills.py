"""Our own processes die, freeze and come back at the worst moment."""

import os
import signal
import subprocess
import sys
import time

from celery import Celery

from execution.crash_points import CrashPoint
from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import ONCE, row
from tests.support.ledger import ORDER
from tests.support.stack import ROOT, children_of, is_running

# A dead worker's message comes back after the visibility time-out.
KILLED = Bounds(settle_seconds=60)
STEPS = ("check_ess", "guard_safety", "place_order", "protect_position", "record_trade")
ENTRY_STATES = {"RECORDED", "ABANDONED", "EXPIRED"}


@row(1, "kill -9 between placement and persistence", bounds=KILLED, short=True)
def killed_between_placement_and_persistence(cell: Cell) -> None:
    # Executed at once and never answered: whoever is killed meanwhile has an order that it does not know of.
    cell.fault(ORDER, "hang", method="POST", execute=True, ms=2000, count=None)
    cell.decide(10)
    cell.wait(lambda: sum(cell.entries().values()) >= 1, "an entry has executed")
    pause(cell.random.uniform(0, 1.5))
    killed = cell.stack.kill_workers()
    cell.wait(lambda: not any(map(is_running, killed)), "the workers are dead")
    cell.paper.clear_faults()
    cell.saw(f"{sum(cell.entries().values())} entries before the kill")
    cell.stack.start_workers()
    cell.settle()
    assert cell.outcomes().keys() <= ENTRY_STATES, cell.outcomes()


@row(2, "kill -9 between intent and placement", bounds=KILLED)
def killed_between_intent_and_placement(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.ENTRY_WRITTEN) as mark:
        cell.decide(4)
        cell.wait(mark.exists, "a process died between row and call")
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 3, "ABANDONED": 1}, cell.outcomes()


@row(3, "kill -9 after the outcome's commit, before it is published", bounds=KILLED)
def killed_before_publishing(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.OUTBOX_READ) as mark:
        cell.decide(6)
        cell.wait(mark.exists, "the relay died with events in its hands")
        restart(cell)
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 6}, cell.outcomes()
    assert cell.repeats() == 0


@row(4, "kill -9 after publishing or reading, before that is acknowledged", bounds=KILLED, short=True)
def killed_before_acknowledging(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.OUTBOX_PUBLISHED) as mark:
        cell.decide(6)
        cell.wait(mark.exists, "the relay died after publishing")
        restart(cell)
        cell.settle()
    # It should send them again under the same ids, so that a reader can tell.
    assert cell.repeats() >= 1
    with cell.world.crashing_at(CrashPoint.EVENT_READ, passes=2) as mark:
        cell.decide(6, first=6)
        cell.wait(mark.exists, "the reader of decisions died with some in its hands")
        restart(cell)
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 12}, cell.outcomes()


@row(15, "every step delivered again while the first is under way")
def every_step_delivered_again(cell: Cell) -> None:
    for method, path in (("POST", ORDER), ("GET", "/fapi/v1/depth")):
        cell.fault(path, "delay", method=method, ms=500, count=None)
    cell.decide(4)
    cell.wait(lambda: len(cell.stack.states()) == 4, "the requests are here")
    requests = [str(row[0]) for row in cell.rows("SELECT id FROM execution_executionrequest")]
    with Celery(broker=cell.world.valkey.url) as app:
        app.conf.broker_transport_options = {"priority_steps": [0, 2, 4, 5, 6], "queue_order_strategy": "priority"}
        for step in STEPS * 3:
            for request_id in requests:
                app.send_task(f"execution.tasks.{step}", kwargs={"request_id": request_id}, queue="orders", priority=4)
            pause(0.1)
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    assert cell.entries_sent() == 4


@row(16, "pool child killed", bounds=KILLED)
def pool_child_killed(cell: Cell) -> None:
    cell.fault("/fapi/v1/depth", "delay", method="GET", ms=150, count=None)
    cell.decide(8)
    cell.wait(lambda: len(cell.stack.states()) > 0, "the burst is on its way")
    killed = cell.stack.kill_pool_process()
    cell.wait(lambda: not is_running(killed), "the process has ended")
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 8}, cell.outcomes()


@row(17, "worker configured to acknowledge early", workers=ONCE)
def early_acknowledgement_is_refused(cell: Cell) -> None:
    command = [sys.executable, "-m", "celery", "-q", "-A", "tests.chaos.early_acks", "worker", "--pool=solo", "-Q", "x"]
    env = cell.stack.environment()
    told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode != 0, "a worker that loses tasks has started"
    assert "execution.E001" in told.stderr + told.stdout, told.stderr[-300:]
    cell.saw("refused with execution.E001")


@row(18, "process frozen between intent and placement, woken when others have given up", bounds=KILLED)
def frozen_and_woken(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.ENTRY_WRITTEN, by="STOP") as mark:
        cell.decide(3)
        cell.wait(mark.exists, "a process froze between row and call")
        # Its worker too, which would kill it for taking too long.
        frozen = freeze_owners(cell)
        cell.wait(lambda: is_given_up(cell), "others have settled the order", within=60)
        [(given_up,)] = cell.rows("SELECT client_order_id FROM execution_order WHERE state = 'ABANDONED'")
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        pause(2)
        # It should not send now what others have declared absent.
        sent = [params for params in cell.ledger.entries_sent if params["newClientOrderId"] == given_up]
        assert not sent, "a woken process has sent an order that was given up"
        cell.settle()


def freeze_owners(cell: Cell) -> list[int]:
    """Stop the workers that own a stopped process; return all that is stopped, children first."""
    children = cell.stopped_processes()
    assert children, "nobody is frozen"
    owners = [process.pid for process in cell.stack.processes.values() if {*children_of(process.pid)} & {*children}]
    for pid in owners:
        os.kill(pid, signal.SIGSTOP)
    return [*children, *owners]


def is_given_up(cell: Cell) -> bool:
    return bool(cell.outcomes()["ABANDONED"])


@row(22, "rolling restart under load", bounds=KILLED)
def rolling_restart(cell: Cell) -> None:
    names = cell.stack.workers
    for place, name in enumerate(names):
        cell.decide(20 // len(names), first=place * (20 // len(names)))
        slowest = stop_and_start(cell, name)
        assert slowest <= 10, f"{name} drained for {slowest:.1f} s"
    cell.settle()
    assert cell.outcomes().keys() == {"RECORDED"}, cell.outcomes()


def stop_and_start(cell: Cell, name: str) -> float:
    started = time.monotonic()
    process = cell.stack.processes.pop(name)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    drained = time.monotonic() - started
    cell.stack.start_workers()
    return drained


def restart(cell: Cell) -> None:
    """Start what has died, as a supervisor does."""
    cell.wait(lambda: bool(cell.stack.forget_ended()), "the process is gone")
    cell.stack.start_workers()
