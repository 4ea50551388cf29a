"""Books a position's exit fills, and closes the trade with its real result when all of it is out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from execution.crash_points import CrashPoint, reached
from execution.domain.attribution import exits_of_trade, unbooked_fills
from execution.domain.client_ids import SETTLED_WITH_ITS_CONTRACT, closed_by
from execution.domain.clocks import Clock
from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport, held_in
from execution.domain.ports import Exchange, ExchangeUnavailableError, OrderReader
from execution.domain.quote_index import QuoteIndex
from execution.domain.reasons import CloseReason
from execution.domain.states import TRADE_OPEN, TradeTrigger
from execution.domain.trading import Direction, OrderPurpose
from execution.models import ExecutionRequest, Order, Position, Trade
from execution.outbox import payloads
from execution.protection.amend_legs import follow_first_target
from execution.protection.unprotected_time import measure_unprotected
from execution.risk.pricing import priced
from execution.store.atomic_write import Event, Write, emit
from execution.store.trades import load_trade, load_trade_with_request, lock_request_of_trade
from execution.store.transitions import apply_to, trade_move
from execution.trades.account_income import ABOUT_NOW
from execution.trades.closing_figures import FORCED, ValuedIncome, books_of, read_income
from execution.trades.fee_valuation import valued
from execution.trades.fills import booked_quantities, fill_rows, store
from execution.trades.streamed_fills import streamed_exits

# An order that is unknown for longer after its fill is not shown late: the exchange keeps orders for 90 days.
SHOWN_WITHIN = timedelta(minutes=10)
LEG_REASONS = {
    OrderPurpose.STOP: CloseReason.SL,
    OrderPurpose.TARGET: CloseReason.TP,
    OrderPurpose.TRAILING: CloseReason.TRAILING,
}


class _IncomeWantedError(Exception):
    """The trade closes with these fills, but its income was not read.

    Another process has booked the rest meanwhile.
    """


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The exchange's evidence for a trade's end, read before any row is locked.

    `income`: None when not read.
    """

    fills: Sequence[FillReport]
    client_ids: dict[str, str]
    held: Decimal = ZERO
    income: Sequence[ValuedIncome] | None = None
    index: QuoteIndex | None = None


def book_exits(trade_id: UUID, *, exchange: Exchange, clock: Clock) -> bool:
    """Book the exit fills that are new, True when the trade is closed now.

    Only fills say that a position is out: an empty list of positions changes nothing here. What the user-data stream
    has reported of our own exits is booked without a query. For all else the exchange is asked.

    Raises:
        ExchangeUnavailableError: fills or funding could not be read; nothing is changed.

    """
    trade = load_trade_with_request(trade_id)
    if trade.state not in TRADE_OPEN:
        return True
    fills, client_ids = streamed_exits(trade, exchange)
    fresh = valued(_not_whole(fills, trade), exchange, trade.quote_asset)
    streamed = _Evidence(fills=fresh, client_ids=client_ids)
    return _book_known(trade, streamed if streamed.fills else _read(trade, exchange, clock()), exchange, clock)


def _book_known(trade: Trade, known: _Evidence, exchange: Exchange, clock: Clock) -> bool:
    if not known.fills:
        return False
    reached(CrashPoint.EXIT_FILLS_READ)
    may_close = sum((fill.quantity for fill in known.fills), ZERO) >= trade.quantity - trade.exited_quantity
    try:
        closed = _book(trade.pk, _complete(trade, known, exchange, clock) if may_close else known, clock())
    except _IncomeWantedError:
        closed = _book(trade.pk, _complete(trade, known, exchange, clock), clock())
    reached(CrashPoint.EXITS_BOOKED)
    return closed


def _complete(trade: Trade, known: _Evidence, exchange: Exchange, clock: Clock) -> _Evidence:
    """Add what the books of a closed trade need beside its fills."""
    forced = bool({closed_by(name) for name in known.client_ids.values()} & FORCED)
    # A little before, so that positions that end together share a reading: what it may miss is found a minute later.
    since = _learned_at(trade, known.fills, clock()) - ABOUT_NOW
    income = read_income(trade, exchange, forced=forced, learned_at=since, clock=clock)
    return replace(known, income=income, index=priced(exchange, trade.quote_asset))


def _learned_at(trade: Trade, fills: Sequence[FillReport], now: datetime) -> datetime:
    """Return when we learned, by our clock, that our exits have executed.

    Of other clients' orders it is now.
    """
    learned = {order.exchange_order_id: order.last_evidence_at for order in trade.request.orders.all()}
    return max((learned.get(fill.order_id) or now for fill in fills), default=now)


def _read(trade: Trade, exchange: Exchange, now: datetime) -> _Evidence:
    fills = new_exits(trade, exchange)
    orders = list(trade.request.orders.all())
    ours = {order.exchange_order_id for order in orders if order.exchange_order_id}
    client_ids = _origins([fill for fill in fills if fill.order_id not in ours], exchange, now)
    held = ZERO
    if set(client_ids.values()) - {order.client_order_id for order in orders}:
        # Another client trades here. The position is read before the fills that are compared with it.
        rows = {(row.symbol, row.position_side): row for row in exchange.positions()}
        held = held_in(rows.get((trade.symbol, trade.position_side)), Direction(trade.direction))
        fills = [fill for fill in new_exits(trade, exchange) if fill.order_id in ours or fill.order_id in client_ids]
    return _Evidence(fills=valued(fills, exchange, trade.quote_asset), client_ids=client_ids, held=held)


