"""After the chain: book a position's exit fills, and when all of it is out, close the books with the real result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from execution.crash_points import CrashPoint, reached
from execution.domain import pnl
from execution.domain.attribution import exits_of_trade
from execution.domain.client_ids import closed_by
from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport, FundingReport, held_in
from execution.domain.ports import Exchange
from execution.domain.reasons import CloseReason
from execution.domain.states import TRADE_OPEN, TradeTrigger
from execution.domain.trading import Direction, OrderPurpose
from execution.models import ExecutionRequest, Fill, Order, Position, Trade
from execution.pipeline import events_out
from execution.pipeline.booking import amounts_of, new_fills
from execution.pipeline.move_legs import follow_first_target
from execution.pipeline.transitions import apply_to, trade_move
from execution.pipeline.write import Event, Write, emit

Clock = Callable[[], datetime]
LEG_REASONS = {
    OrderPurpose.STOP: CloseReason.SL,
    OrderPurpose.TARGET: CloseReason.TP,
    OrderPurpose.TRAILING: CloseReason.TRAILING,
}


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """What the exchange says about a trade's end, read before any row is locked."""

    fills: Sequence[FillReport]
    client_ids: dict[str, str]
    held: Decimal
    funding: Sequence[FundingReport]


def book_exits(trade_id: UUID, *, exchange: Exchange, clock: Clock) -> bool:
    """Book the exit fills that are new; True when the trade is closed now.

    Only fills say that a position is out: an empty list of positions changes nothing here.

    Raises:
        ExchangeUnavailableError: fills or funding could not be read; nothing is changed.

    """
    trade = Trade.objects.select_related("request").get(pk=trade_id)
    if trade.state not in TRADE_OPEN:
        return True
    evidence = _read(trade, exchange)
    if not evidence.fills:
        return False
    reached(CrashPoint.EXIT_FILLS_READ)
    closed = _book(trade_id, evidence, clock())
    reached(CrashPoint.EXITS_BOOKED)
    return closed


def _read(trade: Trade, exchange: Exchange) -> _Evidence:
    fills = _new_exits(trade, exchange)
    orders = list(trade.request.orders.all())
    ours = {order.exchange_order_id for order in orders if order.exchange_order_id}
    strange = sorted({fill.order_id for fill in fills} - ours)
    client_ids = {order_id: exchange.client_id_of(trade.symbol, order_id) for order_id in strange}
    held = ZERO
    if set(client_ids.values()) - {order.client_order_id for order in orders}:
        # Somebody else trades here. The position is read before the fills that are held against it.
        held = _held(trade, exchange)
        fills = [fill for fill in _new_exits(trade, exchange) if fill.order_id in ours or fill.order_id in client_ids]
    return _Evidence(
        fills=fills,
        client_ids=client_ids,
        held=held,
        funding=exchange.funding_since(trade.symbol, trade.entry_at) if fills else [],
    )


def _new_exits(trade: Trade, exchange: Exchange) -> list[FillReport]:
    known = set(trade.fills.values_list("exchange_trade_id", flat=True))
    since = exchange.fills_since(trade.symbol, trade.entry_at)
    return [fill for fill in since if fill.trade_id not in known and _is_exit(fill, trade)]


def _held(trade: Trade, exchange: Exchange) -> Decimal:
    rows = {(row.symbol, row.position_side): row for row in exchange.positions()}
    return held_in(rows.get((trade.symbol, trade.position_side)), Direction(trade.direction))


def _is_exit(fill: FillReport, trade: Trade) -> bool:
    exits_by_buying = Direction(trade.direction) is Direction.SHORT
    return fill.position_side == trade.position_side and fill.buyer is exits_by_buying and fill.at >= trade.entry_at


