"""After an exit's fill: book it, then let the other legs follow what is left of the position.

Monitor and stream come through here, whoever hears of the fill first.
"""

from decimal import Decimal
from enum import Enum, auto
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from execution.domain.ports import Exchange
from execution.domain.states import ORDER_FINAL, TradeState
from execution.domain.trading import OrderPurpose
from execution.models import EntryClaim, Order, Trade
from execution.pipeline.cancelling import cancel_order
from execution.pipeline.close_trade import book_exits
from execution.pipeline.legs import Clock, ProtectionRules
from execution.pipeline.protect_position import protect_position


class Settled(Enum):
    """What became of a trade's exits."""

    CLOSED = auto()
    REDUCED = auto()
    NOTHING_NEW = auto()


def settle_exits(trade_id: UUID, *, exchange: Exchange, rules: ProtectionRules, clock: Clock) -> Settled | None:
    """Book the exits that are new; cancel the legs of a closed trade, size down those of one that goes on.

    Returns:
        What was booked; None when there is no such trade yet.

    Raises:
        ExchangeUnavailableError: fills could not be read, or a leg could not be asked about; safe to repeat.

    """
    exited = _exited(trade_id)
    if exited is None:
        return None
    if book_exits(trade_id, exchange=exchange, clock=clock):
        cancel_legs(trade_id, exchange=exchange, clock=clock)
        return Settled.CLOSED
    if _exited(trade_id) == exited:
        return Settled.NOTHING_NEW
    protect_position(trade_id, exchange=exchange, rules=rules, clock=clock)
    return Settled.REDUCED


def cancel_legs(trade_id: UUID, *, exchange: Exchange, clock: Clock) -> None:
    """Cancel what is left of a closed trade's orders, and give its symbol back when the last of them is over."""
    left = Order.objects.filter(request_id=trade_id).exclude(state__in=ORDER_FINAL)
    for leg in left.exclude(purpose=OrderPurpose.CLOSE).select_related("request"):
        cancel_order(leg, exchange=exchange, clock=clock)
    release_symbols()


def release_symbols() -> int:
    """Give back the symbols of closed trades that have no unfinished order.

    A leg that may still rest at the exchange would reduce the next position of its symbol: until it is over, there is
    none. That is what keeps the lives of positions apart.
    """
    unfinished = Order.objects.filter(request=OuterRef("request")).exclude(state__in=ORDER_FINAL)
    over = EntryClaim.objects.filter(~Exists(unfinished), request__trade__state=TradeState.CLOSED)
    if not over.exists():
        return 0
    with transaction.atomic():
        # One that somebody holds is for the next time: it keeps its own symbol, and no other.
        free = list(over.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
        return EntryClaim.objects.filter(pk__in=free).delete()[0]


def _exited(trade_id: UUID) -> Decimal | None:
    return Trade.objects.filter(pk=trade_id).values_list("exited_quantity", flat=True).first()
