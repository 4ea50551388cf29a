"""Counts how much of each limit the other entries, positions and closed trades of this service use."""

from datetime import datetime, timedelta

from execution.domain import policy as keys
from execution.domain.clocks import CLOCKS_DIFFER
from execution.domain.limits import LimitUsage
from execution.domain.policy import Policy
from execution.domain.trading import PositionSide
from execution.models import ExecutionRequest
from execution.store.slots import read_usage


def usage_for(
    request: ExecutionRequest, side: PositionSide, policy: Policy, *, now: datetime, later_too: bool = False
) -> LimitUsage:
    """Return what others than this request use, in one statement. Call it under `lock_usage`.

    For an approved request only what was approved before it counts. That only grows less, so it needs no lock.
    With `later_too` what was approved after it counts as well, which needs the lock.
    """
    return usage_and_orders(request, side, policy, now=now, later_too=later_too)[0]


def usage_and_orders(
    request: ExecutionRequest, side: PositionSide, policy: Policy, *, now: datetime, later_too: bool = False
) -> tuple[LimitUsage, int]:
    """Return what `usage_for` returns and how many conditional orders there are, in the same statement."""
    return read_usage(
        {
            "request": request.pk,
            "symbol": request.symbol,
            "side": side,
            "direction": request.direction,
            "notional": request.notional_usd,
            "quantity": request.base_quantity_asked,
            "size_measure": request.size_measure,
            "size_amount": request.size_amount,
            "approved": request.approved_at,
            "now": now,
            "later_too": later_too,
            # A later time was written under a clock that has been set back since, and holds nothing.
            "latest": now + CLOCKS_DIFFER,
            "minute_ago": now - timedelta(minutes=1),
            "midnight": now.replace(hour=0, minute=0, second=0, microsecond=0),
            "look_alikes_since": now - timedelta(seconds=float(policy[keys.LOOK_ALIKE_WINDOW])),
            "stops_since": now - timedelta(seconds=float(policy[keys.STOP_OUT_PAUSE])),
        }
    )
