"""Books the entry's fills and opens the trade, with its events, in one transaction."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import transaction

from execution.crash_points import CrashPoint, reached
from execution.domain import pnl
from execution.domain.attribution import unbooked_fills
from execution.domain.clocks import Clock
from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport
from execution.domain.ports import Exchange
from execution.domain.quote_index import in_usd
from execution.domain.reasons import Reason
from execution.domain.states import (
    REQUEST_BEFORE_WIRE,
    TRADE_OPEN,
    RequestState,
    RequestTrigger,
    TradeState,
    TradeTrigger,
)
from execution.domain.trading import Source
from execution.models import ExecutionRequest, Fill, Order, Trade
from execution.outbox import payloads
from execution.protection.amend_legs import anchor_defaults
from execution.protection.unprotected_time import measure_unprotected
from execution.store.atomic_write import Event, Write
from execution.store.levels import NO_LEVELS, levels_of
from execution.store.orders import find_entry_to_book
from execution.store.trades import (
    find_trade,
    has_open_trade_on,
    has_trade,
    lock_request_state,
)
from execution.store.transitions import apply_to, log_line, request_move, trade_move
from execution.trades.fee_valuation import valued
from execution.trades.fills import amounts_of, booked_quantities, fill_rows
from execution.trades.streamed_fills import streamed_entry_fills

log = structlog.get_logger(__name__)
# What entry fills change of a trade that is there: reconciliation writes its other columns meanwhile.
ENTRY_COLUMNS = [
    "quantity",
    "entry_price",
    "entry_fees",
    "slippage_fraction",
    "margin",
    "margin_usd",
    "stop_price",
    "target_price",
    "lowest_price",
    "highest_price",
    "updated_at",
]


def book_entry(request_id: UUID, *, exchange: Exchange, clock: Clock) -> bool:
    """Book what the entry has filled so far, True when all of it is booked.

    The exchange's list of fills may lag behind the order's own quantity: then nothing is booked, and
    reconciliation comes back. A partly filled resting entry opens its trade too; later fills enlarge it.

    Raises:
        ExchangeUnavailableError: the fills could not be read; nothing is changed.

    """
    found = find_entry_to_book(request_id)
    if found is None:
        return False
    entry, is_booked_whole = found
    if entry.request.state in REQUEST_BEFORE_WIRE or entry.executed_quantity <= 0:
        return False
    if entry.request.source == Source.EXTERNAL:
        # Filled by an order that we did not send: the trade's books begin with the position.
        return has_trade(request_id)
    # The exchange has nothing more to show of it then.
    if is_booked_whole:
        _book(entry, [], clock())
        return True
    filled = streamed_entry_fills(entry, exchange) or exchange.fills_of_order(
        entry.symbol, entry.exchange_order_id, since=entry.created_at
    )
    fills = valued(filled, exchange, entry.request.quote_asset)
    reached(CrashPoint.ENTRY_FILLS_READ)
    if sum((fill.quantity for fill in fills), ZERO) < entry.executed_quantity:
        log.warning("fills_incomplete", request_id=str(request_id), executed=str(entry.executed_quantity))
        return False
    _book(entry, fills, clock())
    reached(CrashPoint.TRADE_BOOKED)
    return True


def _book(entry: Order, fills: Sequence[FillReport], now: datetime) -> None:
    request = entry.request
    with transaction.atomic():
        # The row lock makes two bookings of one request take turns.
        request.state, request.reason_code = lock_request_state(request.pk)
        if request.reason_code == Reason.WRITTEN_OFF:
            # Its story has ended without books.
            log.error("fills_of_a_written_off_request", request_id=str(request.pk))
            return
        known = find_trade(request.pk)
        write = Write()
        if known and not _takes_entries(known, fills, now):
            if _finish_request(write, request, now):
                write.run()
            return
        trade = _trade_from(request, fills, known, now)
        trade.stop_price, target = anchor_defaults(request, trade.entry_price, now=now)
        # Of several targets the nearest one.
        trade.target_price = target or trade.target_price or levels_of([request.pk]).get(request.pk, NO_LEVELS).target
        if known is None:
            write.insert(trade)
            write.insert(log_line("trade", trade.pk, to_state=trade.state, trigger="fills_booked", now=now))
        else:
            trade.save(update_fields=ENTRY_COLUMNS)
        fresh = unbooked_fills(fills, booked_quantities(trade) if known else {})
        stored = fill_rows(trade, fresh, {entry.exchange_order_id: entry}, entry=True)
        for fill in stored:
            write.insert(fill)
        events = _fill_events(stored, entry, trade, now)
        if known is None:
            events.append((payloads.TRADE_OPENED, payloads.trade_opened(trade, request, entry, now)))
        write.emit(trade.pk, events, trace_id=request.trace_id, now=now)
        _finish_request(write, request, now)
        write.run()
        measure_unprotected(trade)


def _takes_entries(trade: Trade, fills: Sequence[FillReport], now: datetime) -> bool:
    """Return whether these fills may enlarge the trade.

    A closed trade is opened again for fills that the exchange shows late.
    """
    if trade.state in TRADE_OPEN:
        return True
    if trade.state == TradeState.WRITTEN_OFF:
        return False
    if not unbooked_fills(fills, booked_quantities(trade)):
        return False
    if has_open_trade_on(trade.symbol, trade.position_side):
        # Fills do not show whose the position is now.
        log.error("late_entry_fill_beside_an_open_trade", trade_id=str(trade.pk))
        return False
    log.error("closed_trade_grew", trade_id=str(trade.pk))
    move = trade_move(trade, TradeTrigger.ENTRY_GREW, now=now, corrections=trade.corrections + 1, checked_at=None)
    Write().move(move).run()
    apply_to(trade, move)
    return True


def _fill_events(stored: Sequence[Fill], entry: Order, trade: Trade, now: datetime) -> list[Event]:
    events: list[Event] = []
    cumulative = trade.quantity - sum((fill.quantity for fill in stored), ZERO)
    for fill in stored:
        cumulative += fill.quantity
        body = payloads.order_filled(fill, entry, entry.request, cumulative, now)
        events += [(payloads.ORDER_FILLED, body), (payloads.ORDER_EXECUTED, body)]
    return events


def _trade_from(request: ExecutionRequest, fills: Sequence[FillReport], trade: Trade | None, now: datetime) -> Trade:
    """Create or enlarge the trade: price, fees and slippage are those of all its entry fills."""
    amounts = amounts_of(fills)
    price, quantity = pnl.vwap(amounts), pnl.total_quantity(amounts)
    if trade is None:
        trade = Trade(
            id=request.pk,
            request=request,
            symbol=request.symbol,
            quote_asset=request.quote_asset,
            quote_index=request.quote_index,
            direction=request.direction,
            position_side=request.position_side,
            leverage=request.leverage,
            entry_at=min(fill.at for fill in fills),
            reference_price=request.reference_price or price,
            stop_price=request.stop_price,
            target_price=request.target_price,
            created_at=now,
        )
    trade.quantity = quantity
    trade.entry_price = price
    trade.entry_fees = pnl.total_commission(amounts)
    prices = [fill.price for fill in fills]
    trade.lowest_price = min([*prices, *([trade.lowest_price] if trade.lowest_price else [])])
    trade.highest_price = max([*prices, *([trade.highest_price] if trade.highest_price else [])])
    trade.slippage_fraction = payloads.slippage(request, price)
    trade.margin = price * quantity / Decimal(request.leverage)
    trade.margin_usd = in_usd(trade.margin, request.quote_index)
    trade.updated_at = now
    return trade


def _finish_request(write: Write, request: ExecutionRequest, now: datetime) -> bool:
    """Close the request when its entry is over and covered.

    False when a resting entry's request stays where it is.
    """
    state = RequestState(request.state)
    covered = state in {RequestState.PROTECTED, RequestState.FLATTENED}
    if covered:
        write.move(request_move(request.pk, state, RequestTrigger.FILLS_BOOKED, now=now))
    return covered
