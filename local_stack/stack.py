"""One local stack: servers, neighbours, web, workers and Flower, from nothing to healthy and back to nothing."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from execution_project.addresses import in_url
from local_stack.console import Console
from local_stack.credentials import Credentials
from local_stack.lease import Lease
from local_stack.operate import keep_environment
from local_stack.postgres import postgres_url, remove_data, service_url, start_postgres
from local_stack.processes import OWNER_SECRETS, Addresses, Program, migrated_file, programs, without
from local_stack.server import HOST, Server, StartError, free_port, listen_on, private_folder
from local_stack.settings import ROOT, Settings
from local_stack.supervisor import StackError, Supervisor, answers, watch_servers
from local_stack.valkey import start_valkey
from local_stack.waiting import poll, together

HEALTHY_SECONDS = 60.0
# What a start takes on two processors that have nothing else to do; said to the person who waits.
USUAL_SECONDS = 10

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What runs, where, and the environment that every child and every further command gets."""

    state: Path
    addresses: Addresses
    credentials: Credentials
    env: dict[str, str]
    programs: tuple[Program, ...]
    supervisor: Supervisor
    servers: "Servers"

    async def or_death(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do `work` for as long as every process lives; raises StackError with the name of the one that ended."""
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(watch_servers(self.servers.running))
        contest: set[asyncio.Future[Any]] = {working, watching, self.supervisor.death}
        try:
            await asyncio.wait(contest, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            death = watching if watching.done() else self.supervisor.death
            raise StackError(death.result())
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)


@asynccontextmanager
async def running_stack(settings: Settings, state: Path, console: Console) -> AsyncIterator[Stack]:
    """Start all that is not given by URL, wait until it is healthy, and stop it all in reverse order at the end.

    Raises lease.InUseError when a stack runs on `state` already, and StackError when a process fails, or when the
    settings ask for real money beside doubles.
    """
    settings.refuse_doubles()
    private_folder(state)
    with ExitStack() as undo:
        lease = Lease.take(state / "stack.lease")
        undo.callback(lease.release)
        undo.callback(console.line, "Everything is stopped.")
        ports = _choose_ports(settings)
        console.line(f"Starting: usually {USUAL_SECONDS} s. What the processes say is in {state / 'logs'}")
        console.progress("Waiting for Valkey and PostgreSQL ...")
        servers = _start_servers(settings, state, undo)
        stack = _plan(settings, state, console, lease, ports, servers)
        undo.callback(keep_environment(state, decided_environment(settings, stack.addresses, stack.credentials)).unlink)
        try:
            await stack.or_death(_start(stack))
            await stack.or_death(_wait_until_healthy(stack, console))
            console.end_progress()
            yield stack
        finally:
            console.shows_logs = False
            console.progress("Stopping: usually 4 s ...")
            await stack.supervisor.stop()
            console.end_progress()


@dataclass(frozen=True, kw_only=True)
class Servers:
    """PostgreSQL and Valkey: their URLs, and what of them is ours and on its way."""

    database_url: str
    owner: Mapping[str, str]
    redis_url: str
    valkey: Server | None
    postgres: "Future[Server] | None"

    def running(self) -> Iterator[Server]:
        if self.valkey is not None:
            yield self.valkey
        if self.postgres is not None and self.postgres.done():
            yield self.postgres.result()


def _start_servers(settings: Settings, state: Path, undo: ExitStack) -> Servers:
    """Start the servers that no URL names: Valkey now, PostgreSQL beside the programs that do not need it yet."""
    valkey = None if settings.given_redis_url else start_valkey(state / "valkey")
    if valkey is not None:
        undo.callback(valkey.stop)
    postgres, database_url, owner = None, settings.given_database_url, settings.given_owner
    if not database_url:
        port = free_port()
        database_url, owner = service_url(port), {"database_owner_url": postgres_url(port)}
        # A thread that lives as long as the server: Linux ends a tethered child with the thread that started it.
        executor = ThreadPoolExecutor(max_workers=1)
        undo.callback(executor.shutdown)
        postgres = executor.submit(start_postgres, state / "postgres", port=port)
        undo.callback(_stop_when_started, postgres)
    redis_url = valkey.url if valkey is not None else settings.given_redis_url
    return Servers(database_url=database_url, owner=owner, redis_url=redis_url, valkey=valkey, postgres=postgres)


def _stop_when_started(postgres: "Future[Server]") -> None:
    with suppress(StartError):
        postgres.result().stop()


def _plan(
    settings: Settings, state: Path, console: Console, lease: Lease, ports: dict[str, int], servers: Servers
) -> Stack:
    """Settle everything that the programs will be told."""
    credentials, are_new = Credentials.load_or_create(state / "credentials")
    addresses = Addresses(
        host=settings.service.host,
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        database_owner_url=servers.owner.get("database_owner_url", ""),
        database_owner_password=servers.owner.get("database_owner_password", ""),
        **ports,
    )
    env = children_environment(settings, addresses, credentials)
    planned = programs(addresses, state, credentials, reset_admin_password=are_new and servers.postgres is not None)
    supervisor = Supervisor(
        cwd=ROOT,
        env=env,
        logs=state / "logs",
        lease=lease,
        log_line=console.log,
        on_ready=_progress_of(planned, console),
    )
    return Stack(
        state=state,
        addresses=addresses,
        credentials=credentials,
        env=env,
        programs=planned,
        supervisor=supervisor,
        servers=servers,
    )


async def _start(stack: Stack) -> None:
    migrated_file(stack.state).unlink(missing_ok=True)
    await together(_expect_postgres(stack), stack.supervisor.start(stack.programs))


async def _expect_postgres(stack: Stack) -> None:
    """Raise what kept PostgreSQL from starting: the programs would only see that nobody answers."""
    if stack.servers.postgres is not None:
        await asyncio.wrap_future(stack.servers.postgres)


def _choose_ports(settings: Settings) -> dict[str, int]:
    service, local, any_port = settings.service, settings.local, 0
    wanted = {"web_port": service.port, "flower_port": local.flower_port}
    if settings.starts_paper_exchange:
        wanted["paper_exchange_port"] = local.paper_exchange_port
    if settings.starts_risk_safety:
        wanted["risk_safety_port"] = any_port
    chosen = {name: settings.choose_port(port) for name, port in wanted.items()}
    for name, port in chosen.items():
        _refuse_taken_port(service.host if name == "web_port" else HOST, port, name)
    return chosen


def _refuse_taken_port(host: str, port: int, name: str) -> None:
    try:
        listen_on(host, port).close()
    except OSError as error:
        setting = {"web_port": "PORT"}.get(name, name.upper())
        where = f"{in_url(host)}:{port}"
        message = f"Cannot listen on {where}: {error.strerror}. Choose another {setting}, or PORT=0 for free ports."
        raise StackError(message) from None


def children_environment(settings: Settings, addresses: Addresses, credentials: Credentials) -> dict[str, str]:
    """Return this process's environment with everything that the stack decides."""
    return {**os.environ, **decided_environment(settings, addresses, credentials)}


def decided_environment(settings: Settings, addresses: Addresses, credentials: Credentials) -> dict[str, str]:
    """Return what the stack decides for its processes, written out."""
    service = settings.service
    own = {
        "EXECUTION_MODE": str(service.mode),
        "DATABASE_URL": addresses.database_url,
        "REDIS_URL": addresses.redis_url,
        "RISK_SAFETY_SERVICE_URL": addresses.risk_safety_url or service.risk_safety_service_url,
        "HOST": service.host,
        "PORT": str(addresses.web_port),
        "SECRET_KEY": service.secret_key.get_secret_value() or credentials.secret_key,
        "EXECUTION_API_KEY": service.execution_api_key.get_secret_value(),
        # Written out above, whatever file they came from.
        **{f"{name}_FILE": "" for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "EXECUTION_API_KEY")},
        # The migration alone is told who owns the database.
        **without(*OWNER_SECRETS),
        "DJANGO_SETTINGS_MODULE": "execution_project.settings",
        # Each line of a log must arrive when it is written.
        "PYTHONUNBUFFERED": "1",
    }
    if addresses.paper_exchange_port:
        own["BINANCE_BASE_URL"] = addresses.paper_exchange_url
        own["BINANCE_STREAM_URL"] = addresses.paper_exchange_url.replace("http:", "ws:")
    return {**own, **settings.paper_keys}


def _progress_of(planned: tuple[Program, ...], console: Console) -> Callable[[str], None]:
    """Return what counts the programs that are ready on the console."""
    waiting, all_of_them = [program.name for program in planned], len(planned)

    def on_ready(name: str) -> None:
        waiting.remove(name)
        if waiting:
            ready = all_of_them - len(waiting)
            console.progress(f"{ready} of {all_of_them} processes are ready; waiting for {', '.join(waiting)} ...")

    return on_ready


async def _wait_until_healthy(stack: Stack, console: Console) -> None:
    console.progress("Waiting for the service to report that it is healthy ...")
    url = f"{stack.addresses.web_url}/health"
    try:
        await poll(lambda: answers(url), seconds=HEALTHY_SECONDS, every=0.1)
    except TimeoutError:
        message = f"{url} did not answer 200 within {HEALTHY_SECONDS:.0f} s. Logs: {stack.supervisor.logs}"
        raise StackError(message) from None


def remove_state(state: Path) -> None:
    """Delete a stopped stack's folder."""
    remove_data(state / "postgres")
    shutil.rmtree(state, ignore_errors=True)
