"""Everything that a cell works on: stores, exchange, neighbour, our processes, and a reader of our events.

Processes live on from cell to cell; what they have written is wiped in between. A cell that kills or changes them, or
that fails, gets them started anew.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg
import requests

from execution.adapters.binance.market import MARK_AGE_SECONDS
from execution.crash_points import CrashPoint
from execution.operations.single_flight import Duty
from execution_project.broker_names import KEY_PREFIX
from local_stack.processes import PYTHON, Addresses, Program, migrated_file, web
from local_stack.server import HOST, spawn, tail
from tests.chaos.reader import BusReader
from tests.chaos.stores import free_port, postgres, valkey
from tests.chaos.streams import PREFIX
from tests.support.half_open import HalfOpenProxy, half_open
from tests.support.paper import PaperExchange
from tests.support.stack import ROOT, CeleryStack, create_database, crew, drop_database
from tests.support.waiting import eventually

# Short times, so that a cell sees redeliveries and several cycles of the monitor. The limits of the exchange hold only
# in the cells that are about them.
SETTINGS = {
    "EXECUTION_MODE": "paper",
    "BINANCE_API_KEY": PaperExchange.key,
    "BINANCE_API_SECRET": PaperExchange.secret,
    "BINANCE_TIMEOUT_SECONDS": "3",
    "BINANCE_RECV_WINDOW_MS": "2000",
    "BINANCE_RATE_LIMIT_RPM": "1000000",
    "BINANCE_POSITION_MODE": "one-way",
    "CELERY_VISIBILITY_TIMEOUT_SECONDS": "12",
    "CELERY_TASK_TIME_LIMIT_SECONDS": "11",
    "POSITION_MONITOR_INTERVAL_SEC": "2",
    "SIGNAL_MAX_AGE_SEC": "60",
    "MAX_UNPROTECTED_SECONDS": "2",
    "ESS_TRIP_HOLD_SECONDS": "3",
    "ORDER_ANSWER_SECONDS": "5",
    "USER_STREAM_PATIENCE_SECONDS": "2",
    "USER_STREAM_PING_SECONDS": "2",
    "USER_STREAM_KEEPALIVE_SECONDS": "5",
    "LOG_LEVEL": "WARNING",
    "SECRET_KEY": "a-key-for-chaos-only",
    "HOST": HOST,
    "NO_PROXY": HOST,
}
MONITOR_INTERVAL_SECONDS = float(SETTINGS["POSITION_MONITOR_INTERVAL_SEC"])
# What a cycle finds, health tells by then.
TOLD_WITHIN_SECONDS = 2 * MONITOR_INTERVAL_SECONDS + 1
LEVERAGE = 5
# One open trade a symbol: a soak needs more of them than have names.
EXTRA_SYMBOLS = "40"
LEAST_NOTIONAL = 20
BOOKS, BACKUP = "execution", "backup"
READY_SECONDS = 60.0
WIPE_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many workers: for the chain `orders` processes of `children` each, and `others` for monitor and bridge."""

    orders: int
    children: int
    others: int


