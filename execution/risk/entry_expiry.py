"""When an entry is too old: a decision to be sent, a LIMIT entry to rest. IOC, FOK and exits never expire."""

from datetime import datetime, timedelta

from execution.domain import policy as keys
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.domain.trading import OrderType, TimeInForce
from execution.models import ExecutionRequest


def expiry_of(request: ExecutionRequest, policy: Policy) -> datetime | None:
    """Return when this request's entry expires, or None when it rests until it fills or is cancelled.

    An entry that was approved before expiry times existed gets today's value of the policy.
    """
    if request.order_type != OrderType.LIMIT or request.entry_expires_at:
        return request.entry_expires_at
    if request.time_in_force and not TimeInForce(request.time_in_force).rests:
        return None
    seconds = policy[keys.LIMIT_ENTRY_MAX_AGE]
    return request.decided_at + timedelta(seconds=float(seconds)) if seconds else None


def age_verdict(request: ExecutionRequest, *, now: datetime) -> RuleVerdict:
    """Return whether a decision is young enough to be sent now."""
    age = (now - request.decided_at).total_seconds()
    most = (request.expires_at - request.decided_at).total_seconds()
    numbers = f"expected<={most:.0f}s actual={age:.1f}s"
    if request.entry_expires_at == request.expires_at:
        numbers += f" good_till={request.expires_at.isoformat()}"
    refusal = Reason.SIGNAL_TOO_OLD if now > request.expires_at else None
    return RuleVerdict(rule="signal_age", numbers=numbers, refusal=refusal)
