"""Redis goes away, forgets, refuses or dawdles; the books and the exchange must not notice."""

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.matrix import row
from tests.chaos.rows.limits import concurrent_callers
from tests.chaos.world import SIZES

# A key of no meaning to the service, to see whether Redis has kept what it was given.
MARK = "chaos:mark"
SLOW = "slow"
SILENCE_MS = 2000
CEILING, LOSSES, MINUTE_NS = 120, 10, 60_000_000_000
LOST = Bounds(settle_seconds=60)


@row(23, "Redis restarts in the middle of it, with its data", bounds=LOST, short=True)
def redis_restarts(cell: Cell) -> None:
    cell.fault("/fapi/v1/depth", "delay", method="GET", ms=150, count=None, id=SLOW)
    cell.decide(12)
    cell.wait(lambda: len(cell.stack.states()) > 0, "the burst is on its way")
    pause(cell.random.uniform(0, 0.3))
    before = strike_of(cell)
    cell.world.valkey.stop()
    pause(1)
    cell.world.valkey.start_again()
    it_has_struck(cell, before)
    assert cell.stack.redis.exists(MARK), "Redis has not kept its data"
    cell.decide(6, first=12)
    cell.settle()
    cell.struck("slow calls", cell.hits(SLOW), between=(1, 2 * 18))
    assert_traded(cell, 18)


@dataclass(frozen=True, kw_only=True)
class Before:
    """What Redis served when it was ended: its process, its clients beside us, and the requests under way."""

    pid: int
    clients: int
    unfinished: int


def strike_of(cell: Cell) -> Before:
    """Leave a mark in Redis and note what its end will hit."""
    redis: Any = cell.stack.redis
    redis.set(MARK, 1)
    clients = int(redis.info("clients")["connected_clients"])
    return Before(pid=cell.world.valkey.pid, clients=clients, unfinished=cell.unfinished())


def it_has_struck(cell: Cell, before: Before) -> None:
    """Prove that Redis has ended with the connections of our processes, while requests were under way."""
    cell.struck("Redis ended", ended([before.pid]), exactly=1)
    # Each of our processes has one at least, the stand-in and our reader too.
    cell.struck("connections lost", before.clients, between=(len(cell.stack.processes), 500))
    cell.struck("requests under way", before.unfinished, between=(1, len(cell.decisions) + 3))


@row(24, "Redis killed, its data lost", bounds=LOST, short=True)
def redis_loses_everything(cell: Cell) -> None:
    cell.opened(1, first=16)
    await_known_place(cell)
    posted = [post(cell, symbol) for symbol in cell.symbols[:3]]
    assert [answer["status"] for answer in posted] == ["filled"] * 3, posted
    cell.fault("/fapi/v1/depth", "delay", method="GET", ms=150, count=None, id=SLOW)
    cell.decide(9, first=3)
    cell.wait(lambda: len(cell.stack.states()) == 13, "all are in the books")
    sent = cell.rows("SELECT event_id::text FROM execution_outboxevent WHERE sent_at IS NOT NULL")
    before = strike_of(cell)
    cell.world.valkey.kill()
    # What was on the bus and not yet read by our reader died with it.
    read = cell.world.reader.snapshot()[0]
    cell.lost_events |= {row[0] for row in sent} - read.keys()
    shutil.rmtree(cell.world.folder / "valkey")
    cell.world.valkey.start_again()
    it_has_struck(cell, before)
    assert not cell.stack.redis.exists(MARK), "Redis has kept its data"
    # It should say so, for as long as somebody may not have read it, and go on.
    cell.wait(lambda: cell.world.health()["healthy"], "health says that it trades again", within=30)
    await_word_of_loss(cell)
    # It should read and trade what comes now, and keep what REST had accepted.
    cell.decide(4, first=12)
    cell.settle()
    cell.struck("slow calls", cell.hits(SLOW), between=(1, 2 * 13))
    assert_traded(cell, 17)


