"""Section `limiter`: processes that want three times the limits, with strangers on the address, for whole minutes.

The paper exchange runs with its limits on and is the only judge: its ledger says what came, and what it refused.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from redis import Redis

from execution.adapters.rate_limit import RateLimiter
from execution.adapters.redis_bus import redis_connection
from execution.domain.ports import Lane
from execution.domain.rate_limits import Cost, Limits, Permit, WindowUsage
from local_stack.console import Console
from local_stack.settings import Settings
from local_stack.valkey import start_valkey
from tests.bench.bounds import LIMITER_RUNS
from tests.bench.limiter_load import LIMITED, Run, next_minute, run_tasks, tell
from tests.bench.limiter_worker import COVER, Task
from tests.bench.report import Figure, Outcome, percentile
from tests.support.paper import PaperExchange

PROCESSES = (1, 2, 4, 8)
MINUTES = 3
# Three times what is allowed: 20 orders a second in brackets of three, and 40 weight a second in reads of five.
WANTED = 3
BRACKETS_PER_SECOND = WANTED * 20 / (1 + COVER)
READS_PER_SECOND = WANTED * 40 / 5
PROTECTION_PER_SECOND = 1.0
# Strangers: a quarter of the weight by light reads of another account, and an order a second on our own.
STRANGER, STRANGERS_SECRET = "stranger", "stranger-secret"
STRANGERS_READS, STRANGERS_ORDERS = 5.0, 1.0
BURST, BURST_PROCESSES, BURST_IDEAL_SECONDS = 1_000, 4, 30.0
# Our own ceiling as it is by default: the burst fits into a minute of it.
DEFAULT_PER_MINUTE = 1200
CALLS = 4_000
# Of all processes together, for entries and again for reads: more would only compete for the processor.
THREADS = 8


async def run(_settings: Settings, console: Console) -> Outcome:
    load_before = os.getloadavg()[0]
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        valkey = start_valkey(Path(folder) / "valkey", durable=False)
        try:
            redis = redis_connection(valkey.url)
            found += call_costs(redis)
            with PaperExchange("--balance", "10000000", limits=True) as exchange:
                exchange.add_account(STRANGER, STRANGERS_SECRET)
                for count in PROCESSES:
                    found += await sustained(exchange, valkey.url, count, console)
                found += await burst(exchange, valkey.url, console)
        finally:
            valkey.stop()
    conditions = {"minutes a run": str(MINUTES), "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after"}
    return Outcome(figures=found, profile={}, conditions=conditions)


async def sustained(exchange: PaperExchange, redis_url: str, count: int, console: Console) -> list[Figure]:
    begins = next_minute()
    ends = begins + MINUTES * 60
    console.progress(f"{count} processes want {WANTED} times the limits for {MINUTES} minutes ...")
    members = [
        Task(
            redis_url=redis_url,
            url=exchange.url,
            key=exchange.key,
            secret=exchange.secret,
            begins=begins,
            ends=ends,
            entries_per_second=BRACKETS_PER_SECOND / count,
            protection_per_second=PROTECTION_PER_SECOND / count,
            reads_per_second=READS_PER_SECOND / count,
            threads=max(1, THREADS // count),
        )
        for _ in range(count)
    ]
    met = await run_tasks([*members, *strangers(exchange, redis_url, begins, ends)])
    console.end_progress()
    run = tell(exchange, met, begins=begins, minutes=MINUTES)
    for line, times in run.log.items():
        console.line(f"{times} times in the log: {line}")
    return figures(LIMITER_RUNS[PROCESSES.index(count)], run)


def strangers(exchange: PaperExchange, redis_url: str, begins: float, ends: float) -> list[Task]:
    whose = ((STRANGER, STRANGERS_SECRET, STRANGERS_READS, 0.0), (exchange.key, exchange.secret, 0.0, STRANGERS_ORDERS))
    return [
        Task(
            redis_url=redis_url,
            url=exchange.url,
            key=key,
            secret=secret,
            begins=begins,
            ends=ends,
            reads_per_second=reads,
            entries_per_second=orders,
            stranger=True,
        )
        for key, secret, reads, orders in whose
    ]


def figures(name: str, run: Run) -> list[Figure]:
    return [
        Figure(name=f"order limit used, {name}", value=run.orders_share * 100, unit="%"),
        Figure(name=f"weight limit used, {name}", value=run.weight_share * 100, unit="%"),
        Figure(name=f"most orders in 10 s, {name}", value=run.most_in_10s, unit=""),
        Figure(name=f"answers 429 or 418, {name}", value=sum(run.statuses.get(code, 0) for code in LIMITED), unit=""),
        Figure(name=f"longest wait of protection, {name}", value=max(run.protect_waits_ms), unit="ms"),
        Figure(name=f"wait of protection, p50, {name}", value=percentile(run.protect_waits_ms, 0.5), unit="ms"),
        Figure(name=f"entries and reads denied, {name}", value=run.denied, unit=""),
    ]


async def burst(exchange: PaperExchange, redis_url: str, console: Console) -> list[Figure]:
    """Send 1,000 orders at once, in brackets, under our default ceiling."""
    begins = next_minute()
    console.progress(f"{BURST} orders at once ...")
    # Brackets of three: the last one is begun for its entry alone.
    whole, rest = divmod(-(-BURST // (1 + COVER)), BURST_PROCESSES)
    tasks = [
        Task(
            redis_url=redis_url,
            url=exchange.url,
            key=exchange.key,
            secret=exchange.secret,
            begins=begins,
            ends=begins + 90,
            per_minute=DEFAULT_PER_MINUTE,
            brackets=whole + (number < rest),
            threads=8,
        )
        for number in range(BURST_PROCESSES)
    ]
    met = await run_tasks(tasks)
    console.end_progress()
    run = tell(exchange, met, begins=begins, minutes=1)
    return [
        Figure(name="a burst of 1,000 orders", value=run.seconds, unit="s", floor=BURST_IDEAL_SECONDS),
        Figure(name="orders of the burst that arrived", value=run.orders, unit=""),
        Figure(name="answers 429 or 418, burst", value=sum(run.statuses.get(code, 0) for code in LIMITED), unit=""),
        Figure(name="longest wait of protection, burst", value=max(run.protect_waits_ms), unit="ms"),
    ]


def call_costs(redis: Redis) -> list[Figure]:
    """Measure one call of the limiter against what any call to Redis costs."""
    limiter = RateLimiter(redis, per_minute=10**9, limits=Limits(weight=10**9, orders_10s=10**9, orders_1m=10**9))
    order, told = Cost(orders_10s=1, orders_1m=1), WindowUsage(weight=1, orders_10s=1, orders_1m=1)
    smallest = redis.register_script("return 1")
    tickets: list[Permit] = []

    def admit() -> None:
        ticket = limiter.admit(Lane.PROTECT, order, max_wait_seconds=1)
        if isinstance(ticket, Permit):
            tickets.append(ticket)

    limiter.answered(Permit(cost=order), told)
    floor = median_ms(redis.ping)
    script = median_ms(smallest)
    taken = median_ms(admit)
    answered = median_ms(lambda: limiter.answered(tickets.pop(), told))
    return [
        Figure(name="a bare PING, p50", value=floor, unit="ms"),
        Figure(name="a bare EVALSHA, p50", value=script, unit="ms", floor=floor),
        Figure(name="a turn asked for, p50", value=taken, unit="ms", floor=script),
        Figure(name="an answer told, p50", value=answered, unit="ms", floor=script),
    ]


def median_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 0.5)
