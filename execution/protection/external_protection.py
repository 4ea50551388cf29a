"""Keeps exits under a position that somebody else opened: as large as what nothing else covers, and never closing it.

A stop that cannot be had leaves the position as it was found. To close what is not ours would be more than was asked.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import transaction

from execution.domain.clocks import Clock
from execution.domain.external import STOPS, ForeignOrder, exit_quantity_of_others
from execution.domain.money import ZERO
from execution.domain.outcomes import PositionReport, Refused
from execution.domain.ports import Exchange
from execution.domain.states import ORDER_FINAL
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest, ExternalPosition, Order, PositionSlot
from execution.orders.apply_report import raise_alarm
from execution.orders.cancel import cancel_order
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.protection.bracket_store import executed_of
from execution.risk.policy_store import symbol_release
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)
LEGS = (OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING)


def uncovered(row: PositionReport, others: Iterable[ForeignOrder]) -> Decimal:
    """Return how much of a position no stop of somebody else would close."""
    return abs(row.quantity) - exit_quantity_of_others(row, others, STOPS)


def guard(
    request: ExecutionRequest, quantity: Decimal, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> bool:
    """Let the legs cover this quantity, new before old; True when its stop stands.

    Safe to repeat. A leg that the exchange has refused is tried again after a pause that grows with each refusal.
    """
    work = BracketManager(request=request, exchange=exchange, rules=rules, clock=clock)
    _follow(work, quantity)
    if _place_missing(work) and work.refresh():
        # Rounded to the filters as they are now.
        _place_missing(work)
    work.cancel_surplus(*LEGS)
    return not work.is_naked


def _place_missing(work: BracketManager) -> bool:
    """Place what is missing; True when filters have refused an order of it."""
    missing = [want for want in work.comparison.missing if not work.refused_lately(want.leg)]
    outcomes = [work.place(want) for want in missing]
    return any(isinstance(outcome, Refused) and outcome.by_filters for outcome in outcomes)


def has_executed(request: ExecutionRequest) -> bool:
    """Whether an exit of ours has closed a part of the position."""
    return Order.objects.filter(request=request, purpose__in=LEGS, executed_quantity__gt=0).exists()


def leave(external: ExternalPosition, *, exchange: Exchange, clock: Clock) -> bool:
    """Cancel the legs of a position that is gone, and give its symbol back; False while one of them may still rest."""
    legs = Order.objects.filter(request_id=external.request_id).exclude(state__in=sorted(ORDER_FINAL))
    for leg in legs.select_related("request"):
        cancel_order(leg, exchange=exchange, clock=clock)
    if legs.exists():
        if clock() - external.seen_at >= symbol_release():
            _release(external, legs, clock())
        return False
    with transaction.atomic():
        PositionSlot.objects.filter(request_id=external.request_id).delete()
        external.delete()
        log_step("request", external.request_id, to_state="LEFT", trigger="external_position_gone", now=clock())
    return True


def _release(external: ExternalPosition, legs: Iterable[Order], now: datetime) -> None:
    """Give the symbol back beside legs that do not end; they stay watched under an alarm, and their row with them."""
    for leg in legs:
        raise_alarm(leg, f"its position is gone and {external.symbol} is free again, but it does not end", now=now)
    if PositionSlot.objects.filter(request_id=external.request_id).delete()[0]:
        log.error("symbol_released_beside_an_order", symbol=external.symbol, request_id=str(external.request_id))


def _follow(work: BracketManager, quantity: Decimal) -> None:
    """Let the stand-in entry show what there is to cover now, and what our own exits have closed of it before."""
    filled = quantity + sum((executed_of(order) for order in work.exits), ZERO)
    if filled == work.entry.executed_quantity:
        return
    now = work.clock()
    details = {"from": str(work.exposure.open), "to": str(quantity)}
    Order.objects.filter(pk=work.entry.pk).update(executed_quantity=filled, last_evidence_at=now)
    log_step("request", work.request.pk, to_state="RESIZED", trigger="external_position", now=now, details=details)
    work.read()
