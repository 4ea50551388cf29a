"""Section `stop`: how soon a no holds: from a trip, a change of policy or the kill switch to the last entry sent.

More than a hundred decisions are on their way meanwhile, in the bus, in the broker and at the wire. Both moments are of
one machine's clock: before the event is published or the call is made, and the entry's arrival at the exchange.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests

from execution.domain.reasons import Reason
from local_stack.bus import stream_key, utc_now, wrapped
from local_stack.command import temporary_state
from local_stack.console import Console
from local_stack.processes import Addresses, Program, web
from local_stack.server import HOST, free_port
from local_stack.settings import Settings
from local_stack.supervisor import StackError
from tests.bench.evidence import ENTRY_PREFIX, FINAL_STATES, ORDER, Books
from tests.bench.live_stack import live_stack
from tests.bench.report import Figure, Outcome
from tests.support.stack import CeleryStack, crew
from tests.support.waiting import eventually

# Answers that take differently long keep the workers out of step, as they are in life.
LATENCY_MS, JITTER_MS = 10, 20
LATENCY = ("--latency-ms", str(LATENCY_MS), "--latency-jitter-ms", str(JITTER_MS))
SYMBOLS = 500
DECISIONS = 130
# How many entries have arrived when the no is said, round by round: it shall fall into every part of a worker's work.
ARRIVED = (5, 7, 10, 13, 15, 18)
# What an entry may still do after a no; later than that none may arrive.
LONGEST_MS = 250
# Several at the wire at once.
ORDER_PROCESSES = 4
SETTLE_SECONDS = 60.0
LEVERAGE, ALLOWED, TIGHTENED = "risk.max_leverage", 20, 1
OUTCOMES = """
    SELECT state, reason_code, count(*) FROM execution_executionrequest
    WHERE symbol = ANY(%s) AND received_at >= to_timestamp(%s) GROUP BY state, reason_code
