"""Cancels one of our orders, and settles it by the exchange's answer alone."""

from datetime import datetime
from typing import assert_never

import structlog

from execution.crash_points import CrashPoint, reached
from execution.domain.backoff import LONGEST_PAUSE_OPEN, pause_after
from execution.domain.clocks import Clock, age_of
from execution.domain.outcomes import ExchangeStatus, Missing, OrderReport, Unreadable
from execution.domain.ports import OrderEntry
from execution.domain.trading import OrderService
from execution.models import Order
from execution.orders.apply_report import apply_report
from execution.store.orders import count_cancel_try

log = structlog.get_logger(__name__)
RESTS = frozenset({ExchangeStatus.NEW, ExchangeStatus.PARTIALLY_FILLED, ExchangeStatus.TRIGGERED})
# One or two cancels may cross a trigger or a fill; what rests after three is worth an alarm.
ALARMING_TRIES = 3


def cancel_order(order: Order, *, exchange: OrderEntry, clock: Clock) -> bool:
    """Cancel an order and settle it by the answer, which may report a fill. True when it is settled.

    A cancel after which the order still rests, or whose outcome is unknown, is sent again after a pause that grows.
    Until then nothing is sent, and the answer is False.
    """
    if not cancel_is_due(order, clock()):
        return False
    reached(CrashPoint.CANCEL_BEGUN)
    found = exchange.cancel(order.symbol, order.client_order_id, OrderService(order.service))
    reached(CrashPoint.CANCEL_ANSWERED)
    match found:
        case OrderReport():
            apply_report(order, found, now=clock(), source="cancel")
            reached(CrashPoint.CANCEL_SETTLED)
            if report_rests(found):
                _note_try(order, str(found.status), clock())
            return True
        case Unreadable(sent=False):
            # Nothing was tried, so nothing is to be paused for.
            log.warning("cancel_not_sent", client_order_id=order.client_order_id, why=found.message)
            return False
        case Missing() | Unreadable():
            # Not proof of anything: the next reconciliation cycle queries it again.
            _note_try(order, found.message, clock())
            return False
        case _:
            assert_never(found)


def cancel_is_due(order: Order, now: datetime) -> bool:
    """Return whether a cancel may be sent now.

    The first may leave at once. After each that had no effect the pause grows, up to a minute.
    """
    if not order.cancel_tries or order.cancel_tried_at is None:
        return True
    return age_of(order.cancel_tried_at, now) >= pause_after(order.cancel_tries, LONGEST_PAUSE_OPEN)


def report_rests(report: OrderReport) -> bool:
    """Whether an order rests in spite of its cancel."""
    return report.status in RESTS


def _note_try(order: Order, answer: str, now: datetime) -> None:
    """Count a cancel without effect.

    Health names the order from the third on.
    """
    count_cancel_try(order.pk, now=now)
    order.cancel_tries, order.cancel_tried_at = order.cancel_tries + 1, now
    report = log.error if order.cancel_tries >= ALARMING_TRIES else log.warning
    report("cancel_unsettled", client_order_id=order.client_order_id, answer=answer, tries=order.cancel_tries)
