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
from tests.support.decisions import decision
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.stack import children_of

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
        everywhere: Mapping[str, Callable[[], None]] = {
            "worker": self._kill_worker,
            "pool process": self._kill_pool_process,
            "beat": lambda: self._kill("beat"),
            "user stream": lambda: self._kill("user-stream"),
            "database sessions": self._cut_database,
        }
        thorough: Mapping[str, Callable[[], None]] = {
            "freeze": self._freeze,
            "redis": self._restart_redis,
            "postgres": self._restart_postgres,
            "mute stream": self._mute_stream,
            "cut stream": self._cut_stream,
            "price leap": self._leap,
        }
        self._strikes = {**everywhere, **thorough} if self.thorough else dict(everywhere)

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
        self._come_back()

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
            self.cell.fault(path, action, method="POST", probability=share, count=None, **fields)
        # Not the price index, which this runner itself asks.
        for path in ("/fapi/v3/*", "/fapi/v1/openOrders", "/fapi/v1/userTrades", ORDER, "/fapi/v1/depth"):
            self.cell.fault(path, "reply", method="GET", preset="internal_503", probability=FAULTY_SHARE, count=None)

    # Strikes

    def _strike(self) -> None:
        name = self._random.choice(sorted(self._strikes))
        self.struck[name] += 1
        self._strikes[name]()

    def _kill_worker(self) -> None:
        self._kill(self._random.choice(sorted(self.cell.stack.workers) or ["beat"]))

    def _kill(self, name: str) -> None:
        if name in self.cell.stack.processes:
            self.cell.stack.kill(name)
            self._died_at[name] = time.monotonic()

    def _kill_pool_process(self) -> None:
        name = self._random.choice(sorted(name for name in self.cell.stack.programs if "orders" in name))
        process = self.cell.stack.processes.get(name)
        children = children_of(process.pid) if process else []
        if children:
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(children), signal.SIGKILL)

    def _freeze(self) -> None:
        name = self._random.choice(sorted(self.cell.stack.workers) or ["beat"])
        process = self.cell.stack.processes.get(name)
        if process is None:
            return
        everybody = [process.pid, *children_of(process.pid)]
        signal_all(everybody, signal.SIGSTOP)
        self._wake_at.append((time.monotonic() + self._random.uniform(*FREEZE_SECONDS), everybody))

    def _cut_database(self) -> None:
        with suppress(psycopg.OperationalError):
            self.cell.stack.cut_database_connections()

    def _restart_redis(self) -> None:
        self.cell.world.valkey.kill()
        self.cell.world.valkey.start_again()

    def _restart_postgres(self) -> None:
        self.cell.world.postgres.kill(signal.SIGQUIT)
        self.cell.world.postgres.start_again()

    def _mute_stream(self) -> None:
        self.cell.paper.control("POST", "streams/faults", {"action": "silent", "for_ms": 5000})

    def _cut_stream(self) -> None:
        self.cell.paper.control("POST", "streams/drop", {})

    def _leap(self) -> None:
        self.cell.shift_price(self._random.choice(self._symbols), fraction=self._random.choice([-0.3, 0.3]))

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

    def _come_back(self) -> None:
        self._wake(float("inf"))
        self.cell.paper.clear_faults()
        self.cell.paper.control("DELETE", "streams/faults")
        self.cell.world.use(self.cell.world.workers)
        self.cell.saw(", ".join(f"{number} {name}" for name, number in sorted(self.struck.items())))


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
