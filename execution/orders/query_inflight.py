"""Queries an order at once when its answer was lost, because a position may be open without a stop."""

import time

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.closing import LOOK_UPS_SECONDS
from execution.domain.outcomes import LookUp, OrderReport, Unreadable
from execution.domain.ports import OrderReader
from execution.domain.trading import OrderService
from execution.models import Order
from execution.orders.apply_report import apply_report


def ask_at_once(order: Order, *, exchange: OrderReader, clock: Clock, since: float | None = None) -> OrderReport | None:
    """Query an order now and a few times more, and settle it when the exchange reports it.

    Queries may lag behind the matching engine, so an order that is not found proves nothing yet. Reconciliation, or
    the watchdog of stops, follows it from there.

    Args:
        order: of unknown outcome.
        exchange: who is asked.
        clock: for what is written.
        since: from when on the looks are counted, as `time.monotonic()`; from now without it.

    """
    begun = time.monotonic() if since is None else since
    for due in (0.0, *LOOK_UPS_SECONDS):
        wait = begun + due - time.monotonic()
        # Those whose time is over are one.
        if due and wait <= 0:
            continue
        time.sleep(max(0.0, wait))
        found = ask(order, exchange=exchange, clock=clock)
        if isinstance(found, OrderReport):
            return found
        # An exchange that does not answer must not hold this worker any longer.
        if isinstance(found, Unreadable):
            return None
    return None


def ask(order: Order, *, exchange: OrderReader, clock: Clock) -> LookUp:
    """Look an order up once, settle it when it is found, and return the answer."""
    found = exchange.look_up(order.symbol, order.client_order_id, OrderService(order.service), promptly=True)
    reached(CrashPoint.ORDER_LOOKED_UP)
    if isinstance(found, OrderReport):
        apply_report(order, found, now=clock(), source="look-up")
    return found
