"""Section `exchange`: what load one process of the paper exchange carries, with 200 moving markets and a reader of all.

It needs neither PostgreSQL nor Valkey nor our service: only the exchange, as a process on a free port.
"""

import asyncio
import os
from dataclasses import dataclass
from decimal import Decimal

from local_stack.console import Console
from local_stack.settings import Settings
from local_stack.supervisor import StackError
from local_stack.waiting import poll
from paper_exchange.core.symbols import build_symbols
from tests.bench.cpu import seconds_by_program, waited_seconds
from tests.bench.order_load import open_lanes, send_all, send_at_pace, signed_orders
from tests.bench.past_orders import FEW, MANY, cost_by_past
from tests.bench.report import Figure, Outcome, percentile
from tests.bench.stream_reader import open_reader
from tests.support.paper import PaperExchange

SYMBOLS, LANES = 200, 8
EXTRA_SYMBOLS = 176
# Prices move as they do by default: the steps of all markets and their messages are part of the load.
OPTIONS = ("--listing", "uniform", "--extra-symbols", str(EXTRA_SYMBOLS), "--balance", "10000000")
WARM_UP, FULL_SPEED, ROUNDS, PACED, PACE = 1_000, 12_000, 3, 1_200, 300.0
SENT = WARM_UP + ROUNDS * PACED + FULL_SPEED
QUANTITY = "1"
READER_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the exchange did under orders: latencies by round (ms), the rest at full speed."""

    rounds: list[list[float]]
    seconds: float
    cpu_seconds: float
    messages: int
    silent: int
    without_processor: float

    @property
    def tails(self) -> list[float]:
        return [percentile(latencies, 0.99) for latencies in self.rounds]


async def run(_settings: Settings, console: Console) -> Outcome:
    """Measure throughput, latency at a pace, and the cost of an order by the number of orders before it."""
    load_before = os.getloadavg()[0]
    with PaperExchange(*OPTIONS, static_prices=False) as exchange:
        load = await measure_load(exchange, console)
        recorded = len(exchange.ledger()["orders"])
    console.progress(f"Comparing orders after {FEW} and after {MANY} ...")
    costs = await asyncio.to_thread(cost_by_past)
    console.end_progress()
    return Outcome(
        figures=figures(load, recorded, costs),
        profile={},
        conditions={
            "symbols": str(SYMBOLS),
            "connections": str(LANES),
            "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after",
            "nice": str(os.nice(0)),
        },
    )


async def measure_load(exchange: PaperExchange, console: Console) -> Load:
    names = list(build_symbols(Decimal(5), extra=EXTRA_SYMBOLS))
    traded = names[-EXTRA_SYMBOLS:]
    reader = await open_reader(exchange.url, names)
    lanes = await open_lanes(exchange.url, LANES)

    async def all_spoke() -> bool:
        return not reader.silent

    try:
        await poll(all_spoke, seconds=READER_SECONDS)
        await send_all(lanes, orders(traded, WARM_UP))
        console.progress(f"Sending {ROUNDS} times {PACED} orders, {PACE:.0f} per second ...")
        waited = waited_seconds(exchange.pid)
        rounds = [await send_at_pace(lanes, orders(traded, PACED), per_second=PACE) for _ in range(ROUNDS)]
        waited = waited_seconds(exchange.pid) - waited
        console.progress(f"Sending {FULL_SPEED} orders as fast as they are answered ...")
        prepared = orders(traded, FULL_SPEED)
        cpu, messages = cpu_seconds(exchange), reader.messages
        seconds = await send_all(lanes, prepared)
        return Load(
            rounds=rounds,
            seconds=seconds,
            cpu_seconds=cpu_seconds(exchange) - cpu,
            messages=reader.messages - messages,
            silent=len(reader.silent),
            without_processor=waited / (ROUNDS * PACED / PACE),
        )
    except TimeoutError:
        raise StackError(f"{len(reader.silent)} of {SYMBOLS} streams sent nothing") from None
    finally:
        reader.close()
        for lane in lanes:
            lane.close()


def figures(load: Load, recorded: int, costs: dict[int, float]) -> list[Figure]:
    return [
        Figure(name="signed orders per second", value=FULL_SPEED / load.seconds, unit="/s"),
        milliseconds("processor time an order at full speed", load.cpu_seconds * 1000 / FULL_SPEED),
        Figure(name="bookTicker messages per second meanwhile", value=load.messages / load.seconds, unit="/s"),
        Figure(name="symbols without a message", value=load.silent, unit=""),
        # Others work on the machine too: the best round shows the exchange, the worst what they took from it.
        milliseconds("placement, p50 at 300/s", min(percentile(latencies, 0.5) for latencies in load.rounds)),
        milliseconds("placement, p99 at 300/s, best of 3 rounds", min(load.tails)),
        milliseconds("placement, p99 at 300/s, worst of 3 rounds", max(load.tails)),
        Figure(name="time the exchange waited for a processor", value=load.without_processor * 100, unit="%"),
        Figure(name="orders answered but not recorded", value=SENT - recorded, unit=""),
        Figure(name=f"an order after {MANY} others", value=costs[MANY], unit="µs", floor=costs[FEW]),
    ]


def milliseconds(name: str, value: float) -> Figure:
    return Figure(name=name, value=value, unit="ms")


def orders(symbols: list[str], count: int) -> list[bytes]:
    return signed_orders(symbols, count, PaperExchange.key, PaperExchange.secret, QUANTITY)


def cpu_seconds(exchange: PaperExchange) -> float:
    return seconds_by_program({"exchange": exchange.pid}).get("exchange", 0.0)
