"""Protects external positions with exits as large as what nothing else covers, and never closes them.

A stop that cannot be had leaves the position as it was found. Closing another client's position would be more than was
asked.
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
from execution.domain.ports import Exchange, OrderEntry
from execution.models import ExecutionRequest, ExternalPosition, Order
from execution.orders.apply_report import raise_alarm
from execution.orders.cancel import cancel_order
from execution.protection.bracket_manager import BracketManager, ProtectionRules
from execution.protection.bracket_store import executed_of
from execution.risk.policy_store import symbol_release
from execution.store.orders import LEGS, has_executed_leg, orders_left_of, set_entry_executed
from execution.store.slots import delete_slot_of
from execution.store.transitions import log_step

log = structlog.get_logger(__name__)


def unstopped_quantity(row: PositionReport, others: Iterable[ForeignOrder]) -> Decimal:
    """Return how much of a position no other client's stop would close."""
    return abs(row.quantity) - exit_quantity_of_others(row, others, STOPS)


def guard(
    request: ExecutionRequest, quantity: Decimal, *, exchange: Exchange, rules: ProtectionRules, clock: Clock
) -> bool:
    """Bring the legs in line with this quantity, new before old, True when its stop stands.

    Safe to repeat. A leg that the exchange has refused is tried again after a pause that grows with each refusal.
    """
    work = BracketManager(request=request, exchange=exchange, rules=rules, clock=clock)
    _follow(work, quantity)
    if _place_missing(work) and work.refresh():
        # Rounded to the filters as they are now.
        _place_missing(work)
    work.cancel_excess(*LEGS)
    return not work.lacks_stop


def _place_missing(work: BracketManager) -> bool:
    """Place what is missing, True when filters have refused an order of it."""
    missing = [want for want in work.comparison.missing if not work.refused_lately(want.leg)]
    outcomes = [work.place(want) for want in missing]
    return any(isinstance(outcome, Refused) and outcome.by_filters for outcome in outcomes)


def has_executed(request: ExecutionRequest) -> bool:
    """Return whether one of our exits has closed a part of the position."""
    return has_executed_leg(request)


def leave(external: ExternalPosition, *, exchange: OrderEntry, clock: Clock) -> bool:
    """Cancel the legs of a position that is gone, and release its symbol.

    False while one of them may still rest.
    """
    legs = orders_left_of(external.request_id)
    for leg in legs.select_related("request"):
        cancel_order(leg, exchange=exchange, clock=clock)
    if legs.exists():
        if clock() - external.seen_at >= symbol_release():
            _release(external, legs, clock())
        return False
    with transaction.atomic():
        delete_slot_of(external.request_id)
        external.delete()
        log_step("request", external.request_id, to_state="LEFT", trigger="external_position_gone", now=clock())
    return True


def _release(external: ExternalPosition, legs: Iterable[Order], now: datetime) -> None:
    """Release the symbol although legs do not end.

    The legs stay watched under an alarm, and their row with them.
    """
    for leg in legs:
        raise_alarm(leg, f"its position is gone and {external.symbol} is free again, but it does not end", now=now)
    if delete_slot_of(external.request_id):
        log.error("symbol_released_beside_an_order", symbol=external.symbol, request_id=str(external.request_id))


def _follow(work: BracketManager, quantity: Decimal) -> None:
    """Set the stand-in entry to what there is to cover now plus what our own exits have closed before."""
    filled = quantity + sum((executed_of(order) for order in work.exits), ZERO)
    if filled == work.entry.executed_quantity:
        return
    now = work.clock()
    details = {"from": str(work.exposure.open), "to": str(quantity)}
    set_entry_executed(work.entry.pk, filled, now=now)
    log_step("request", work.request.pk, to_state="RESIZED", trigger="external_position", now=now, details=details)
    work.read()
