"""Ends orders that the exchange has forgotten by its documented retention; before that, absence proves nothing.

An order that ended without a fill can be looked up for three days from its creation, any other for ninety. After that
its absence from the open orders says that it is over, once position and fills agree with our books without it.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Sum

from execution.domain.money import ZERO, plain
from execution.domain.outcomes import held_in
from execution.domain.ports import Exchange
from execution.domain.states import ORDER_LIVE, REQUEST_FINAL, TRADE_OPEN, TRADE_OVER, OrderState
from execution.domain.traces import Inference
from execution.domain.trading import Direction, OrderPurpose, OrderService
from execution.models import AuditEvent, ExternalPosition, Order, Trade

# Binance: Query Order, Query Algo Order, All Orders; "won't be found".
UNFILLED_KEPT, FILLED_KEPT = timedelta(days=3), timedelta(days=90)
# Clocks, and the time that the exchange may take to forget.
RETENTION_MARGIN = timedelta(minutes=10)
# Longer than the Algo Service has been seen to forget what lives: as long as there is something to close, a leg that
# is taken for over too early makes room for a third.
ALGO_BLINDNESS = timedelta(hours=2)


def is_past_retention(order: Order, exchange: Exchange) -> bool:
    """Whether the exchange may have forgotten an order that it had: by its clock, from the order's creation.

    Raises:
        ExchangeUnavailableError: the exchange's time is not known.

    """
    if order.state not in ORDER_LIVE:
        return False
    kept = FILLED_KEPT if order.executed_quantity > 0 else UNFILLED_KEPT
    return exchange.now() - _created_at(order) >= kept + RETENTION_MARGIN


def contradiction(order: Order, weight: Inference, exchange: Exchange) -> str:
    """Return what speaks against an order's end; empty when position and fills are as our books say without it.

    Raises:
        ExchangeUnavailableError: the positions were not answered.

    """
    if weight.unattributed > 0 or weight.at_stake > 0:
        return weight.sentence
    booked = _booked(order)
    if order.executed_quantity > booked:
        return f"executed={plain(order.executed_quantity)} booked={plain(booked)}"
    trade = _open_trade(order)
    return _difference(trade, exchange) if trade else ""


def is_silent_long_enough(order: Order, now: datetime) -> bool:
    """Whether an absence has lasted: a leg of an open position is not given up while its service may be blind."""
    if order.service == OrderService.STANDARD or _is_over(order):
        return True
    return order.missing_since is not None and now - order.missing_since >= ALGO_BLINDNESS


def outlives_its_trade(order: Order) -> bool:
    """Whether an order keeps a symbol although nothing of its trade is left: that must not last unsaid."""
    return Trade.objects.filter(pk=order.request_id, state__in=sorted(TRADE_OVER)).exists()


def _created_at(order: Order) -> datetime:
    """Return from when on the exchange counts: of an order that a trigger made, from the trigger."""
    made: datetime = order.accepted_at or order.created_at
    if order.state != OrderState.TRIGGERED:
        return made
    told = AuditEvent.objects.filter(entity="order", entity_id=order.client_order_id, to_state=OrderState.TRIGGERED)
    triggered = told.order_by("-id").values_list("at", flat=True).first()
    return max(made, triggered) if triggered else made


def _booked(order: Order) -> Decimal:
    """Return how much of an order is in the books."""
    if order.purpose == OrderPurpose.ENTRY:
        quantity = Trade.objects.filter(pk=order.request_id).values_list("quantity", flat=True).first()
        return quantity or ZERO
    return order.fills.aggregate(booked=Sum("quantity"))["booked"] or ZERO


def _is_over(order: Order) -> bool:
    """Whether there is nothing that a leg may close: its trade is closed, or came to nothing, or was given up."""
    if order.request.state not in REQUEST_FINAL or _open_trade(order):
        return False
    return not ExternalPosition.objects.filter(request_id=order.request_id).exists()


def _open_trade(order: Order) -> Trade | None:
    return Trade.objects.filter(pk=order.request_id, state__in=sorted(TRADE_OPEN)).first()


def _difference(trade: Trade, exchange: Exchange) -> str:
    """Say where the exchange's position is another than the books of its open trade."""
    rows = {(row.symbol, row.position_side): row for row in exchange.positions()}
    held = held_in(rows.get((trade.symbol, trade.position_side)), Direction(trade.direction))
    # Read after the position: a fill that is booked meanwhile makes them differ, and the next cycle looks again.
    trade.refresh_from_db(fields=["quantity", "exited_quantity"])
    left = trade.quantity - trade.exited_quantity
    return "" if held == left else f"position={plain(held)} books={plain(left)}"
