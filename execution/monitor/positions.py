"""Keeps the positions table as the exchange shows it and says what changed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db import connection, transaction

from execution.domain.outcomes import PositionReport
from execution.domain.trading import Direction
from execution.models import Order, Position, Trade
from execution.pipeline import events_out
from execution.pipeline.coverage import has_tp_sl, live_exits
from execution.pipeline.write import Event, emit_each

Side = tuple[str, str]
# One statement for all trades; greatest() and least() pass over what is not known yet.
WIDEN = """
    UPDATE execution_trade SET highest_price = greatest(highest_price, mark), lowest_price = least(lowest_price, mark)
    FROM unnest(%s::uuid[], %s::numeric[]) AS seen (trade_id, mark)
    WHERE id = trade_id AND (mark BETWEEN lowest_price AND highest_price) IS NOT TRUE
"""
SHOWN = [
    "direction",
    "trade",
    "quantity",
    "entry_price",
    "mark_price",
    "unrealized_pnl",
    "initial_margin",
    "liquidation_price",
    "observed_at",
]


def update_positions(
    reports: Sequence[PositionReport], open_trades: Iterable[Trade], *, seen_at: datetime, now: datetime
) -> None:
    """Store the positions seen, emit `position.updated` where figures moved, drop those of closed trades.

    `seen_at`: when the exchange began to be read; what the books have changed since then is newer.
    """
    trades = {(trade.symbol, trade.position_side): trade for trade in open_trades}
    known = {(row.symbol, row.position_side): row for row in Position.objects.all()}
    rows = [_row(report, trades.get((report.symbol, report.position_side)), seen_at) for report in reports]
    exits = live_exits()
    with transaction.atomic():
        Position.objects.bulk_create(
            rows, update_conflicts=True, update_fields=SHOWN, unique_fields=["symbol", "position_side"]
        )
        _note_prices(rows)
        moved = [row for row in rows if _changed(known.get((row.symbol, row.position_side)), row)]
        emit_each(dict(_told(row, trades, exits, now) for row in moved), now=now)
        # A position that is not seen stays while its trade is open: one empty answer is not flat.
        seen = {(row.symbol, row.position_side) for row in rows}
        gone = [row.pk for key, row in known.items() if key not in seen and key not in trades]
        Position.objects.filter(pk__in=gone).delete()


def _note_prices(rows: Sequence[Position]) -> None:
    """Widen the range of prices that open trades have seen; `updated_at` stays: a reading is no change of the trade."""
    seen = [(row.trade_id, row.mark_price) for row in rows if row.trade_id]
    with connection.cursor() as cursor:
        cursor.execute(WIDEN, [[pk for pk, _ in seen], [price for _, price in seen]])


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


def _changed(known: Position | None, row: Position) -> bool:
    return known is None or any(
        getattr(known, name) != getattr(row, name) for name in ("quantity", "entry_price", "mark_price", "trade_id")
    )


def _told(
    row: Position, trades: Mapping[Side, Trade], exits: Mapping[Side, Sequence[Order]], now: datetime
) -> tuple[object, Event]:
    """Return what is said about a position, and whose event it is: its trade's, or its own without one."""
    side = (row.symbol, row.position_side)
    trade, both = trades.get(side), has_tp_sl(row.quantity, exits.get(side, ()))
    event = events_out.position_updated(row, leverage=trade.leverage if trade else None, has_tp_sl=both, now=now)
    aggregate = trade.pk if trade else f"position:{row.symbol}:{row.position_side}"
    return aggregate, (events_out.POSITION_UPDATED, event)
