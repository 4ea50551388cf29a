"""Keeps every stop in place, also while order workers and reconciliation stand still.

It runs in a worker of its own.

It works from the books every two seconds, and leaves all else to reconciliation. Of the exchange it reads the
positions, one call of weight 5, where there are any: in every run, but for while streams report mark prices and fills,
reconciliation reads the positions, and no mark price has reached one of our levels. That shows which stop the mark
price has passed, and which position is gone and has left its legs behind. It looks up entries whose answer is lost.
Only when reconciliation is silent does it read the orders too: in bulk, and to settle what positions and stops are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog
from django.utils import timezone

from execution.domain.clocks import age_of
from execution.domain.lots import closing_parts
from execution.domain.money import ZERO
from execution.domain.outcomes import PositionReport, held_in
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.trading import Direction, OrderPurpose, PositionSide
from execution.models import Trade
from execution.protection.bracket_store import FORGOTTEN_AFTER_READINGS
from execution.protection.coverage import lot_of
from execution.protection.overdue_stops import marks_of, note_marks, watched_symbols
from execution.protection.reached_levels import level_was_reached
from execution.protection.run_software_stops import note_guarded, reached_stops, software_requests
from execution.reconciliation.actions import Apply, Cover, ExpireEntry, LookUpOrder
from execution.reconciliation.cycle import swept_lately
from execution.reconciliation.diff import Patience, reconcile
from execution.reconciliation.position_cache import update_positions
from execution.reconciliation.repair import Tools
from execution.reconciliation.scheduler import book_all, look_again_all, look_up_all, repair_all, settle_all
from execution.reconciliation.snapshot import observe_exchange, read_books
from execution.reconciliation.unfinished_entries import GRACE, MOST_ASKED, entries_in_doubt, next_due_in
from execution.risk.pricing import priced_symbols
from execution.store.contention import met_since
from execution.store.heartbeats import beat, has_beaten, last_heartbeat
from execution.store.missing_stops import (
    left_quantity,
    requests_filled,
    requests_partly_filled,
    stopped_quantity,
    stops_in_doubt,
    trades_short_of_stops,
)
from execution.store.quarantine import pairs, read_each
from execution.store.reconciliation import open_trades_alone
from execution.store.stream_freshness import fills_are_streamed, marks_are_streamed

log = structlog.get_logger(__name__)
PROTECTOR = "protector"
# What settles whether there is a position, and whether its stop stands. The rest is the monitor's.
SETTLES = (Apply, LookUpOrder, ExpireEntry)
# When the exchange was last read in the monitor's place.
READING, BETWEEN_READINGS, AFTER_FAILED_READING = "protector_reading", timedelta(seconds=5), timedelta(seconds=15)
# From the reading that has missed a stop to the next: an answer that lags would be asked too soon.
SECOND_READING = timedelta(seconds=2)
# When it last read the positions, and for how long it does without while streams report and reconciliation is silent.
POSITIONS, BELIEVED = "protector_positions", timedelta(seconds=3)


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What one run did: how many positions it visited, and how many of them failed."""

    went_to: int
    failed: int
    read_exchange: bool
    # In what time a stop that the mark price has passed becomes overdue, or what the chain does now becomes late.
    look_again_in: timedelta | None = None
    # Requests that no other process carried on: their books wait, too.
    left_behind: tuple[UUID, ...] = ()


def ensure_cover(tools: Tools, *, patience: Patience, monitor_silent_after: timedelta) -> Guarded:
    """Give every position without a stop its stop, and end those whose stop did not execute.

    Then, when reconciliation is silent, compare as it does.
    """
    began_at = timezone.now()
    unanswered = look_again_all(missed_stops(tools.clock()), tools)
    unprotected = lacking_stops(before=tools.clock() - GRACE)
    failed, went_to = _cover_all(list(dict.fromkeys([*unprotected, *software_requests()])), tools)
    covered, unasked = look_up_all(entries_in_doubt(tools.clock()), tools)
    failed += unanswered + unasked
    silent = not swept_lately(tools.clock(), within=monitor_silent_after)
    looked = _look_at_positions(tools, show=silent)
    done = _stand_in(tools, patience) if silent and _may_read(tools.clock()) else _StoodIn()
    went_to, failed = went_to + looked.went_to + done.went_to, failed + looked.failed + done.failed
    error = looked.error or done.error
    details: dict[str, object] = {"went_to": went_to, "failed": failed, "stands_in": silent, "error": error}
    details["held"] = met_since(began_at, PROTECTOR)
    beat(PROTECTOR, now=tools.clock(), healthy=not (failed or error), details=details)
    due = [each for each in (looked.look_again_in, next_due_in(tools.clock())) if each is not None]
    return Guarded(
        went_to=went_to,
        failed=failed,
        read_exchange=done.read_exchange,
        look_again_in=min(due, default=None),
        left_behind=(*unprotected, *covered),
    )


def close_reached(new_tools: Callable[[], Tools]) -> int:
    """Close at market what software stops have reached, and return how many positions that were.

    It runs apart from `ensure_cover` too, so that a run which waits for a silent exchange holds back no exit.
    """
    if not software_requests():
        return 0
    tools, reached = new_tools(), reached_stops()
    _cover_all(reached, tools)
    note_guarded(tools.clock())
    return len(reached)


def _cover_all(requests: Sequence[UUID], tools: Tools) -> tuple[int, int]:
    """Let these positions follow their plans. Returns how many failed, and how many there were."""
    if requests:
        log.warning("protector_covers", requests=[str(request_id) for request_id in requests])
    failed = repair_all([Cover(request_id=pk, missing=OrderPurpose.STOP) for pk in requests], tools)
    return failed, len(requests)


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """What one reading of the positions has led to."""

    went_to: int = 0
    failed: int = 0
    look_again_in: timedelta | None = None
    error: str = ""


