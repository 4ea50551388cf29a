"""Keeps the positions table as the exchange shows it and emits an event for each change."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import OperationalError, transaction

from execution.domain.outcomes import PositionReport
from execution.domain.quote_index import QuoteIndex
from execution.domain.trading import Direction
from execution.models import Order, Position, Trade
from execution.outbox import payloads
from execution.protection.coverage import cover_of, live_exits
from execution.protection.software_stops import Standing, of_side, standing_stops
from execution.store.atomic_write import Event, emit_each
from execution.store.contention import apart, is_busy
from execution.store.levels import NO_LEVELS, Levels, levels_of
from execution.store.positions import (
    delete_positions,
    positions_by_side,
    price_trades_late,
    store_positions,
    widen_price_ranges,
)

Side = tuple[str, str]
# By symbol: its quote asset, and what that is worth where that is known.
Prices = Mapping[str, tuple[str, QuoteIndex | None]]


def update_positions(
    reports: Sequence[PositionReport],
    open_trades: Iterable[Trade],
    prices: Prices,
    *,
    seen_at: datetime,
    now: datetime,
) -> None:
    """Store the positions seen, emit `position.updated` where figures moved, drop those of closed trades.

    `prices` has quote asset and index of each symbol that could be priced; any other keeps what was read before.
    `seen_at`: when the exchange began to be read; what the books have changed since then is newer.
    """
    trades = {(trade.symbol, trade.position_side): trade for trade in open_trades}
    known = positions_by_side()
    rows = [_row(report, trades.get((report.symbol, report.position_side)), seen_at) for report in reports]
    _price(rows, prices, known)
    # A position that is not seen stays while its trade is open: one empty answer is not flat.
    seen = {(row.symbol, row.position_side) for row in rows}
    gone = [row.pk for key, row in known.items() if key not in seen and key not in trades]
    shown = _Shown(
        known=known,
        trades=trades,
        exits=live_exits(),
        standing=standing_stops(now),
        levels=levels_of([trade.pk for trade in open_trades]),
        now=now,
    )
    try:
        _store(rows, gone, shown)
    except OperationalError as error:
        if not is_busy(error):
            raise
        # A row of one of them is held: all others are shown as they are.
        for row in rows:
            with apart(f"position {row.symbol} {row.position_side}"):
                _store([row], [], shown)
        for pk in gone:
            with apart(f"position {pk}"):
                _store([], [pk], shown)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What rows are compared with, and what their events show."""

    known: Mapping[Side, Position]
    trades: Mapping[Side, Trade]
    exits: Mapping[Side, Sequence[Order]]
    standing: Mapping[UUID, Standing]
    levels: Mapping[UUID, Levels]
    now: datetime

    def has_moved(self, row: Position) -> bool:
        """Whether a row differs from the stored one in what an event is emitted for."""
        known = self.known.get((row.symbol, row.position_side))
        return known is None or any(
            getattr(known, name) != getattr(row, name) for name in ("quantity", "entry_price", "mark_price", "trade_id")
        )

    def event_of(self, row: Position) -> tuple[object, Event]:
        """Return the event of a position and its aggregate: the trade, or else the position."""
        side = (row.symbol, row.position_side)
        trade, legs = self.trades.get(side), self.exits.get(side, ())
        event = payloads.position_updated(
            row,
            leverage=trade.leverage if trade else None,
            cover=cover_of(row.quantity, legs, of_side(self.standing, side)),
            levels=self.levels.get(trade.pk, NO_LEVELS) if trade else NO_LEVELS,
            now=self.now,
        )
        aggregate = trade.pk if trade else f"position:{row.symbol}:{row.position_side}"
        return aggregate, (payloads.POSITION_UPDATED, event)


def _store(rows: Sequence[Position], gone: Sequence[int], shown: _Shown) -> None:
    """Write these positions with their events, and delete those that are gone, in one transaction."""
    with transaction.atomic():
        store_positions(rows)
        widen_price_ranges([(row.trade_id, row.mark_price) for row in rows if row.trade_id])
        # Their quote asset had no known price when these trades began; now it has one.
        if late := [
            (row.trade.pk, row.quote_index)
            for row in rows
            if row.trade and row.trade.quote_index is None and row.quote_index is not None
        ]:
            price_trades_late(late)
        emit_each(dict(shown.event_of(row) for row in rows if shown.has_moved(row)), now=shown.now)
        delete_positions(gone)


def _price(rows: Iterable[Position], prices: Prices, known: Mapping[tuple[str, str], Position]) -> None:
    """Set each row's quote asset and what that is worth: as read now, or else as read before."""
    for row in rows:
        before = known.get((row.symbol, row.position_side)) or row.trade
        asset, index = prices.get(row.symbol, ("", None))
        row.quote_asset = asset or (before.quote_asset if before else "")
        row.quote_index = index.price if index else before.quote_index if before else None


def _row(report: PositionReport, trade: Trade | None, seen_at: datetime) -> Position:
    short = report.quantity < 0 or report.position_side == Direction.SHORT
    return Position(
        symbol=report.symbol,
        position_side=report.position_side,
        direction=Direction.SHORT if short else Direction.LONG,
        trade=trade,
        quantity=abs(report.quantity),
        entry_price=report.entry_price,
        mark_price=report.mark_price,
        unrealized_pnl=report.unrealized_pnl,
        initial_margin=report.initial_margin,
        liquidation_price=report.liquidation_price,
        observed_at=seen_at,
    )
