"""Books an exit's fill, then brings the other legs in line with what is left of the position.

Reconciliation and the user-data stream both call it. The first to learn of the fill does the work.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from uuid import UUID

import structlog
from django.db import transaction

from execution.domain.clocks import Clock
from execution.domain.money import ZERO
from execution.domain.ports import Exchange, OrderEntry
from execution.domain.states import TRADE_OPEN
from execution.models import PositionSlot
from execution.orders.apply_report import raise_alarm
from execution.orders.cancel import cancel_is_due, cancel_order
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.bracket_store import exit_orders, exposure_of
from execution.protection.ensure_exits import ensure_exits
from execution.risk.policy_store import symbol_release
from execution.store.locks import alone
from execution.store.orders import find_ended_entry, legs_left_of, orders_left_of
from execution.store.slots import delete_slot, delete_slots, slots_kept_by_orders, slots_without_orders
from execution.store.trades import exited_quantity_of, load_trade_with_request
from execution.store.transitions import log_step
from execution.trades.book_exits import book_exits
from execution.trades.streamed_fills import is_about_to_be_streamed

log = structlog.get_logger(__name__)
LONGEST_TURN = timedelta(seconds=10)


class Settled(Enum):
    """The result for a trade's exits. LEGS_LEFT: it is closed, and a leg's cancel could not be sent."""

    CLOSED = auto()
    LEGS_LEFT = auto()
    REDUCED = auto()
    # Another process does it just now, or the stream is about to report the fills.
    ELSEWHERE = auto()
    NOTHING_NEW = auto()


def settle_exits(trade_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> Settled | None:
    """Book the exits that are new, then cancel a closed trade's legs or size down an open one's.

    Where our own exits have executed all of the position, its legs go before the books are read: they would keep the
    symbol for as long as the list of fills is late or requests are scarce.

    The user-data stream, reconciliation and the watchdog of stops learn of the same exit. One of them settles it, and
    the others leave it to that one.

    Returns:
        What was booked; None when there is no such trade yet.

    Raises:
        ExchangeUnavailableError: fills could not be read, or a leg could not be asked about; safe to repeat.

    """
    exited = exited_quantity_of(trade_id)
    if exited is None:
        return None
    with alone(_turn(trade_id, clock())) as held:
        if not held:
            return Settled.ELSEWHERE
        return _settle(trade_id, exited, exchange=exchange, rules=rules, clock=clock)


def _turn(trade_id: UUID, now: datetime) -> int:
    """Return the number of the lock by which one process at a time settles a trade.

    It is apart from the numbers of duties, and another one every few seconds: a process that is frozen with it keeps
    the others away for no longer.
    """
    return -1 - (trade_id.int + int(now.timestamp() // LONGEST_TURN.total_seconds())) % 2**62


def _settle(trade_id: UUID, exited: Decimal, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> Settled:
    if _is_out(trade_id):
        _cancel_all(trade_id, exchange=exchange, clock=clock)
    if is_about_to_be_streamed(trade_id, now=clock()):
        return Settled.ELSEWHERE
    if book_exits(trade_id, exchange=exchange, clock=clock):
        return Settled.CLOSED if cancel_legs(trade_id, exchange=exchange, clock=clock) else Settled.LEGS_LEFT
    if exited_quantity_of(trade_id) == exited:
        return Settled.NOTHING_NEW
    ensure_exits(trade_id, exchange=exchange, rules=rules, clock=clock)
    return Settled.REDUCED


def cancel_legs(trade_id: UUID, *, exchange: OrderEntry, clock: Clock) -> bool:
    """Cancel what is left of a closed trade's orders, and release its symbol when the last is over.

    False: an order may rest, and its cancel is due at once.
    """
    _cancel_all(trade_id, exchange=exchange, clock=clock)
    release_symbols()
    return not any(cancel_is_due(order, clock()) for order in legs_left_of(trade_id))


def _cancel_all(trade_id: UUID, *, exchange: OrderEntry, clock: Clock) -> None:
    for leg in legs_left_of(trade_id):
        cancel_order(leg, exchange=exchange, clock=clock)


def _is_out(trade_id: UUID) -> bool:
    """Return whether our exits have executed all that the entry filled, and it can fill no further."""
    trade = load_trade_with_request(trade_id)
    entry = find_ended_entry(trade_id)
    if entry is None or trade.state not in TRADE_OPEN:
        return False
    filled = max(trade.quantity, entry.executed_quantity)
    exits = exit_orders([trade_id]).get(trade_id, [])
    exposure = exposure_of(trade.request, exits, filled=filled, exited=trade.exited_quantity, growing=False)
    return exposure.open == ZERO


def release_symbols() -> int:
    """Give back the symbols of closed trades that have no unfinished order.

    A leg that may still rest at the exchange would reduce the next position of its symbol: until it is over, there is
    none. That is what keeps the lives of positions apart.
    """
    over = slots_without_orders()
    if not over.exists():
        return 0
    with transaction.atomic():
        # One that another process holds is for the next time: it keeps its own symbol, and no other.
        free = list(over.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
        return delete_slots(free)


def release_locked_symbols(*, now: datetime) -> int:
    """Release the symbols of trades whose orders outlived their close for as long as the policy allows.

    An order that the exchange neither executes nor cancels would lock its symbol for ever. It stays watched under an
    alarm, and what it may still do is reported like any unexpected fill: an exit only reduces, and an entry opens a
    position that no trade explains.
    """
    return sum(_released(claim, now) for claim in slots_kept_by_orders(now - symbol_release()))


def _released(claim: PositionSlot, now: datetime) -> bool:
    undead = list(orders_left_of(claim.request_id))
    names = [order.client_order_id for order in undead]
    with transaction.atomic():
        if not delete_slot(claim.pk):
            return False
        log_step(
            "trade",
            claim.request_id,
            to_state="RELEASED",
            trigger="order_does_not_end",
            now=now,
            details={"orders": names},
        )
    for order in undead:
        raise_alarm(order, f"its trade is over and {claim.symbol} is free again, but it does not end", now=now)
    log.error("symbol_released_beside_an_order", symbol=claim.symbol, trade_id=str(claim.request_id), orders=names)
    return True
