"""Closes a trade's position at market, reducing only, because its time is up."""

from uuid import UUID

import structlog

from execution.domain.outcomes import Accepted
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.domain.states import ORDER_FINAL
from execution.models import ExecutionRequest, Order
from execution.pipeline.cancelling import cancel_order
from execution.pipeline.legs import Clock, ProtectionRules, Work
from execution.pipeline.record_trade import record_trade

log = structlog.get_logger(__name__)


def close_position(
    trade_id: UUID, reason: CloseReason, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> bool:
    """Close what is open; True when the exchange has taken the order. Safe to repeat: one closing order at a time.

    What rests of the entry is cancelled and its fills are booked first: nothing may enter behind the exit. The stop
    stays until the position is out.

    Raises:
        ExchangeUnavailableError: the entry's fills could not be read; nothing was closed.

    """
    work = Work(request=ExecutionRequest.objects.get(pk=trade_id), exchange=exchange, rules=rules, clock=clock)
    if work.entry.state not in ORDER_FINAL:
        entry = Order.objects.select_related("request").get(pk=work.entry.pk)
        if not cancel_order(entry, exchange=exchange, clock=clock):
            return False
        record_trade(trade_id, exchange=exchange, clock=clock)
        work.read()
    quantity = work.exposure.open
    log.info("position_closed_at_market", request_id=str(trade_id), reason=reason, quantity=str(quantity))
    return isinstance(work.close(quantity, reason), Accepted)