"""
KILL_SWITCH = "the kill switch"
ENGAGED = "SELECT (extract(epoch FROM max(engaged_at)) * 1000000000)::bigint FROM execution_killswitch"
FORGET_TRIP = "UPDATE execution_essstatus SET held_until = NULL RETURNING id"


@dataclass(kw_only=True)
class Run:
    """A running service; `symbols` hands out names that have no position."""

    stack: CeleryStack
    web_url: str
    console: Console
    symbols: list[str]

    def publish(self, event_type: str, payload: Mapping[str, Any]) -> None:
        self.stack.redis.xadd(stream_key(event_type), wrapped(event_type, payload, source="bench"))

    def move_kill_switch(self, level: str) -> None:
        said = {"level": level, "by": "bench", "reason": "measured"}
        with requests.Session() as session:
            session.trust_env = False
            session.post(f"{self.web_url}/api/execution/kill-switch", json=said, timeout=10).raise_for_status()

    def engaged_ns(self) -> int:
        """Return when the last switch was engaged, as its row says."""
        return int(self.stack.rows(ENGAGED)[0][0])

    def change_policy(self, value: int) -> None:
        """Let risk-safety change its value and announce it: an announcement alone would not loosen it again."""
        self.stack.risk.change_policy(LEVERAGE, str(value))

    def forget_trip(self) -> None:
        self.stack.rows(FORGET_TRIP)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to say no, how it is taken back, and the code that decisions are refused with in between."""

    say: Callable[[Run], None]
    take_back: Callable[[Run], None]
    codes: frozenset[Reason]
    engaged_ns: Callable[[Run], int] | None = None


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "a trip": Case(
            say=lambda here: here.publish("ess.tripped", {"reason": "measured", "timestamp": utc_now()}),
            take_back=Run.forget_trip,
            codes=frozenset({Reason.ESS_BLOCKED}),
        ),
        "a change of policy": Case(
            say=lambda here: here.change_policy(TIGHTENED),
            take_back=lambda here: here.change_policy(ALLOWED),
            codes=frozenset({Reason.LEVERAGE_EXCEEDS_LIMIT}),
        ),
        KILL_SWITCH: Case(
            say=lambda here: here.move_kill_switch("entries"),
            take_back=lambda here: here.move_kill_switch("released"),
            codes=frozenset({Reason.KILL_SWITCH_ENGAGED}),
            engaged_ns=Run.engaged_ns,
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one no has found and left behind."""

    in_flight: int
    last_entry_ms: float
    # After the switch's row was written, by its own time; of other words nobody writes one.
    after_engaged_ms: float
    late: int
    unexplained: int


async def run(_settings: Settings, console: Console) -> Outcome:
    """Say each no several times to one running service."""
    load_before = os.getloadavg()[0]
    with temporary_state("bench", console) as state:
        found = await asyncio.to_thread(measure, state, console)
    console.end_progress()
    conditions = {
        "exchange": f"{LATENCY_MS} ms and {JITTER_MS} ms more on average",
        "rounds": str(len(ARRIVED)),
        "load": f"{load_before:.2f} before and {os.getloadavg()[0]:.2f} after",
    }
    return Outcome(figures=figures(found), profile={}, conditions=conditions)


def measure(state: Path, console: Console) -> dict[str, list[Round]]:
    options = ("--extra-symbols", str(SYMBOLS), "--balance", "1000000", *LATENCY)
    site = web_program()
    console.progress("Starting servers, exchange, workers and web ...")
    with live_stack(state, options, programs=(*crew(state, children=ORDER_PROCESSES), site)) as stack:
        Books(stack.database_url).allow_positions(SYMBOLS)
        names = [f"X{number:04d}USDT" for number in range(SYMBOLS, 0, -1)]
        here = Run(stack=stack, web_url=site.ready_url.removesuffix("/health/live"), console=console, symbols=names)
        eventually(lambda: answers(site.ready_url), within=SETTLE_SECONDS, what="the web process answers", every=0.2)
        return {name: [measure_round(here, name, arrived) for arrived in ARRIVED] for name in CASES}


def web_program() -> Program:
    return web(Addresses(host=HOST, web_port=free_port(), flower_port=0, database_url="", redis_url=""))


def answers(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=2).ok
        except requests.RequestException:
            return False


def measure_round(here: Run, name: str, first: int) -> Round:
    """Let decisions pour in, say no in their middle, and see what has arrived since."""
    case = CASES[name]
    here.console.progress(f"Making sure that entries pass, before {name} ...")
    warm_up(here)
    symbols, began = [here.symbols.pop() for _ in range(DECISIONS)], time.time()
    here.stack.paper.clear_ledger()
    here.console.progress(f"{DECISIONS} decisions, then {name} when {first} have arrived ...")
    here.stack.decide(symbols)
    waited(lambda: len(arrivals(here, symbols)) >= first, "entries arrive", every=0.01)
    said_ns = time.time_ns()
    case.say(here)
    engaged_ns = case.engaged_ns(here) if case.engaged_ns else said_ns
    waited(lambda: sum(outcomes(here, symbols, began).values()) == DECISIONS, "every decision has ended")
    arrived = arrivals(here, symbols)
    ended = outcomes(here, symbols, began)
    here.symbols[:0] = sorted(set(symbols) - arrived.keys())
    case.take_back(here)
    return told(arrived, (said_ns, engaged_ns), ended, case)


def told(
    arrived: Mapping[str, int], moments: tuple[int, int], ended: Mapping[tuple[str, str], int], case: Case
) -> Round:
    """Say what came of one no. `moments`: when it was said, and when the switch was engaged (ns)."""
    said_ns, engaged_ns = moments
    after_ms = [(moment - said_ns) / 1e6 for moment in arrived.values() if moment > said_ns]
    explained = ended.get(("RECORDED", ""), 0) + sum(count for (_, code), count in ended.items() if code in case.codes)
    return Round(
        in_flight=DECISIONS - (len(arrived) - len(after_ms)),
        last_entry_ms=max(after_ms, default=0.0),
        after_engaged_ms=max(((moment - engaged_ns) / 1e6 for moment in arrived.values()), default=0.0),
        late=sum(moment > LONGEST_MS for moment in after_ms),
        unexplained=DECISIONS - explained,
    )


def warm_up(here: Run) -> None:
    """Wait until a decision becomes a trade: what was said before is taken back, and the monitor is content."""

    def passes() -> bool:
        symbol, began = here.symbols.pop(), time.time()
        here.stack.decide([symbol])
        waited(lambda: sum(outcomes(here, [symbol], began).values()) == 1, "a decision has ended")
        return ("RECORDED", "") in outcomes(here, [symbol], began)

    waited(passes, "entries pass", every=0.5)


def arrivals(here: Run, symbols: Sequence[str]) -> dict[str, int]:
    """Return when each symbol's entry arrived at the exchange, answered or not (ns)."""
    wanted = set(symbols)
    return {
        row["params"]["symbol"]: row["t_ns"]
        for row in here.stack.paper.ledger()["requests"]
        if (row["method"], row["path"]) == ("POST", ORDER)
        and row["params"].get("newClientOrderId", "").startswith(ENTRY_PREFIX)
        and row["params"]["symbol"] in wanted
    }


def outcomes(here: Run, symbols: Sequence[str], since: float) -> Counter[tuple[str, str]]:
    """Count the decisions of these symbols that have ended, by state and reason code."""
    rows = here.stack.rows(OUTCOMES, list(symbols), since)
    return Counter({(state, code): count for state, code, count in rows if state in FINAL_STATES})


def waited(check: Callable[[], bool], what: str, *, every: float = 0.1) -> None:
    try:
        eventually(check, within=SETTLE_SECONDS, what=what, every=every)
    except AssertionError as error:
        raise StackError(str(error)) from None


def figures(found: Mapping[str, Sequence[Round]]) -> list[Figure]:
    engaged = max(0.0, *(r.after_engaged_ms for r in found[KILL_SWITCH]))
    return [
        Figure(name=f"last entry after {KILL_SWITCH} was engaged, worst", value=engaged, unit="ms"),
        *_by_case(found),
    ]


def _by_case(found: Mapping[str, Sequence[Round]]) -> list[Figure]:
    return [
        figure
        for name, rounds in found.items()
        for figure in (
            Figure(name=f"last entry after {name}, worst", value=max(r.last_entry_ms for r in rounds), unit="ms"),
            Figure(name=f"entries later than that, {name}", value=sum(r.late for r in rounds), unit=""),
            Figure(name=f"decisions in flight, {name}, fewest", value=min(r.in_flight for r in rounds), unit=""),
            Figure(name=f"decisions without their reason, {name}", value=sum(r.unexplained for r in rounds), unit=""),
        )
    ]
