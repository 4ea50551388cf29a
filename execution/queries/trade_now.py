"""Reads one open trade as it is now: orders, fills, open quantity, distance to its stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.domain.money import ZERO
from execution.domain.states import ORDER_LIVE, TRADE_OPEN
from execution.domain.stop_distance import StopDistance, stop_distance
from execution.domain.trading import Direction, OrderPurpose
from execution.models import Fill, Order, Position, Trade


@dataclass(frozen=True, kw_only=True)
class TradeNow:
    """A trade with its rows.

    `position` is the exchange's last reading, None when it is closed or not shown.
    """

    trade: Trade
    orders: Sequence[Order]
    fills: Sequence[Fill]
    position: Position | None

    @property
    def open_quantity(self) -> Decimal:
        """What is left of it, in the base asset, by its booked fills."""
        return self.trade.quantity - self.trade.exited_quantity if self.trade.state in TRADE_OPEN else ZERO

    @property
    def unrealized_pnl(self) -> Decimal | None:
        """What the open part would earn at the mark price, before fees, in the quote asset."""
        if self.position is None:
            return None
        move: Decimal = self.position.mark_price - self.trade.entry_price
        return move * self.open_quantity * Direction(self.trade.direction).sign

    @property
    def realized_pnl(self) -> Decimal:
        """What its exits have earned so far, before fees, in the quote asset."""
        return sum((fill.pnl_value or fill.realized_pnl for fill in self.fills), ZERO)

    @property
    def stops(self) -> list[Order]:
        return [order for order in self.orders if order.purpose == OrderPurpose.STOP and order.state in ORDER_LIVE]

    @property
    def stop_distance(self) -> StopDistance | None:
        """How far the mark price is from the first live stop, or None without either."""
        if self.position is None:
            return None
        triggers = [order.trigger_price for order in self.stops if order.trigger_price is not None]
        return stop_distance(Direction(self.trade.direction), self.position.mark_price, triggers)


def trade_now(trade: Trade) -> TradeNow:
    """Return it, in three statements."""
    fills = Fill.objects.filter(trade=trade).select_related("order").order_by("filled_at", "exchange_trade_id")
    return TradeNow(
        trade=trade,
        orders=list(Order.objects.filter(request_id=trade.request_id).order_by("id")),
        fills=list(fills),
        position=Position.objects.filter(trade=trade).first() if trade.state in TRADE_OPEN else None,
    )
