"""Books the entry's fills, and lets the orders follow where that has moved the plan.

Stop and target of the policy's defaults were placed from the price that was expected. Their plan moves with the price
of the fill, and so do the orders, at once: the monitor's next cycle would be seconds away.
"""

from uuid import UUID

from django.db.models import F

from execution.domain.clocks import Clock
from execution.domain.ports import Exchange
from execution.domain.states import ORDER_LIVE
from execution.domain.trading import OrderPurpose
from execution.models import Order
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.ensure_exits import ensure_exits
from execution.trades.book_entry import book_entry


def record_and_follow(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Do what `book_entry` does; then move stop and targets whose level is another one now, new before old.

    Raises:
        ExchangeUnavailableError: the fills could not be read; nothing is changed.

    """
    recorded = book_entry(request_id, exchange=exchange, clock=clock)
    if recorded and _is_off_plan(request_id):
        ensure_exits(request_id, exchange=exchange, rules=rules, clock=clock)
    return recorded


def _is_off_plan(request_id: UUID) -> bool:
    """Whether an order rests where its leg lies no more; one statement, for most trades have none."""
    resting = Order.objects.filter(request_id=request_id, state__in=sorted(ORDER_LIVE))
    legs = resting.filter(purpose__in=[OrderPurpose.STOP, OrderPurpose.TARGET], leg__isnull=False)
    return legs.exclude(trigger_price=F("leg__price")).exists()
