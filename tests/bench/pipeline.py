"""Section `pipeline`: how fast a decision on the bus becomes an order at the exchange, and a fill a protected position.

All times come from one machine's clock: before the call on our side, at arrival in the ledger of the exchange.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import TypeVar

import aiohttp
import redis.asyncio as redis

from local_stack.bus import connect
from local_stack.command import temporary_state
from local_stack.console import Console
from local_stack.settings import Settings
from local_stack.supervisor import StackError
from local_stack.waiting import poll
from tests.bench.evidence import ORDER, Books, Story, accepted, read_requests, tell_stories
from tests.bench.floor import send_floor
from tests.bench.load import send_burst, send_paced
from tests.bench.report import Figure, Outcome, percentile
from tests.bench.stack import EXTRA_SYMBOLS, BenchStack, bench_stack

# Where the extra symbols of the paper exchange stand still.
PRICE = Decimal("10.000")
# Each decision takes a symbol of its own, so the loads need two stacks: 480 decisions at a pace, 420 with the burst.
WARM_UP, SLOW, FAST, BURST = 20, 40, 420, 400
DRAIN_SECONDS = 120.0
SHARES = {"p50": 0.5, "p99": 0.99}

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stack with its doors; `symbols` hands out names that no decision has used."""

    stack: BenchStack
    console: Console
    http: aiohttp.ClientSession
    bus: "redis.Redis"
    books: Books
    symbols: list[str]

    def take(self, count: int) -> list[str]:
        return [self.symbols.pop() for _ in range(count)]


@dataclass(frozen=True, kw_only=True)
class Load:
    """How many decisions were sent, and the stories of those that became trades."""

    sent: int
    stories: list[Story]
    cpu_ms: dict[str, float]

    @property
    def to_entry_ms(self) -> list[float]:
        return [story.to_entry_ms for story in self.stories]

    @property
    def to_stop_ms(self) -> list[float]:
        return [story.to_stop_ms for story in self.stories]

    @property
    def lost(self) -> float:
        return self.sent - len(self.stories)


@dataclass(frozen=True, kw_only=True)
class Paced:
    """The floor, and the decisions at 1/s and 20/s."""

    floor_ms: list[float]
    slow: Load
    fast: Load
    conditions: dict[str, str]


async def run(settings: Settings, console: Console) -> Outcome:
    """Measure the paced loads on one stack and the burst on a fresh one."""
    paced = await on_a_stack(settings, console, measure_paced)
    burst = await on_a_stack(settings, console, measure_burst)
    return Outcome(
        figures=[*paced_figures(paced), *burst_figures(burst)],
        profile={"1/s": profile(paced.slow), "20/s": profile(paced.fast), "burst": profile(burst)},
        conditions=paced.conditions,
    )


async def on_a_stack(
    settings: Settings, console: Console, work: Callable[[Run], Coroutine[None, None, Result]]
) -> Result:
    with temporary_state("bench", console) as state:
        console.progress("Starting PostgreSQL, Valkey and the paper exchange ...")
        async with (
            bench_stack(settings, state, console) as stack,
            aiohttp.ClientSession() as http,
            connect(stack.addresses.redis_url) as bus,
            Books(stack.addresses.database_url) as books,
        ):
            symbols = [f"X{number:04d}USDT" for number in range(EXTRA_SYMBOLS, 0, -1)]
            run = Run(stack=stack, console=console, http=http, bus=bus, books=books, symbols=symbols)
            return await stack.or_death(work(run))


async def measure_paced(run: Run) -> Paced:
    run.console.progress("Measuring the connector alone, with nothing else running ...")
    floor_ms = await measure_floor(run)
    await start_service(run)
    run.console.progress(f"Sending {SLOW} decisions, 1 per second ...")
    slow = await measure(run, send_paced(run.bus, run.take(SLOW), PRICE, per_second=1))
    run.console.progress(f"Sending {FAST} decisions, 20 per second ...")
    fast = await measure(run, send_paced(run.bus, run.take(FAST), PRICE, per_second=20))
    conditions = {name: run.books.setting(name) for name in ("server_version", "fsync", "synchronous_commit")}
    return Paced(floor_ms=floor_ms, slow=slow, fast=fast, conditions=conditions)


async def measure_burst(run: Run) -> Load:
    await start_service(run)
    run.console.progress(f"Sending {BURST} decisions at once ...")
    return await measure(run, send_burst(run.bus, run.take(BURST), PRICE))


