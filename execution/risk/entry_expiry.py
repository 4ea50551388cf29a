"""When a resting LIMIT entry expires: by its decision, else by the policy. IOC, FOK and exits never expire."""

from datetime import datetime, timedelta

from execution.domain import policy as keys
from execution.domain.policy import Policy
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
