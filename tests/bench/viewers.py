"""Section `viewers`: what twenty open dashboards cost a decision.

Decisions come at the same pace without viewers, with twenty of them, and without again: so that what changes on the
machine meanwhile counts for both.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import aiohttp

from local_stack.console import Console
from local_stack.credentials import ADMIN
from local_stack.processes import web
from local_stack.settings import Settings
from local_stack.supervisor import StackError
from tests.bench.load import send_paced
from tests.bench.pipeline import PRICE, Run, measure, milliseconds, on_a_stack, start_service
from tests.bench.report import Figure, Outcome, percentile

VIEWERS, HALF, PER_SECOND = 20, 40, 2
BOARD = b"event: board"
MEDIAN = 0.5


@dataclass(kw_only=True)
class Audience:
    """Viewers that read their streams, and how many boards each has got."""

    boards: list[int]


async def run(settings: Settings, console: Console) -> Outcome:
    """Measure on one stack, with the web process that the other sections leave out."""
    return await on_a_stack(settings, console, measure_viewers)


async def measure_viewers(run: Run) -> Outcome:
    run = replace(run, stack=replace(run.stack, programs=(*run.stack.programs, web(run.stack.addresses))))
    await start_service(run)
    run.console.progress(f"Sending {HALF} decisions without viewers, {PER_SECOND} per second ...")
    before = await measure(run, send_paced(run.bus, run.take(HALF), PRICE, per_second=PER_SECOND))
    async with watched(run) as audience:
        run.console.progress(f"Sending {2 * HALF} decisions before {VIEWERS} viewers ...")
        during = await measure(run, send_paced(run.bus, run.take(2 * HALF), PRICE, per_second=PER_SECOND))
    run.console.progress(f"Sending {HALF} decisions without viewers ...")
    after = await measure(run, send_paced(run.bus, run.take(HALF), PRICE, per_second=PER_SECOND))
    alone = percentile([*before.to_entry_ms, *after.to_entry_ms], MEDIAN)
    return Outcome(
        figures=[
            milliseconds("decision to entry, p50 without viewers", alone),
            milliseconds(
                f"decision to entry, p50 with {VIEWERS} viewers", percentile(during.to_entry_ms, MEDIAN), alone
            ),
            Figure(name="viewers without a board", value=audience.boards.count(0), unit=""),
            Figure(name="boards a viewer got, least", value=min(audience.boards), unit=""),
            Figure(name="decisions without a trade", value=before.lost + during.lost + after.lost, unit=""),
        ],
        profile={},
        conditions={"viewers": str(VIEWERS), "decisions": f"{PER_SECOND}/s"},
    )


@asynccontextmanager
async def watched(run: Run) -> AsyncIterator[Audience]:
    """Open the streams, and close them at the end."""
    audience = Audience(boards=[0] * VIEWERS)
    # Loopback by its address: cookies of hosts without a name are left out otherwise.
    jar = aiohttp.CookieJar(unsafe=True)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(run.stack.addresses.web_url, cookie_jar=jar, connector=connector) as http:
        await sign_in(http, run.stack.admin_password)
        viewers = [asyncio.ensure_future(view(http, audience, number)) for number in range(VIEWERS)]
        try:
            yield audience
        finally:
            for viewer in viewers:
                viewer.cancel()
            await asyncio.gather(*viewers, return_exceptions=True)


async def sign_in(http: aiohttp.ClientSession, password: str) -> None:
    async with http.get("/admin/login/") as page:
        token = page.cookies["csrftoken"].value
    form = {"username": ADMIN, "password": password, "csrfmiddlewaretoken": token, "next": "/dashboard/board"}
    async with http.post("/admin/login/", data=form) as answer:
        if answer.status != 200 or not str(answer.url).endswith("/dashboard/board"):
            raise StackError(f"the viewers could not sign in: {answer.status} {answer.url}")


async def view(http: aiohttp.ClientSession, audience: Audience, number: int) -> None:
    """Read one stream after the other, as a browser does, and count the boards."""
    while True:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with http.get("/dashboard/stream", timeout=aiohttp.ClientTimeout(total=None)) as stream:
                async for line in stream.content:
                    audience.boards[number] += line.startswith(BOARD)