def assert_traded(cell: Cell, count: int) -> None:
    """All have become trades, but for those about to leave in the moment in which nobody could count them.

    Without Redis the limiter lets exits leave and no entries. A pool process has one entry in its hands at a time.
    """
    query = "SELECT state, reason FROM execution_executionrequest WHERE state <> 'RECORDED'"
    others = cell.rows(query)
    unexplained = [row for row in others if row[0] != "REJECTED" or "blocked_by=redis" not in row[1]]
    assert not unexplained, unexplained
    assert len(others) <= cell.world.workers, others
    assert cell.outcomes()["RECORDED"] == count - len(others), cell.outcomes()


def await_known_place(cell: Cell) -> None:
    """Wait until it is noted how far decisions are handled: from then on their loss is known for what it is."""
    query = "SELECT FROM execution_streamposition WHERE event_type = 'ai.decision.made'"
    cell.wait(lambda: cell.rows(query), "the place in the stream is noted")


def await_word_of_loss(cell: Cell) -> None:
    """Wait until health tells that the bus has lost what nobody may have read; noticed later, it is the next cell's."""
    cell.told_by_health.append("event_bus: an unknown number of entries")
    cell.wait(lambda: told_by_health(cell, cell.told_by_health[-1]), "health tells of what is lost")


def post(cell: Cell, symbol: str) -> dict[str, str]:
    quantity = cell.base_quantity(symbol)
    answer = cell.world.call(
        "POST", "/api/execution/order", json={"symbol": symbol, "side": cell.side, "quantity": quantity}
    )
    found: dict[str, str] = answer.json()
    return found


@row(25, "Redis full, and Redis slow", bounds=LOST)
def redis_full_and_slow(cell: Cell) -> None:
    held = cell.opened(2)
    before = refused_for_memory(cell)
    cell.stack.redis.config_set("maxmemory", 1)
    try:
        cell.wait(lambda: refused_for_memory(cell) > before, "Redis refuses writes", within=30)
        cell.wait(lambda: cell.world.health()["status"] != "OK", "health tells", within=30)
        # An exit that rests at the exchange needs no Redis.
        cell.move_price(held[0], fraction=-0.05)
        cell.wait(lambda: held[0] not in cell.ledger.positions, "the stop has closed the position")
    finally:
        cell.stack.redis.config_set("maxmemory", 0)
    cell.struck("writes refused by Redis", refused_for_memory(cell) - before, between=(1, 100_000))
    cell.wait(cell.is_healthy, "health says OK again", within=30)
    fault = cell.fault("/fapi/v1/depth", "delay", method="GET", ms=400, count=None)
    cell.decide(4, first=4)
    cell.wait(lambda: cell.hits(fault) > 0, "decisions are under way")
    cell.struck("requests under way at a silence", cell.unfinished(), between=(1, 4))
    cell.struck("ms of silence", silence_of_redis(cell, ms=SILENCE_MS), between=(SILENCE_MS - 500, 3 * SILENCE_MS))
    cell.settle()
    assert_traded(cell, 6)


def refused_for_memory(cell: Cell) -> int:
    """Return how many commands Redis has answered with OOM."""
    found: Any = cell.stack.redis.info("errorstats")
    return int(found.get("errorstat_OOM", {}).get("count", 0))


def silence_of_redis(cell: Cell, *, ms: int) -> int:
    """Pause all clients of Redis for so long; return how long this one had to wait, in milliseconds."""
    started = time.monotonic()
    cell.stack.redis.client_pause(ms)
    cell.stack.redis.ping()
    return round(1000 * (time.monotonic() - started))