# What "1, 2 and 8 workers" are on two processors.
SIZES: Mapping[int, Size] = {
    1: Size(orders=1, children=1, others=1),
    2: Size(orders=2, children=1, others=1),
    8: Size(orders=2, children=4, others=2),
}


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What stands between our processes and their stores."""

    database: HalfOpenProxy
    redis: HalfOpenProxy


class World:
    """Context manager around it all; `use()` chooses the number of workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._undo = ExitStack()
        self._safeguard = ""
        # Whether the cell has moved a price: the next one begins at the old ones.
        self.prices_moved = False
        self._wiped_at = datetime.now(UTC)
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Self:
        with self._undo:
            self.postgres = self._undo.enter_context(postgres(self.folder))
            self.valkey = self._undo.enter_context(valkey(self.folder))
            self._migrate()
            self.web_port = free_port()
            self._exchange_port, self._keeps_exchange = str(free_port()), False
            self.paper = PaperExchange("--port", self._exchange_port, "--extra-symbols", EXTRA_SYMBOLS)
            self.stack = CeleryStack(
                database_url=self.postgres.url,
                redis_url=self.valkey.url,
                folder=self.folder,
                programs=self._programs(1),
                settings={**SETTINGS, "PORT": str(self.web_port)},
                paper=self.paper,
            )
            self.workers = 1
            self._undo.enter_context(self.stack)
            # Read once: cells ask for it while the exchange's answers are faulty.
            rows = self.stack.person.exchange_info()["symbols"]
            self.terms = {row["symbol"]: {term["filterType"]: term for term in row["filters"]} for row in rows}
            self.symbols = [row["symbol"] for row in rows if self._is_used(row)]
            self.reader = self._undo.enter_context(BusReader(self.valkey.url))
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _is_used(self, row: dict[str, Any]) -> bool:
        """Tell whether cells may trade a contract: they decide in USDT, about a hundred, and divide that among legs."""
        least = Decimal(self.terms[row["symbol"]]["MIN_NOTIONAL"]["notional"])
        is_alive = row["status"] == "TRADING" and row["contractType"] == "PERPETUAL"
        return is_alive and row["quoteAsset"] == "USDT" and least <= LEAST_NOTIONAL

    # Processes

    def begin(self, workers: int) -> None:
        """Have empty books and this many workers, as every cell finds them."""
        self._run(workers)
        self.wipe()
        self._wiped_at = datetime.now(UTC)
        if self.prices_moved:
            # A mark price that a process has read is believed for so long: the guard would hold ours against it.
            time.sleep(MARK_AGE_SECONDS)
            self.prices_moved = False
        # Entries wait for the first comparison of the new books with the exchange.
        eventually(self._is_compared, within=READY_SECONDS, what="the monitor has compared", every=0.1)
        # What the cell before has sent last is read by now.
        self.reader.forget()
        self._await_ready()

    def use(self, workers: int) -> None:
        """Have this many workers running, as they are started by default."""
        self._run(workers)
        self._await_ready()

    def _run(self, workers: int) -> None:
        if workers != self.workers:
            self.stack.stop_workers()
            self.workers = workers
        self.stack.programs = {program.name: program for program in self._programs(workers)}
        self.stack.forget_ended()
        self.stack.start_workers()

    def _is_compared(self) -> bool:
        """Whether a cycle that began after the wipe has run: it writes the lease, and then its mark in Redis.

        One that was under way has read the orders of the cell before, and holds entries for them.
        """
        fresh = "SELECT FROM execution_accountlease WHERE reconciled_at >= %s"
        return bool(self.stack.redis.exists("execution:memory") and self.stack.rows(fresh, self._wiped_at))

    def _await_ready(self) -> None:
        eventually(self.is_ready, within=READY_SECONDS, what="the service is ready", every=0.1)

    def break_safeguard(self, name: str) -> None:
        """Have the workers run with one safeguard broken; the empty name mends it."""
        self._safeguard = name
        self.end_processes()

    def start_anew(self) -> None:
        """Kill what runs of our processes and start them again."""
        self.end_processes()
        self.use(self.workers)

    def end_processes(self) -> None:
        """Kill what runs of our processes: the next cell must not inherit anything."""
        self.stack.kill(*self.stack.processes)

    @contextmanager
    def with_settings(self, **settings: str) -> Iterator[None]:
        """Run our processes with other settings for a while; they are killed at both ends."""
        usual = dict(self.stack.settings)
        self.stack.settings |= settings
        try:
            self.start_anew()
            yield
        finally:
            self.stack.settings = usual
            self.stack.kill(*self.stack.processes)

    @contextmanager
    def behind_lines(self) -> Iterator[Lines]:
        """Run our processes with a line before each store that can fall silent; they are killed at both ends."""
        with half_open(self.postgres.port) as database, half_open(self.valkey.port) as redis:
            for name, url, line in (
                ("DATABASE_URL", self.postgres.url, database),
                ("REDIS_URL", self.valkey.url, redis),
            ):
                user = urlsplit(url).username
                place = f"{user}@{HOST}:{line.port}" if user else f"{HOST}:{line.port}"
                self.stack.lines[name] = urlsplit(url)._replace(netloc=place).geturl()
            try:
                self.start_anew()
                yield Lines(database=database, redis=redis)
            finally:
                self.stack.lines.clear()
                self.stack.kill(*self.stack.processes)

    @contextmanager
    def exchange_with_limits(self) -> Iterator[None]:
        """Have the exchange refuse and ban for a while who asks too much; its books go on, its list of requests not."""
        self.paper.restart(*self._exchange_options(), "--state-file", str(self.folder / "exchange.state"), limits=True)
        try:
            yield
        finally:
            self.paper.restart(*self._exchange_options(), "--state-file", str(self.folder / "exchange.state"))
            self._keeps_exchange = True

    def _exchange_options(self) -> tuple[str, ...]:
        return ("--port", self._exchange_port, "--extra-symbols", EXTRA_SYMBOLS, "--static-prices")

    @contextmanager
    def crashing_at(self, point: CrashPoint, *, passes: int = 1, by: str = "KILL", **settings: str) -> Iterator[Path]:
        """Run our processes so that the first to pass a point dies (or stops) there; yield the file that tells it."""
        mark = self.folder / f"crashed-{point}-{time.monotonic_ns()}"
        with self.with_settings(CRASH_POINT=f"{point}:{passes}:{by}:{mark}", **settings):
            yield mark

    def _programs(self, workers: int) -> tuple[Program, ...]:
        size = SIZES[workers]
        found = crew(self.folder, orders=size.orders, children=size.children, others=size.others)
        return (*(self._patched(program) for program in found), self._web())

    def _patched(self, program: Program) -> Program:
        """Put our module in front of a worker, so that this run's broken safeguard holds in that process."""
        if not self._safeguard or not program.name.startswith("worker-"):
            return program
        command = tuple(
            f"{word},tests.chaos.sabotage" if word.startswith("--include=") else word for word in program.command
        )
        return replace(program, command=command, env={**program.env, "CHAOS_BROKEN": self._safeguard})

    def _web(self) -> Program:
        addresses = Addresses(host=HOST, web_port=self.web_port, flower_port=0, database_url="", redis_url="")
        return web(addresses)

    def _migrate(self) -> None:
        log = self.folder / "migrate.log"
        with log.open("wb") as output:
            process = spawn(
                (PYTHON, "-m", "local_stack.prepare_database"),
                output=output,
                cwd=ROOT,
                env={
                    **SETTINGS,
                    "DATABASE_URL": self.postgres.url,
                    "REDIS_URL": self.valkey.url,
                    "ADMIN_PASSWORD": "not-used-here",
                    "MIGRATED_FILE": str(migrated_file(self.folder)),
                },
            )
            if process.wait(READY_SECONDS) != 0:
                raise RuntimeError(f"the migration failed: {tail(log)}")

    # Between two cells

    def wipe(self) -> None:
        """Begin anew with empty books, an empty bus and a fresh exchange; processes and the broker's bindings stay."""
        if self._keeps_exchange:
            self.paper.restart(*self._exchange_options())
            (self.folder / "exchange.state").unlink(missing_ok=True)
            self._keeps_exchange = False
        with self._nobody_sweeps():
            self.paper.reset()
            self.stack.risk.restore()
            self._wipe_redis()
            self.forget_books()
            self._wipe_redis()
        for symbol in self.symbols:
            self.stack.person.change_leverage(symbol, LEVERAGE)
        self.paper.clear_ledger()

    @contextmanager
    def _nobody_sweeps(self) -> Iterator[None]:
        """Hold the duties of monitor and protector: what one has read before would stand in the books of the next cell.

        One that is frozen keeps its duty, and has to be wiped around.
        """
        with psycopg.connect(self.postgres.url, autocommit=True) as session:
            session.execute("SET lock_timeout = '5s'")
            for duty in (Duty.WATCH_POSITIONS, Duty.ENSURE_COVER):
                with suppress(psycopg.errors.LockNotAvailable):
                    session.execute("SELECT pg_advisory_lock(%s)", [duty.value])
            yield

    def _wipe_redis(self) -> None:
        # Workers make the bindings at their start: without them no message finds its queue. A stream that is gone is
        # an alarm; what stands in it has been read.
        kept = (f"{KEY_PREFIX}_kombu".encode(), PREFIX.encode())
        keys = [key for key in self.stack.redis.scan_iter(count=1000) if not key.startswith(kept)]
        if keys:
            self.stack.redis.delete(*keys)

    def forget_books(self) -> None:
        """Truncate all tables of the service, also the one that refuses changes; a running cycle may be in the way."""
        for attempt in range(1, WIPE_ATTEMPTS + 1):
            try:
                with psycopg.connect(self.postgres.url) as connection:
                    # Triggers that keep the journal append-only are for the service, not for us.
                    connection.execute("SET session_replication_role = replica")
                    connection.execute("SET lock_timeout = '5s'")
                    found = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'execution_%'")
                    names = ", ".join(row[0] for row in found.fetchall())
                    connection.execute(f"TRUNCATE {names}")
            except (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
                if attempt == WIPE_ATTEMPTS:
                    raise
                time.sleep(0.2)
            else:
                return

    @contextmanager
    def backup(self) -> Iterator[Callable[[], None]]:
        """Copy the books while nobody uses them; yield what puts the copy in their place."""
        create_database(self._server_url, BACKUP, template=BOOKS)
        yield self._restore
        drop_database(self._server_url, BACKUP)

    def _restore(self) -> None:
        create_database(self._server_url, BOOKS, template=BACKUP)

    @property
    def _server_url(self) -> str:
        return urlsplit(self.postgres.url)._replace(path="/postgres").geturl()

    def mark_price(self, symbol: str) -> str:
        """Return a symbol's mark price, asked as somebody else would."""
        answer = self._session.get(f"{self.paper.url}/fapi/v1/premiumIndex", params={"symbol": symbol}, timeout=10)
        return str(answer.json()["markPrice"])

    # Our REST

    def call(self, method: str, path: str, *, timeout: float = 10.0, **options: Any) -> requests.Response:
        """Call our REST API."""
        return self._session.request(method, f"http://{HOST}:{self.web_port}{path}", timeout=timeout, **options)

    def health(self) -> dict[str, Any]:
        """Return what health says; a web process that does not answer is told as DOWN."""
        try:
            body: dict[str, Any] = self.call("GET", "/health").json()
        except (requests.RequestException, ValueError) as error:
            return {"status": "DOWN", "reasons": [f"web: {type(error).__name__}"]}
        return body

    def is_ready(self) -> bool:
        """Whether the service serves, with all its parts."""
        try:
            answer = self.call("GET", "/health/ready")
        except requests.RequestException as error:
            raise AssertionError(f"web: {type(error).__name__}") from None
        if answer.status_code != requests.codes.ok:
            raise AssertionError(answer.text)
        return True
