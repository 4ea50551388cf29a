"""Leaves an event to the step that has sent the order, and looks a moment later whether the step has settled it.

The sender reads the same facts in its answer. Settled from both sides, they would cost the sender a statement that
changes nothing on the way to its stop. A sender that has died is found by the look.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from execution.domain.clocks import Clock
from execution.domain.outcomes import ExchangeStatus, OrderReport
from execution.domain.states import OrderState
from execution.domain.trading import OrderPurpose, OrderService, OrderType
from execution.models import Order
from execution.orders.apply_report import order_path
from execution.store.reconciliation import orders_named

# Far more than a step needs between the answer and its settlement, far less than a position may be unprotected.
AFTER = timedelta(seconds=0.2)


@dataclass(kw_only=True)
class SenderWatch:
    """The reports that are left to senders, oldest first, each with when it is looked at."""

    clock: Clock
    settle: Callable[[Order, OrderReport, datetime], None]
    _left: list[tuple[OrderReport, datetime]] = field(default_factory=list)

    def leaves(self, order: Order, report: OrderReport, now: datetime) -> bool:
        """Return whether a report is left to its sender: the order is on its way, and was sent a moment ago."""
        if order.state != OrderState.SUBMITTING or not _is_in_the_answer(order, report):
            return False
        if abs(now - order.sent_at) >= AFTER:
            return False
        self._left.append((report, now + AFTER))
        return True

    def step(self) -> None:
        """Settle what is due and not known yet: one statement when all is known, none when nothing is due."""
        now = self.clock()
        due = [report for report, at in self._left if at <= now]
        if not due:
            return
        self._left = [each for each in self._left if each[1] > now]
        orders = orders_named([report.client_order_id for report in due])
        for report in due:
            order = orders.get(report.client_order_id)
            if order and order_path(OrderState(order.state), report.status):
                self.settle(order, report, now)


def _is_in_the_answer(order: Order, report: OrderReport) -> bool:
    """Return whether the answer of the exchange shows what the event shows."""
    if order.service == OrderService.ALGO or order.purpose != OrderPurpose.ENTRY:
        return report.status is ExchangeStatus.NEW
    return bool(order.order_type == OrderType.MARKET)
