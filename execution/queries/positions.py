"""Positions as the exchange last showed them, each with the live orders that protect it."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Prefetch

from execution.domain.money import ZERO
from execution.domain.states import ORDER_LIVE
from execution.domain.trading import OrderPurpose
from execution.models import Order, Position

PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class HeldPosition:
    """One position with its live exits; a position that is not ours has none of ours."""

    position: Position
    stops: tuple[Order, ...]
    targets: tuple[Order, ...]

    @property
    def has_tp_sl(self) -> bool:
        """Whether live stops cover the whole position and a target rests beside them."""
        covered = sum((stop.quantity - stop.executed_quantity for stop in self.stops), ZERO)
        return covered >= self.position.quantity and bool(self.targets)

    @property
    def leverage(self) -> int:
        """The trade's leverage; for a position that is not ours what its margin implies."""
        if self.position.trade:
            return self.position.trade.leverage
        margin = self.position.initial_margin
        return round(self.position.quantity * self.position.mark_price / margin) if margin else 1

    @property
    def unrealized_pnl_pct(self) -> Decimal:
        """Of the margin."""
        margin = self.position.initial_margin
        return self.position.unrealized_pnl / margin * PERCENT if margin else ZERO


def held_positions() -> list[HeldPosition]:
    """Return every position: two statements, however many there are."""
    exits = Order.objects.filter(
        purpose__in=[OrderPurpose.STOP, OrderPurpose.TARGET], state__in=sorted(ORDER_LIVE)
    ).order_by("id")
    rows = Position.objects.select_related("trade__request").prefetch_related(
        Prefetch("trade__request__orders", exits, to_attr="live_exits")
    )
    return [
        HeldPosition(
            position=row,
            stops=tuple(_exits(row, OrderPurpose.STOP)),
            targets=tuple(_exits(row, OrderPurpose.TARGET)),
        )
        for row in rows.order_by("symbol", "position_side")
    ]


def _exits(position: Position, purpose: OrderPurpose) -> Iterator[Order]:
    live: list[Order] = getattr(position.trade.request, "live_exits", []) if position.trade else []
    return (order for order in live if order.purpose == purpose)
