"""Does what polling does about an exit, because the user-data stream told of one."""

from uuid import UUID

from execution.monitor.repair import Tools
from execution.pipeline.protect_position import protect_position
from execution.pipeline.settle_exits import Settled, settle_exits


def exits_told_of(trade_id: UUID, tools: Tools) -> bool:
    """Book a trade's new exit fills; False when there was nothing to book yet.

    What is left of the position afterwards gets its full cover again: a leg that filled in part, or that ended.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.

    """
    settled = settle_exits(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    if settled is Settled.NOTHING_NEW:
        protect_position(trade_id, exchange=tools.exchange, rules=tools.protection, clock=tools.clock)
    return settled in {Settled.CLOSED, Settled.REDUCED}
