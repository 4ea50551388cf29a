"""Fifth step: book the entry's fills, open the trade, and let the exits follow the price of the fill."""

from uuid import UUID

from execution.domain.clocks import Clock
from execution.domain.ports import Exchange
from execution.protection.bracket_manager import ProtectionRules
from execution.trades.follow_plan import record_and_follow


def record_trade(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Book the entry's fills, as the monitor does later. Returns True when all of them are booked.

    Raises:
        ExchangeUnavailableError: the fills could not be read; nothing is changed, and the monitor tries again.

    """
    return record_and_follow(request_id, exchange=exchange, rules=rules, clock=clock)
