"""Section `protection`: from an entry's fill to its stop accepted, with the stream, without it, and over a SIGKILL.

Without the stream, entries fill one by one, and dozens of them at once.

Entries rest as LIMIT orders, and a move of the price fills them, so that nobody of ours is told by an answer. Both
moments are the exchange's own, from its ledger.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from local_stack.bus import stream_key, wrapped
from local_stack.command import temporary_state
from local_stack.console import Console
from local_stack.settings import Settings
from local_stack.supervisor import StackError
from local_stack.waiting import poll
from tests.bench.evidence import Books
from tests.bench.live_stack import live_stack
from tests.bench.report import Figure, Outcome, percentile
from tests.support.ledger import Ledger
from tests.support.stack import CeleryStack

LATENCIES_MS = (50, 5)
SHARES = {"p50": 0.5, "p99": 0.99}
SIGNAL = "signal.execute"
SYMBOLS = 210
# The invented contracts rest at 10; ours rest below and are met when the price comes down to them.
LIMIT, STOP, QUANTITY = "9.900", "9.600", "10"
# In rounds: the best one shows the service, the worst what others on the machine took from it.
ROUNDS, WITH_STREAM, PAUSE_SECONDS = 3, 34, 0.2
# Spread over several cycles, so that some are filled right after a reading.
WITHOUT_STREAM, LONG_PAUSE_SECONDS = 24, 1.7
# Their stops and targets are almost as many as the exchange takes of one account.
AT_ONCE = 48
KILLS, FILLS_A_KILL = 3, 8
WARM_UP = 6
PINGS = 40
SETTLE_SECONDS = 60.0


@dataclass(kw_only=True)
class Run:
    """A running service at one latency of the exchange; `symbols` hands out names that were not used."""

    stack: CeleryStack
    console: Console
    latency_ms: int
    symbols: list[str]

    def take(self, count: int) -> list[str]:
        return [self.symbols.pop() for _ in range(count)]

    def say(self, what: str) -> None:
        self.console.progress(f"{self.latency_ms} ms: {what} ...")


async def run(_settings: Settings, console: Console) -> Outcome:
    """Measure at each latency on a stack of its own."""
    load_before = os.getloadavg()[0]
    found: list[Figure] = []
    for latency_ms in LATENCIES_MS:
        with temporary_state("bench", console) as state:
            found += await measure(state, console, latency_ms)
    load = f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after"
    return Outcome(figures=found, profile={}, conditions={"monitor": "every 10 s", "kills": str(KILLS), "load": load})


async def measure(state: Path, console: Console, latency_ms: int) -> list[Figure]:
    options = ("--extra-symbols", str(SYMBOLS), "--balance", "1000000", "--latency-ms", str(latency_ms))
    console.progress(f"{latency_ms} ms: starting servers, exchange and workers ...")
    with live_stack(state, options) as stack:
        async with Books(stack.database_url) as books:
            books.allow_positions(SYMBOLS)
        names = [f"X{number:04d}USDT" for number in range(SYMBOLS, 0, -1)]
        here = Run(stack=stack, console=console, latency_ms=latency_ms, symbols=names)
        await filled(here, await resting(here, WARM_UP), pause=PAUSE_SECONDS)
        round_trip = round_trip_ms(stack)
        heard = await with_stream(here)
        polled = await without_stream(here, WITHOUT_STREAM, pause=LONG_PAUSE_SECONDS)
        at_once = await without_stream(here, AT_ONCE, pause=0)
        killed = await over_kills(here)
    console.end_progress()
    silent = {"stream silent": polled, f"{AT_ONCE} at once, stream silent": at_once}
    return figures(latency_ms, round_trip, heard, silent | {"all workers killed": killed})


def figures(
    latency_ms: int, round_trip: float, heard: Sequence[Sequence[float]], others: Mapping[str, Sequence[float]]
) -> list[Figure]:
    where = f"at {latency_ms} ms"
    tails = [percentile(times, SHARES["p99"]) - round_trip for times in heard]
    cases = {"stream up": [time for times in heard for time in times], **others}
    return [
        Figure(name=f"exchange round trip, p50 {where}", value=round_trip, unit="ms"),
        *(
            Figure(name=f"fill to stop, {case}, {name} {where}", value=percentile(times, share), unit="ms")
            for case, times in cases.items()
            for name, share in SHARES.items()
        ),
        Figure(name=f"beyond a round trip, stream up, p99 {where}, best of {ROUNDS}", value=min(tails), unit="ms"),
        Figure(name=f"beyond a round trip, stream up, p99 {where}, worst of {ROUNDS}", value=max(tails), unit="ms"),
    ]


def round_trip_ms(stack: CeleryStack) -> float:
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        stack.person.ping()
        times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 0.5)


# The three cases


async def with_stream(here: Run) -> list[list[float]]:
    rounds = []
    for number in range(1, ROUNDS + 1):
        symbols = await resting(here, WITH_STREAM)
        here.say(f"filling {WITH_STREAM} entries with the stream up, {number} of {ROUNDS}")
        rounds.append(await filled(here, symbols, pause=PAUSE_SECONDS))
        await close_everything(here)
    return rounds


async def without_stream(here: Run, count: int, *, pause: float) -> list[float]:
    symbols = await resting(here, count)
    here.say(f"filling {count} entries with the stream silent, one every {pause} s")
    here.stack.paper.control("POST", "streams/faults", {"action": "silent", "count": None})
    times = await filled(here, symbols, pause=pause)
    here.stack.paper.control("DELETE", "streams/faults")
    await close_everything(here)
    return times


async def over_kills(here: Run) -> list[float]:
    """Freeze every process, fill, kill them all and start them anew: nobody was alive between fill and stop."""
    times: list[float] = []
    for number in range(1, KILLS + 1):
        symbols = await resting(here, FILLS_A_KILL)
        here.say(f"killing all workers, {number} of {KILLS}")
        stack = here.stack
        for name in stack.processes:
            stack.send_signal(name, signal.SIGSTOP)
        for symbol in symbols:
            stack.paper.set_price(symbol, LIMIT)
        stack.kill(*stack.processes)
        stack.start_workers()
        times += await covered(here, symbols)
        await close_everything(here)
    return times


# Steps


async def resting(here: Run, count: int) -> list[str]:
    """Have entries rest at the exchange, each on a symbol of its own."""
    symbols = here.take(count)
    here.say(f"placing {count} entries that rest")
    for symbol in symbols:
        entry = wrapped(SIGNAL, signal_of(symbol), source="bench")
        here.stack.redis.xadd(stream_key(SIGNAL), entry)
        await asyncio.sleep(0.02)

    async def all_rest() -> bool:
        rows = here.stack.rows(
            "SELECT count(*) FROM execution_executionrequest WHERE state = 'ACCEPTED' AND symbol = ANY(%s)", symbols
        )
        return bool(rows[0][0] == count)

    await waited(all_rest, here, symbols, "rest")
    return symbols


def signal_of(symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "side": "buy",
        "quantity": QUANTITY,
        "price": LIMIT,
        "stop_loss": STOP,
        "leverage": 5,
        "request_id": str(uuid4()),
    }


async def filled(here: Run, symbols: Sequence[str], *, pause: float) -> list[float]:
    """Let the price come down to each entry in turn, and return how long each waited for its stop."""
    for symbol in symbols:
        here.stack.paper.set_price(symbol, LIMIT)
        await asyncio.sleep(pause)
    return await covered(here, symbols)


async def covered(here: Run, symbols: Sequence[str]) -> list[float]:
    """Wait until every position has its stop and its trade, and return the milliseconds from fill to stop."""

    async def all_open() -> bool:
        rows = here.stack.rows("SELECT count(*) FROM execution_trade WHERE symbol = ANY(%s)", list(symbols))
        return bool(rows[0][0] == len(symbols))

    await waited(all_open, here, symbols, "have their trade")
    ledger = Ledger.of(here.stack.paper)
    fills = {row["symbol"]: row["time"] for row in reversed(ledger.fills)}
    stops = {row["symbol"]: row["createTime"] for row in reversed(ledger.algo_orders) if is_stop(row)}
    return [float(stops[symbol] - fills[symbol]) for symbol in symbols]


def is_stop(row: dict[str, Any]) -> bool:
    return bool(row["orderType"] == "STOP_MARKET")


async def close_everything(here: Run) -> None:
    """Close each position as a person would, so that the next case has room."""
    here.say("closing everything")
    for symbol in Ledger.of(here.stack.paper).positions:
        here.stack.paper.control("POST", "position", {"symbol": symbol, "amount": "0"})

    async def all_closed() -> bool:
        [(trades,)] = here.stack.rows("SELECT count(*) FROM execution_trade WHERE state <> 'CLOSED'")
        return not trades and not Ledger.of(here.stack.paper).live()

    await waited(all_closed, here, [], "are closed")


async def waited(check: Any, here: Run, symbols: Sequence[str], what: str) -> None:
    try:
        await poll(check, seconds=SETTLE_SECONDS, every=0.1)
    except TimeoutError:
        counts = here.stack.rows("SELECT state, count(*), min(reason) FROM execution_executionrequest GROUP BY state")
        raise StackError(f"Not all of {len(symbols)} entries {what} within {SETTLE_SECONDS:.0f} s: {counts}") from None
