"""Runs processes that share one limiter against an exchange with its limits on, and reads from its ledger what came."""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from execution.adapters.binance.weights import cost_of
from local_stack.supervisor import StackError
from tests.bench.limiter_worker import Task
from tests.support.paper import PaperExchange

MINUTE, TEN_SECONDS = 60, 10
WEIGHT_LIMIT, ORDERS_10S, ORDERS_1M = 2400, 300, 1200
LIMITED = {429, 418}
# What makes two log lines of the same matter differ: their time and their numbers.
LINE = re.compile(r"^\S+ |-?\d+(\.\d+)?")
# Long enough for the processes to be up before the minute at which they begin.
LEAD_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the exchange saw in one run, and how long protection waited. Shares are of whole calendar windows."""

    statuses: dict[int, int]
    orders: int
    orders_share: float
    weight_share: float
    most_in_10s: int
    seconds: float
    protect_waits_ms: list[float]
    denied: int
    log: dict[str, int]


def next_minute() -> float:
    """Return the next minute of the clock that leaves time to prepare."""
    return (int((time.time() + LEAD_SECONDS) // MINUTE) + 1) * float(MINUTE)


async def run_tasks(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Run one process a task, and return what each met; raises StackError when one failed."""
    processes = [await _start(task) for task in tasks]
    try:
        outputs = await asyncio.gather(*(process.communicate() for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    for process, (_, error) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise StackError(f"a process of the limiter's benchmark failed: {error.decode()[-1000:]}")
    return [json.loads(output) | {"log": error.decode().splitlines()} for output, error in outputs]


async def _start(task: Task) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.limiter_worker",
        json.dumps(asdict(task)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def tell(exchange: PaperExchange, met: Sequence[dict[str, Any]], *, begins: float, minutes: int) -> Run:
    """Count by calendar windows what arrived, from the exchange's own ledger, and clear it."""
    rows = [row for row in exchange.ledger()["requests"] if row["t_ns"] >= begins * 1e9]
    exchange.clear_ledger()
    passed = [row for row in rows if row["status"] not in LIMITED]
    weights: Counter[int] = Counter()
    orders: Counter[int] = Counter()
    short: Counter[int] = Counter()
    moments = []
    for row in passed:
        cost, moment = cost_of(row["method"], row["path"], row["params"]), row["t_ns"] / 1e9
        weights[int(moment // MINUTE)] += cost.weight
        orders[int(moment // MINUTE)] += cost.orders_1m
        short[int(moment // TEN_SECONDS)] += cost.orders_10s
        if cost.orders_10s:
            moments.append(moment)
    first = int(begins // MINUTE)
    whole = range(first, first + minutes)
    return Run(
        statuses=dict(Counter(row["status"] for row in rows)),
        orders=len(moments),
        orders_share=sum(orders[minute] for minute in whole) / (ORDERS_1M * minutes),
        weight_share=sum(weights[minute] for minute in whole) / (WEIGHT_LIMIT * minutes),
        most_in_10s=max(short.values(), default=0),
        seconds=max(moments, default=begins) - begins,
        protect_waits_ms=[wait for each in met for wait in each["waits"].get("PROTECT", ())],
        log=dict(Counter(LINE.sub("", line) for each in met for line in each["log"])),
        denied=sum(count for each in met for count in each["denied"].values()),
    )