@row(26, "limiter's state lost, again and again", bounds=Bounds(settle_seconds=120))
def limiter_state_lost(cell: Cell) -> None:
    # A ceiling that the burst reaches: what was used before a loss has to be known after it.
    settings = {"BINANCE_RATE_LIMIT_RPM": str(CEILING), "POSITION_MONITOR_INTERVAL_SEC": "10"}
    with cell.world.with_settings(**settings):
        # A busy machine spreads the first burst over minutes; then another one has to reach the ceiling.
        for bursts in (1, 2):
            lost = burst_without_memory(cell, first=16 * (bursts - 1))
            # Few workers that all wait for the next minute leave it to the monitor to ask, every ten seconds.
            cell.struck("states of the limiter lost under way", lost, between=(LOSSES // 2, LOSSES))
            cell.settle()
            fullest = fullest_minute(cell)
            if fullest >= CEILING // 2:
                break
    # Without a memory the burst would need half as much again. What leaves as a minute ends arrives in the next one.
    most = CEILING + concurrent_callers(cell)
    cell.struck("requests in the fullest minute", fullest, between=(CEILING // 2, most))
    # What finds no room in this minute is refused, or waits for the next one and may be too old by then.
    cell.came_to(16 * bursts, but_for={"EXPIRED": 16 * bursts - 1, "REJECTED": 16 * bursts - 1})
    outcomes, reasons = cell.outcomes(), cell.reasons()
    others = {"SIGNAL_TOO_OLD": outcomes["EXPIRED"], "RATE_LIMIT_WAIT_EXCEEDED": outcomes["REJECTED"]}
    assert reasons == Counter(others), reasons


def burst_without_memory(cell: Cell, *, first: int) -> int:
    """Publish a burst, let the limiter forget again and again what it has counted, and return how often it did."""
    cell.decide(16, first=first)
    cell.wait(lambda: len(cell.stack.states()) == first + 16, "the burst is on its way")
    lost = 0
    while lost < LOSSES and cell.unfinished():
        lost += lose_limiter(cell)
    return lost


def fullest_minute(cell: Cell) -> int:
    return max(Counter(row["t_ns"] // MINUTE_NS for row in cell.ledger.requests).values())


def lose_limiter(cell: Cell) -> int:
    """Delete what the limiter counts, once it is there; return how many states were deleted."""
    redis: Any = cell.stack.redis
    state = f"execution:limiter:{urlsplit(cell.paper.url).netloc}"
    lost: int = cell.wait(lambda: redis.delete(state), "the limiter counts", within=15)
    return lost


@row(62, "nobody relays our events for a while", bounds=LOST)
def nobody_relays(cell: Cell) -> None:
    end_bridges(cell)
    # It should trade all the same: REST needs no bridge.
    answers = [post(cell, symbol) for symbol in cell.symbols[:6]]
    assert {answer["status"] for answer in answers} == {"filled"}, answers
    [(waiting,)] = cell.rows("SELECT count(*) FROM execution_outboxevent WHERE sent_at IS NULL")
    # Order placed, position opened, covered, recorded at least; each trade has a handful.
    cell.struck("events waited", waiting, between=(6 * 4, 6 * 10))
    assert cell.world.reader.snapshot()[0].keys() == set(), "an event was delivered without a relay"
    cell.stack.start_workers()
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 6}, cell.outcomes()


@row(63, "stream trimmed before it was read", bounds=LOST)
def stream_trimmed(cell: Cell) -> None:
    end_bridges(cell)
    payloads = [cell.decision(symbol) for symbol in cell.symbols[:10]]
    cell.stack.publish(payloads)
    cell.stack.redis.xtrim("quantum:stream:ai.decision.made", maxlen=4, approximate=False)
    cell.decisions += [payload["event_id"] for payload in payloads[-4:]]
    cell.stack.start_workers()
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    # It should say that entries went unread, and how many.
    cell.told_by_health.append("event_bus: 6 entries of ai.decision.made gone unread")
    cell.wait(lambda: told_by_health(cell, cell.told_by_health[0]), "health tells of six entries", within=5)
    [(lost,)] = cell.rows("SELECT sum(entries) FROM execution_streamloss WHERE event_type = 'ai.decision.made'")
    cell.struck("decisions trimmed unread", lost, exactly=6)


def end_bridges(cell: Cell) -> None:
    """Kill all that reads decisions and relays events."""
    killed = cell.stack.kill(*(name for name in cell.stack.workers if "bridge" in name))
    cell.struck("bridges killed", ended(killed), exactly=SIZES[cell.world.workers].others)


def told_by_health(cell: Cell, sentence: str) -> bool:
    return any(str(reason).startswith(sentence) for reason in cell.world.health().get("reasons") or [])
