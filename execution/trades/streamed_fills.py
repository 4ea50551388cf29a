"""Stores and reads the fills that the user-data stream has reported, so that the books need no query."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport
from execution.domain.ports import ExchangeUnavailableError, MarketData
from execution.domain.states import OrderState
from execution.models import Order, StreamedFill, Trade
from execution.store.fills import (
    has_exit_without_fill,
    insert_streamed_fill,
    streamed_fills_of,
    streamed_fills_of_exits,
)
from execution.store.stream_freshness import fills_are_streamed

# Accounts in credits mode book everything in an asset of its own, which shows in the fee; this one never does.
FEE_TOKEN = "BNB"  # noqa: S105 -- an asset
# The source of evidence, as orders name it.
STREAM = "stream"
# Many that end at once are reported one after another.
STREAMED_WITHIN = timedelta(seconds=3)
SIDES = {True: "BUY", False: "SELL"}


def note_fill(order: Order, fill: FillReport, *, now: datetime) -> None:
    """Store a fill that the stream reports of one of our orders.

    Reported again, it changes nothing.
    """
    if SIDES[fill.buyer] != order.side or fill.symbol != order.symbol:
        return
    row = StreamedFill(
        order=order,
        symbol=fill.symbol,
        exchange_trade_id=fill.trade_id,
        exchange_order_id=fill.order_id,
        buyer=fill.buyer,
        position_side=fill.position_side,
        price=fill.price,
        quantity=fill.quantity,
        realized_pnl=fill.realized_pnl,
        commission=fill.commission,
        commission_asset=fill.commission_asset,
        maker=fill.maker,
        filled_at=fill.at,
        reported_at=now,
    )
    insert_streamed_fill(row)


def is_about_to_be_streamed(trade_id: UUID, *, now: datetime) -> bool:
    """Return whether the stream is about to report the fill of an exit that has just executed.

    An answer is often faster than the stream, and a process that reads the list of fills then reads what the stream
    reports next.
    """
    if not fills_are_streamed(now):
        return False
    # What the stream itself has reported came with its fill, or with one that it does not report whole.
    return has_exit_without_fill(trade_id, within=STREAMED_WITHIN, stream=STREAM, now=now)


def streamed_exits(trade: Trade, exchange: MarketData) -> tuple[list[FillReport], dict[str, str]]:
    """Return the reported fills of a trade's exits, oldest first, and the client ids of their orders."""
    found = _believed(streamed_fills_of_exits(trade.pk), trade.symbol, trade.quote_asset, exchange)
    return [_report(row) for row in found], {row.exchange_order_id: row.order.client_order_id for row in found}


def streamed_entry_fills(entry: Order, exchange: MarketData) -> list[FillReport]:
    """Return the reported fills of an entry, oldest first, when they are all of them, else none."""
    if entry.state != OrderState.FILLED:
        return []
    found = _believed(streamed_fills_of(entry), entry.symbol, entry.request.quote_asset, exchange)
    filled = sum((row.quantity for row in found), ZERO)
    return [_report(row) for row in found] if filled == entry.quantity == entry.executed_quantity else []


def _believed(
    found: Sequence[StreamedFill], symbol: str, quote_asset: str, exchange: MarketData
) -> Sequence[StreamedFill]:
    """Return the rows whose result is known to be in the quote asset, none where one of them is not."""
    paid_in = {row.commission_asset for row in found}
    # Results and fees are booked in the same asset, unless the account pays its fees in the exchange's own token.
    if paid_in <= {quote_asset}:
        return found
    if paid_in - {quote_asset, FEE_TOKEN}:
        return []
    try:
        rules = exchange.known_rules(symbol)
    except ExchangeUnavailableError:
        return []
    return found if rules and rules.margin_asset == quote_asset else []


def _report(row: StreamedFill) -> FillReport:
    return FillReport(
        trade_id=row.exchange_trade_id,
        order_id=row.exchange_order_id,
        symbol=row.symbol,
        buyer=row.buyer,
        position_side=row.position_side,
        price=row.price,
        quantity=row.quantity,
        realized_pnl=row.realized_pnl,
        commission=row.commission,
        commission_asset=row.commission_asset,
        maker=row.maker,
        at=row.filled_at,
    )
