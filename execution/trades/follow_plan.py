"""Books the entry's fills, and lets the orders follow where that has moved the plan.

Stop and target of the policy's defaults were placed from the price that was expected. Their plan moves with the price
of the fill, and so do the orders, at once: the next reconciliation cycle would be seconds away.
"""

from uuid import UUID

from execution.domain.clocks import Clock
from execution.domain.ports import Exchange
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.ensure_exits import ensure_exits
from execution.store.orders import has_leg_off_plan
from execution.trades.book_entry import book_entry


def record_and_follow(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Do what `book_entry` does, then move stop and targets whose level has changed, new before old.

    Raises:
        ExchangeUnavailableError: the fills could not be read; nothing is changed.

    """
    recorded = book_entry(request_id, exchange=exchange, clock=clock)
    if recorded and has_leg_off_plan(request_id):
        ensure_exits(request_id, exchange=exchange, rules=rules, clock=clock)
    return recorded
