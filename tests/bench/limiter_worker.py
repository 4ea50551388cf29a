"""One process of the limiter's benchmark: it wants more than the limits allow, or it is somebody else on the address.

`python -m tests.bench.limiter_worker JSON`, with the fields of `Task`; it prints one line of JSON with what it met.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from binance.error import ClientError
from binance.um_futures import UMFutures
from redis import Redis

from execution.adapters.binance.clock import ServerClock
from execution.adapters.binance.connector import Connector, NotSentError, RequestSlot, VenueConnection
from execution.adapters.rate_limit import RateLimiter
from execution.adapters.redis_bus import redis_connection
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import Cost, Limits, Permit, Throttled

SYMBOL, QUANTITY = "BTCUSDT", "0.002"
TIMEOUT_SECONDS = 10.0
# What a waiting entry and a waiting read allow themselves, as in the service.
LONGEST_WAIT_SECONDS = 10.0
COVER = 2
LIMITED = {429, 418}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a process shall do from `begins` to `ends` (seconds of the wall clock).

    Entries, protection calls of their own and reads are per second and process; a bracket is an entry with its stop
    and target. `brackets` ends after so many of them instead. A stranger asks nobody before it sends.
    """

    redis_url: str
    url: str
    key: str
    secret: str
    begins: float
    ends: float
    per_minute: int = 1_000_000
    entries_per_second: float = 0.0
    protection_per_second: float = 0.0
    reads_per_second: float = 0.0
    threads: int = 4
    brackets: int = 0
    stranger: bool = False


@dataclass(kw_only=True)
class Met:
    """What happened to it; waits in milliseconds by lane, only those of requests that got their turn."""

    sent: int = 0
    denied: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class TimedLimiter(RateLimiter):
    """The limiter, with a note of how long each request waited for its turn."""

    met: Met

    def admit(self, lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Permit | Throttled:
        began = time.perf_counter()
        answer = super().admit(lane, cost, max_wait_seconds=max_wait_seconds)
        if isinstance(answer, Permit):
            self.met.waits[lane.name].append((time.perf_counter() - began) * 1000)
        return answer


class Trader:
    """One thread's connection: orders and reads through the turnstile."""

    def __init__(self, task: Task, limiter: RateLimiter, clock: ServerClock, met: Met) -> None:
        self._met = met
        self._limiter = limiter
        self._client = Connector(
            key=task.key,
            secret=task.secret,
            base_url=task.url,
            timeout_seconds=TIMEOUT_SECONDS,
            line=VenueConnection(limiter=limiter, clock=clock),
        )
        self._number = 0

    def bracket(self) -> bool:
        """Send an entry and at once its stop and target, as two more orders."""
        if not self._order(Lane.ENTRY, cover=COVER):
            return False
        for _ in range(COVER):
            self._order(Lane.PROTECT)
        return True

    def protect(self) -> None:
        self._order(Lane.PROTECT)

    def read(self) -> None:
        self._send(RequestSlot(lane=Lane.READ, wait_seconds=LONGEST_WAIT_SECONDS), self._client.get_position_risk)

    def _order(self, lane: Lane, cover: int = 0) -> bool:
        self._number += 1
        order = {"symbol": SYMBOL, "side": "SELL" if self._number % 2 else "BUY", "type": "MARKET"}
        turn = RequestSlot(lane=lane, wait_seconds=LONGEST_WAIT_SECONDS, cover_orders=cover)
        return self._send(turn, lambda: self._client.new_order(**order, quantity=QUANTITY))

    def _send(self, turn: RequestSlot, call: Callable[[], Any]) -> bool:
        try:
            with self._client.turn(turn):
                call()
        except NotSentError:
            self._met.denied[turn.lane.name] += 1
            return False
        except ClientError as error:
            self._met.refused[error.status_code] += 1
            if error.status_code in LIMITED:
                self._limiter.hold(Waits.EVERYBODY, float(error.header.get("Retry-After", 1)))
            return False
        self._met.sent += 1
        return True


def paced(task: Task, per_second: float, act: Callable[[], object]) -> None:
    """Act at fixed moments; who is late makes up for it, so that the demand is what was asked for."""
    number = 0
    if not per_second:
        return
    while (due := task.begins + number / per_second) < task.ends:
        time.sleep(max(0.0, due - time.time()))
        # Never more than a second behind: demand that piled up is no demand of this moment.
        number = max(number + 1, int((time.time() - task.begins - 1) * per_second))
        act()


def as_member(task: Task, met: Met) -> list[Callable[[], None]]:
    """Return what the threads of one of our processes do."""
    redis = redis_connection(task.redis_url)
    limiter = TimedLimiter(redis, per_minute=task.per_minute, limits=Limits())
    limiter.met = met
    limiter.state()
    connect(redis, 2 * task.threads + 1)
    clock = ServerClock()

    def trader() -> Trader:
        return Trader(task, limiter, clock, met)

    if task.brackets:
        left = iter(range(task.brackets))
        return [partial(drain, trader(), left, task) for _ in range(task.threads)]
    work: list[Callable[[], None]] = []
    share = 1 / task.threads
    for _ in range(task.threads):
        work.append(partial(paced, task, task.entries_per_second * share, trader().bracket))
        work.append(partial(paced, task, task.reads_per_second * share, trader().read))
    return [*work, partial(paced, task, task.protection_per_second, trader().protect)]


def connect(redis: "Redis", count: int) -> None:
    """Open a connection a thread before the run begins: a wait for a turn is measured, not a process's start."""
    connections = [redis.connection_pool.get_connection() for _ in range(count)]
    for connection in connections:
        redis.connection_pool.release(connection)


def drain(trader: Trader, left: Iterator[int], task: Task) -> None:
    """Send brackets until none is left, each again until its entry got through."""
    for _ in left:
        while not trader.bracket() and time.time() < task.ends:
            time.sleep(0.01)


def as_stranger(task: Task, met: Met) -> list[Callable[[], None]]:
    """Return what somebody does who knows nothing of us: light reads, and orders if it has our account."""
    client = UMFutures(key=task.key, secret=task.secret, base_url=task.url, timeout=TIMEOUT_SECONDS)
    client.session.trust_env = False

    def send(call: Callable[..., Any], **parameters: Any) -> None:
        try:
            call(**parameters)
        except ClientError as error:
            met.refused[error.status_code] += 1
        else:
            met.sent += 1

    def order() -> None:
        send(client.new_order, symbol=SYMBOL, side="BUY", type="MARKET", quantity=QUANTITY)

    return [
        partial(paced, task, task.reads_per_second, partial(send, client.book_ticker, symbol=SYMBOL)),
        partial(paced, task, task.entries_per_second, order),
    ]


def main() -> None:
    # The answer alone goes to the standard output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    task, met = Task(**json.loads(sys.argv[1])), Met()
    work = as_stranger(task, met) if task.stranger else as_member(task, met)
    threads = [threading.Thread(target=each) for each in work]
    time.sleep(max(0.0, task.begins - time.time()))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(vars(met)) + "\n")


if __name__ == "__main__":
    main()
