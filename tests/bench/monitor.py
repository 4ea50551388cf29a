"""Section `monitor`: what one cycle costs with 1, 50 and 500 open positions, every one of which has just moved.

One process with the real adapters, as the monitor's worker has them. The exchange takes 200 waiting conditional orders
an account, and two more for each of its invented contracts: so all 500 have their stop and their target.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from local_stack.console import Console
from local_stack.settings import Settings
from tests.bench.report import Figure, Outcome
from tests.support.house import house
from tests.support.paper import PaperExchange

if TYPE_CHECKING:
    from tests.support.desk import Desk

SIZES = (1, 50, 500)
CYCLES = 5
PRICE, TICK = Decimal("10.000"), Decimal("0.001")
OPTIONS = ("--extra-symbols", str(max(SIZES)), "--balance", "1000000")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What cycles cost at one number of positions."""

    positions: int
    calls: int
    queries: int
    seconds: list[float]
    cpu_seconds: float
    uncovered: int


async def run(_settings: Settings, console: Console) -> Outcome:
    """Open position after position, and measure at each size."""
    load_before = os.getloadavg()[0]
    # In a thread, from its start to its end: Django refuses queries beside an event loop.
    costs = await asyncio.to_thread(measure_all, console)
    console.end_progress()
    conditions = {"cycles": str(CYCLES), "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after"}
    return Outcome(figures=figures(costs), profile={}, conditions=conditions)


def measure_all(console: Console) -> list[Cost]:
    console.progress("Starting PostgreSQL, Valkey and the paper exchange ...")
    with house(PaperExchange(*OPTIONS)) as here:
        return measure(here.open_desk(), console)


def measure(desk: "Desk", console: Console) -> list[Cost]:
    from execution.domain.policy import MAX_POSITIONS  # noqa: PLC0415 -- models can be imported once Django is set up
    from execution.models import PolicyValue  # noqa: PLC0415 -- as above

    PolicyValue.objects.create(
        key=MAX_POSITIONS, value=Decimal(max(SIZES)), source="bench", version=1, changed_at=desk.clock()
    )
    names = (f"X{number:04d}USDT" for number in count(1))
    costs, symbols = [], list[str]()
    for size in SIZES:
        console.progress(f"Opening {size} positions ...")
        while len(symbols) < size:
            symbols.append(next(names))
            desk.trade_opened(symbols[-1], position_size_usd=100.0)
        console.progress(f"Measuring cycles with {size} positions ...")
        costs.append(cost_of(desk, symbols))
    return costs


def cost_of(desk: "Desk", symbols: Sequence[str]) -> Cost:
    """Run cycles, each after every price has moved, for their time; one more for what it asks."""
    from django.db import connection  # noqa: PLC0415 -- as above
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415 -- as above

    desk.cycle()
    durations, cpu = [], 0.0
    for place in range(CYCLES):
        move_all(desk, symbols, place)
        began, cpu_before = time.perf_counter(), time.process_time()
        desk.cycle()
        durations.append(time.perf_counter() - began)
        cpu += time.process_time() - cpu_before
    move_all(desk, symbols, CYCLES)
    desk.paper.clear_ledger()
    with CaptureQueriesContext(connection) as queries:
        desk.cycle()
    ledger = desk.ledger
    return Cost(
        positions=len(symbols),
        calls=len(ledger.requests),
        queries=len(queries),
        seconds=durations,
        cpu_seconds=cpu / CYCLES,
        uncovered=len(symbols) - len({row["symbol"] for row in ledger.live_stops} & set(ledger.positions)),
    )


def move_all(desk: "Desk", symbols: Sequence[str], place: int) -> None:
    price = PRICE + TICK * (1 + place % 2)
    for symbol in symbols:
        desk.paper.set_price(symbol, str(price))


def figures(costs: Sequence[Cost]) -> list[Figure]:
    one = costs[0]
    return [
        figure
        for cost in costs
        for figure in (
            Figure(name=f"exchange calls a cycle, {cost.positions} open", value=cost.calls, unit="", floor=one.calls),
            Figure(name=f"queries a cycle, {cost.positions} open", value=cost.queries, unit="", floor=one.queries),
            # The median: others on the machine take from the slowest one what is not ours.
            Figure(name=f"cycle, p50, {cost.positions} open", value=median(cost.seconds) * 1000, unit="ms"),
            Figure(name=f"cycle, slowest, {cost.positions} open", value=max(cost.seconds) * 1000, unit="ms"),
            Figure(name=f"cycle, our processor time, {cost.positions} open", value=cost.cpu_seconds * 1000, unit="ms"),
            Figure(name=f"positions without a stop, {cost.positions} open", value=cost.uncovered, unit=""),
        )
    ]
