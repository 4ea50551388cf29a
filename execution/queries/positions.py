"""Positions as the exchange last showed them, each with the live orders that protect it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from django.db.models import QuerySet
from django.utils import timezone

from execution.domain.coverage import PositionCover
from execution.domain.money import ZERO
from execution.domain.stop_distance import StopDistance, stop_distance
from execution.domain.trading import Direction, OrderPurpose
from execution.models import Heartbeat, Order, Position, Trade
from execution.protection.coverage import cover_of, live_exits
from execution.protection.software_stops import Standing, of_side, standing_stops
from execution.store.heartbeats import MONITOR
from execution.store.levels import without_stop

PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class HeldPosition:
    """One position with our live exits: those of its trade, and those that protect an external one."""

    position: Position
    stops: tuple[Order, ...]
    targets: tuple[Order, ...]
    trailing: tuple[Order, ...] = ()
    standing: tuple[Standing, ...] = ()
    # False where the plan has no stop, which policy permits.
    stop_required: bool = True
    # The last reading of the exchange does not show it any more, though its trade is open: no total counts it.
    phantom: bool = False

    @cached_property
    def cover(self) -> PositionCover:
        """How live exits and software stops protect it."""
        return cover_of(self.position.quantity, [*self.stops, *self.targets, *self.trailing], self.standing)

    @property
    def stop_distance(self) -> StopDistance | None:
        """How far the mark price is from the first live stop, or None without one."""
        triggers = [order.trigger_price for order in self.stops if order.trigger_price is not None]
        return stop_distance(Direction(self.position.direction), self.position.mark_price, triggers)

    @property
    def leverage(self) -> int:
        """The trade's leverage, or for a position that is not ours what its margin implies."""
        if self.position.trade:
            return self.position.trade.leverage
        margin = self.position.initial_margin
        return round(self.position.quantity * self.position.mark_price / margin) if margin else 1

    @property
    def unrealized_pnl_usd(self) -> Decimal | None:
        return self.position.usd(self.position.unrealized_pnl)

    @property
    def margin_usd(self) -> Decimal | None:
        return self.position.usd(self.position.initial_margin)

    @property
    def unrealized_pnl_pct(self) -> Decimal:
        """Of the margin."""
        margin = self.position.initial_margin
        return self.position.unrealized_pnl / margin * PERCENT if margin else ZERO


def held_positions(now: datetime | None = None) -> list[HeldPosition]:
    """Return every position: five statements however many there are, four more beside software stops."""
    read_at = _last_reading()
    rows = list(Position.objects.select_related("trade__request__bracket").order_by("symbol", "position_side"))
    return [
        replace(each, phantom=read_at is not None and each.position.observed_at < read_at)
        for each in _with_exits(rows, now or timezone.now())
    ]


def held_trades(trades: "QuerySet[Trade]", now: datetime) -> list[HeldPosition]:
    """Return what our fills have opened in trades that no reading of the exchange has shown yet.

    The mark price of such a position is 0, which is no price. Without such a trade it takes one statement.
    """
    rows = [_unread(trade) for trade in trades.select_related("request__bracket").order_by("symbol", "position_side")]
    return _with_exits(rows, now) if rows else []


def _unread(trade: Trade) -> Position:
    return Position(
        symbol=trade.symbol,
        position_side=trade.position_side,
        direction=trade.direction,
        trade=trade,
        quote_asset=trade.quote_asset,
        quote_index=trade.quote_index,
        quantity=trade.quantity - trade.exited_quantity,
        entry_price=trade.entry_price,
        mark_price=ZERO,
        unrealized_pnl=ZERO,
        initial_margin=trade.margin,
        liquidation_price=ZERO,
        observed_at=trade.entry_at,
    )


def _with_exits(rows: Sequence[Position], now: datetime) -> list[HeldPosition]:
    exits, standing = live_exits(), standing_stops(now)
    unplanned = without_stop([row.trade_id for row in rows if row.trade_id])
    return [
        replace(
            _held(
                row, exits.get((row.symbol, row.position_side), []), of_side(standing, (row.symbol, row.position_side))
            ),
            stop_required=row.trade_id not in unplanned,
        )
        for row in rows
    ]


def _last_reading() -> datetime | None:
    """Return when the last cycle that could read the exchange began, or None when the last one could not."""
    details = Heartbeat.objects.filter(pk=MONITOR).values_list("details", flat=True).first() or {}
    return datetime.fromisoformat(details["begun_at"]) if details.get("begun_at") else None


def _held(position: Position, exits: Sequence[Order], standing: Sequence[Standing]) -> HeldPosition:
    return HeldPosition(
        position=position,
        stops=tuple(order for order in exits if order.purpose == OrderPurpose.STOP),
        targets=tuple(order for order in exits if order.purpose == OrderPurpose.TARGET),
        trailing=tuple(order for order in exits if order.purpose == OrderPurpose.TRAILING),
        standing=tuple(standing),
    )
