"""Nobody hears, a row is held, Redis takes nothing: every wait has its bound, and no process ends."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import row
from tests.chaos.rows.protection import place, stop_covers
from tests.support.half_open import HalfOpenProxy

BACK = Bounds(settle_seconds=60)
STOP_SECONDS, BACK_SECONDS = 10.0, 30.0
HELD_SECONDS, SWITCHED_SECONDS, REFUSED_SECONDS = 60.0, 20.0, 6.0
# Others' trades, while one is held, take what they take at any time.
ON_TIME_SECONDS = 15.0
PARTS = frozenset({"monitor", "bridge", "relay", "protector", "user_stream"})
# What Redis says when it is a replica now, has just become one, loads its data, cannot save it, has other users.
REFUSALS = (
    "READONLY You can't write against a read only replica.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "LOADING Redis is loading the dataset in memory",
    "MISCONF Errors writing to the AOF file",
    "NOPERM User default has no permissions to run the command",
)
# Everything of one trade that anybody may want to change.
HOLD = (
    "SELECT FROM execution_trade WHERE id = %s FOR UPDATE",
    "SELECT FROM execution_executionrequest WHERE id = %s FOR UPDATE",
    "SELECT FROM execution_order WHERE request_id = %s FOR UPDATE",
    "SELECT FROM execution_position WHERE trade_id = %s FOR UPDATE",
    "SELECT FROM execution_positionslot WHERE request_id = %s FOR UPDATE",
)
NOWHERE = ("127.0.0.1", "9")


@row(86, "connections to Redis silenced, a resting entry fills", bounds=BACK, short=True)
def redis_silenced(cell: Cell) -> None:
    with cell.world.behind_lines() as lines:
        silenced_with_a_resting_entry(cell, lines.redis)


@row(87, "connections to PostgreSQL silenced, a resting entry fills", bounds=BACK)
def postgres_silenced(cell: Cell) -> None:
    with cell.world.behind_lines() as lines:
        silenced_with_a_resting_entry(cell, lines.database)


def silenced_with_a_resting_entry(cell: Cell, line: HalfOpenProxy) -> None:
    """Silence all connections that stand, let an entry fill, and see it covered and everything come back."""
    cell.opened(1, first=2)
    symbol, order = resting_entry(cell)
    began, started = time.monotonic(), datetime.now(UTC)
    cell.struck("connections silenced", line.silence(), between=(len(cell.stack.processes) - 1, 500))
    fill(cell, order)
    covered_within(cell, symbol, STOP_SECONDS)
    parts_come_back(cell, started, within=BACK_SECONDS - (time.monotonic() - began))
    cell.decide(2, first=4)
    cell.settle()
    nobody_ended(cell)


def resting_entry(cell: Cell) -> tuple[str, str]:
    """Let a person's LIMIT order rest; return its symbol and its id."""
    symbol = cell.symbols[0]
    answer = place(cell, symbol, price=float(cell.price_away(symbol, fraction=-0.001)), usd=400)
    # The answer does not wait for it for ever.
    cell.wait(lambda: cell.state_of(symbol) == "ACCEPTED", "the entry rests")
    return symbol, str(answer["client_order_id"])


def fill(cell: Cell, order: str) -> None:
    cell.paper.control("POST", "orders/fill", {"order": order, "fraction": 1.0})


def covered_within(cell: Cell, symbol: str, seconds: float) -> None:
    began = time.monotonic()
    cell.wait(lambda: stop_covers(cell, symbol), "the stop covers what has filled", within=seconds)
    cell.saw(f"stop after {time.monotonic() - began:.1f} s")


def parts_come_back(cell: Cell, since: datetime, *, within: float) -> None:
    """Wait until every part has worked since, and health says so."""
    began = time.monotonic()
    cell.wait(lambda: not silent_parts(cell, since), "all heartbeats are back", within=within)
    left = within - (time.monotonic() - began)
    cell.wait(cell.is_healthy, "health says OK again", within=max(1.0, left))
    cell.saw(f"all back after {time.monotonic() - began:.1f} s more")


def silent_parts(cell: Cell, since: datetime) -> frozenset[str]:
    """Return the parts that have not ended a piece of work since; what was under way then may still have ended."""
    query = "SELECT part FROM execution_heartbeat WHERE at > %s::timestamptz + interval '3 seconds' AND healthy"
    found = PARTS - {part for (part,) in cell.rows(query, since)}
    assert not found, f"heartbeats missing: {sorted(found)}"
    return found


def nobody_ended(cell: Cell) -> None:
    ended = [name for name, process in cell.stack.processes.items() if process.poll() is not None]
    assert not ended, f"processes ended: {ended}"


