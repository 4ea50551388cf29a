"""One reconciliation cycle: observe, compare, repair, report. It runs every 10 seconds, one at a time."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from execution.crash_points import CrashPoint, reached
from execution.domain.metrics import CYCLE
from execution.domain.ports import ExchangeUnavailableError, MirrorError, TradeMirror
from execution.domain.states import REQUEST_BEFORE_WIRE
from execution.domain.venue_status import READ_ANEW
from execution.models import Trade
from execution.outbox.trade_mirror import mirrored
from execution.protection.overdue_stops import marks_of, note_marks
from execution.reconciliation.actions import EXTERNAL, SETTLING, Action, ExcessQuantity, Resume
from execution.reconciliation.check_invariants import check_invariants
from execution.reconciliation.diff import Patience, reconcile
from execution.reconciliation.entry_holds import hold_entries
from execution.reconciliation.external_positions import note_external
from execution.reconciliation.lists_due import lists_due, past_readings, readings_after
from execution.reconciliation.position_cache import update_positions
from execution.reconciliation.reading_plan import PastReadings, lists_in_question
from execution.reconciliation.repair import Tools
from execution.reconciliation.scheduler import complete_all, repair_all, settle_all
from execution.reconciliation.snapshot import observe_exchange, observe_further, read_books
from execution.reconciliation.state import NO_LISTS, WHOLE, LocalState, VenueState
from execution.reconciliation.venue_status import watch_terms
from execution.risk.entry_gate import renew_lease
from execution.risk.pricing import priced_symbols
from execution.store.contention import apart, met_since
from execution.store.heartbeats import EQUITY, beat, has_beaten, last_healthy_heartbeat
from execution.store.metrics import observe
from execution.store.quarantine import read_each, release_repaired
from execution.store.reconciliation import open_trades_with_requests
from execution.trades.equity import record_equity
from execution.trades.settle_exits import release_locked_symbols, release_symbols

log = structlog.get_logger(__name__)
MONITOR = "monitor"
# When beat's last cycle began. Cycles that others ask for in between must not make beat's next one skip.
BY_BEAT = "monitor_by_beat"
# For how long a regular cycle goes without the account's settings and its equity, of a weight of 10 and 5. The stream
# reports a changed leverage; margin type and position mode are found this late.
BELIEVED = timedelta(seconds=55)


@dataclass(frozen=True, kw_only=True)
class CycleResult:
    """What one cycle did."""

    actions: Sequence[Action]
    failed: int


def run_cycle(tools: Tools, mirror: TradeMirror, *, patience: Patience, by_beat: bool = False) -> CycleResult | None:
    """Compare and repair once.

    `by_beat`: a regular cycle reads what is due (`reading_plan`); one that was asked for reads everything.

    Returns None when the exchange cannot be read, and then nothing was touched.
    """
    started, begun_at = time.monotonic(), timezone.now()
    past = past_readings() if by_beat else PastReadings()
    try:
        seen = _observe(tools, patience, past, by_beat=by_beat)
    except ExchangeUnavailableError as error:
        log.warning("monitor_cannot_read_exchange", error=str(error))
        _beat(tools.clock(), started, healthy=False, error=str(error))
        return None
    reached(CrashPoint.EXCHANGE_OBSERVED)
    if by_beat:
        beat(BY_BEAT, now=seen.begun_at, healthy=True, details={})
    exchange_ms = (time.monotonic() - started) * 1000
    actions, failed = _compare_and_repair(seen, tools, patience)
    with apart("symbols of closed trades"):
        release_symbols()
        release_locked_symbols(now=tools.clock())
    trades = read_each(open_trades_with_requests())
    prices = priced_symbols(tools.exchange, (row.symbol for row in seen.positions))
    update_positions(seen.positions, trades, prices, seen_at=seen.begun_at, now=tools.clock())
    _mirror(mirror, trades)
    with apart("equity history"):
        _record_equity(tools, seen)
    with apart("rows that are set aside"):
        release_repaired(since=begun_at, now=tools.clock())
    counts = Counter(type(action).__name__ for action in actions)
    _beat(
        tools.clock(),
        started,
        healthy=True,
        begun_at=seen.begun_at.isoformat(),
        orders_read=readings_after(past, seen),
        open_trades=len(trades),
        exchange_latency_ms=round(exchange_ms / 3, 1),
        repairs=dict(counts),
        failed_repairs=failed,
        held=met_since(begun_at, MONITOR),
        larger={a.symbol: a.sentence for a in actions if isinstance(a, ExcessQuantity) and not a.guarded},
    )
    reached(CrashPoint.CYCLE_DONE)
    return CycleResult(actions=actions, failed=failed)


def _observe(tools: Tools, patience: Patience, past: PastReadings, *, by_beat: bool) -> VenueState:
    """Read the positions and the lists of orders that are due, then those in which something differs."""
    now = tools.clock()
    lists = WHOLE
    if by_beat and tools.memory.is_whole():
        lists = lists_due(past, started_at=tools.stack.started_at, patience=patience, now=now)
    seen = observe_exchange(tools.exchange, now=now, lists=lists)
    if lists.whole:
        return seen
    question = lists_in_question(read_books(since=now, open_names=seen.open_orders), seen, patience=patience, now=now)
    return observe_further(tools.exchange, seen, question) if question != NO_LISTS else seen


def _record_equity(tools: Tools, seen: VenueState) -> None:
    now = tools.clock()
    if seen.lists.whole or not has_beaten(EQUITY, now, within=BELIEVED):
        beat(EQUITY, now=now, healthy=record_equity(tools.exchange), details={})


def _mirror(mirror: TradeMirror, trades: Sequence[Trade]) -> None:
    """Write every open trade again, so that a Redis that was flushed is whole after one cycle.

    A Redis that takes nothing now keeps no cycle from its end: PostgreSQL is the truth.
    """
    try:
        mirror.write(mirrored(trades), keep_seconds=None)
    except MirrorError as error:
        log.warning("trades_not_mirrored", error=str(error))


def swept_lately(now: datetime, *, within: timedelta) -> bool:
    """Whether a cycle that could read the exchange began within this time.

    One whose beginning lies in the future does not count.
    """
    last = last_healthy_heartbeat(MONITOR)
    if last is None:
        return False
    began = last.at - timedelta(seconds=float(last.details.get("duration_seconds", 0)))
    return timedelta(0) <= now - began < within


def swept_by_beat(now: datetime, *, within: timedelta) -> bool:
    """Whether beat, or a second one beside it, has begun a cycle within this time."""
    return has_beaten(BY_BEAT, now, within=within)


def _compare_and_repair(seen: VenueState, tools: Tools, patience: Patience) -> tuple[list[Action], int]:
    """Settle the orders first, then compare again and repair the rest.

    So a stop that turns out to be gone is replaced in the same cycle. The books are read after the exchange, so that
    what the chain has done in between is known.
    """
    # What did not execute at its price counts as no cover from here on.
    note_marks(marks_of(seen.positions), now=tools.clock())
    books, actions = _compared(seen, tools, patience)
    settling = [action for action in actions if isinstance(action, SETTLING)]
    filled, failed = settle_all(settling, books, tools)
    failed += complete_all(filled, tools)
    if settling:
        books, actions = _compared(seen, tools, patience)
    others = [action for action in actions if not isinstance(action, (*SETTLING, *EXTERNAL, Resume))]
    failed += repair_all(others, tools)
    with apart("holds of entries"):
        hold_entries(actions, now=tools.clock())
    held = {row.symbol for row in seen.positions}
    with apart("terms"):
        watch_terms(
            tools.exchange,
            tools.stack,
            held=held,
            began_at=seen.begun_at,
            now=tools.clock(),
            settings_max_age=READ_ANEW if seen.lists.whole else BELIEVED,
        )
    tools.memory.mark_intact()
    # From here on the books are known to agree with the exchange: what waited for that may go on.
    leads = False
    with apart("account lease"):
        leads = renew_lease(tools.stack, reconciled_at=seen.begun_at, now=tools.clock())
    # What has been sent to the exchange is every stack's to finish; only the account's stack opens positions.
    resumed = [
        action
        for action in actions
        if isinstance(action, Resume) and (leads or action.state not in REQUEST_BEFORE_WIRE)
    ]
    external = [action for action in actions if isinstance(action, EXTERNAL) and leads]
    failed += repair_all([*external, *resumed], tools)
    with apart("positions of others"):
        note_external(books, actions, seen, now=tools.clock())
    with apart("invariants"):
        check_invariants(books, seen, now=tools.clock())
    return [*settling, *others, *external, *resumed], failed


def _compared(seen: VenueState, tools: Tools, patience: Patience) -> tuple[LocalState, list[Action]]:
    books = read_books(since=seen.begun_at, open_names=seen.open_orders)
    return books, reconcile(books, seen, patience=patience, now=tools.clock(), wish=tools.external)


def _beat(now: datetime, started: float, *, healthy: bool, **details: object) -> None:
    duration = time.monotonic() - started
    observe((CYCLE, duration))
    beat(MONITOR, now=now, healthy=healthy, details={"duration_seconds": round(duration, 3), **details})
