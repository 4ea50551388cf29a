"""`make demo`: one decision through the whole service, from the bus to its closed trade, checked against the exchange.

It exits 0 only if the trade was opened, protected, closed at its target, and booked with the very profit that the
exchange booked: realised PnL minus commissions, to the last digit.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import redis.asyncio as redis
from binance.um_futures import UMFutures

from execution_project.env import PAPER_KEY, PAPER_SECRET
from local_stack.bus import connect, find_payload
from local_stack.command import execute, temporary_state
from local_stack.console import Console
from local_stack.decisions import long_decision, publish
from local_stack.processes import PYTHON
from local_stack.settings import ROOT, Settings
from local_stack.stack import Stack, running_stack
from local_stack.supervisor import StackError
from local_stack.waiting import poll

SYMBOL = "BTCUSDT"
DEADLINE_SECONDS = 120.0
STEP_SECONDS = 40.0
STOP_TYPES, TARGET_TYPES = ("STOP_MARKET", "STOP"), ("TAKE_PROFIT_MARKET", "TAKE_PROFIT")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The stack that the trade runs on, seen through the doors that anybody has: bus, REST, exchange."""

    stack: Stack
    console: Console
    http: aiohttp.ClientSession
    bus: "redis.Redis"
    exchange: UMFutures
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        self.console.line(f"[{time.monotonic() - self.began:6.2f} s] {text}")

    def wait_for(self, what: str) -> None:
        self.console.progress(f"Waiting for {what} ...")


async def demo(settings: Settings, console: Console) -> int:
    began = time.monotonic()
    if not settings.is_paper:
        raise StackError("The demo trades on the paper exchange only: unset EXECUTION_MODE and USE_BINANCE_TESTNET.")
    own = settings.for_demo()
    console.shows_logs = False
    with temporary_state("demo", console) as state:
        async with running_stack(own, state, console) as stack:
            console.line(f"[{time.monotonic() - began:6.2f} s] The stack is up and healthy.")
            async with _connected(stack, console, began) as run:
                await stack.or_death(_within_deadline(run))
    console.line(f"[{time.monotonic() - began:6.2f} s] The demo succeeded.")
    return 0


@asynccontextmanager
async def _connected(stack: Stack, console: Console, began: float) -> AsyncIterator[Demo]:
    exchange = UMFutures(key=PAPER_KEY, secret=PAPER_SECRET, base_url=stack.addresses.paper_exchange_url, timeout=10)
    # A proxy of the environment has no business between us and loopback.
    exchange.session.trust_env = False
    async with aiohttp.ClientSession() as http, connect(stack.addresses.redis_url) as bus:
        yield Demo(stack=stack, console=console, http=http, bus=bus, exchange=exchange, began=began)


async def _within_deadline(run: Demo) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await trade_once(run)
    except TimeoutError:
        raise StackError(f"The demo did not get further in time. Logs: {run.stack.supervisor.logs}") from None


async def trade_once(run: Demo) -> None:
    """Publish a decision, see its trade opened and protected, move the price to the target, check the books."""
    trace_id = await send_decision(run)
    opened = await wait_for_event(run, "trade.opened", trace_id)
    run.say(f"trade.opened: {opened['quantity']} {SYMBOL} at {opened['entry_price']}, trade {opened['trade_id']}")
    target = await wait_for_protection(run)
    await move_price(run, target)
    closed = await wait_for_event(run, "trade.closed", trace_id)
    run.say(f"trade.closed: by {closed['reason']} at {closed['exit_price']}, PnL {closed['pnl_usd']} USD")
    await print_journal(run, str(opened["trade_id"]))
    await check_books(run, str(opened["trade_id"]))


async def send_decision(run: Demo) -> str:
    price = Decimal((await asyncio.to_thread(run.exchange.ticker_price, SYMBOL))["price"])
    trace_id = await publish(run.bus, long_decision(SYMBOL, price))
    run.say(f"ai.decision.made published: {SYMBOL} long at about {price}, trace {trace_id}")
    return trace_id