@row(88, "a row is held for a minute", bounds=BACK)
def row_held(cell: Cell) -> None:
    held, *others = cell.opened(5)
    # What nobody can book for a minute differs from the exchange's for as long, and the oracle may say so.
    cell.expected_violations |= {"books_differ", "order_without_position"}
    with everything_held(cell, held):
        end = time.monotonic() + HELD_SECONDS
        # The held one is stopped out, too: it is booked when it is let go.
        cell.move_price(held, fraction=-0.05)
        cell.wait(lambda: held_rows(cell), "health names what is held", within=ON_TIME_SECONDS)
        cell.struck("sweeps that met held rows", len(held_rows(cell)), between=(1, 20))
        worst = max(stopped_out_after(cell, symbol) for symbol in others)
        for number in (6, 7, 8):
            began = time.monotonic()
            cell.opened(1, first=number)
            worst = max(worst, time.monotonic() - began)
        cell.saw(f"others took at most {worst:.1f} s")
        assert worst <= ON_TIME_SECONDS, f"others waited {worst:.1f} s"
        while time.monotonic() < end:
            monitor_runs(cell)
            pause(1)
        assert held not in cell.closed(), "a trade was booked although its rows were held"
    cell.wait(lambda: cell.closed().get(held) == "SL", "the held trade is booked")
    nobody_ended(cell)


def stopped_out_after(cell: Cell, symbol: str) -> float:
    began = time.monotonic()
    cell.move_price(symbol, fraction=-0.05)
    cell.wait(lambda: cell.closed().get(symbol) == "SL", f"the stop of {symbol} is booked", within=ON_TIME_SECONDS)
    return time.monotonic() - began


@contextmanager
def everything_held(cell: Cell, symbol: str) -> Iterator[None]:
    """Hold every row of a symbol's trade in a transaction that somebody has forgotten."""
    [(trade_id,)] = cell.rows("SELECT id FROM execution_trade WHERE symbol = %s", symbol)
    with psycopg.connect(cell.world.postgres.url) as forgotten:
        for statement in HOLD:
            forgotten.execute(statement.encode(), [trade_id])
        yield
        forgotten.rollback()


def held_rows(cell: Cell) -> dict[str, Any]:
    """Return what the monitor says that it could not do for a held row; health names it."""
    [(held,)] = cell.rows("SELECT details->'held' FROM execution_heartbeat WHERE part = 'monitor'")
    named = any("held by another session" in str(reason) for reason in cell.world.health().get("reasons") or [])
    return dict(held or {}) if named else {}


def monitor_runs(cell: Cell) -> None:
    [(age,)] = cell.rows(
        "SELECT extract(epoch FROM now() - at)::float8 FROM execution_heartbeat WHERE part = 'monitor'"
    )
    assert age <= ON_TIME_SECONDS, f"the monitor has not run for {age:.0f} s"


@row(89, "Redis is a replica for 20 s", bounds=BACK)
def redis_is_a_replica(cell: Cell) -> None:
    symbol, order = resting_entry(cell)
    redis: Any = cell.stack.redis
    before = errors_of(cell, "READONLY")
    redis.replicaof(*NOWHERE)
    try:
        end = time.monotonic() + SWITCHED_SECONDS
        fill(cell, order)
        covered_within(cell, symbol, STOP_SECONDS)
        pause(end - time.monotonic())
    finally:
        redis.replicaof("NO", "ONE")
    back_at = datetime.now(UTC)
    nobody_ended(cell)
    cell.struck("writes refused", errors_of(cell, "READONLY") - before, between=(1, 100_000))
    parts_come_back(cell, back_at, within=BACK_SECONDS)
    cell.decide(2, first=4)
    cell.settle()
    nobody_ended(cell)


def errors_of(cell: Cell, kind: str) -> int:
    """Return how many commands Redis has answered with an error of a kind."""
    found: Any = cell.stack.redis.info("errorstats")
    return int(found.get(f"errorstat_{kind}", {}).get("count", 0))


@row(90, "Redis answers READONLY, UNBLOCKED, LOADING, MISCONF, NOPERM", bounds=BACK)
def redis_refuses_everything(cell: Cell) -> None:
    with cell.world.behind_lines() as lines:
        symbol, order = resting_entry(cell)
        for number, sentence in enumerate(REFUSALS):
            before = lines.redis.refused
            lines.redis.refuse(sentence)
            if number == 0:
                fill(cell, order)
                covered_within(cell, symbol, STOP_SECONDS)
            pause(REFUSED_SECONDS)
            kind = sentence.partition(" ")[0]
            cell.struck(f"{kind} answered", lines.redis.refused - before, between=(5, 100_000))
            nobody_ended(cell)
        lines.redis.refuse("")
        parts_come_back(cell, datetime.now(UTC), within=BACK_SECONDS)
        cell.decide(2, first=4)
        cell.settle()
        nobody_ended(cell)
