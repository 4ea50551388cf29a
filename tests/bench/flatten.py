"""Section `flatten`: a hundred positions are open, the switch says flatten: until the exchange shows none of them.

The exchange enforces its limits and takes a while for each answer. The floor is what one client needs that does nothing
but the closes themselves, one after another, on the same exchange: a signed order each.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from execution.adapters.binance.weights import cost_of
from local_stack.command import temporary_state
from local_stack.console import Console
from local_stack.settings import Settings
from tests.bench.evidence import Books
from tests.bench.live_stack import live_stack
from tests.bench.report import Figure, Outcome
from tests.bench.stop import JITTER_MS, LATENCY, LATENCY_MS, Run, answers, waited, web_program
from tests.support.ledger import ORDER
from tests.support.stack import CeleryStack, crew
from tests.support.waiting import eventually

POSITIONS, FLOOR_ORDERS = 100, 50
# Decisions go in by portions: entry, stop and target of each are three of the 300 orders that ten seconds allow.
PORTION = 25
# Fills are read by weight: of so many positions that takes into the exchange's next minute.
# What is read for the books of a trade.
OF_BOOKS = {"/fapi/v1/userTrades": "fills", "/fapi/v1/income": "income"}
READY_SECONDS, OPEN_SECONDS, BOOKS_SECONDS = 60.0, 180.0, 180.0
QUANTITY = "10"


async def run(_settings: Settings, console: Console) -> Outcome:
    load_before = os.getloadavg()[0]
    with temporary_state("bench", console) as state:
        figures = await asyncio.to_thread(measure, state, console)
    console.end_progress()
    conditions = {
        "exchange": f"{LATENCY_MS} ms and {JITTER_MS} ms more on average, limits enforced",
        "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after",
    }
    return Outcome(figures=figures, profile={}, conditions=conditions)


def measure(state: Path, console: Console) -> list[Figure]:
    options = ("--extra-symbols", str(POSITIONS + 1), "--balance", "1000000", *LATENCY)
    site = web_program()
    console.progress("Starting servers, exchange, workers and web ...")
    with live_stack(state, options, programs=(*crew(state), site), limits=True) as stack:
        Books(stack.database_url).allow_positions(POSITIONS)
        names = [f"X{number:04d}USDT" for number in range(1, POSITIONS + 2)]
        here = Run(stack=stack, web_url=site.ready_url.removesuffix("/health/live"), console=console, symbols=names)
        eventually(lambda: answers(site.ready_url), within=READY_SECONDS, what="the web process answers", every=0.2)
        opened(here)
        floor = floor_seconds(stack, here.symbols[-1])
        return flattened(here, floor)


def opened(here: Run) -> None:
    """Open a position in each symbol, at the pace that the exchange's limits allow."""
    for first in range(0, POSITIONS, PORTION):
        here.console.progress(f"Opening positions {first + 1} to {first + PORTION} ...")
        here.stack.decide(here.symbols[first : first + PORTION])
        within(lambda: here.stack.states().count("RECORDED") >= first + PORTION, "the trades are open")  # noqa: B023
    within(lambda: len(here.stack.paper.summary()["positions"]) == POSITIONS, "the positions are there")


def within(check: Callable[[], bool], what: str) -> None:
    """Wait for what is only the arrangement: how long it takes is no figure."""
    eventually(check, within=OPEN_SECONDS, what=what, every=0.5)


def floor_seconds(stack: CeleryStack, symbol: str) -> float:
    """Return how long as many closes take of a client that does nothing else, from a part of them."""
    began = time.monotonic()
    for number in range(FLOOR_ORDERS):
        side = "SELL" if number % 2 else "BUY"
        stack.person.new_order(symbol=symbol, side=side, type="MARKET", quantity=QUANTITY)
    return (time.monotonic() - began) * POSITIONS / FLOOR_ORDERS


def flattened(here: Run, floor: float) -> list[Figure]:
    here.stack.paper.clear_ledger()
    here.console.progress(f"{POSITIONS} positions, and the switch says flatten ...")
    began = time.time_ns()
    here.move_kill_switch("flatten")
    waited(lambda: not here.stack.paper.summary()["positions"], "no position is left", every=0.2)
    requests = here.stack.paper.ledger()["requests"]
    closes = [row for row in requests if (row["method"], row["path"]) == ("POST", ORDER)]
    flat = (max(row["t_ns"] for row in closes) - began) / 1e9
    refused = sum(row["done_status"] != HTTPStatus.OK for row in closes)
    return [
        Figure(name=f"flatten to the last close, {POSITIONS} positions", value=flat, unit="s"),
        Figure(name="flatten to the last close against bare orders", value=flat, unit="s", floor=floor),
        Figure(name="closes of a flatten beyond one a position", value=len(closes) - POSITIONS, unit=""),
        Figure(name="closes of a flatten refused", value=refused, unit=""),
        Figure(name="requests until then", value=len(requests), unit=""),
        Figure(name="flatten to the last book and leg", value=settled_seconds(here, began), unit="s"),
        *books_figures(here),
    ]


def books_figures(here: Run) -> list[Figure]:
    """Say what was read until all books were closed: fills, and the account's income."""
    reads = [row for row in here.stack.paper.ledger()["requests"] if row["path"] in OF_BOOKS]
    weight = sum(cost_of(row["method"], row["path"], row["params"]).weight for row in reads)
    counted = Counter(OF_BOOKS[row["path"]] for row in reads)
    return [
        *(
            Figure(name=f"lists of {what} read for the books", value=counted[what], unit="")
            for what in OF_BOOKS.values()
        ),
        Figure(name="weight of a flatten's books, each trade", value=weight / POSITIONS, unit=""),
    ]


def settled_seconds(here: Run, began: int) -> float:
    """Return when the last trade is closed in the books and no order is left."""
    here.console.progress("Flat; until books and legs have followed ...")
    over = BOOKS_SECONDS
    eventually(lambda: closed(here) == POSITIONS and not live(here), within=over, what="books follow", every=0.5)
    return (time.time_ns() - began) / 1e9


def closed(here: Run) -> int:
    [(number,)] = here.stack.rows("SELECT count(*) FROM execution_trade WHERE state = 'CLOSED'")
    return int(number)


def live(here: Run) -> int:
    return sum(row["algoStatus"] == "NEW" for row in here.stack.paper.ledger()["algo_orders"])
