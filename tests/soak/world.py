"""Market time for the long soak: weeks pass in minutes, for the exchange, our clocks and our Redis alike.

PostgreSQL, Valkey and HTTP are real. What is skipped is only the time in which prices stand still.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection

from execution.operations.retention import RetentionRules, apply_retention
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.ess import EssRules, decide
from execution.risk.policy_store import refresh_policy
from tests.soak.ear import Ear
from tests.support.desk import PATIENCE, Desk, ShiftedClock
from tests.support.house import House
from tests.support.paper import PaperExchange

MONITOR_SILENT = timedelta(seconds=30)
TIDYING = timedelta(seconds=5)
KEPT = RetentionRules(events=timedelta(days=1), requests=timedelta(days=2), trades=None)
# What stands in Redis for a time grows older with the market.
GROW_OLDER = """
local touched = 0
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left > 0 then
    redis.call('PEXPIRE', key, math.max(1, left - ARGV[1]))
    touched = touched + 1
  end
end
return touched
"""
# The database's own clock stands where the computer's is: what asks it for the time has to see the market's.
MARKET_NOW = """
CREATE SCHEMA IF NOT EXISTS market;
CREATE OR REPLACE FUNCTION market.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT pg_catalog.now() + coalesce(current_setting('market.ahead', true), '0')::interval
$$;
ALTER FUNCTION execution_forget_journal(bigint[]) SET search_path = market, public, pg_catalog, pg_temp;
SET search_path TO market, public, pg_catalog;
"""
Raised = Callable[[Exception], None]


@dataclass(kw_only=True)
class World:
    """One life of our service on the paper exchange; `restart` rebuilds everything that a process holds."""

    house: House
    raised: Raised
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    cycles: int = 0
    failed_repairs: int = 0
    slowest_cycle: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    passed_seconds: float = 0.0
    _silent_until: float | None = None

    def __post_init__(self) -> None:
        first = self.house.open_desk()
        self.clock = first.clock
        self._grow_older = self.house.redis.register_script(GROW_OLDER)
        self._move_in(first)

    @property
    def paper(self) -> PaperExchange:
        return self.house.paper

    def let_pass(self, seconds: float) -> None:
        """Let time pass at the exchange, for us, and for what Redis keeps for a time."""
        milliseconds = round(seconds * 1000)
        self.paper.control("POST", "clock", {"advance_ms": milliseconds})
        self.clock.let_pass(milliseconds / 1000)
        self._grow_older(args=[milliseconds])
        # Our computer's own clock has not moved: how far the exchange is ahead is asked anew.
        self.desk.server_clock._due_at = 0.0
        self.passed_seconds += seconds

    def run(self, request_id: UUID, *, until: str = "") -> str:
        """Carry a decision through the chain; what it raises is told, and the monitor has to resume it."""
        try:
            return str(self.desk.run(request_id, until=until))
        except Exception as error:  # noqa: BLE001 -- a task that fails ends the chain, not the worker; the judge tells it
            self.raised(error)
            return "RAISED"

    def hear(self) -> None:
        """Take in what the user-data stream tells."""
        if self._silent_until is not None and self.passed_seconds >= self._silent_until:
            self.paper.control("DELETE", "streams/faults")
            self._silent_until = None
        try:
            self.ear.hear()
        except Exception as error:  # noqa: BLE001 -- as above: the process is started again
            self.raised(error)
            self.restart()

    def watch(self) -> int:
        """Run what beat starts every ten seconds; return how many things the monitor found to do."""
        began = time.perf_counter()
        try:
            done = self._duties()
        except Exception as error:  # noqa: BLE001 -- as above: the next cycle comes
            self.raised(error)
            done = 1
        self.cycles += 1
        self.slowest_cycle = max(self.slowest_cycle, time.perf_counter() - began)
        return done

    def _duties(self) -> int:
        desk = self.desk
        decide(desk.risk_safety, EssRules(fail_mode=desk.fail_mode), desk.clock)
        result = desk.cycle()
        self.failed_repairs += result.failed
        self.counts.update(f"repair {type(action).__name__}" for action in result.actions)
        self._protect()
        return len(result.actions)

    def guard(self) -> None:
        """Run what beat starts every two seconds, alone: between two cycles, the protector looks several times."""
        try:
            self._protect()
        except Exception as error:  # noqa: BLE001 -- as above: the next run comes
            self.raised(error)

    def _protect(self) -> None:
        ensure_cover(self.desk.tools(), patience=PATIENCE, monitor_silent_after=MONITOR_SILENT)
        self.desk.relay()

    def silence(self, *, until: float) -> None:
        """Let the stream lose every event until then; its socket lives on."""
        if self._silent_until is None:
            self.paper.control("POST", "streams/faults", {"action": "silent", "count": None})
        self._silent_until = max(until, self._silent_until or 0.0)

    def tidy_up(self) -> None:
        """Run what beat starts seldom: old rows go, old entries of the bus go, policies are asked for."""
        self._let_the_database_follow()
        self.desk.bus.tidy()
        apply_retention(KEPT, clock=self.desk.clock, length=TIDYING)
        refresh_policy(risk_safety=self.desk.risk_safety, now=self.desk.clock())

    def _let_the_database_follow(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(MARKET_NOW)
            cursor.execute("SELECT set_config('market.ahead', %s, false)", [f"{self.clock.ahead.total_seconds()} s"])

    def restart(self) -> None:
        """End our processes and start new ones: no memory but PostgreSQL and Redis."""
        self.ear.close()
        connection.close()
        self._move_in(self.desk)
        self.counts["restarts"] += 1

    def close(self) -> None:
        self.ear.close()

    def _move_in(self, before: Desk) -> None:
        self.desk = Desk(
            paper=before.paper,
            risk=before.risk,
            redis=before.redis,
            clock=self.clock,
            stack=replace(before.stack, started_at=self.clock()),
            monotonic=self._monotonic,
        )
        self.ear = Ear.of(self.desk)

    def _monotonic(self) -> float:
        return time.monotonic() + self.clock.ahead.total_seconds()


def moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%m-%d %H:%M:%S")