async def measure_floor(run: Run) -> list[float]:
    sent = await asyncio.to_thread(send_floor, run.stack.addresses.paper_exchange_url)
    requests = await read_requests(run.http, run.stack.addresses.paper_exchange_url)
    arrivals = {row["params"]["newClientOrderId"]: row["t_ns"] for row in accepted(requests, ORDER)}
    return [(arrivals[name] - moment) / 1e6 for name, moment in sent.items()]


async def start_service(run: Run) -> None:
    """Start our processes, make room for every position, and let each process trade before anything counts."""
    run.console.progress("Starting the workers ...")
    await run.stack.start_service()
    run.books.allow_positions(EXTRA_SYMBOLS)
    await measure(run, send_paced(run.bus, run.take(WARM_UP), PRICE, per_second=10))


async def measure(run: Run, sending: Awaitable[dict[str, int]]) -> Load:
    """Send decisions, wait until every one has ended, and return what happened to each."""
    cpu_before = run.stack.cpu_seconds()
    sent = await sending
    await drain(run, sent)
    cpu = {name: used - cpu_before.get(name, 0.0) for name, used in run.stack.cpu_seconds().items()}
    for failure in run.books.failures(list(sent)):
        run.console.line(f"Not a trade: {failure}")
    stories = tell_stories(sent, await read_requests(run.http, run.stack.addresses.paper_exchange_url))
    run.books.add_states(stories)
    return Load(
        sent=len(sent),
        stories=[story for story in stories.values() if story.is_complete],
        cpu_ms={name: seconds * 1000 / len(sent) for name, seconds in cpu.items()},
    )


async def drain(run: Run, sent: dict[str, int]) -> None:

    async def all_ended() -> bool:
        return await _in_thread(run.books.ended, list(sent)) == len(sent)

    try:
        await poll(all_ended, seconds=DRAIN_SECONDS, every=0.25)
    except TimeoutError:
        ended = run.books.ended(list(sent))
        raise StackError(f"Only {ended} of {len(sent)} decisions ended within {DRAIN_SECONDS:.0f} s.") from None


async def _in_thread(question: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.to_thread(question, *arguments)


def paced_figures(paced: Paced) -> list[Figure]:
    floor = {name: percentile(paced.floor_ms, share) for name, share in SHARES.items()}
    loads = {"1/s": paced.slow, "20/s": paced.fast}
    return [
        *(milliseconds(f"connector's own order, {name}", value) for name, value in floor.items()),
        *(
            milliseconds(f"decision to entry, {name} at {rate}", percentile(load.to_entry_ms, share), floor[name])
            for rate, load in loads.items()
            for name, share in SHARES.items()
        ),
        *(
            milliseconds(f"fill to stop accepted, {name} at {rate}", percentile(load.to_stop_ms, share))
            for rate, load in loads.items()
            for name, share in SHARES.items()
        ),
        *(
            Figure(name=f"decisions without a trade at {rate}", value=load.lost, unit="")
            for rate, load in loads.items()
        ),
    ]


def burst_figures(load: Load) -> list[Figure]:
    began = min(story.sent for story in load.stories)
    at_exchange = (max(story.entry for story in load.stories) - began) / 1e9
    recorded = (max(story.states["RECORDED"] for story in load.stories) - began) / 1e9
    return [
        Figure(name="decisions at the exchange per second", value=len(load.stories) / at_exchange, unit="/s"),
        Figure(name="decisions recorded as trades per second", value=len(load.stories) / recorded, unit="/s"),
        *(
            milliseconds(f"fill to stop accepted, {name} in a burst", percentile(load.to_stop_ms, share))
            for name, share in SHARES.items()
        ),
        Figure(name="decisions without a trade in a burst", value=load.lost, unit=""),
    ]


def milliseconds(name: str, value: float, floor: float | None = None) -> Figure:
    return Figure(name=name, value=value, unit="ms", floor=floor)


def profile(load: Load) -> dict[str, float]:
    """Return the median time between one milestone of a decision and the next, then each program's processor time."""
    stories = [_milestones(story) for story in load.stories]
    steps = {
        f"{before} -> {after}": median((marks[after] - marks[before]) / 1e6 for marks in stories)
        for before, after in pairwise(stories[0])
    }
    return steps | {f"cpu: {name}": used for name, used in load.cpu_ms.items() if used}


def _milestones(story: Story) -> dict[str, int]:
    states = story.states
    return {
        "XADD": story.sent,
        **{state: states[state] for state in ("RECEIVED", "CLEARED", "APPROVED", "SUBMITTING")},
        "entry arrives": story.entry,
        "FILLED": states["FILLED"],
        "stop arrives": story.stop,
        **{state: states[state] for state in ("PROTECTED", "RECORDED")},
    }
