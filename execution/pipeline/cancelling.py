"""Cancels one of our orders and believes only what the exchange says came of it."""

from collections.abc import Callable
from datetime import datetime
from typing import assert_never

import structlog

from execution.crash_points import CrashPoint, reached
from execution.domain.outcomes import Missing, OrderReport, Unreadable
from execution.domain.ports import Exchange
from execution.domain.trading import OrderBook
from execution.models import Order
from execution.pipeline.evidence import settle_accepted

log = structlog.get_logger(__name__)


def cancel_order(order: Order, *, exchange: Exchange, clock: Callable[[], datetime]) -> bool:
    """Cancel an order and settle it by the answer, which may be a fill that was faster; True when it is settled."""
    reached(CrashPoint.CANCEL_BEGUN)
    found = exchange.cancel(order.symbol, order.client_order_id, OrderBook(order.book))
    reached(CrashPoint.CANCEL_ANSWERED)
    match found:
        case OrderReport():
            settle_accepted(order, found, now=clock(), source="cancel")
            reached(CrashPoint.CANCEL_SETTLED)
            return True
        case Missing() | Unreadable():
            # Not proof of anything: the next monitor cycle asks again.
            log.warning("cancel_unsettled", client_order_id=order.client_order_id, answer=found.message)
            return False
        case _:
            assert_never(found)
