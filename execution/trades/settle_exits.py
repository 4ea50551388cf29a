"""After an exit's fill: book it, then let the other legs follow what is left of the position.

Monitor and stream come through here, whoever hears of the fill first.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from execution.domain.clocks import Clock
from execution.domain.money import ZERO
from execution.domain.ports import Exchange
from execution.domain.states import ORDER_FINAL, TRADE_OPEN, TRADE_OVER, TradeState
from execution.domain.trading import OrderPurpose
from execution.models import Order, PositionSlot, Trade
from execution.orders.apply_report import raise_alarm
from execution.orders.cancel import cancel_is_due, cancel_order
from execution.protection.bracket_manager import ProtectionRules
from execution.protection.bracket_store import exit_orders, exposure_of
from execution.protection.ensure_exits import ensure_exits
from execution.risk.policy_store import symbol_release
from execution.store.locks import alone
from execution.store.transitions import log_step
from execution.trades.book_exits import book_exits
from execution.trades.streamed_fills import is_about_to_be_streamed

log = structlog.get_logger(__name__)
LONGEST_TURN = timedelta(seconds=10)


class Settled(Enum):
    """What became of a trade's exits; LEGS_LEFT: it is closed, and a cancel of a leg could not be sent."""

    CLOSED = auto()
    LEGS_LEFT = auto()
    REDUCED = auto()
    # Another process does it just now, or the stream is about to tell the fills.
    ELSEWHERE = auto()
    NOTHING_NEW = auto()


def settle_exits(trade_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> Settled | None:
    """Book the exits that are new; cancel the legs of a closed trade, size down those of one that goes on.

    Where our own exits have executed all of the position, its legs go before the books are read: they would keep the
    symbol for as long as the list of fills is late or requests are scarce.

    Stream, monitor and protector hear of the same exit: one of them settles it, and the others leave it to that one.

    Returns:
        What was booked; None when there is no such trade yet.

    Raises:
        ExchangeUnavailableError: fills could not be read, or a leg could not be asked about; safe to repeat.

    """
    exited = _exited(trade_id)
    if exited is None:
        return None
    with alone(_turn(trade_id, clock())) as held:
        if not held:
            return Settled.ELSEWHERE
        return _settle(trade_id, exited, exchange=exchange, rules=rules, clock=clock)


def _turn(trade_id: UUID, now: datetime) -> int:
    """Return the number of the lock by which one process at a time settles a trade, apart from those of duties.

    It is another one every few seconds: whoever is frozen with it keeps the others away for no longer.
    """
    return -1 - (trade_id.int + int(now.timestamp() // LONGEST_TURN.total_seconds())) % 2**62


def _settle(trade_id: UUID, exited: Decimal, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> Settled:
    if _is_out(trade_id):
        _cancel_all(trade_id, exchange=exchange, clock=clock)
    if is_about_to_be_streamed(trade_id, now=clock()):
        return Settled.ELSEWHERE
    if book_exits(trade_id, exchange=exchange, clock=clock):
        return Settled.CLOSED if cancel_legs(trade_id, exchange=exchange, clock=clock) else Settled.LEGS_LEFT
    if _exited(trade_id) == exited:
        return Settled.NOTHING_NEW
    ensure_exits(trade_id, exchange=exchange, rules=rules, clock=clock)
    return Settled.REDUCED


def cancel_legs(trade_id: UUID, *, exchange: Exchange, clock: Clock) -> bool:
    """Cancel what is left of a closed trade's orders, and give its symbol back when the last of them is over.

    False: an order may rest, and its cancel is due at once.
    """
    _cancel_all(trade_id, exchange=exchange, clock=clock)
    release_symbols()
    return not any(cancel_is_due(order, clock()) for order in _left(trade_id))


def _cancel_all(trade_id: UUID, *, exchange: Exchange, clock: Clock) -> None:
    for leg in _left(trade_id):
        cancel_order(leg, exchange=exchange, clock=clock)


def _left(trade_id: UUID) -> "QuerySet[Order]":
    left = Order.objects.filter(request_id=trade_id).exclude(state__in=ORDER_FINAL)
    return left.exclude(purpose=OrderPurpose.CLOSE).select_related("request")


def _is_out(trade_id: UUID) -> bool:
    """Whether exits of ours have executed all that the entry filled, and it can fill no further."""
    trade = Trade.objects.select_related("request").get(pk=trade_id)
    entry = Order.objects.filter(request_id=trade_id, purpose=OrderPurpose.ENTRY, state__in=sorted(ORDER_FINAL)).first()
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
    over = PositionSlot.objects.filter(~Exists(_unfinished("request")), request__trade__state__in=sorted(TRADE_OVER))
    if not over.exists():
        return 0
    with transaction.atomic():
        # One that somebody holds is for the next time: it keeps its own symbol, and no other.
        free = list(over.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
        return PositionSlot.objects.filter(pk__in=free).delete()[0]


def release_locked_symbols(*, now: datetime) -> int:
    """Give back the symbols of trades that are closed for as long as the policy lets an order of theirs keep them.

    An order that the exchange neither executes nor cancels would lock its symbol for ever. It stays watched under an
    alarm, and what it may still do is told like any fill that nobody expected: an exit only reduces, and an entry opens
    a position that no trade explains.
    """
    bound = symbol_release()
    closed = PositionSlot.objects.filter(request__trade__state=TradeState.CLOSED)
    due = closed.filter(Exists(_unfinished("request")), request__trade__exit_at__lte=now - bound)
    return sum(_released(claim, now) for claim in due.select_related("request"))


def _released(claim: PositionSlot, now: datetime) -> bool:
    undead = list(Order.objects.filter(request=claim.request).exclude(state__in=ORDER_FINAL))
    names = [order.client_order_id for order in undead]
    with transaction.atomic():
        if not PositionSlot.objects.filter(pk=claim.pk).delete()[0]:
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


def _unfinished(request: str) -> "QuerySet[Order]":
    return Order.objects.filter(request=OuterRef(request)).exclude(state__in=ORDER_FINAL)


def _exited(trade_id: UUID) -> Decimal | None:
    return Trade.objects.filter(pk=trade_id).values_list("exited_quantity", flat=True).first()
