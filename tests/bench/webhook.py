"""Section `webhook`: how long an alert waits for its answer while the exchange hangs and orders over HTTP wait for it.

The floor is the same web server's shortest answer, `GET /health/live`, in the same minute.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from local_stack.command import temporary_state
from local_stack.console import Console
from local_stack.settings import Settings
from tests.bench.live_stack import live_stack
from tests.bench.report import Figure, Outcome, percentile
from tests.bench.stop import answers, web_program
from tests.support.alert_storm import SENDERS, SYMBOLS
from tests.support.stack import CeleryStack, crew
from tests.support.waiting import eventually

ALERTS, WARM_UP = 800, 40
# Of each sender: all of them together send about 50 alerts a second.
PACE_SECONDS = 0.16
# Orders that hold a thread of the web server each for as long as they may.
WAITING_ORDERS = 16
READY_SECONDS = 60.0


async def run(_settings: Settings, console: Console) -> Outcome:
    load_before = os.getloadavg()[0]
    with temporary_state("bench", console) as state:
        figures = await asyncio.to_thread(measure, state, console)
    console.end_progress()
    conditions = {
        "exchange": "hangs on every call",
        "senders": str(SENDERS),
        "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after",
    }
    return Outcome(figures=figures, profile={}, conditions=conditions)


def measure(state: Path, console: Console) -> list[Figure]:
    site = web_program()
    url = str(site.ready_url).removesuffix("/health/live")
    console.progress("Starting servers, exchange, workers and web ...")
    with live_stack(state, (), programs=(*crew(state), site)) as stack:
        eventually(lambda: answers(site.ready_url), within=READY_SECONDS, what="the web process answers", every=0.2)
        made = stack.manage("webhook", "create", "bench", "--calls-per-minute", "6000", "--reason", "a benchmark")
        token = made.strip().rpartition("/hooks/")[2]
        stack.paper.add_fault(path="*", action="hang")
        ended = threading.Event()
        with ThreadPoolExecutor(WAITING_ORDERS) as crowd:
            for _ in range(WAITING_ORDERS):
                crowd.submit(wait_for_orders, url, ended)
            console.progress(f"{ALERTS} alerts while the exchange hangs ...")
            times = paced(lambda http, number: alert(http, f"{url}/hooks/{token}", number))
            floor = paced(lambda http, _: http.get(f"{url}/health/live", timeout=10))
            ended.set()
        return figures_of(stack, times[WARM_UP:], floor[WARM_UP:])


def figures_of(stack: CeleryStack, times: list[float], floor: list[float]) -> list[Figure]:
    [(stored,)] = stack.rows("SELECT count(*) FROM execution_inboxevent WHERE producer = 'webhook:bench'")
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return [
        Figure(name="alert to answer, exchange hangs, p50", value=p50, unit="ms", floor=percentile(floor, 0.5)),
        Figure(name="alert to answer, exchange hangs, p99", value=p99, unit="ms", floor=percentile(floor, 0.99)),
        Figure(name="alerts answered and not stored", value=ALERTS - stored, unit=""),
    ]


def alert(http: requests.Session, url: str, number: int) -> requests.Response:
    body = {"id": str(number), "symbol": SYMBOLS[number % len(SYMBOLS)], "side": "buy", "quantity": "0.05"}
    return http.post(url, json.dumps(body), headers={"Content-Type": "application/json"}, timeout=10)


def paced(call: Callable[[requests.Session, int], requests.Response]) -> list[float]:
    """Call at a pace from several senders, and return how long each answer took, in milliseconds."""

    def send(sender: int) -> list[float]:
        found = []
        with requests.Session() as http:
            http.trust_env = False
            for number in range(sender, ALERTS, SENDERS):
                began = time.perf_counter()
                answer = call(http, number)
                found.append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
                time.sleep(PACE_SECONDS)
        return found

    with ThreadPoolExecutor(SENDERS) as pool:
        return [each for found in zip(*pool.map(send, range(SENDERS)), strict=True) for each in found]


def wait_for_orders(url: str, ended: threading.Event) -> None:
    """Send orders that wait for the exchange, one after another."""
    with requests.Session() as http:
        http.trust_env = False
        while not ended.is_set():
            order = {"symbol": "BTCUSDT", "side": "long", "quantity": 0.01}
            http.post(f"{url}/api/execution/order", json=order, timeout=30)
