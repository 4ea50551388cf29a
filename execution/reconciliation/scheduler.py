"""Runs the actions that a comparison returns, positions side by side and missing stops first."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError

from execution.crash_points import CrashPoint, reached
from execution.domain.ports import Exchange, ExchangeUnavailableError
from execution.domain.trading import OrderPurpose
from execution.operations.worker_pool import run_parallel
from execution.reconciliation.actions import BookExits, CloseInTime, Cover, LookOver, LookUpOrder, Repair, Settling
from execution.reconciliation.repair import Tools, book_reported_exits, complete, look_up_once, repair, settle_order
from execution.reconciliation.state import LocalState
from execution.store.contention import is_busy, note

log = structlog.get_logger(__name__)
# An order of these may turn out to leave a position without its stop.
MAY_LEAVE_UNPROTECTED = frozenset({OrderPurpose.ENTRY, OrderPurpose.STOP})
# These wait for the exchange; the others are done at once.
WAIT_FOR_EXCHANGE = (Cover, BookExits, CloseInTime, LookOver)
# A repair, and the action or id that it is about.
Piece = tuple[Callable[[Tools], object], object]


def settle_all(actions: Sequence[Settling], books: LocalState, tools: Tools) -> tuple[list[UUID], int]:
    """Settle these orders.

    Returns: the requests whose targets and books are then due, and how many orders failed.
    """
    orders = {order.id: order for order in books.orders}
    lots: dict[UUID, list[Settling]] = {}
    for action in actions:
        lots.setdefault(orders[action.order_id].request_id, []).append(action)

    def is_urgent(lot: Sequence[Settling]) -> bool:
        return any(orders[action.order_id].purpose in MAY_LEAVE_UNPROTECTED for action in lot)

    filled: list[UUID] = []

    def settle_one(action: Settling, tools: Tools) -> None:
        if request_id := settle_order(action, tools):
            filled.append(request_id)

    ordered = sorted(lots.values(), key=is_urgent, reverse=True)
    failed = _run([[(partial(settle_one, action), action) for action in lot] for lot in ordered], tools)
    return list(dict.fromkeys(filled)), failed


def complete_all(requests: Sequence[UUID], tools: Tools) -> int:
    """Place targets and book fills of these requests, and return how many failed. All stops stand by then."""
    return _run([[(partial(complete, request_id), request_id)] for request_id in requests], tools)


def book_all(trades: Sequence[UUID], tools: Tools) -> int:
    """Book the exits of these trades, let their legs follow, and return how many failed."""
    return _run([[(partial(book_reported_exits, trade_id), trade_id)] for trade_id in trades], tools)


def repair_all(actions: Sequence[Repair], tools: Tools) -> int:
    """Do these repairs, missing stops first, and return how many failed."""

    def is_missing_stop(action: Repair) -> bool:
        return isinstance(action, Cover) and action.missing is OrderPurpose.STOP

    slow = [action for action in actions if isinstance(action, WAIT_FOR_EXCHANGE)]
    lots: dict[UUID, list[Repair]] = {}
    for action in sorted(slow, key=is_missing_stop, reverse=True):
        position = action.request_id if isinstance(action, Cover) else action.trade_id
        lots.setdefault(position, []).append(action)
    quick = [action for action in actions if not isinstance(action, WAIT_FOR_EXCHANGE)]
    failed = _run([[(partial(repair, action), action) for action in lot] for lot in lots.values()], tools)
    return failed + sum(not _done(partial(repair, action), action, tools) for action in quick)


def look_again_all(orders: Sequence[int], tools: Tools) -> int:
    """Ask again for these orders that a reading has missed, and return how many failed."""
    again = [LookUpOrder(order_id=order_id) for order_id in orders]
    return _run([[(partial(settle_order, action), action)] for action in again], tools)


def look_up_all(orders: Sequence[int], tools: Tools) -> tuple[list[UUID], int]:
    """Look each of these orders of unknown outcome up once.

    Returns: the requests that have their stop by that and whose targets and books are due, and how many failed.
    """
    covered: list[UUID] = []

    def look_up(order_id: int, tools: Tools) -> None:
        if request_id := look_up_once(order_id, tools):
            covered.append(request_id)

    failed = _run([[(partial(look_up, pk), pk)] for pk in orders], tools)
    return covered, failed


def _run(lots: Sequence[Sequence[Piece]], tools: Tools) -> int:
    """Run the lots, one a position, side by side, and return how many pieces failed."""

    def run_lot(lot: Sequence[Piece], exchange: Exchange) -> int:
        own = replace(tools, exchange=exchange)
        return sum(not _done(work, subject, own) for work, subject in lot)

    return sum(run_parallel([partial(run_lot, lot) for lot in lots], tools.exchange, tools.spare))


def _done(work: Callable[[Tools], object], subject: object, tools: Tools) -> bool:
    """Do one piece. An exchange that falls silent in the middle must not keep the others from being tried."""
    reached(CrashPoint.REPAIR_BEGUN)
    name = type(subject).__name__
    try:
        work(tools)
    except ExchangeUnavailableError as error:
        log.warning("repair_postponed", action=name, error=str(error))
        return False
    except (OperationalError, InterfaceError) as error:
        if not isinstance(error, OperationalError) or not is_busy(error):
            raise
        # Another session holds a row of this position: that delays this position alone.
        note(f"{name} {_subject_id(subject)}", error)
        return False
    except Exception:
        # A bug or a surprise about one order must not leave all other positions without their cover.
        log.exception("repair_failed", action=name, detail=str(subject))
        return False
    reached(CrashPoint.REPAIR_DONE)
    return True


def _subject_id(subject: object) -> object:
    """Return the id of the request, trade or order that an action is about."""
    names = ("request_id", "trade_id", "order_id", "external_id", "client_order_id", "symbol")
    return next((found for name in names if (found := getattr(subject, name, None)) is not None), subject)
