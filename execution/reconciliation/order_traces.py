"""Reads the traces that an order may have left without its look-up: fills, who made them, and the position."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from django.db.models import F, Sum

from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport, OrderReport
from execution.domain.ports import Exchange
from execution.domain.states import TRADE_OPEN
from execution.domain.traces import LOOK_BACK, OrderQuery, Traces, fills_in_question, report_from_fills
from execution.domain.trading import Direction, OrderPurpose, PositionSide, Side
from execution.models import Fill, Order, Trade

# The order behind a fill that is booked already; for an order of somebody else any name will do.
BOOKED_ORIGIN, BOOKED = ("exchange_order_id", "order__client_order_id"), "booked"


def query_of(order: Order) -> OrderQuery:
    """Return the order as it is looked for; the first of several attempts may be the one that arrived."""
    return OrderQuery(
        client_order_id=order.client_order_id,
        order_id=order.exchange_order_id,
        buyer=order.side == Side.BUY,
        position_side=order.position_side,
        quantity=order.quantity,
        sent_at=min(order.created_at, order.sent_at),
        opens=order.purpose == OrderPurpose.ENTRY,
    )


def read_traces(order: Order, exchange: Exchange) -> Traces:
    """Read the symbol's fills since before the order was sent, who made them, and for an entry the position.

    Raises:
        ExchangeUnavailableError: fills or positions were not answered.

    """
    suspect = query_of(order)
    fills = fills_in_question(suspect, exchange.fills_since(order.symbol, suspect.sent_at - LOOK_BACK))
    return with_position(order, fills, _origins(order, fills, exchange), exchange)


def with_position(order: Order, fills: Sequence[FillReport], origins: Mapping[str, str], exchange: Exchange) -> Traces:
    """Return these traces and, when the order is one that opens a position, the position."""
    key = (order.symbol, order.position_side)
    rows = exchange.positions() if order.purpose == OrderPurpose.ENTRY else ()
    row = next((row for row in rows if (row.symbol, row.position_side) == key), None)
    if row is None:
        return Traces(fills=fills, origins=origins)
    one_way = row.position_side == PositionSide.BOTH
    held = row.quantity * _direction(order).sign if one_way else abs(row.quantity)
    return Traces(fills=fills, origins=origins, held=max(ZERO, held), held_since=row.updated_at, booked=_booked(order))


def report_of_fills(order: Order, order_id: str, traces: Traces, exchange: Exchange) -> OrderReport:
    """Return the order behind fills of ours: as the exchange shows it, else as the fills themselves do."""
    found = exchange.find_by_order_id(order.symbol, order_id)
    if isinstance(found, OrderReport) and found.client_order_id == order.client_order_id:
        return found
    fills = [fill for fill in traces.fills if fill.order_id == order_id]
    return report_from_fills(query_of(order), order.symbol, fills)


def _origins(order: Order, fills: Sequence[FillReport], exchange: Exchange) -> dict[str, str]:
    """Name the client ids behind fills: from our books, else from the exchange; what it does not know stays out."""
    trade_ids, order_ids = {fill.trade_id for fill in fills}, {fill.order_id for fill in fills}
    booked = Fill.objects.filter(symbol=order.symbol, exchange_trade_id__in=trade_ids)
    known = {order_id: name or BOOKED for order_id, name in booked.values_list(*BOOKED_ORIGIN)}
    ours = Order.objects.filter(symbol=order.symbol, exchange_order_id__in=order_ids)
    known |= dict(ours.values_list("exchange_order_id", "client_order_id"))
    for order_id in sorted(order_ids - set(known)):
        found = exchange.find_by_order_id(order.symbol, order_id)
        if isinstance(found, OrderReport):
            known[order_id] = found.client_order_id
    return known


def _booked(order: Order) -> Decimal:
    """Return what our open trades hold of the position that the order adds to."""
    trades = Trade.objects.filter(
        symbol=order.symbol,
        position_side=order.position_side,
        direction=_direction(order),
        state__in=sorted(TRADE_OPEN),
    )
    return trades.aggregate(open=Sum(F("quantity") - F("exited_quantity")))["open"] or ZERO


def _direction(order: Order) -> Direction:
    return Direction.LONG if order.side == Side.BUY else Direction.SHORT
