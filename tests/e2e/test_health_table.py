"""Each process, queue, stream and store of the service frozen, killed or broken: health names it, and recovers alone.

One stack for the whole table, with the times of production. What is independent is done together; the shorter form is
part of `make test`, all of it is `make health-table`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from execution.store.heartbeats import QUEUES
from local_stack.bus import stream_key, wrapped
from local_stack.postgres import start_postgres
from local_stack.processes import Addresses, migrated_file, web
from local_stack.server import HOST, Server, free_port
from local_stack.valkey import start_valkey
from tests.bench.live_stack import SETTINGS, migrate
from tests.support.decisions import decision
from tests.support.paper import PaperExchange
from tests.support.stack import CeleryStack, children_of, crew
from tests.support.waiting import eventually

pytestmark = pytest.mark.e2e
NAMED_WITHIN, WELL_WITHIN, ANSWER_WITHIN, BRAKE_WITHIN = 20.0, 45.0, 1.0, 2.0
ALL_OF_IT = bool(os.environ.get("HEALTH_TABLE"))
CROWD = 64
LEFT_AFTER_THE_SWITCH = (
    "SELECT count(*) FROM execution_order WHERE purpose = 'ENTRY'"
    " AND created_at > (SELECT max(engaged_at) FROM execution_killswitch)"
)
# The event types whose streams are broken, one of each direction.
BROKEN_IN, BROKEN_OUT = "signal.execute", "order.placed"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The stack, its servers, and its web process as callers see it."""

    stack: CeleryStack
    postgres: Server
    valkey: Server
    url: str
    http: requests.Session

    def health(self) -> tuple[dict[str, Any], float]:
        """Return the report, and how many seconds it took."""
        begun = time.monotonic()
        report: dict[str, Any] = self.http.get(f"{self.url}/health", timeout=5).json()
        return report, time.monotonic() - begun

    def is_well(self) -> bool:
        report, _ = self.health()
        assert not report["reasons"], report["reasons"]
        return bool(report["healthy"])

    def every_queue_is_proven(self) -> bool:
        return len(self.health()[0]["components"]["queues"]["details"]["age_seconds"]) == len(QUEUES)

    def names(self, words: Sequence[str]) -> bool:
        """Whether a reason names each of these words."""
        reasons = self.health()[0]["reasons"]
        missing = [word for word in words if not any(all(p in r for p in word.split("&")) for r in reasons)]
        assert not missing, f"missing {missing} in {reasons}"
        return True


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop processes and all below them with SIGSTOP."""
    everybody = [pid for top in pids for pid in family(top)]
    send(everybody, signal.SIGSTOP)
    try:
        yield
    finally:
        send(everybody, signal.SIGCONT)


def family(pid: int) -> list[int]:
    return [pid, *(below for child in children_of(pid) for below in family(child))]


def send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("health")
    with ExitStack() as undo:
        valkey = start_valkey(folder / "valkey", durable=False)
        undo.callback(valkey.stop)
        postgres = start_postgres(folder / "postgres", durable=False)
        undo.callback(postgres.stop)
        migrate(folder, postgres.url, valkey.url)
        port = free_port()
        addresses = Addresses(host=HOST, web_port=port, flower_port=0, database_url=postgres.url, redis_url=valkey.url)
        stack = CeleryStack(
            database_url=postgres.url,
            redis_url=valkey.url,
            folder=folder,
            programs=(*crew(folder), web(addresses)),
            settings=SETTINGS,
            paper=PaperExchange("--extra-symbols", "80"),
        )
        migrated_file(folder).touch()
        undo.enter_context(stack)
        http = undo.enter_context(requests.Session())
        http.trust_env = False
        running = Stage(stack=stack, postgres=postgres, valkey=valkey, url=addresses.web_url, http=http)
        well(running)
        eventually(running.every_queue_is_proven, within=20, what="each queue is proven", every=0.2)
        yield running


def well(stage: Stage) -> None:
    def is_well() -> bool:
        with suppress(requests.RequestException):
            return stage.is_well()
        return False

    eventually(is_well, within=WELL_WITHIN, what="health is well again", every=0.2)


def pid_of(stage: Stage, name: str) -> int:
    if name == "risk-safety":
        process = stage.stack.risk._process
        assert process is not None
        return process.pid
    return stage.stack.paper.pid if name == "paper-exchange" else stage.stack.processes[name].pid


# What a reason says of each part; `&`: both words in one reason.
SAID: Mapping[str, str] = {
    "worker-orders": "queues:&orders: last run",
    "worker-monitor": "queues:&monitor: last run",
    "worker-protect": "queues:&protect: last run",
    "worker-bridge": "queues:&bridge: last run",
    "user-stream": "user_stream:",
    "beat": "beat sends nothing",
    "risk-safety": "ess: unanswered",
    "paper-exchange": "binance:",
}
Trouble = Callable[[Stage], Any]


def freeze(*names: str) -> Trouble:
    return lambda stage: frozen(*(pid_of(stage, name) for name in names))


def kill(*names: str) -> Trouble:
    """Kill them; what looks after processes, as a supervisor does, starts them again afterwards."""

    @contextmanager
    def killed(stage: Stage) -> Iterator[None]:
        stage.stack.kill(*names)
        try:
            yield
        finally:
            stage.stack.start_workers()

    return killed


@contextmanager
def killed_neighbours(stage: Stage) -> Iterator[None]:
    """Kill what the service talks to; it comes back at its place, the exchange with a new account."""
    neighbours = (stage.stack.risk, stage.stack.paper)
    for each in neighbours:
        each.kill()
    try:
        yield
    finally:
        for each in neighbours:
            each.start_again()


def break_keys(*keys: str) -> Trouble:
    """Let something else lie where streams or queues should be, until somebody takes it away."""

    @contextmanager
    def broken(stage: Stage) -> Iterator[None]:
        for key in keys:
            stage.stack.redis.set(key, "something else")
        try:
            yield
        finally:
            stage.stack.redis.delete(*keys)

    return broken


@dataclass(frozen=True, kw_only=True)
class Row:
    """Independent troubles at the same time, and the words by which each must be named."""

    id: str
    troubles: tuple[Trouble, ...]
    words: tuple[str, ...]
    # Also in the form that is part of `make test`.
    short: bool = False


def parts(*names: str) -> tuple[str, ...]:
    return tuple(SAID[name] for name in names)


FIRST = ("worker-orders", "worker-bridge", "user-stream")
SECOND = ("worker-monitor", "worker-protect")
NEIGHBOURS = ("risk-safety", "paper-exchange")
STREAMS = (f"stream {BROKEN_IN} WRONGTYPE", f"stream {BROKEN_OUT} WRONGTYPE")
ROWS = (
    Row(
        id="frozen: orders, bridge, user stream, neighbours",
        troubles=(freeze(*FIRST, *NEIGHBOURS),),
        words=parts(*FIRST, *NEIGHBOURS),
        short=True,
    ),
    Row(
        id="killed: monitor, protect; broken: two streams",
        troubles=(kill(*SECOND), break_keys(stream_key(BROKEN_IN), stream_key(BROKEN_OUT))),
        words=(*parts(*SECOND), *STREAMS),
        short=True,
    ),
    Row(id="frozen: beat", troubles=(freeze("beat"),), words=parts("beat")),
    Row(id="killed: neighbours", troubles=(killed_neighbours,), words=parts(*NEIGHBOURS)),
    Row(id="killed: beat", troubles=(kill("beat"),), words=parts("beat"), short=True),
    Row(id="frozen: monitor, protect", troubles=(freeze(*SECOND),), words=parts(*SECOND)),
    Row(id="killed: orders, bridge, user stream", troubles=(kill(*FIRST),), words=parts(*FIRST)),
    Row(
        id="broken: queues of orders and protect",
        troubles=(break_keys("orders", "protect"),),
        words=parts("worker-orders", "worker-protect"),
    ),
)


@pytest.mark.parametrize("row", [row for row in ROWS if row.short or ALL_OF_IT], ids=lambda row: row.id)
def test_health_names_it_and_recovers(stage: Stage, row: Row) -> None:
    with ExitStack() as troubles:
        for trouble in row.troubles:
            troubles.enter_context(trouble(stage))
        begun = time.monotonic()
        eventually(lambda: stage.names(row.words), within=NAMED_WITHIN, what=row.id, every=0.2)
        print(f"{row.id}: named after {time.monotonic() - begun:.1f} s")  # noqa: T201 -- the table's figure
        begun = time.monotonic()
    well(stage)
    print(f"{row.id}: well again after {time.monotonic() - begun:.1f} s")  # noqa: T201 -- as above


def test_each_stream_fails_alone(stage: Stage) -> None:
    """A key of the wrong type on one stream stops neither the reading nor the sending of the others."""
    well(stage)
    stack, known = stage.stack, len(stage.stack.states())
    with break_keys(stream_key(BROKEN_IN), stream_key(BROKEN_OUT))(stage):
        eventually(lambda: stage.names(STREAMS), within=NAMED_WITHIN, what="both are named", every=0.2)
        stack.publish([decision("BTCUSDT", position_size_usd=100.0)])
        eventually(lambda: "RECORDED" in stack.states()[known:], within=40, what="the decision is a trade", every=0.1)
        eventually(lambda: sent(stack, "trade.opened"), within=20, what="its event is sent", every=0.1)
        # It should keep what the broken stream should have got, and send it when that is mended.
        assert not sent(stack, BROKEN_OUT)
        # It should know the emergency stop by its stream as well.
        tripped = {"reason": "drill", "state": "TRIPPED"}
        stack.redis.xadd(stream_key("ess.tripped"), wrapped("ess.tripped", tripped, source="risk-safety"))
        stopped = "SELECT count(*) FROM execution_essstatus WHERE NOT permitted"
        eventually(lambda: stack.rows(stopped) == [(1,)], within=10, what="the stop is read", every=0.1)
    eventually(lambda: sent(stack, BROKEN_OUT), within=20, what="it is sent late", every=0.1)
    manual = {"symbol": "ETHUSDT", "side": "buy", "quantity": "0.01", "request_id": str(uuid4())}
    stack.redis.xadd(stream_key(BROKEN_IN), wrapped(BROKEN_IN, manual, source="test"))
    eventually(lambda: len(stack.states()) == known + 2, within=20, what="the mended stream is read", every=0.1)
    stack.manage("rearm_ess", "--reason", "the drill is over")
    well(stage)


def sent(stack: CeleryStack, event_type: str) -> bool:
    """Whether everything of a type is on the bus, and something is."""
    query = "SELECT count(*) > 0 AND bool_and(sent_at IS NOT NULL) FROM execution_outboxevent WHERE event_type = %s"
    return bool(stack.rows(query, event_type)[0][0])


def slowest(stage: Stage) -> float:
    """Ask for longer than answers are kept and questions last, and return the longest time that an answer took."""
    took, end = [0.0], time.monotonic() + 5
    while time.monotonic() < end:
        took.append(stage.health()[1])
    return max(took)


@pytest.mark.parametrize("store", ["trade_store", "event_bus"])
def test_health_answers_within_a_second_while_a_store_is_frozen(stage: Stage, store: str) -> None:
    server = stage.postgres if store == "trade_store" else stage.valkey
    with frozen(server.process.pid):
        eventually(lambda: stage.names([f"{store}:"]), within=NAMED_WITHIN, what=f"{store} is named")
        # It should be so whenever it is asked, by several callers at once, while questions begin, hang and end.
        with ThreadPoolExecutor(4) as callers:
            took = [each.result() for each in [callers.submit(slowest, stage) for _ in range(4)]]
        print(f"{store} frozen: /health answers within {max(took):.2f} s")  # noqa: T201 -- the table's figure
        assert max(took) <= ANSWER_WITHIN
    well(stage)


def test_brakes_and_health_do_not_queue_behind_orders_that_wait(stage: Stage) -> None:
    """64 orders wait for an exchange that hangs; the kill switch and health are served as if they were alone."""
    stack = stage.stack
    orders = [{"symbol": symbol, "side": "buy", "quantity": "0.01"} for symbol in stack.symbols[:CROWD]]
    known = len(stack.states())
    with ExitStack() as undo:
        callers = undo.enter_context(ThreadPoolExecutor(CROWD))
        undo.enter_context(frozen(stack.paper.pid))
        waiting = [callers.submit(post, stage, "order", order) for order in orders]
        eventually(lambda: len(stack.states()) >= known + 16, within=10, what="the crowd waits", every=0.05)

        begun = time.monotonic()
        said = post(stage, "kill-switch", {"level": "entries", "reason": "drill", "by": "test"})
        braked = time.monotonic() - begun
        took = [stage.health()[1] for _ in range(5)]

        assert (said["level"], any(each.done() for each in waiting[-16:])) == ("entries", False)
        print(f"kill switch after {braked:.2f} s, /health within {max(took):.2f} s")  # noqa: T201 -- the figures
        assert braked <= BRAKE_WITHIN
        assert max(took) <= ANSWER_WITHIN
    for each in waiting:
        each.result()
    # It should hold from the moment of its row on: no entry has left after it, though the exchange answers again.
    assert stack.rows(LEFT_AFTER_THE_SWITCH) == [(0,)]
    post(stage, "kill-switch", {"level": "released", "reason": "drill over", "by": "test"})
    well(stage)


def post(stage: Stage, address: str, body: Mapping[str, Any]) -> dict[str, Any]:
    with requests.Session() as http:
        http.trust_env = False
        answer: dict[str, Any] = http.post(f"{stage.url}/api/execution/{address}", json=body, timeout=60).json()
        return answer


def test_web_itself(stage: Stage) -> None:
    """Web is named by its silence, which a probe hears; frozen or killed, it answers again by itself."""
    with frozen(pid_of(stage, "web")), pytest.raises(requests.RequestException):
        requests.get(f"{stage.url}/health/live", timeout=2)
    well(stage)
    with kill("web")(stage), pytest.raises(requests.RequestException):
        requests.get(f"{stage.url}/health/live", timeout=2)
    well(stage)
