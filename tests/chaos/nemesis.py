"""Everything at once, by a seed: decisions all the time, a faulty exchange, and every few seconds something dies.

What the seed fixes is the order and the moments of the strikes; what each of them hits is the machine's chance.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
from redis import RedisError

from tests.chaos.cell import Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.stores import Store
from tests.support.decisions import decision
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.stack import children_of, state_of
from tests.support.waiting import eventually

LOOP_SECONDS = 0.05
RESTART_SECONDS = 1.0
PRICE_SECONDS = 0.4
STRIKE_SECONDS = (5.0, 20.0)
# Against each position at the end, until its stop has closed it.
MOST_PUSHES, PUSH_SECONDS = 3, 3.0
FREEZE_SECONDS = (2.0, 6.0)
# One exchange call in twenty goes wrong, in one of these ways.
FAULTY_SHARE = 0.05
STOP_DISTANCE, TARGET_DISTANCE = -0.04, 0.08
UNKNOWN = {"code": -1007, "msg": "Timeout waiting for response from backend server."}


@dataclass
class Nemesis:
    """Strikes a cell for a while; `run` returns when everything runs again."""

    cell: Cell
    decisions_per_second: float = 5.0
    # Also stop and restart PostgreSQL and Redis, freeze processes, mute the stream, let prices leap.
    thorough: bool = False
    struck: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = self.cell.random
        self._wake_at: list[tuple[float, list[int]]] = []
        self._symbols = list(self.cell.symbols)
        self._died_at: dict[str, float] = {}
        # Each returns how much it has hit: processes gone or stopped, connections cut, events lost.
        everywhere: Mapping[str, Callable[[], int]] = {
            "worker": self._kill_worker,
            "pool process": self._kill_pool_process,
            "beat": lambda: self._kill("beat"),
            "user stream": lambda: self._kill("user-stream"),
            "database sessions": self._cut_database,
        }
        thorough: Mapping[str, Callable[[], int]] = {
            "freeze": self._freeze,
            "redis": self._restart_redis,
            "postgres": self._restart_postgres,
            "mute stream": self._mute_stream,
            "cut stream": self._cut_stream,
            "price leap": self._leap,
        }
        self._strikes = {**everywhere, **thorough} if self.thorough else dict(everywhere)
        self._next: list[str] = []
        self._faults: list[str] = []
        self._muted: list[str] = []

    def run(self, seconds: float) -> None:
        """Strike for so long, then let everything come back."""
        self._make_the_exchange_faulty()
        began = now = time.monotonic()
        next_decision, next_price = began, began
        next_strike = began + self._random.uniform(*STRIKE_SECONDS)
        while now < began + seconds:
            if now >= next_decision:
                self._decide()
                next_decision = max(next_decision + 1 / self.decisions_per_second, now - 1)
            if now >= next_price:
                self._move_a_price()
                next_price = now + PRICE_SECONDS
            if now >= next_strike:
                self._strike()
                next_strike = time.monotonic() + self._random.uniform(*STRIKE_SECONDS)
            self._wake(now)
            self._restart_the_dead(now)
            time.sleep(LOOP_SECONDS)
            now = time.monotonic()
        self._come_back(seconds)

    # Load

    def _decide(self) -> None:
        symbol, side = self._random.choice(self._symbols), self._random.choice(["buy", "sell"])
        payload = decision(symbol, side, position_size_usd=100.0)
        # A publisher whose bus is away has published nothing.
        with suppress(RedisError):
            self.cell.publish_one(payload)

    def _move_a_price(self) -> None:
        """Bring a position to its stop or its target, so that trades end as they begin."""
        held = self.cell.paper.summary()["positions"]
        if held:
            row = self._random.choice(held)
            away = self._random.choice([STOP_DISTANCE, TARGET_DISTANCE])
            long = Decimal(row["positionAmt"]) > 0
            self.cell.shift_price(row["symbol"], fraction=away if long else -away)

    def _make_the_exchange_faulty(self) -> None:
        kinds: Sequence[tuple[str, str, dict[str, Any]]] = (
            (ORDER, "drop_after", {}),
            (ORDER, "drop_before", {}),
            (ORDER, "reply", {"status": 400, "body": UNKNOWN, "execute": True}),
            (ALGO_ORDER, "drop_after", {}),
            (ALGO_ORDER, "drop_before", {}),
        )
        # A request meets the rules of its path one after another.
        for path, action, fields in kinds:
            share = FAULTY_SHARE / sum(kind[0] == path for kind in kinds)
            self._faults.append(self.cell.fault(path, action, method="POST", probability=share, count=None, **fields))
        # Not the price index, which this runner itself asks.
        for path in ("/fapi/v3/*", "/fapi/v1/openOrders", "/fapi/v1/userTrades", ORDER, "/fapi/v1/depth"):
            rule = {"method": "GET", "preset": "internal_503", "probability": FAULTY_SHARE, "count": None}
            self._faults.append(self.cell.fault(path, "reply", **rule))

    # Strikes

    def _strike(self) -> None:
        """Strike with one kind after another, in an order of chance: a short run too meets many kinds."""
        if not self._next:
            self._next = sorted(self._strikes)
            self._random.shuffle(self._next)
        name = self._next.pop()
        if self._strikes[name]() > 0:
            self.struck[name] += 1

    def _kill_worker(self) -> int:
        return self._kill(self._random.choice(sorted(self.cell.stack.workers) or ["beat"]))

    def _kill(self, name: str) -> int:
        if name not in self.cell.stack.processes:
            return 0
        killed = self.cell.stack.kill(name)
        self._died_at[name] = time.monotonic()
        return ended(killed)

    def _kill_pool_process(self) -> int:
        name = self._random.choice(sorted(name for name in self.cell.stack.programs if "orders" in name))
        process = self.cell.stack.processes.get(name)
        children = children_of(process.pid) if process else []
        if not children:
            return 0
        pid = self._random.choice(children)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return eventually(lambda: ended([pid]), what="the process has ended")

    def _freeze(self) -> int:
        name = self._random.choice(sorted(self.cell.stack.workers) or ["beat"])
        process = self.cell.stack.processes.get(name)
        if process is None or process.poll() is not None:
            return 0
        everybody = [process.pid, *children_of(process.pid)]
        signal_all(everybody, signal.SIGSTOP)
        self._wake_at.append((time.monotonic() + self._random.uniform(*FREEZE_SECONDS), everybody))
        return eventually(lambda: sum(state_of(pid) == "T" for pid in everybody), what="the process is stopped")

    def _cut_database(self) -> int:
        with suppress(psycopg.OperationalError):
            return self.cell.stack.cut_database_connections()
        return 0

    def _restart_redis(self) -> int:
        return self._restart(self.cell.world.valkey, signal.SIGKILL)

    def _restart_postgres(self) -> int:
        return self._restart(self.cell.world.postgres, signal.SIGQUIT)

    @staticmethod
    def _restart(store: Store, number: signal.Signals) -> int:
        before = store.pid
        store.kill(number)
        store.start_again()
        return ended([before])

    def _mute_stream(self) -> int:
        self._muted.append(self.cell.stream_fault("silent", for_ms=5000))
        return len(self._muted)

    def _cut_stream(self) -> int:
        return int(self.cell.paper.control("POST", "streams/drop", {})["dropped"])

    def _leap(self) -> int:
        symbol = self._random.choice(self._symbols)
        before = self.cell.price(symbol)
        self.cell.shift_price(symbol, fraction=self._random.choice([-0.3, 0.3]))
        return int(self.cell.price(symbol) != before)

    # Coming back

    def _wake(self, now: float) -> None:
        due = [(at, pids) for at, pids in self._wake_at if at <= now]
        self._wake_at = [entry for entry in self._wake_at if entry not in due]
        for _, pids in due:
            signal_all(pids, signal.SIGCONT)

    def _restart_the_dead(self, now: float) -> None:
        """Start again what has died, a second later, as a supervisor does."""
        for name in self.cell.stack.forget_ended():
            self._died_at.setdefault(name, now)
        for name, at in list(self._died_at.items()):
            if now - at >= RESTART_SECONDS:
                del self._died_at[name]
                self.cell.stack.launch(self.cell.stack.programs[name])

    def _come_back(self, seconds: float) -> None:
        self._wake(float("inf"))
        faulty, mute = (sum(map(self.cell.hits, rules)) for rules in (self._faults, self._muted))
        self.cell.paper.clear_faults()
        self.cell.paper.control("DELETE", "streams/faults")
        self.cell.world.use(self.cell.world.workers)
        self._prove(seconds, faulty)
        self.cell.saw(f"{mute} events lost in {len(self._muted)} silences")

    def _prove(self, seconds: float, faulty: int) -> None:
        """Hold what has struck against how much time there was for it."""
        strikes, kinds = sum(self.struck.values()), sorted(self.struck)
        # A strike itself takes time, a restart of PostgreSQL some seconds under load.
        least, most = int(seconds / (3 * STRIKE_SECONDS[1])), int(seconds / STRIKE_SECONDS[0]) + 1
        self.cell.struck("strikes", strikes, between=(max(1, least), most))
        self.cell.struck(
            "of different kinds", len(kinds), between=(min(len(self._strikes), max(1, least)), len(self._strikes))
        )
        asked = len(self.cell.ledger.requests)
        self.cell.struck("faulty answers", faulty, between=(1, max(1, round(2 * FAULTY_SHARE * asked))))
        self.cell.saw(", ".join(f"{self.struck[name]} {name}" for name in kinds))


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def strike(cell: Cell, *, seconds: float, thorough: bool) -> None:
    """Strike, let everything settle, close all positions and compare to the last digit."""
    Nemesis(cell=cell, thorough=thorough).run(seconds)
    cell.settle()
    for _ in range(MOST_PUSHES):
        push_to_stops(cell)
        pause(PUSH_SECONDS)
    cell.wait(lambda: not cell.paper.summary()["positions"], "all positions are closed", within=30)
    cell.wait(lambda: is_flat(cell), "all trades are closed", within=60)


def push_to_stops(cell: Cell) -> None:
    """Move the price against each position by its stop's distance; one that is in profit takes more than one push."""
    for row in cell.paper.summary()["positions"]:
        long = Decimal(row["positionAmt"]) > 0
        cell.shift_price(row["symbol"], fraction=STOP_DISTANCE if long else -STOP_DISTANCE)


def is_flat(cell: Cell) -> bool:
    [(still_open,)] = cell.rows("SELECT count(*) FROM execution_trade WHERE state <> 'CLOSED'")
    return bool(still_open == 0)
