"""Does what the comparison asks for, through the same functions that the chain uses."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

import structlog
from django.db import transaction

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.external import ExternalPositions
from execution.domain.metrics import REPAIRS
from execution.domain.money import plain
from execution.domain.outcomes import Missing, OrderReport, Unreadable
from execution.domain.ports import Exchange, ExchangeUnavailableError, Memory, SpareExchange
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL, ORDER_UNSETTLED, REQUEST_BEFORE_WIRE, RequestState
from execution.domain.trading import OrderPurpose, OrderService
from execution.models import Order
from execution.orders.apply_report import apply_report, raise_alarm
from execution.orders.cancel import cancel_order, report_rests
from execution.orders.end_request import expire_request
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.ensure_exits import ensure_exits, place_stop
from execution.protection.unprotected_time import measure_unprotected_of
from execution.reconciliation.actions import (
    Adopt,
    Apply,
    BookExits,
    CancelLeftover,
    CheckOrphan,
    CloseInTime,
    Cover,
    ExcessQuantity,
    Expire,
    ExpireEntry,
    Guard,
    Leave,
    LookOver,
    LookUpOrder,
    Repair,
    ReportExternal,
    Resume,
    Settling,
)
from execution.reconciliation.expired_orders import outlives_its_trade
from execution.reconciliation.external_positions import adopt_external, guard_external, leave_external
from execution.reconciliation.resolve_inflight import VenueAccess, is_due_for_resolution, resolve
from execution.risk.entry_gate import Stack
from execution.store.metrics import count
from execution.store.orders import load_order_with_request
from execution.store.reconciliation import (
    count_flat_reading,
    end_late_look_over,
    find_order_named,
    note_entry_expired,
    trade_ended_at,
)
from execution.store.requests import load_request
from execution.store.transitions import log_step
from execution.trades.close_position import close_position
from execution.trades.follow_plan import record_and_follow
from execution.trades.late_corrections import correct_books
from execution.trades.settle_exits import Settled, settle_exits

log = structlog.get_logger(__name__)
# For so long after its end a trade's books wait for an exchange that does not answer about it.
LOOKED_OVER_WITHIN = timedelta(days=1)
LEFTOVER_REPORTED_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The ports and rules that repairs work with.

    `resume` starts a request's chain from its state. Without `spare` clients everything is done one after another.
    """

    exchange: Exchange
    protection: ProtectionRules
    stack: Stack
    memory: Memory
    clock: Clock
    resume: Callable[[UUID, RequestState], object]
    # What the operator wants of external positions.
    external: ExternalPositions = ExternalPositions.IGNORE
    spare: SpareExchange | None = None


def settle_order(action: Settling, tools: Tools) -> UUID | None:
    """Settle what one order is, and cover at once what it turns out to have filled.

    Returns:
        The request whose targets and books are then due: they wait until every position has its stop.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next cycle tries again.

    """
    log.info("monitor_repairs", action=type(action).__name__, detail=str(action))
    filled = None
    match action:
        case Apply(order_id=order_id, report=report):
            filled = _apply(load_order_with_request(order_id), report, "open orders", tools)
        case LookUpOrder(order_id=order_id):
            filled = _look_up(order_id, tools)
        case CancelLeftover(order_id=order_id):
            _cancel_leftover(load_order_with_request(order_id), tools)
        case ExpireEntry(order_id=order_id):
            filled = _expire_entry(order_id, tools)
        case _:
            assert_never(action)
    count(REPAIRS, {type(action).__name__: 1})
    return filled


def _cancel_leftover(order: Order, tools: Tools) -> None:
    """Cancel an order, and raise an alarm when no cancel ends it.

    Such an order keeps its symbol although its trade is over.
    """
    cancel_order(order, exchange=tools.exchange, clock=tools.clock)
    if order.state in ORDER_FINAL or not outlives_its_trade(order):
        return
    closed = trade_ended_at(order.request_id)
    if closed and tools.clock() - closed >= LEFTOVER_REPORTED_AFTER:
        raise_alarm(order, "shown as open, but its cancel does not end it; its trade is over", now=tools.clock())


