"""Fourth step: put the stop at the exchange, then targets and trailing stop."""

from uuid import UUID

from execution.domain.clocks import Clock
from execution.domain.ports import Exchange
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.ensure_exits import ensure_exits


def protect_position(request_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> bool:
    """Protect what the entry has filled, as protector and monitor do later.

    Returns:
        True when the fills can be recorded.

    """
    return ensure_exits(request_id, exchange=exchange, rules=rules, clock=clock)
