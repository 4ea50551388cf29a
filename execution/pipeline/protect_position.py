"""Fourth step: put the stop at the exchange, and targets and trailing stop beside it."""

from uuid import UUID

from execution.domain.clocks import Clock
from execution.domain.ports import Exchange, SpareExchange
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.ensure_exits import ensure_exits


def protect_position(
    request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock, spare: SpareExchange | None = None
) -> bool:
    """Protect what the entry has filled, as protector and monitor do later.

    Returns:
        True when the fills can be recorded.

    """
    return ensure_exits(request_id, exchange=exchange, rules=rules, clock=clock, spare=spare)
