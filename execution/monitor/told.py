"""Does what polling does about an exit, because the user-data stream told of one."""

from uuid import UUID

from execution.models import Trade
from execution.monitor.repair import Tools, close_by_fills
from execution.pipeline.protect_position import protect_position


def exits_told_of(trade_id: UUID, tools: Tools) -> bool:
    """Book a trade's new exit fills; False when there was nothing to book yet.

    What is left of the position afterwards gets its full cover again: a leg that filled in part, or that ended.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    before = _exited(trade_id)
    if before is None:
        return False
    if close_by_fills(trade_id, tools):
        return True
    protect_position(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    return _exited(trade_id) != before


def _exited(trade_id: UUID) -> object:
    """Return how much of a trade is booked as exited; None before the trade is recorded."""
    return Trade.objects.filter(pk=trade_id).values_list("exited_quantity", flat=True).first()
