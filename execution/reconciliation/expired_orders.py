"""Ends orders that the exchange has forgotten by its documented retention.

Before that, absence proves nothing.

An order that ended without a fill can be looked up for three days from its creation, any other for ninety. After that
its absence from the open orders proves that it is over, once position and fills agree with our books without it.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Sum

from execution.domain.money import ZERO, plain
from execution.domain.outcomes import held_in
from execution.domain.ports import Account, MarketData
from execution.domain.states import ORDER_LIVE, REQUEST_FINAL, OrderState
from execution.domain.traces import Inference
from execution.domain.trading import Direction, OrderPurpose, OrderService
from execution.models import Order, Trade
from execution.store.external_positions import has_external_position
from execution.store.reconciliation import booked_entry_quantity, find_open_trade, is_trade_over, triggered_at

# Binance: Query Order, Query Algo Order, All Orders; "won't be found".
UNFILLED_KEPT, FILLED_KEPT = timedelta(days=3), timedelta(days=90)
# Clocks, and the time that the exchange may take to forget.
RETENTION_MARGIN = timedelta(minutes=10)
# Longer than the Algo Service has been seen to forget what lives: as long as there is something to close, a leg that
# is taken for over too early makes room for a third.
ALGO_BLINDNESS = timedelta(hours=2)


def is_past_retention(order: Order, exchange: MarketData) -> bool:
    """Whether the exchange may have forgotten an order, by its clock and from the order's creation.

    Raises:
        ExchangeUnavailableError: the exchange's time is not known.

    """
    if order.state not in ORDER_LIVE:
        return False
    kept = FILLED_KEPT if order.executed_quantity > 0 else UNFILLED_KEPT
    return exchange.now() - _created_at(order) >= kept + RETENTION_MARGIN


def contradiction(order: Order, weight: Inference, exchange: Account) -> str:
    """Return what speaks against an order's end, empty when nothing does.

    Nothing does when position and fills agree with our books without it.

    Raises:
        ExchangeUnavailableError: the positions were not answered.

    """
    if weight.unattributed > 0 or weight.at_stake > 0:
        return weight.sentence
    booked = _booked(order)
    if order.executed_quantity > booked:
        return f"executed={plain(order.executed_quantity)} booked={plain(booked)}"
    trade = find_open_trade(order.request_id)
    return _difference(trade, exchange) if trade else ""


def is_silent_long_enough(order: Order, now: datetime) -> bool:
    """Whether an absence has lasted long enough to be believed.

    A leg of an open position is not given up while its service may be blind.
    """
    if order.service == OrderService.STANDARD or _has_nothing_to_close(order):
        return True
    return order.missing_since is not None and now - order.missing_since >= ALGO_BLINDNESS


def outlives_its_trade(order: Order) -> bool:
    """Whether an order keeps a symbol although nothing of its trade is left."""
    return is_trade_over(order.request_id)


def _created_at(order: Order) -> datetime:
    """Return from when on the exchange counts: of an order that a trigger made, from the trigger."""
    made: datetime = order.accepted_at or order.created_at
    triggered = triggered_at(order.client_order_id) if order.state == OrderState.TRIGGERED else None
    return max(made, triggered) if triggered else made


def _booked(order: Order) -> Decimal:
    """Return how much of an order is in the books."""
    if order.purpose == OrderPurpose.ENTRY:
        return booked_entry_quantity(order.request_id)
    return order.fills.aggregate(booked=Sum("quantity"))["booked"] or ZERO


def _has_nothing_to_close(leg: Order) -> bool:
    """Whether there is nothing left that a leg may close.

    Its trade is closed, came to nothing or was given up, and no external position has its exits.
    """
    if leg.request.state not in REQUEST_FINAL or find_open_trade(leg.request_id):
        return False
    return not has_external_position(leg.request_id)


def _difference(trade: Trade, exchange: Account) -> str:
    """Return how the exchange's position differs from the books of its open trade, empty when it does not."""
    rows = {(row.symbol, row.position_side): row for row in exchange.positions()}
    held = held_in(rows.get((trade.symbol, trade.position_side)), Direction(trade.direction))
    # Read after the position: a fill that is booked meanwhile makes them differ, and the next cycle looks again.
    trade.refresh_from_db(fields=["quantity", "exited_quantity"])
    left = trade.quantity - trade.exited_quantity
    return "" if held == left else f"position={plain(held)} books={plain(left)}"