def _origins(fills: Sequence[FillReport], exchange: Exchange, now: datetime) -> dict[str, str]:
    """Return the client ids behind orders that are not known as ours.

    It is empty for an order that the exchange has forgotten.

    Raises:
        ExchangeUnavailableError: it did not answer, or does not show the order behind a fresh fill yet.

    """
    newest = {fill.order_id: fill.at for fill in sorted(fills, key=lambda fill: fill.at)}
    origins = {order_id: _origin(fills[0].symbol, order_id, exchange) for order_id in sorted(newest)}
    late = [order_id for order_id, name in origins.items() if not name and now - newest[order_id] < SHOWN_WITHIN]
    if late:
        raise ExchangeUnavailableError(f"orders behind fills are not shown yet: {', '.join(late)}")
    return origins


def _origin(symbol: str, order_id: str, exchange: Exchange) -> str:
    """Return the client id of an order that is not ours.

    Of a contract that is gone it is the exchange's own.
    """
    name = exchange.client_id_of(symbol, order_id)
    return SETTLED_WITH_ITS_CONTRACT if not name and exchange.rules(symbol) is None else name


def new_exits(trade: Trade, exchange: OrderReader) -> list[FillReport]:
    """Return the fills that are not booked whole, each with its whole quantity.

    What is booked is read again under the lock.
    """
    return _not_whole(exchange.fills_since(trade.symbol, trade.entry_at), trade)


def _not_whole(fills: Sequence[FillReport], trade: Trade) -> list[FillReport]:
    booked = booked_quantities(trade)
    return [fill for fill in fills if fill.quantity > booked.get(fill.trade_id, ZERO) and _is_exit(fill, trade)]


def _is_exit(fill: FillReport, trade: Trade) -> bool:
    exits_by_buying = Direction(trade.direction) is Direction.SHORT
    return fill.position_side == trade.position_side and fill.buyer is exits_by_buying and fill.at >= trade.entry_at


def _book(trade_id: UUID, evidence: _Evidence, now: datetime) -> bool:
    with transaction.atomic():
        # The same lock as the booking of entries: one booking of a trade at a time.
        request = lock_request_of_trade(trade_id)
        trade = load_trade(trade_id)
        if trade.state not in TRADE_OPEN:
            return True
        orders = _orders_by_exchange_id(request, evidence.client_ids)
        fills = _exits(trade, evidence, orders)
        stored = fill_rows(trade, fills, orders, entry=False)
        if not stored:
            return False
        store(stored)
        events: list[Event] = []
        cumulative = trade.exited_quantity
        for fill in stored:
            cumulative += fill.quantity
            body = payloads.order_filled(fill, fill.order, request, cumulative, now)
            events += [(payloads.ORDER_FILLED, body), (payloads.ORDER_EXECUTED, body)]
        closed = cumulative == trade.quantity
        if closed:
            if evidence.income is None:
                raise _IncomeWantedError
            _close(trade, _reason(fills[-1], orders, evidence.client_ids), evidence, now)
            entry = request.orders.get(purpose=OrderPurpose.ENTRY)
            events.append((payloads.TRADE_CLOSED, payloads.trade_closed(trade, request, entry, now)))
        else:
            move = trade_move(trade, TradeTrigger.PART_EXITED, now=now, exited_quantity=cumulative, flat_readings=0)
            Write().move(move).run()
            # A target's own order, or one that took its gain at market.
            legs = (fill.order.leg for fill in stored if fill.order)
            if any(leg is not None and leg.purpose == OrderPurpose.TARGET for leg in legs):
                follow_first_target(trade, now=now)
        emit(trade.pk, events, trace_id=request.trace_id, now=now)
        measure_unprotected(trade)
    return bool(closed)


def _orders_by_exchange_id(request: ExecutionRequest, client_ids: dict[str, str]) -> dict[str, Order]:
    """Find our orders behind the fills.

    A triggered leg fills under a new order id and its own client id.
    """
    orders = {order.exchange_order_id: order for order in request.orders.all() if order.exchange_order_id}
    by_client_id = {order.client_order_id: order for order in request.orders.all()}
    triggered = {order_id: by_client_id[ours] for order_id, ours in client_ids.items() if ours in by_client_id}
    return orders | triggered


def _exits(trade: Trade, evidence: _Evidence, orders: Mapping[str, Order]) -> list[FillReport]:
    """Return the fills that closed this trade.

    What another client traded beside it belongs to none of our trades.
    """
    fills = unbooked_fills(evidence.fills, booked_quantities(trade))
    return exits_of_trade(
        trade.quantity - trade.exited_quantity,
        [fill for fill in fills if fill.order_id in orders],
        [fill for fill in fills if fill.order_id not in orders],
        evidence.held,
    )


def _reason(last: FillReport, orders: dict[str, Order], client_ids: dict[str, str]) -> CloseReason:
    order = orders.get(last.order_id)
    if order is None:
        return closed_by(client_ids.get(last.order_id, ""))
    purpose = OrderPurpose(order.purpose)
    return CloseReason(order.close_reason) if order.close_reason else LEG_REASONS.get(purpose, CloseReason.MANUAL)


def _close(trade: Trade, reason: CloseReason, evidence: _Evidence, now: datetime) -> None:
    books = books_of(trade, evidence.income or [], evidence.index)
    move = trade_move(
        trade,
        TradeTrigger.ALL_EXITED,
        now=now,
        details={
            "reason": reason,
            "net_pnl": str(books["net_pnl"]),
            "exit_fees": str(books["exit_fees"]),
            "quote_index": str(evidence.index or f"{trade.quote_asset}USD {books['quote_index']} (of the entry)"),
        },
        exited_quantity=trade.quantity,
        close_reason=reason,
        **books,
    )
    Write().move(move).run()
    apply_to(trade, move)
    Position.objects.filter(symbol=trade.symbol, position_side=trade.position_side).delete()
