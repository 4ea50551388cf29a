"""The service as it runs: Celery workers and beat as processes, on a database, Redis and exchange of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg
from binance.um_futures import UMFutures
from redis import Redis

from local_stack.bus import Field, stream_key, wrapped
from local_stack.processes import Program, beat, migrated_file, user_stream, worker
from local_stack.server import end_process, spawn, tail
from tests.support.decisions import decision
from tests.support.ledger import Ledger
from tests.support.oracle import all_requests_are_final, assert_invariants
from tests.support.paper import PaperExchange
from tests.support.risk import RiskSafetyStandIn
from tests.support.roles import with_rights
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
AI = "ai.decision.made"
# Short times, so that a test sees a redelivery and several cycles of the monitor.
SHORT = {
    "CELERY_VISIBILITY_TIMEOUT_SECONDS": "12",
    "CELERY_TASK_TIME_LIMIT_SECONDS": "11",
    "POSITION_MONITOR_INTERVAL_SEC": "2",
    "BINANCE_RATE_LIMIT_RPM": "1000000",
    "SIGNAL_MAX_AGE_SEC": "60",
    "LOG_LEVEL": "WARNING",
}


def crew(folder: Path, *, orders: int = 1, children: int = 2, others: int = 1) -> tuple[Program, ...]:
    """Return the service's workers, its user-data stream and beat.

    Args:
        folder: where their ready files and logs lie.
        orders: worker processes for the chain.
        children: pool processes of each of them.
        others: workers of the monitor and of the bridge each.

    """
    pool = ("--pool=prefork", f"--concurrency={children}")
    monitor = worker("monitor", folder, ("--pool=threads", "--concurrency=2"), "run_monitor_cycle")
    protect = worker("protect", folder, ("--pool=threads", "--concurrency=1"), "ensure_cover")
    bridge = worker("bridge", folder, ("--pool=threads", "--concurrency=4"), "read_events", "send_events")
    return (
        *_several(worker("orders", folder, pool), orders),
        *_several(monitor, others),
        *_several(protect, others),
        *_several(bridge, others),
        user_stream(folder),
        beat(folder),
    )


def _several(program: Program, number: int) -> list[Program]:
    """Return a worker and its like, each with a name and a ready file of its own."""
    return [program, *(_another(program, place) for place in range(2, number + 1))]


def _another(program: Program, place: int) -> Program:
    node = program.command[program.command.index("-n") + 1]
    command = tuple(word.replace("@", f"{place}@") if word == node else word for word in program.command)
    if program.ready_file is None:
        raise ValueError(f"{program.name} is not a worker")
    ready = program.ready_file.with_name(f"{place}-{program.ready_file.name}")
    env = {**program.env, "WORKER_READY_FILE": str(ready)}
    return replace(program, name=f"{program.name}-{place}", command=command, ready_file=ready, env=env)


Seal = Callable[[str, dict[Field, Field]], dict[Field, Field]]


class CeleryStack:
    """Context manager around workers, user-data stream, beat, a paper exchange and a stand-in risk-safety service."""

    def __init__(
        self,
        *,
        database_url: str,
        redis_url: str,
        folder: Path,
        programs: Sequence[Program] = (),
        settings: Mapping[str, str] = SHORT,
        paper: PaperExchange | None = None,
        seal: Seal = lambda _stream, fields: fields,
    ) -> None:
        self.database_url = database_url
        self.redis = Redis.from_url(redis_url)
        self.programs = {program.name: program for program in programs or crew(folder)}
        self.settings = dict(settings)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.paper = paper or PaperExchange()
        # What the producer of decisions does to an entry before it is sent: sign it.
        self.seal = seal
        # Addresses of what stands between our processes and their stores, by setting.
        self.lines: dict[str, str] = {}
        self._redis_url = redis_url
        self._folder = folder
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with self._undo:
            self.redis.flushdb()
            self.service_url = with_rights(self.database_url)
            self._undo.callback(self.redis.close)
            self._undo.enter_context(self.paper)
            self.risk = self._undo.enter_context(RiskSafetyStandIn(self._redis_url))
            self.person = UMFutures(key=self.paper.key, secret=self.paper.secret, base_url=self.paper.url, timeout=5)
            self.person.session.trust_env = False
            migrated_file(self._folder).touch()
            self._undo.callback(self.stop_workers)
            self.start_workers()
            self._undo = self._undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    # Processes

    @property
    def workers(self) -> list[str]:
        """The names of the workers that were started and not ended."""
        return [name for name in self.processes if name.startswith("worker-")]

    def start_workers(self) -> None:
        """Start workers and beat, those that do not run already, and wait until they consume."""
        missing = [program for name, program in self.programs.items() if name not in self.processes]
        for program in missing:
            self.launch(program)
        eventually(lambda: self._are_ready(missing), within=READY_SECONDS, what="the workers consume", every=0.05)

    def launch(self, program: Program) -> None:
        """Start one program without waiting for it."""
        if program.ready_file:
            program.ready_file.unlink(missing_ok=True)
        self.processes[program.name] = self._spawn(program)

    def manage(self, *words: str) -> str:
        """Run an operator's command on the stack's stores and return what it prints; any failure is the test's."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self, *names: str) -> list[int]:
        """End processes and every process of their pools as `kill -9` does; return the numbers of the processes."""
        ended = [self.processes.pop(name) for name in names]
        everybody = [pid for process in ended for pid in (process.pid, *children_of(process.pid))]
        for pid in everybody:
            # A pool replaces its processes: one of them may have ended since it was listed.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in ended:
            process.wait(10)
        return everybody

    def forget_ended(self) -> list[str]:
        """Forget the processes that have ended, so that they can be started again; return their names."""
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        for name in ended:
            del self.processes[name]
        return ended

    def kill_workers(self) -> list[int]:
        """End every worker as `kill -9` does; beat and the stream go on."""
        return self.kill(*self.workers)

    def kill_pool_process(self, name: str = "worker-orders") -> int:
        """End one process of the pool, as the kernel does when memory runs out."""
        pid = children_of(self.processes[name].pid)[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and its pool, such as SIGSTOP."""
        main = self.processes[name].pid
        for pid in (main, *children_of(main)):
            os.kill(pid, number)

    def stop_workers(self) -> None:
        """Ask all processes to end, workers and beat, and wait until they have."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            end_process(process, signal.SIGTERM, 5)
        self.processes.clear()

    def log(self, name: str) -> str:
        return tail(self._folder / f"{name}.log", 40)

    def environment(self) -> dict[str, str]:
        """Return the environment of our processes."""
        return {
            **os.environ,
            **self.settings,
            # The service's processes do not own the database; `database_url` is for the test itself.
            "DATABASE_URL": self.service_url,
            "REDIS_URL": self._redis_url,
            "BINANCE_BASE_URL": self.paper.url,
            "BINANCE_STREAM_URL": self.paper.stream_url,
            "RISK_SAFETY_SERVICE_URL": self.risk.url,
            **self.lines,
        }

    def _spawn(self, program: Program) -> "subprocess.Popen[bytes]":
        env = {**self.environment(), **program.env}
        with (self._folder / f"{program.name}.log").open("ab") as output:
            return spawn(program.argv, output=output, env=env, cwd=ROOT)

    def _are_ready(self, programs: Sequence[Program]) -> bool:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {self.log(name)}")
        return all(program.ready_file.exists() for program in programs if program.ready_file)

    # Events and what became of them

    def publish(self, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Put decisions on the bus in one go."""
        with self.redis.pipeline(transaction=False) as pipe:
            for payload in payloads:
                pipe.xadd(stream_key(AI), self.seal(stream_key(AI), wrapped(AI, payload, source="ai-engine")))
            pipe.execute()

    def decide(self, symbols: Sequence[str]) -> None:
        """Publish one decision a symbol, for 100 USD each."""
        self.publish([decision(symbol, position_size_usd=100.0) for symbol in symbols])

    @property
    def symbols(self) -> list[str]:
        return [row["symbol"] for row in self.person.exchange_info()["symbols"]]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.cursor() as cursor:
            cursor.execute(query, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def states(self) -> list[str]:
        """Return the states of all requests, oldest first."""
        return [row[0] for row in self.rows("SELECT state FROM execution_executionrequest ORDER BY received_at")]

    def await_final(self, *, requests: int, within: float) -> None:
        """Wait until that many requests have their outcome, every one of them, and every event is sent."""
        eventually(lambda: len(self.states()) >= requests, within=within, what=f"{requests} requests", every=0.1)
        eventually(self.is_settled, within=within, what="every request has its outcome", every=0.1)

    def is_settled(self) -> bool:
        with self.cursor() as cursor:
            final = all_requests_are_final(cursor)
        [(unsent,)] = self.rows("SELECT count(*) FROM execution_outboxevent WHERE sent_at IS NULL")
        if not final or unsent:
            counts = self.rows("SELECT state, count(*) FROM execution_executionrequest GROUP BY state")
            raise AssertionError(f"{dict(counts)}, {unsent} events to send")
        return True

    def check(self, *, within: float = 15.0) -> None:
        """Check every invariant; cover and books may need the monitor's next cycles."""

        def holds() -> bool:
            with self.cursor() as cursor:
                assert_invariants(cursor, Ledger.of(self.paper))
            return True

        eventually(holds, within=within, what="the invariants", every=0.1)

    def close_everything_by_hand(self) -> None:
        """Begin anew: close each position as a person would, and wait until the service has closed its books."""
        for symbol, amount in Ledger.of(self.paper).positions.items():
            side = "SELL" if amount > 0 else "BUY"
            self.person.new_order(
                symbol=symbol, side=side, type="MARKET", quantity=format(abs(amount), "f"), reduceOnly="true"
            )
        eventually(self._is_flat, within=20, what="the service has seen that everything is closed", every=0.1)

    def cut_database_connections(self) -> int:
        """End every session of the service, as a restart of PostgreSQL does; return how many there were."""
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            (number,) = cursor.fetchone() or (0,)
            return int(number)

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        with psycopg.connect(self.database_url, autocommit=True) as connection, connection.cursor() as cursor:
            yield cursor

    def _is_flat(self) -> bool:
        [(claims,)] = self.rows("SELECT count(*) FROM execution_positionslot")
        [(trades,)] = self.rows("SELECT count(*) FROM execution_trade WHERE state <> 'CLOSED'")
        return not (claims or trades or Ledger.of(self.paper).live())


def children_of(pid: int) -> list[int]:
    """Return the numbers of a process's children; Linux only, elsewhere they end with their parent."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, thread.read_text().split())
    return found


def state_of(pid: int) -> str:
    """Return the kernel's letter for a process: R runs, S sleeps, T is stopped, Z and X have ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended (a zombie has)."""
    return state_of(pid) not in "ZX"


def create_database(server_url: str, name: str, *, template: str) -> str:
    """Create a database as a copy of another one that nobody uses at the moment; return its address."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        deadline = time.monotonic() + 10
        while True:
            try:
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
                break
            except psycopg.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, name: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