def _book(trade_id: UUID, evidence: _Evidence, now: datetime) -> bool:
    with transaction.atomic():
        # The same lock as the booking of entries: one booking of a trade at a time.
        request = ExecutionRequest.objects.select_for_update().get(pk=trade_id)
        trade = Trade.objects.get(pk=trade_id)
        if trade.state not in TRADE_OPEN:
            return True
        orders = _orders_by_exchange_id(request, evidence.client_ids)
        fills = _exits(trade, evidence, orders)
        stored = new_fills(trade, fills, orders, entry=False)
        if not stored:
            return False
        Fill.objects.bulk_create(stored)
        events: list[Event] = []
        cumulative = trade.exited_quantity
        for fill in stored:
            cumulative += fill.quantity
            body = events_out.order_filled(fill, fill.order, request, cumulative, now)
            events += [(events_out.ORDER_FILLED, body), (events_out.ORDER_EXECUTED, body)]
        closed = cumulative == trade.quantity
        if closed:
            _close(trade, _reason(fills[-1], orders, evidence.client_ids), evidence.funding, now)
            entry = request.orders.get(purpose=OrderPurpose.ENTRY)
            events.append((events_out.TRADE_CLOSED, events_out.trade_closed(trade, request, entry, now)))
        else:
            move = trade_move(trade, TradeTrigger.PART_EXITED, now=now, exited_quantity=cumulative, flat_readings=0)
            Write().move(move).run()
            if any(fill.order and _serves_a_target(fill.order) for fill in stored):
                follow_first_target(trade, now=now)
        emit(trade.pk, events, trace_id=request.trace_id, now=now)
    return bool(closed)


def _orders_by_exchange_id(request: ExecutionRequest, client_ids: dict[str, str]) -> dict[str, Order]:
    """Find our orders behind the fills; a triggered leg fills under a new order id and its own client id."""
    orders = {order.exchange_order_id: order for order in request.orders.all() if order.exchange_order_id}
    by_client_id = {order.client_order_id: order for order in request.orders.all()}
    triggered = {order_id: by_client_id[ours] for order_id, ours in client_ids.items() if ours in by_client_id}
    return orders | triggered


def _exits(trade: Trade, evidence: _Evidence, orders: Mapping[str, Order]) -> list[FillReport]:
    """Return the fills that closed this trade; what a person traded beside it belongs to no trade of ours."""
    known = set(trade.fills.values_list("exchange_trade_id", flat=True))
    fills = [fill for fill in evidence.fills if fill.trade_id not in known]
    return exits_of_trade(
        trade.quantity - trade.exited_quantity,
        [fill for fill in fills if fill.order_id in orders],
        [fill for fill in fills if fill.order_id not in orders],
        evidence.held,
    )


def _serves_a_target(order: Order) -> bool:
    """Whether an order is a target's, also one that took the target's gain at market."""
    return order.leg is not None and order.leg.purpose == OrderPurpose.TARGET


def _reason(last: FillReport, orders: dict[str, Order], client_ids: dict[str, str]) -> CloseReason:
    order = orders.get(last.order_id)
    if order is None:
        return closed_by(client_ids.get(last.order_id, ""))
    purpose = OrderPurpose(order.purpose)
    return CloseReason(order.close_reason) if order.close_reason else LEG_REASONS.get(purpose, CloseReason.MANUAL)


def _close(trade: Trade, reason: CloseReason, funding: Sequence[FundingReport], now: datetime) -> None:
    entries = list(trade.fills.filter(entry=True))
    exits = list(trade.fills.filter(entry=False))
    exit_at = max(fill.filled_at for fill in exits)
    paid = sum((payment.amount for payment in funding if trade.entry_at <= payment.at <= exit_at), ZERO)
    result = pnl.settle(
        entries=amounts_of(entries),
        exits=amounts_of(exits),
        funding=paid,
        margin=trade.margin_usd or None,
        risk=_risk(trade),
    )
    move = trade_move(
        trade,
        TradeTrigger.ALL_EXITED,
        now=now,
        details={"reason": reason, "net_pnl": str(result.net_pnl), "fees": str(result.fees)},
        exited_quantity=trade.quantity,
        exit_price=result.exit_price,
        exit_at=exit_at,
        close_reason=reason,
        exit_fees=result.fees - trade.entry_fees,
        funding=paid,
        gross_pnl=result.gross_pnl,
        net_pnl=result.net_pnl,
        pnl_percent=result.pnl_percent,
        r_multiple=result.r_multiple,
    )
    Write().move(move).run()
    apply_to(trade, move)
    Position.objects.filter(symbol=trade.symbol, position_side=trade.position_side).delete()


def _risk(trade: Trade) -> Decimal | None:
    """Return what the planned stop would have lost; None without one."""
    return abs(trade.entry_price - trade.stop_price) * trade.quantity or None if trade.stop_price else None
