"""The stack under the benchmark: real servers, the paper exchange and our workers, in two steps so that a floor fits.

It is the local stack without web and Flower: nobody asks them anything here.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from local_stack.console import Console
from local_stack.credentials import Credentials
from local_stack.lease import Lease
from local_stack.postgres import service_url, start_postgres
from local_stack.processes import Addresses, Program, neighbours, programs
from local_stack.server import HOST, Server, free_port
from local_stack.settings import ROOT, Settings
from local_stack.stack import children_environment
from local_stack.supervisor import StackError, Supervisor, watch_servers
from local_stack.valkey import start_valkey
from tests.bench.cpu import seconds_by_program

EXTRA_SYMBOLS = 500
# Nothing but our own code may be the limit; prices that stand still keep stops from firing in the middle.
EXCHANGE_OPTIONS = ("--no-limits", "--static-prices", "--extra-symbols", str(EXTRA_SYMBOLS), "--balance", "1000000")
# Whatever the shell or a .env says: paper, no ceiling of our own, and no log lines that cost time.
ENVIRONMENT = {
    "EXECUTION_MODE": "paper",
    "USE_BINANCE_TESTNET": "false",
    "BINANCE_RATE_LIMIT_RPM": "100000000",
    # The invented contracts have room for more positions than an account has.
    "HARD_MAX_POSITIONS": "10000",
    "LOG_LEVEL": "WARNING",
    "NO_PROXY": HOST,
}
NOT_UNDER_TEST = ("web", "flower", "paper-exchange", "risk-safety")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class BenchStack:
    """Servers and neighbours that run; the service itself starts with `start_service`."""

    addresses: Addresses
    service: Supervisor
    neighbours: Supervisor
    servers: tuple[Server, ...]
    programs: tuple[Program, ...]
    admin_password: str

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time of each program since its start."""
        roots = {server.name: server.process.pid for server in self.servers}
        for child in (*self.neighbours.children.values(), *self.service.children.values()):
            if child.process is not None and child.process.returncode is None:
                roots[child.program.name] = child.process.pid
        return seconds_by_program(roots)

    async def start_service(self) -> None:
        await self.or_death(self.service.start(self.programs))

    async def or_death(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do `work` for as long as every process lives; raises StackError with the name of the one that ended."""
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(watch_servers(lambda: self.servers))
        deaths: tuple[asyncio.Future[str], ...] = (watching, self.service.death, self.neighbours.death)
        contest: set[asyncio.Future[Any]] = {working, *deaths}
        try:
            await asyncio.wait(contest, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise StackError(next(death for death in deaths if death.done()).result())
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)


@asynccontextmanager
async def bench_stack(settings: Settings, state: Path, console: Console) -> AsyncIterator[BenchStack]:
    """Start servers and neighbours on free ports, and stop everything in reverse order at the end."""

    with ExitStack() as undo:
        lease = Lease.take(state / "stack.lease")
        undo.callback(lease.release)
        servers = []
        for name, start in (("valkey", start_valkey), ("postgres", start_postgres)):
            servers.append(start(state / name))
            undo.callback(servers[-1].stop)
        stack = _plan(settings, state, lease, (servers[0], servers[1]))
        try:
            await stack.or_death(stack.neighbours.start(_exchange_for_bench(stack.addresses)))
            yield stack
        finally:
            console.progress("Stopping ...")
            await stack.service.stop()
            await stack.neighbours.stop()
            console.end_progress()


def _plan(settings: Settings, state: Path, lease: Lease, servers: tuple[Server, Server]) -> BenchStack:
    valkey, postgres = servers
    addresses = Addresses(
        host=HOST,
        web_port=free_port(),
        flower_port=free_port(),
        paper_exchange_port=free_port(),
        risk_safety_port=free_port(),
        database_url=service_url(postgres.port),
        database_owner_url=postgres.url,
        redis_url=valkey.url,
    )
    credentials, _ = Credentials.load_or_create(state / "credentials")
    env = children_environment(settings, addresses, credentials)
    planned = programs(addresses, state, credentials, reset_admin_password=False)
    return BenchStack(
        addresses=addresses,
        service=_supervisor(env, state, lease),
        neighbours=_supervisor(env, state, lease),
        servers=servers,
        programs=tuple(program for program in planned if program.name not in NOT_UNDER_TEST),
        admin_password=credentials.admin_password,
    )


def _supervisor(env: dict[str, str], state: Path, lease: Lease) -> Supervisor:
    return Supervisor(cwd=ROOT, env=env, logs=state / "logs", lease=lease, log_line=lambda _name, _line: None)


def _exchange_for_bench(addresses: Addresses) -> list[Program]:
    return [
        replace(program, command=(*program.command, *EXCHANGE_OPTIONS)) if program.name == "paper-exchange" else program
        for program in neighbours(addresses)
    ]