def complete(request_id: UUID, tools: Tools) -> None:
    """Place what follows the stop, and book the fills.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next cycle tries again.

    """
    if ensure_exits(request_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock):
        record_and_follow(request_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)


def repair(action: Repair, tools: Tools) -> None:  # noqa: C901 -- one case an action
    """Do one action.

    Each checks again what it needs, so that an action decided on old figures does no harm.

    Raises:
        ExchangeUnavailableError: the exchange did not answer; the next cycle tries again.

    """
    log.info("monitor_repairs", action=type(action).__name__, detail=str(action))
    match action:
        case Expire(request_id=request_id):
            _expire(request_id, tools.clock())
        case Resume(request_id=request_id, state=state):
            tools.resume(request_id, state)
        case BookExits(trade_id=trade_id):
            _book_exits(trade_id, tools)
        case LookOver(trade_id=trade_id):
            _look_over(trade_id, tools)
        case CloseInTime(trade_id=trade_id, reason=reason):
            _close_in_time(trade_id, reason, tools)
        case Cover(request_id=request_id):
            ensure_exits(request_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
            measure_unprotected_of(request_id)
        case CheckOrphan(client_order_id=client_order_id):
            _check_orphan(client_order_id, tools)
        case Guard(external_id=external_id):
            guard_external(external_id, _venue_access(tools))
        case Adopt(external_id=external_id):
            adopt_external(external_id, _venue_access(tools))
        case Leave(external_id=external_id):
            leave_external(external_id, _venue_access(tools))
        case ReportExternal(symbol=symbol, sentence=sentence) | ExcessQuantity(symbol=symbol, sentence=sentence):
            log.warning("monitor_reports", subject=symbol, sentence=sentence)
            return
        case _:
            assert_never(action)
    count(REPAIRS, {type(action).__name__: 1})


def _expire(request_id: UUID, now: datetime) -> None:
    """Let a request expire, unless it was sent or has ended since the books were read."""
    request = load_request(request_id)
    if request.state in REQUEST_BEFORE_WIRE:
        expire_request(request, now=now)


def _expire_entry(order_id: int, tools: Tools) -> UUID | None:
    """Cancel an entry that has rested for too long, and cover what it has filled up to the last moment.

    The reason is written before the cancel is sent: its answer may be lost, and the process that finds the order ended
    reports the reason.
    """
    order = load_order_with_request(order_id)
    if order.expired_at is None:
        _note_expiry(order, tools.clock())
    cancel_order(order, exchange=tools.exchange, clock=tools.clock)
    return _cover_entry(order, tools) if order.executed_quantity > 0 else None


@transaction.atomic
def _note_expiry(order: Order, now: datetime) -> None:
    if not note_entry_expired(order, now=now):
        return
    order.expired_at = now
    details = {"decided_at": order.request.decided_at.isoformat(), "executed": plain(order.executed_quantity)}
    name, state = order.client_order_id, order.state
    log_step("order", name, from_state=state, to_state=state, trigger="entry_expired", now=now, details=details)


def _check_orphan(client_order_id: str, tools: Tools) -> None:
    """Cancel an order that our books have ended, such as one that appears after its absence was proven.

    The list may be older than the end: the order is looked up first, and nothing is reported when it has ended there.
    An order that our books have never known belongs to another database on this account: it is logged, not touched.
    """
    order = find_order_named(client_order_id)
    if order is None:
        log.error("order_with_our_prefix_unknown", client_order_id=client_order_id)
    elif order.state in ORDER_FINAL:
        found = tools.exchange.look_up(order.symbol, client_order_id, OrderService(order.service))
        if isinstance(found, OrderReport) and not report_rests(found):
            return
        log.error("ended_order_is_open", client_order_id=client_order_id, state=order.state)
        cancel_order(order, exchange=tools.exchange, clock=tools.clock)


def _look_up(order_id: int, tools: Tools) -> UUID | None:
    """Ask the exchange for an order. Only an answer about the order itself moves it."""
    order = load_order_with_request(order_id)
    if not is_due_for_resolution(order, tools.clock()):
        return None
    found = tools.exchange.look_up(order.symbol, order.client_order_id, OrderService(order.service))
    reached(CrashPoint.ORDER_LOOKED_UP)
    match found:
        case OrderReport():
            return _apply(order, found, "look-up", tools)
        case Missing() | Unreadable():
            log.warning("order_not_shown", client_order_id=order.client_order_id, answer=found.message)
            known = resolve(order, found, _venue_access(tools))
            return _apply(order, *known, tools) if known else None
        case _:
            assert_never(found)


def look_up_once(order_id: int, tools: Tools) -> UUID | None:
    """Ask for an order of unknown outcome without concluding anything from what does not show it.

    Returns: the request whose entry has filled, and whose targets and books are then due.
    """
    order = load_order_with_request(order_id)
    if order.state not in ORDER_UNSETTLED:
        return None
    found = tools.exchange.look_up(order.symbol, order.client_order_id, OrderService(order.service), promptly=True)
    reached(CrashPoint.ORDER_LOOKED_UP)
    return _apply(order, found, "look-up", tools) if isinstance(found, OrderReport) else None


def _venue_access(tools: Tools) -> VenueAccess:
    return VenueAccess(exchange=tools.exchange, rules=tools.protection, clock=tools.clock)


def _apply(order: Order, report: OrderReport, source: str, tools: Tools) -> UUID | None:
    """Store new evidence and carry it on: an entry's fills need their stop, an exit's fills are booked."""
    apply_report(order, report, now=tools.clock(), source=source)
    if order.executed_quantity <= 0:
        return None
    if order.purpose != OrderPurpose.ENTRY:
        _book_exits(order.request_id, tools)
        return None
    return _cover_entry(order, tools)


def _cover_entry(order: Order, tools: Tools) -> UUID:
    place_stop(order.request_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    return order.request_id


def _book_exits(trade_id: UUID, tools: Tools) -> None:
    """Book the exits of a trade, let its legs follow, and count a reading that no fill explains."""
    settled = settle_exits(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    if settled is Settled.NOTHING_NEW:
        _note_flat_reading(trade_id, tools.clock())


def _look_over(trade_id: UUID, tools: Tools) -> None:
    """Look over closed books.

    What the exchange has not answered within a day is given up and reported once.

    Raises:
        ExchangeUnavailableError: it did not answer, and may yet.

    """
    try:
        correct_books(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    except ExchangeUnavailableError as error:
        now = tools.clock()
        if not end_late_look_over(trade_id, closed_before=now - LOOKED_OVER_WITHIN, now=now):
            raise
        log.exception("books_not_looked_over", trade_id=str(trade_id))
        why = ("", f"the exchange did not answer: {error}")
        log_step("trade", trade_id, to_state="NOT_LOOKED_OVER", trigger="exchange_silent", now=now, reason=why)


def _close_in_time(trade_id: UUID, reason: CloseReason, tools: Tools) -> None:
    rules = tools.protection
    if close_position(trade_id, reason, exchange=tools.exchange, rules=rules, clock=tools.clock):
        settle_exits(trade_id, exchange=tools.exchange, rules=rules, clock=tools.clock)


def _note_flat_reading(trade_id: UUID, now: datetime) -> None:
    """Note that the exchange shows less than our trade and no fill explains it: alarming, and no proof."""
    log.error("position_smaller_without_fills", trade_id=str(trade_id))
    if count_flat_reading(trade_id):
        log_step("trade", trade_id, to_state="UNEXPLAINED", trigger="position_smaller_without_fills", now=now)


def book_reported_exits(trade_id: UUID, tools: Tools) -> bool:
    """Book the exit fills that the stream reported, and return whether there were any to book.

    What is left of the position afterwards gets its full cover again: a leg may have filled in part, or ended.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    settled = settle_exits(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    if settled is Settled.NOTHING_NEW:
        ensure_exits(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    return settled in {Settled.CLOSED, Settled.REDUCED}
