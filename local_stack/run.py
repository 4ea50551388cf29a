"""`make run`: the whole service on this machine until Ctrl-C, with sample decisions to look at."""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle, islice
from pathlib import Path

import aiohttp

from local_stack.bus import connect
from local_stack.command import execute, temporary_state
from local_stack.console import Console
from local_stack.credentials import ADMIN
from local_stack.decisions import SAMPLE_SYMBOLS, long_decision, publish
from local_stack.prices import last_prices
from local_stack.settings import STATE, Settings
from local_stack.stack import Stack, running_stack


async def run(settings: Settings, console: Console) -> int:
    # A start writes a hundred lines that nobody needs to read; its files keep them.
    console.shows_logs = False
    with _state_folder(settings, console) as state:
        async with running_stack(settings, state, console) as stack:
            announce(stack, settings, console)
            console.shows_logs = True
            await stack.or_death(_send_samples_and_stay(stack, settings, console))
    return 0


def _state_folder(settings: Settings, console: Console) -> AbstractContextManager[Path]:
    """Keep the state where it is asked for, else in the project, else, beside another stack, for this run only."""
    if settings.local.state_dir:
        return nullcontext(Path(settings.local.state_dir).absolute())
    return temporary_state("run", console) if settings.has_free_ports else nullcontext(STATE)


def announce(stack: Stack, settings: Settings, console: Console) -> None:
    """Print where everything is and how to sign in."""
    at, credentials = stack.addresses, stack.credentials
    rows = [
        ("Service", f"{at.web_url}/health · EXECUTION_MODE={settings.service.mode}"),
        ("Admin", f"{at.web_url}/admin/ · user {ADMIN}, password {credentials.admin_password}"),
        ("Flower", f"{at.flower_url} · user {ADMIN}, password {credentials.flower_password}"),
        (
            "Paper exchange",
            at.paper_exchange_url or stack.env.get("BINANCE_BASE_URL", "none: this mode trades outside"),
        ),
        ("Risk safety", stack.env["RISK_SAFETY_SERVICE_URL"] + (" (a stand-in)" if at.risk_safety_port else "")),
        ("PostgreSQL", at.database_url if not settings.given_database_url else "as given by DATABASE_URL"),
        ("Valkey", at.redis_url if not settings.given_redis_url else "as given by REDIS_URL or REDIS_HOST"),
        ("State", _where(stack, settings)),
        ("Logs", str(stack.supervisor.logs)),
    ]
    console.line()
    for name, text in rows:
        console.line(f"  {name:<15} {text}")
    console.line("\n  Ctrl-C stops everything.\n")


def _where(stack: Stack, settings: Settings) -> str:
    """Return where the state is and for how long."""
    if settings.has_free_ports and not settings.local.state_dir:
        return f"{stack.state} · deleted at the end, because PORT is 0 and STATE_DIR is not set"
    return f"{stack.state} · kept for the next run"


async def _send_samples_and_stay(stack: Stack, settings: Settings, console: Console) -> None:
    # Sample decisions would be real orders anywhere else.
    if settings.is_paper and settings.local.demo_decisions:
        symbols = await send_samples(stack, settings.local.demo_decisions)
        console.line(f"Sent {len(symbols)} sample decisions to the bus: {', '.join(symbols)}")
    await asyncio.Event().wait()


async def send_samples(stack: Stack, count: int) -> list[str]:
    """Publish `count` decisions at the exchange's prices and return their symbols."""
    async with aiohttp.ClientSession() as http, connect(stack.addresses.redis_url) as bus:
        prices = await last_prices(http, stack.env["BINANCE_BASE_URL"])
        symbols = list(islice(cycle(SAMPLE_SYMBOLS), count))
        for symbol in symbols:
            await publish(bus, long_decision(symbol, prices[symbol]))
    return symbols


def main(console: Console) -> int:
    return execute(run, console, exit_code_when_stopped=0)
