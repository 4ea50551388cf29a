"""Section `legs`: from a position's last fill to the end of its last leg, with the user-data stream and without.

A stop fills, a target fills, a person closes: one after another, and many at once. Both moments are the exchange's,
from its ledger. While a leg rests beside a flat symbol, it keeps the symbol, and would reduce what is opened next.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from local_stack.command import temporary_state
from local_stack.console import Console
from local_stack.settings import Settings
from tests.bench.evidence import Books
from tests.bench.live_stack import live_stack
from tests.bench.report import Figure, Outcome, percentile
from tests.bench.stop import JITTER_MS, LATENCY, LATENCY_MS, waited
from tests.support.stack import CeleryStack

# Of each way to end: so many one after another, and so many at once.
APART, AT_ONCE, PAUSE_SECONDS = 12, 12, 0.4
SYMBOLS = 6 * (APART + AT_ONCE)
# Entry, stop and target of each are three of the 300 orders that ten seconds allow.
PORTION, PORTION_SECONDS = 12, 2.0
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
STREAMS = ("stream up", "stream silent")
Way = Callable[[CeleryStack, str], None]


def stopped_out(stack: CeleryStack, symbol: str) -> None:
    stack.paper.set_price(symbol, beyond(stack, symbol, "STOP_MARKET", Decimal("0.999")))


def target_met(stack: CeleryStack, symbol: str) -> None:
    stack.paper.set_price(symbol, beyond(stack, symbol, "TAKE_PROFIT_MARKET", Decimal("1.001")))


def closed_by_hand(stack: CeleryStack, symbol: str) -> None:
    [held] = [row for row in stack.paper.summary()["positions"] if row["symbol"] == symbol]
    stack.person.new_order(symbol=symbol, side="SELL", type="MARKET", quantity=held["positionAmt"], reduceOnly="true")


WAYS: Mapping[str, Way] = MappingProxyType(
    {"a stop filled": stopped_out, "a target filled": target_met, "closed by hand": closed_by_hand}
)


async def run(_settings: Settings, console: Console) -> Outcome:
    load_before = os.getloadavg()[0]
    with temporary_state("bench", console) as state:
        found = await asyncio.to_thread(measure, state, console)
    console.end_progress()
    conditions = {
        "exchange": f"{LATENCY_MS} ms and {JITTER_MS} ms more on average, limits enforced",
        "positions": f"{APART} one after another and {AT_ONCE} at once of each way",
        "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after",
    }
    return Outcome(figures=figures(found), profile={}, conditions=conditions)


def measure(state: Path, console: Console) -> dict[str, dict[str, list[float]]]:
    """Return, by stream and way, how many milliseconds each position's last leg outlived it."""
    options = ("--extra-symbols", str(SYMBOLS), "--balance", "1000000", *LATENCY)
    console.progress("Starting servers, exchange and workers ...")
    with live_stack(state, options, limits=True) as stack:
        Books(stack.database_url).allow_positions(SYMBOLS)
        names = [f"X{number:04d}USDT" for number in range(SYMBOLS, 0, -1)]
        found: dict[str, dict[str, list[float]]] = {}
        for stream in STREAMS:
            if stream == "stream silent":
                stack.paper.control("POST", "streams/faults", {"action": "silent", "count": None})
            found[stream] = {}
            for name in WAYS:
                console.progress(f"{stream}: {name} ...")
                symbols = [names.pop() for _ in range(APART + AT_ONCE)]
                found[stream][name] = outlived(stack, symbols, WAYS[name])
        return found


def outlived(stack: CeleryStack, symbols: Sequence[str], way: Way) -> list[float]:
    opened(stack, symbols)
    for symbol in symbols[:APART]:
        way(stack, symbol)
        time.sleep(PAUSE_SECONDS)
    for symbol in symbols[APART:]:
        way(stack, symbol)
    waited(lambda: not legs_of(stack, symbols), "no leg is left")
    return [gone_after_ms(stack.paper.ledger(), symbol) for symbol in symbols]


def opened(stack: CeleryStack, symbols: Sequence[str]) -> None:
    """Open a position in each symbol, with its stop and its target, at the pace that the exchange's limits allow."""
    for first in range(0, len(symbols), PORTION):
        stack.decide(symbols[first : first + PORTION])
        time.sleep(PORTION_SECONDS)
    count = "SELECT count(*) FROM execution_trade WHERE symbol = ANY(%s)"
    waited(lambda: stack.rows(count, list(symbols)) == [(len(symbols),)], "the trades are open")
    waited(lambda: len(legs_of(stack, symbols)) == 2 * len(symbols), "the legs stand")


def legs_of(stack: CeleryStack, symbols: Sequence[str]) -> list[dict[str, Any]]:
    rows = stack.paper.ledger()["algo_orders"]
    return [row for row in rows if row["algoStatus"] == "NEW" and row["symbol"] in symbols]


def beyond(stack: CeleryStack, symbol: str, kind: str, factor: Decimal) -> str:
    """Return a price a little beyond a leg's level."""
    [level] = [row["triggerPrice"] for row in legs_of(stack, [symbol]) if row["orderType"] == kind]
    return format((Decimal(level) * factor).quantize(Decimal("0.001")), "f")


def gone_after_ms(ledger: dict[str, Any], symbol: str) -> float:
    """Return how long the last leg of a symbol's position has outlived it, by the exchange's clock."""
    flat = max(row["time"] for row in ledger["fills"] if row["symbol"] == symbol)
    ended = [row["updateTime"] for row in ledger["algo_orders"] if row["symbol"] == symbol]
    return float(max(0, max(ended) - flat))


def figures(found: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Figure]:
    of_all = {stream: [ms for times in ways.values() for ms in times] for stream, ways in found.items()}
    return [
        *(
            Figure(name=f"legs outlive their position, {stream}, {name}", value=percentile(times, share), unit="ms")
            for stream, times in of_all.items()
            for name, share in SHARES.items()
        ),
        *(
            Figure(name=f"longest, {stream}, {way}", value=max(times), unit="ms")
            for stream, ways in found.items()
            for way, times in ways.items()
        ),
    ]
