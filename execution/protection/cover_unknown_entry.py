"""Protects a position that an entry of unknown outcome may have opened, with its plan's stop.

The stop can only reduce.

The entry itself stays UNKNOWN. When it turns out to be ours, the stop is there already; when it does not, the stop ends
with the request, like every leg that outlives its trade.
"""

from decimal import Decimal

import structlog

from execution.domain.brackets import Wanted
from execution.domain.clocks import Clock
from execution.domain.lots import closing_parts
from execution.domain.money import ZERO
from execution.domain.outcomes import Accepted
from execution.domain.ports import Exchange
from execution.domain.states import ORDER_FINAL, ORDER_LIVE
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.protection.bracket_store import is_relied_on

log = structlog.get_logger(__name__)
# While answers get lost, no more than these are on their way for one position, or for each part of it.
MOST_STOPS = 2


def cover_unknown(
    request: ExecutionRequest, quantity: Decimal, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> bool:
    """Place the planned stop for this quantity unless it stands, True when it does.

    A refused stop does not close the position at market, because the position may be another client's. A plan without a
    stop is covered by its trailing stop.
    """
    work = BracketManager(request=request, exchange=exchange, rules=rules, clock=clock)
    leg = next(iter([*work.plan.of(OrderPurpose.STOP), *work.plan.of(OrderPurpose.TRAILING)]), None)
    if leg is None:
        return False
    unfinished = [order for order in work.of(leg) if order.state not in ORDER_FINAL]
    parts = closing_parts(quantity, work.plan.lot, trims=not work.exposure.hedged)
    standing = [order.quantity for order in unfinished if order.state in ORDER_LIVE and is_relied_on(order)]
    if sum(standing, ZERO) >= sum(parts, ZERO):
        return True
    if len(unfinished) >= MOST_STOPS * len(parts) or work.refused_lately(leg):
        return False
    log.error("position_of_unknown_entry_wants_cover", request_id=str(request.pk), quantity=str(quantity))
    return all(isinstance(work.place(Wanted(leg=leg, quantity=part)), Accepted) for part in _lacking(parts, standing))


def _lacking(parts: list[Decimal], standing: list[Decimal]) -> list[Decimal]:
    """Return the parts of which no order stands."""
    left = list(parts)
    for quantity in standing:
        if quantity in left:
            left.remove(quantity)
    return left
