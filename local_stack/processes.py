"""The programs of the local stack as data: what runs, after what, how its readiness shows and how long it may stop."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from execution_project.addresses import callable_host, in_url
from local_stack.credentials import ADMIN, Credentials

PYTHON = sys.executable
# Quiet: the banner says nothing that this file does not.
CELERY = (PYTHON, "-m", "celery", "-q", "-A", "execution_project")
BRIDGE = "bridge"
# After a crash of all, the worker of the stops is to be the first one back: the others stand behind it.
PROTECT, STANDS_BACK = "protect", 5
NEIGHBOURS = ("paper-exchange", "risk-safety")
# The secrets of the service by what they open. A process gets those that it needs and finds the others empty, which
# also outranks what stands in `.env`.
EXCHANGE_SECRETS = (
    *("BINANCE_API_KEY", "BINANCE_API_SECRET", "BINANCE_SECRET_KEY", "PAPER_API_KEY", "PAPER_API_SECRET"),
    *("BINANCE_TESTNET_API_KEY", "BINANCE_TESTNET_API_SECRET", "BINANCE_TESTNET_SECRET_KEY"),
)
WEB_SECRETS = ("SECRET_KEY", "EXECUTION_API_KEY")
# Only the migration owns the database.
OWNER_SECRETS = ("DATABASE_OWNER_URL", "DATABASE_OWNER_PASSWORD")
STORE_SECRETS = ("DATABASE_URL", "DATABASE_PASSWORD", "REDIS_URL", "REDIS_PASSWORD", *OWNER_SECRETS)
FLOWER_SECRETS = ("FLOWER_BASIC_AUTH",)
# Prove who has sent an event; the worker of the bridge reads and sends them.
EVENT_SECRETS = ("EVENT_SIGNING_KEYS", "EVENT_OWN_KEY_SECRET")


def without(*names: str) -> dict[str, str]:
    """Return an environment in which these secrets are empty, also as files."""
    return {spelling: "" for name in names for spelling in (name, f"{name}_FILE")}


# Signs requests to the exchange.
TRADES = {"PROCESS_ROLE": "trade", **without(*WEB_SECRETS, *FLOWER_SECRETS, *EVENT_SECRETS, *OWNER_SECRETS)}
# Reads and sends events.
BRIDGES = {
    "PROCESS_ROLE": "support",
    **without(*EXCHANGE_SECRETS, *WEB_SECRETS, *FLOWER_SECRETS, *OWNER_SECRETS),
}
# Neither signs requests nor answers callers.
SUPPORTS = {**BRIDGES, **without(*EVENT_SECRETS)}
# Not a part of the service.
IS_A_NEIGHBOUR = without(*EXCHANGE_SECRETS, *WEB_SECRETS, *FLOWER_SECRETS, *STORE_SECRETS, *EVENT_SECRETS)
# The service is healthy with these; the others come later, so that they do not take the processor from them.
SERVICE = ("migrate", "web", "worker-orders", "worker-monitor", "worker-protect", "worker-bridge")


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process. It starts when all of `after` are ready, and stops before them; names that do not run are skipped.

    It is ready when `ready_url` answers 200, or `ready_file` exists, or, with `runs_once`, when it has ended well.
    """

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    ready_url: str = ""
    # What the ready URL answers then: 401 is as good a sign of life where we have no key.
    ready_status: int = 200
    ready_file: Path | None = None
    runs_once: bool = False
    stop_grace_seconds: float = 5
    env: Mapping[str, str] = field(default_factory=dict)
    # How far it stands back when the processors are taken, as nice(1) has it.
    nice: int = 0

    @property
    def argv(self) -> tuple[str, ...]:
        return ("nice", "-n", str(self.nice), *self.command) if self.nice else self.command


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where things listen; 0 means that this one is not ours to start."""

    host: str
    web_port: int
    flower_port: int
    paper_exchange_port: int = 0
    risk_safety_port: int = 0
    database_url: str
    # Who migrates; empty: the same.
    database_owner_url: str = ""
    database_owner_password: str = ""
    redis_url: str

    @property
    def web_url(self) -> str:
        return _url(callable_host(self.host), self.web_port)

    @property
    def flower_url(self) -> str:
        return _url("127.0.0.1", self.flower_port)

    @property
    def paper_exchange_url(self) -> str:
        return _url("127.0.0.1", self.paper_exchange_port)

    @property
    def risk_safety_url(self) -> str:
        return _url("127.0.0.1", self.risk_safety_port)


def _url(host: str, port: int) -> str:
    return f"http://{host}:{port}" if port else ""


def programs(
    addresses: Addresses, state: Path, credentials: Credentials, *, reset_admin_password: bool
) -> tuple[Program, ...]:
    """All programs above PostgreSQL and Valkey, in the order of the flow."""
    return (
        *neighbours(addresses, state),
        prepare_database(addresses, credentials, state, reset_admin_password=reset_admin_password),
        # Two processes, because a hard time limit and kill -9 of one task need processes.
        worker("orders", state, ("--pool=prefork", "--concurrency=2")),
        worker("monitor", state, ("--pool=threads", "--concurrency=2"), "run_monitor_cycle"),
        # Its own process: what blocks orders or the monitor does not block the stops.
        worker(PROTECT, state, ("--pool=threads", "--concurrency=1"), "ensure_cover"),
        worker("bridge", state, ("--pool=threads", "--concurrency=4"), "read_events", "send_events"),
        web(addresses),
        user_stream(state),
        beat(state),
        flower(addresses, credentials),
    )


def neighbours(addresses: Addresses, state: Path | None = None) -> tuple[Program, ...]:
    """Return the paper exchange and the stand-in for risk-safety, where they are ours to start.

    The exchange keeps its books beside ours: positions that it forgot would be open in ours for good. Without a folder
    it has them in memory only.
    """
    host, paper, risk = "127.0.0.1", addresses.paper_exchange_port, addresses.risk_safety_port
    paper_exchange = Program(
        name="paper-exchange",
        command=(
            *(PYTHON, "-m", "paper_exchange", "--host", host, "--port", str(paper)),
            *(("--state-file", str(state / "paper-exchange.state")) if state else ()),
        ),
        ready_url=f"{addresses.paper_exchange_url}/fapi/v1/ping",
        env=IS_A_NEIGHBOUR,
    )
    risk_safety = Program(
        name="risk-safety",
        command=(PYTHON, "-m", "local_stack.risk_safety", "--host", host, "--port", str(risk)),
        ready_url=f"{addresses.risk_safety_url}/health",
        # Not on the command line, which everybody can read: a given URL holds a password.
        env={**IS_A_NEIGHBOUR, "REDIS_URL": addresses.redis_url},
    )
    return (*((paper_exchange,) if paper else ()), *((risk_safety,) if risk else ()))


def migrated_file(state: Path) -> Path:
    return state / "migrated"


def prepare_database(
    addresses: Addresses, credentials: Credentials, state: Path, *, reset_admin_password: bool
) -> Program:
    flags = ("--reset-password",) if reset_admin_password else ()
    command = (PYTHON, "-m", "local_stack.prepare_database", *flags)
    env = {
        **SUPPORTS,
        "DATABASE_OWNER_URL": addresses.database_owner_url,
        "DATABASE_OWNER_PASSWORD": addresses.database_owner_password,
        "ADMIN_PASSWORD": credentials.admin_password,
        "MIGRATED_FILE": str(migrated_file(state)),
    }
    # Not after PostgreSQL: it loads Django meanwhile and waits for the server itself.
    return Program(name="migrate", command=command, runs_once=True, env=env)


def worker(queue: str, state: Path, pool: tuple[str, ...], *first_tasks: str) -> Program:
    ready_file = state / f"{queue}.ready"
    return Program(
        name=f"worker-{queue}",
        command=(
            *(*CELERY, "worker", "-Q", queue, "-n", f"{queue}@%h", "-E"),
            *pool,
            # Mingling waits a second for other workers, and nothing here uses what they would tell.
            *("--without-mingle", "--without-gossip", "--include=local_stack.worker_ready"),
        ),
        # Not after the migration, for which it waits itself.
        after=NEIGHBOURS,
        ready_file=ready_file,
        stop_grace_seconds=10,
        nice=0 if queue == PROTECT else STANDS_BACK,
        env={
            **(BRIDGES if queue == BRIDGE else TRADES),
            "WORKER_READY_FILE": str(ready_file),
            "MIGRATED_FILE": str(migrated_file(state)),
            "FIRST_TASKS": " ".join(f"execution.tasks.{task}" for task in first_tasks),
        },
    )


def user_stream(state: Path) -> Program:
    """Not needed to be healthy: until it is there, polling covers."""
    ready_file = state / "user-stream.ready"
    return Program(
        name="user-stream",
        command=(PYTHON, "manage.py", "stream_user_data", "--alive-file", str(ready_file)),
        after=SERVICE,
        ready_file=ready_file,
        env=TRADES,
    )


def beat(state: Path) -> Program:
    schedule = state / "beat-schedule"
    command = (*CELERY, "beat", "--schedule", str(schedule))
    return Program(name="beat", command=command, after=SERVICE, env=SUPPORTS)


def web(addresses: Addresses) -> Program:
    return Program(
        name="web",
        command=(
            *(PYTHON, "-m", "gunicorn", "execution_project.wsgi:application"),
            *("--config", "python:execution_project.web", "--bind", f"{in_url(addresses.host)}:{addresses.web_port}"),
        ),
        # Not after the migration: until that is done it reports that it is not healthy.
        after=NEIGHBOURS,
        ready_url=f"{addresses.web_url}/health/live",
        env=without(*FLOWER_SECRETS, *EVENT_SECRETS, *OWNER_SECRETS),
    )


def flower(addresses: Addresses, credentials: Credentials) -> Program:
    return Program(
        name="flower",
        command=(PYTHON, "-m", "execution_project.flower", "--address=127.0.0.1"),
        after=SERVICE,
        ready_url=f"{addresses.flower_url}/healthcheck",
        ready_status=401,
        # Through the environment, because everybody can read a command line.
        env={
            **SUPPORTS,
            "FLOWER_PORT": str(addresses.flower_port),
            "FLOWER_BASIC_AUTH": f"{ADMIN}:{credentials.flower_password}",
        },
    )