async def wait_for_event(run: Demo, event_type: str, trace_id: str) -> dict[str, Any]:
    """Return the payload of our event; a refusal of our order ends the wait with its reason."""

    async def look() -> dict[str, Any] | None:
        failed = await find_payload(run.bus, "order.failed", trace_id)
        if failed is not None:
            raise StackError(f"The order was refused: {failed['reason_code']}: {failed['reason']}")
        return await find_payload(run.bus, event_type, trace_id)

    run.wait_for(f"{event_type}, {STEP_SECONDS:.0f} s at most")
    try:
        # `look` returns until it finds one.
        return await poll(look, seconds=STEP_SECONDS) or {}
    except TimeoutError:
        message = f"No {event_type} for trace {trace_id} within {STEP_SECONDS:.0f} s."
        raise StackError(f"{message} Logs: {run.stack.supervisor.logs}") from None


async def wait_for_protection(run: Demo) -> str:
    """Wait until stop and target rest at the exchange, and return the target's trigger price."""

    async def look() -> dict[str, dict[str, Any]] | None:
        # A fresh dictionary for each call: the connector leaves its signature in the one it is given.
        orders = await asyncio.to_thread(
            run.exchange.sign_request, "GET", "/fapi/v1/openAlgoOrders", {"symbol": SYMBOL}
        )
        stop = next((order for order in orders if order["orderType"] in STOP_TYPES), None)
        target = next((order for order in orders if order["orderType"] in TARGET_TYPES), None)
        return {"stop": stop, "target": target} if stop and target else None

    run.wait_for(f"stop and target at the exchange, {STEP_SECONDS:.0f} s at most")
    try:
        legs = await poll(look, seconds=STEP_SECONDS) or {}
    except TimeoutError:
        raise StackError(f"No stop and target at the exchange within {STEP_SECONDS:.0f} s.") from None
    for name, order in legs.items():
        run.say(f"The {name} rests at the exchange: algo order {order['algoId']} at {order['triggerPrice']}")
    return str(legs["target"]["triggerPrice"])


async def move_price(run: Demo, price: str) -> None:
    wish = {"symbol": SYMBOL, "price": price, "hold": True}
    url = f"{run.stack.addresses.paper_exchange_url}/paper/price"
    async with run.http.post(url, json=wish) as response:
        if response.status != 200:
            raise StackError(f"The paper exchange did not move its price: {await response.text()}")
    run.say(f"The paper price of {SYMBOL} is moved to the target, {price}")


async def print_journal(run: Demo, trade_id: str) -> None:
    """Print what the service itself recorded about the trade."""
    run.wait_for("`explain`, which reads the journal, usually 2 s")
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "manage.py", "explain", trade_id),
        cwd=ROOT,
        env=run.stack.env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise StackError(f"manage.py explain failed:\n{output.decode()}")
    run.say("The journal of the trade:")
    for line in output.decode().splitlines():
        run.console.line(f"    {line}")


async def check_books(run: Demo, trade_id: str) -> None:
    """Compare the booked profit with what the exchange itself realised and charged."""
    run.wait_for("the exchange's own books")
    async with run.http.get(f"{run.stack.addresses.web_url}/api/execution/trades/{trade_id}") as response:
        if response.status != 200:
            raise StackError(f"The trade cannot be read: {response.status} {await response.text()}")
        booked = Decimal((await response.json())["net_pnl"])
    realised, commissions = await income_of(run, "REALIZED_PNL"), await income_of(run, "COMMISSION")
    run.say(f"The exchange realised {realised} and charged {-commissions}: {realised + commissions} USDT")
    if booked != realised + commissions:
        raise StackError(f"The service booked {booked} USDT, which is not what the exchange booked.")
    run.say(f"The service booked {booked} USDT: equal to the last digit.")


async def income_of(run: Demo, kind: str) -> Decimal:
    """Return the sum of one type of income; commissions are negative. The account is new: all of it is this trade."""
    rows = await asyncio.to_thread(run.exchange.get_income_history, symbol=SYMBOL, incomeType=kind, limit=1000)
    return sum((Decimal(row["income"]) for row in rows), Decimal(0))


def main(console: Console) -> int:
    return execute(demo, console, exit_code_when_stopped=130)