def _look_at_positions(tools: Tools, *, show: bool) -> _Looked:
    """Compare stops with mark prices, and trades with positions.

    Positions are read only where no stream reports marks and fills.

    `show`: store what was read, in the place of reconciliation.
    """
    now = tools.clock()
    trades = read_each(open_trades_alone())
    if not (trades or watched_symbols()):
        return _Looked()
    marks: dict[str, Decimal] = {}
    gone: list[UUID] = []
    if not _are_known(now, monitor_silent=show):
        try:
            positions = tools.exchange.positions()
        except ExchangeUnavailableError as error:
            return _Looked(error=str(error))
        beat(POSITIONS, now=now, healthy=True, details={})
        marks, gone = marks_of(positions), _smaller_than_booked(trades, positions, read_at=now)
        if show:
            prices = priced_symbols(tools.exchange, (row.symbol for row in positions))
            update_positions(positions, trades, prices, seen_at=now, now=now)
    noted = note_marks(marks, now=tools.clock())
    failed, went_to = _cover_all(noted.overdue, tools)
    note_guarded(tools.clock())
    failed += book_all(gone, tools)
    return _Looked(went_to=went_to + len(gone), failed=failed, look_again_in=noted.next_in)


def _are_known(now: datetime, *, monitor_silent: bool) -> bool:
    """Whether positions need not be read, because streams report mark prices and fills.

    The user-data stream may be mute. Where it should report a fill, because a level is reached, the positions are read.
    What other clients close is then found by reconciliation, or here when that is silent.
    """
    if not (marks_are_streamed(now) and fills_are_streamed(now)):
        return False
    return has_beaten(POSITIONS, now, within=BELIEVED) if monitor_silent else not level_was_reached(now)


def _smaller_than_booked(
    trades: Sequence[Trade], positions: Sequence[PositionReport], *, read_at: datetime
) -> list[UUID]:
    """Return the trades of which the exchange holds less than the books.

    Those that have just changed are left out.
    """
    rows = {(row.symbol, row.position_side): row for row in positions}
    held = {t.pk: held_in(rows.get((t.symbol, t.position_side)), Direction(t.direction)) for t in trades}
    old = [t for t in trades if age_of(t.updated_at, read_at) >= GRACE]
    return [t.pk for t in old if held[t.pk] < t.quantity - t.exited_quantity]


def ran_lately(now: datetime, *, within: timedelta) -> bool:
    """Whether a run has ended within this time. One whose end lies in the future does not count."""
    return has_beaten(PROTECTOR, now, within=within)


def lacking_stops(*, before: datetime) -> list[UUID]:
    """Return the positions that have lacked a confirmed stop since then, by our books: three queries."""
    short = read_each(trades_short_of_stops(before=before, missed=FORGOTTEN_AFTER_READINGS))
    reachable = [trade.pk for trade, can in pairs(short, _can_cover) if can]
    filled = requests_filled(before=before)
    partly = requests_partly_filled(before=before, missed=FORGOTTEN_AFTER_READINGS)
    return list(dict.fromkeys([*filled, *partly, *reachable]))


def missed_stops(now: datetime) -> list[int]:
    """Return the stops that reconciliation's last reading has missed: a second one soon shows whether they are gone.

    A stop older than the exchange's retention shows no end when it is cancelled, only absence.
    """
    return stops_in_doubt(missed=FORGOTTEN_AFTER_READINGS, until=now - SECOND_READING, most=MOST_ASKED)


def _can_cover(trade: Trade) -> bool:
    """Whether orders can cover more than stops do now: less than a step in hedge mode is out of reach."""
    trims = trade.position_side == PositionSide.BOTH
    parts = closing_parts(left_quantity(trade), lot_of(trade.request.bracket), trims=trims)
    return sum(parts, ZERO) > stopped_quantity(trade)


@dataclass(frozen=True, kw_only=True)
class _StoodIn:
    """What was done in the place of reconciliation."""

    went_to: int = 0
    failed: int = 0
    read_exchange: bool = False
    error: str = ""


def _may_read(now: datetime) -> bool:
    """Whether the last reading is long enough ago: each takes a weight of 85 of 2,400 a minute.

    One that failed may have hung, and held up what the protector does from the books.
    """
    last = last_heartbeat(READING)
    pause = BETWEEN_READINGS if last is None or last.healthy else AFTER_FAILED_READING
    return last is None or not timedelta(0) <= now - last.at < pause


def _stand_in(tools: Tools, patience: Patience) -> _StoodIn:
    """Compare as reconciliation does, settle what orders are, and place the stops that are missing then."""
    try:
        seen = observe_exchange(tools.exchange, now=tools.clock())
    except ExchangeUnavailableError as error:
        beat(READING, now=tools.clock(), healthy=False, details={"error": str(error)})
        return _StoodIn(error=str(error))
    beat(READING, now=seen.begun_at, healthy=True, details={})
    books = read_books(since=seen.begun_at)
    compared = reconcile(books, seen, patience=patience, now=tools.clock())
    _, failed = settle_all([action for action in compared if isinstance(action, SETTLES)], books, tools)
    compared = reconcile(read_books(since=seen.begun_at), seen, patience=patience, now=tools.clock())
    covers = [action for action in compared if isinstance(action, Cover) and action.missing is OrderPurpose.STOP]
    return _StoodIn(went_to=len(covers), failed=failed + repair_all(covers, tools), read_exchange=True)
