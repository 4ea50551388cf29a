"""Computes the shortfall of trades whose books were closed or corrected, batch by batch."""

import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from execution.domain.money import ZERO
from execution.domain.quote_index import in_usd
from execution.domain.shortfall import BestPrices, Execution, shortfall_of, size_of
from execution.domain.trading import Direction, OrderType
from execution.models import Fill, Shortfall, Trade
from execution.store.quarantine import read_each
from execution.store.shortfalls import arrivals_of, save_shortfalls, trades_corrected_since, trades_without_shortfall

BATCH = 200


def keep_shortfalls(*, length: timedelta) -> None:
    """Compute the shortfalls that are due for about `length`. The next run goes on."""
    end = time.monotonic() + length.total_seconds()
    while book_shortfalls() and time.monotonic() < end:
        pass


def book_shortfalls(*, most: int = BATCH) -> int:
    """Compute the shortfalls that are due, at most so many, and return their number."""
    trades = read_each(trades_without_shortfall(most=most)) or read_each(trades_corrected_since(most=most))
    if not trades:
        return 0
    arrivals = arrivals_of([trade.pk for trade in trades])
    save_shortfalls([_row(trade, arrivals.get(trade.pk)) for trade in trades])
    return len(trades)


def _row(trade: Trade, arrival: BestPrices | None) -> Shortfall:
    request = trade.request
    found = shortfall_of(_execution(trade, arrival))
    whole = trade.quantity + found.missed_quantity
    notional = in_usd((found.benchmark_price or trade.entry_price) * whole, trade.quote_index)
    return Shortfall(
        trade=trade,
        symbol=trade.symbol,
        strategy=request.strategy,
        direction=trade.direction,
        order_type=request.order_type,
        hour=request.decided_at.hour,
        size=size_of(notional) or "",
        closed_at=trade.exit_at or trade.updated_at,
        quote_asset=trade.quote_asset,
        quote_index=trade.quote_index,
        notional_usd=notional,
        wanted_quantity=whole,
        missed_quantity=found.missed_quantity,
        benchmark=found.benchmark,
        benchmark_price=found.benchmark_price,
        total=found.total,
        **vars(found.parts),
        complete=trade.net_is_complete,
        corrections=trade.corrections,
        books_of=trade.updated_at,
    )


def _execution(trade: Trade, arrival: BestPrices | None) -> Execution:
    request = trade.request
    planned = request.expected_price
    if planned is None and request.order_type == OrderType.LIMIT:
        planned = request.limit_price_asked
    return Execution(
        sign=Direction(trade.direction).sign,
        wanted=request.quantity or trade.quantity,
        filled=trade.quantity,
        entry_value=_entry_value(trade, list(trade.fills.all())),
        exit_price=trade.exit_price or ZERO,
        decision_price=planned,
        arrival=arrival,
        gross_pnl=trade.gross_pnl or ZERO,
        fees=trade.entry_fees + trade.exit_fees,
        funding=trade.funding,
        other_income=trade.other_income,
    )


def _entry_value(trade: Trade, fills: Sequence[Fill]) -> Decimal | None:
    """Return what the entry has paid, None where not all of its fills are booked."""
    entries = [fill for fill in fills if fill.entry]
    if sum((fill.quantity for fill in entries), ZERO) != trade.quantity:
        return None
    return sum((fill.price * fill.quantity for fill in entries), ZERO)
