"""Asks at once what became of an entry whose answer was lost: its position may be open, and naked at every moment."""

import time
from collections.abc import Callable
from datetime import datetime

from execution.crash_points import CrashPoint, reached
from execution.domain.outcomes import OrderReport, Unreadable
from execution.domain.ports import Exchange
from execution.domain.trading import OrderBook
from execution.models import Order
from execution.pipeline.evidence import settle_accepted

# Before each question. Queries may lag behind the matching engine; what two do not find is the monitor's to follow.
PAUSES_SECONDS = (0.0, 0.25)


def ask_at_once(order: Order, *, exchange: Exchange, clock: Callable[[], datetime]) -> None:
    """Look an order up and settle it when it is found; that it is not found proves nothing yet."""
    for pause in PAUSES_SECONDS:
        time.sleep(pause)
        found = exchange.look_up(order.symbol, order.client_order_id, OrderBook(order.book))
        reached(CrashPoint.ORDER_LOOKED_UP)
        if isinstance(found, OrderReport):
            settle_accepted(order, found, now=clock(), source="look-up")
            return
        # An exchange that does not answer must not hold this worker any longer.
        if isinstance(found, Unreadable):
            return
