"""Our own processes die, freeze and come back at the worst moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import requests
from celery import Celery

from execution.crash_points import CrashPoint
from execution_project.broker_names import KEY_PREFIX
from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.matrix import ONCE, row
from tests.chaos.world import SIZES
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.stack import ROOT, children_of

# A dead worker's message comes back after the visibility time-out.
KILLED = Bounds(settle_seconds=60)
DECISIONS = 20
HANG_SECONDS = 2.5
# From the kill of every worker, all started again at once, until what had filled has its stop.
RECOVERED_SECONDS = 3.0
# One process is killed, and the others go on with what it had in its hands.
BOOKED_SECONDS = 5.0
AFTER_THE_FILL = (
    CrashPoint.ENTRY_ANSWERED,
    CrashPoint.ENTRY_SETTLED,
    CrashPoint.STOP_ANSWERED,
    CrashPoint.STOP_SETTLED,
    CrashPoint.TARGET_ANSWERED,
    CrashPoint.ENTRY_FILLS_READ,
)
STEPS = ("check_ess", "guard_safety", "place_order", "protect_position", "record_trade")
# Log line of a worker for a task that was lost with its pool process.
LOST_WITH_ITS_PROCESS = "Task handler raised error: WorkerLostError"


@row(1, "kill -9 between placement and persistence", bounds=KILLED, short=True)
def killed_between_placement_and_persistence(cell: Cell) -> None:
    # Executed at once and never answered: whoever is killed meanwhile has an order that it does not know of.
    fault = cell.fault(ORDER, "hang", method="POST", execute=True, ms=int(1000 * HANG_SECONDS), count=None)
    cell.decide(10)
    cell.wait(lambda: sum(cell.entries().values()) >= 1, "an entry has executed")
    pause(cell.random.uniform(0, 1.5))
    cell.wait(lambda: unanswered(cell, time.time_ns()), "an entry waits for its answer")
    killed_at = time.time_ns()
    killed = cell.stack.kill_workers()
    cell.wait(lambda: ended(killed) == len(killed), "the workers are dead")
    size = SIZES[cell.world.workers]
    cell.struck("processes killed", ended(killed), exactly=size.orders * (1 + size.children) + 3 * size.others)
    # A pool process sends one entry at a time.
    cell.struck("entries executed and not answered", unanswered(cell, killed_at), between=(1, cell.world.workers))
    executed = cell.hits(fault)
    cell.paper.clear_faults()
    cell.stack.start_workers()
    cell.settle()
    # A process that dies between row and call has sent nothing.
    cell.came_to(10, but_for={"NOT_ACCEPTED": cell.world.workers - 1})
    assert cell.outcomes()["RECORDED"] >= executed, cell.outcomes()
    recovered = recovered_after(cell, killed_at)
    cell.saw(f"stops {recovered:.2f} s after the kill")
    assert recovered <= RECOVERED_SECONDS, f"{recovered:.2f} s from the kill to the stops"


def recovered_after(cell: Cell, killed_at: int) -> float:
    """Return how long after the kill the last position that was naked then got its stop, in seconds.

    0 when the protector had given each its stop before the kill, although its sender waited still.
    """
    stops: dict[str, int] = {}
    entered: dict[str, int] = {}
    for sent in cell.ledger.requests:
        symbol, kind = sent["params"].get("symbol", ""), (sent["method"], sent["path"])
        if kind == ("POST", ALGO_ORDER) and sent["params"]["type"] == "STOP_MARKET":
            stops.setdefault(symbol, sent["t_ns"])
        elif kind == ("POST", ORDER):
            entered.setdefault(symbol, sent["t_ns"])
    naked = [symbol for symbol, at in entered.items() if at <= killed_at < stops.get(symbol, at)]
    return max(((stops[symbol] - killed_at) / 1e9 for symbol in naked), default=0.0)


def unanswered(cell: Cell, at_ns: int) -> int:
    """Return how many entries the exchange had executed at that moment while their senders waited for the answer."""
    since = at_ns - int(HANG_SECONDS * 1e9)
    orders = [row for row in cell.ledger.requests if (row["method"], row["path"]) == ("POST", ORDER)]
    return sum(since < row["t_ns"] <= at_ns and row["done_status"] == requests.codes.ok for row in orders)


@row(96, "kill -9 of the process that has just filled an entry", bounds=KILLED)
def killed_with_its_fill(cell: Cell) -> None:
    # As in production: between two cycles of the monitor is time for a position to stand naked and unbooked.
    for number, point in enumerate(AFTER_THE_FILL):
        ambush = cell.world.crashing_at(point, POSITION_MONITOR_INTERVAL_SEC="10")
        with ambush as mark, one_death(cell, f"process died at {point}"):
            cell.decide(2, first=2 * number)
            cell.wait(mark.exists, f"a process died at {point}")
            cell.settle()
            # The dead one's step is delivered again. It must not walk into the next ambush as the processes start.
            cell.wait(lambda: not steps_held(cell), "no step is out any more", within=30)
    booked_in_time(cell, 2 * len(AFTER_THE_FILL))


@row(97, "kill -9 of each process in turn while entries fill", bounds=KILLED)
def each_killed_once(cell: Cell) -> None:
    with cell.world.with_settings(POSITION_MONITOR_INTERVAL_SEC="10"):
        names = sorted(name for name in cell.stack.processes if name != "web")
        for number, name in enumerate(names):
            cell.decide(2, first=2 * number)
            cell.wait(partial(has_more_entries, cell, 2 * number), "an entry has executed")
            cell.stack.kill(name)
            cell.stack.start_workers()
            cell.settle()
        cell.struck("processes killed in turn", len(names), between=(6, 10))
        booked_in_time(cell, 2 * len(names))


def has_more_entries(cell: Cell, than: int) -> bool:
    return sum(cell.entries().values()) > than


def steps_held(cell: Cell) -> int:
    """Return how many steps of the chain somebody has taken and not acknowledged."""
    redis: Any = cell.stack.redis
    names = [f"execution.tasks.{step}".encode() for step in STEPS]
    return sum(any(name in held for name in names) for held in redis.hvals(f"{KEY_PREFIX}unacked"))


def booked_in_time(cell: Cell, trades: int) -> None:
    """Hold how long after its fill each trade has come to stand in the books against its bound."""
    rows = cell.rows("SELECT extract(epoch FROM created_at - entry_at)::float FROM execution_trade")
    assert len(rows) == trades, f"{len(rows)} trades"
    worst = max(seconds for (seconds,) in rows)
    cell.saw(f"in the books {worst:.2f} s after the fill")
    assert worst <= BOOKED_SECONDS, f"{worst:.2f} s from a fill to the books"


@row(2, "kill -9 between intent and placement", bounds=KILLED)
def killed_between_intent_and_placement(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.ENTRY_WRITTEN) as mark, one_death(cell, "process died with its row"):
        cell.decide(4)
        cell.wait(mark.exists, "a process died between row and call")
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 3, "NOT_ACCEPTED": 1}, cell.outcomes()


@row(3, "kill -9 after the outcome's commit, before it is published", bounds=KILLED)
def killed_before_publishing(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.OUTBOX_READ) as mark:
        with one_death(cell, "relay died with events read"):
            cell.decide(6)
            cell.wait(mark.exists, "the relay died with events in its hands")
        restart(cell)
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 6}, cell.outcomes()
    assert cell.repeats() == 0


@row(4, "kill -9 after publishing or reading, before that is acknowledged", bounds=KILLED, short=True)
def killed_before_acknowledging(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.OUTBOX_PUBLISHED) as mark:
        with one_death(cell, "relay died after publishing"):
            cell.decide(6)
            cell.wait(mark.exists, "the relay died after publishing")
        restart(cell)
        cell.settle()
    # It should send them again under the same ids, so that a reader can tell.
    [(events,)] = cell.rows("SELECT count(*) FROM execution_outboxevent")
    cell.struck("events delivered again", cell.repeats(), between=(1, events))
    with cell.world.crashing_at(CrashPoint.EVENT_READ, passes=2) as mark:
        with one_death(cell, "reader died with decisions read"):
            cell.decide(6, first=6)
            cell.wait(mark.exists, "the reader of decisions died with some in its hands")
        restart(cell)
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 12}, cell.outcomes()


def processes_of(cell: Cell) -> list[int]:
    """Return all our processes, those of the pools too."""
    mains = [process.pid for process in cell.stack.processes.values()]
    return [*mains, *(child for main in mains for child in children_of(main))]


@contextmanager
def one_death(cell: Cell, what: str) -> Iterator[None]:
    """Prove that exactly one of our processes has ended in the meantime."""
    before = processes_of(cell)
    yield
    cell.wait(lambda: ended(before), "the process has ended")
    cell.struck(what, ended(before), exactly=1)


@row(15, "every step delivered again while the first is under way")
def every_step_delivered_again(cell: Cell) -> None:
    slow = [
        cell.fault(path, "delay", method=method, ms=500, count=None)
        for method, path in (("POST", ORDER), ("GET", "/fapi/v1/depth"))
    ]
    cell.decide(4)
    cell.wait(lambda: len(cell.stack.states()) == 4, "the requests are here")
    ids = [str(row[0]) for row in cell.rows("SELECT id FROM execution_executionrequest")]
    with Celery(broker=cell.world.valkey.url) as app:
        app.conf.broker_transport_options = {"priority_steps": [0, 2, 4, 5, 6], "global_keyprefix": KEY_PREFIX}
        cell.struck("requests under way", cell.unfinished(), between=(1, 4))
        sent = []
        for step in STEPS * 3:
            for request_id in ids:
                name, fields = f"execution.tasks.{step}", {"request_id": request_id}
                sent.append(app.send_task(name, kwargs=fields, queue="orders", priority=4).id)
            pause(0.1)
    cell.settle()
    cell.wait(lambda: not left_at_the_broker(cell, sent), "all of them were run")
    cell.struck("steps run again", len(sent) - len(left_at_the_broker(cell, sent)), exactly=len(STEPS) * 3 * 4)
    cell.struck("slow calls", sum(map(cell.hits, slow)), between=(8, 8 + len(sent)))
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    assert cell.entries_sent() == 4


def left_at_the_broker(cell: Cell, task_ids: list[str]) -> list[str]:
    """Return those tasks that the broker still has, waiting or handed out and not acknowledged."""
    redis: Any = cell.stack.redis
    waiting = [message for key in redis.scan_iter(f"{KEY_PREFIX}orders*") for message in redis.lrange(key, 0, -1)]
    held = b" ".join([*waiting, *redis.hvals(f"{KEY_PREFIX}unacked")])
    return [task_id for task_id in task_ids if task_id.encode() in held]


@row(16, "pool child killed", bounds=KILLED)
def pool_child_killed(cell: Cell) -> None:
    fault = cell.fault("/fapi/v1/depth", "delay", method="GET", ms=500, count=None)
    before = lost_tasks(cell)
    cell.decide(16)
    cell.wait(lambda: cell.hits(fault) >= cell.world.workers, "each pool process works on a request")
    killed = cell.stack.kill_pool_process()
    cell.wait(lambda: ended([killed]), "the process has ended")
    cell.struck("pool process killed", ended([killed]), exactly=1)
    cell.wait(lambda: lost_tasks(cell) > before, "its worker has noticed")
    cell.struck("task taken with it", lost_tasks(cell) - before, exactly=1)
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 16}, cell.outcomes()


def lost_tasks(cell: Cell) -> int:
    """Return how many tasks the first worker of the chain has logged as lost with a process of its pool."""
    log = (cell.world.folder / "worker-orders.log").read_text(errors="replace")
    return log.count(LOST_WITH_ITS_PROCESS)


@row(17, "worker configured to acknowledge early", workers=ONCE)
def early_acknowledgement_is_refused(cell: Cell) -> None:
    command = [sys.executable, "-m", "celery", "-q", "-A", "tests.chaos.early_acks", "worker", "--pool=solo", "-Q", "x"]
    env = cell.stack.environment()
    start = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    refused = [process for process in (start,) if "(execution.E001)" in process.stderr + process.stdout]
    cell.struck("start refused with execution.E001", sum(process.returncode != 0 for process in refused), exactly=1)
    # Beside it the others go on.
    cell.opened(1)


@row(18, "process frozen between intent and placement, woken when others have given up", bounds=KILLED)
def frozen_and_woken(cell: Cell) -> None:
    with cell.world.crashing_at(CrashPoint.ENTRY_WRITTEN, by="STOP") as mark:
        cell.decide(3)
        cell.wait(mark.exists, "a process froze between row and call")
        # Its worker too, which would kill it for taking too long.
        children = cell.stopped_processes()
        cell.struck("process frozen", len(children), exactly=1)
        owners = freeze_owners(cell, children)
        cell.wait(lambda: is_given_up(cell), "others have settled the order", within=60)
        [(given_up,)] = cell.rows("SELECT client_order_id FROM execution_order WHERE state = 'NOT_ACCEPTED'")
        # Its worker sleeps on for a while, or it would kill the process before that could send.
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        pause(2)
        for pid in owners:
            os.kill(pid, signal.SIGCONT)
        # It should not send now what others have declared absent.
        sent = [params for params in cell.ledger.entries_sent if params["newClientOrderId"] == given_up]
        assert not sent, "a woken process has sent an order that was given up"
        cell.settle()
    assert cell.outcomes() == {"RECORDED": 2, "NOT_ACCEPTED": 1}, cell.outcomes()


def freeze_owners(cell: Cell, children: list[int]) -> list[int]:
    """Stop the workers that own these stopped processes, and return them."""
    owners = [process.pid for process in cell.stack.processes.values() if {*children_of(process.pid)} & {*children}]
    for pid in owners:
        os.kill(pid, signal.SIGSTOP)
    return owners


def is_given_up(cell: Cell) -> bool:
    return bool(cell.outcomes()["NOT_ACCEPTED"])


@row(22, "rolling restart under load", bounds=KILLED)
def rolling_restart(cell: Cell) -> None:
    names, pids, under_way = cell.stack.workers, [], []
    for place, name in enumerate(names):
        first, last = DECISIONS * place // len(names), DECISIONS * (place + 1) // len(names)
        cell.decide(last - first, first=first)
        under_way.append(len(cell.decisions) - cell.outcomes()["RECORDED"])
        pids.append(cell.stack.processes[name].pid)
        slowest = stop_and_start(cell, name)
        assert slowest <= 10, f"{name} drained for {slowest:.1f} s"
    cell.struck("workers restarted", ended(pids), exactly=len(names))
    cell.struck("of them with decisions under way", sum(number > 0 for number in under_way), exactly=len(names))
    cell.settle()
    assert cell.outcomes() == {"RECORDED": DECISIONS}, cell.outcomes()


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
