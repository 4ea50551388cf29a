"""Reads the traces of an order that no look-up shows: fills, the orders behind them, and the position."""

from collections.abc import Mapping, Sequence

from execution.domain.money import ZERO
from execution.domain.outcomes import FillReport, OrderReport
from execution.domain.ports import Account, Exchange, OrderReader
from execution.domain.traces import LOOK_BACK, OrderQuery, Traces, fills_in_question, report_from_fills
from execution.domain.trading import Direction, OrderPurpose, PositionSide, Side
from execution.models import Order
from execution.store.reconciliation import booked_origins, names_by_exchange_order_id, open_quantity_of_trades

# Stands for the client id of a booked fill's order that is not ours: any name will do.
BOOKED = "booked"


def query_of(order: Order) -> OrderQuery:
    """Return the order as traces are searched for it: the first of several attempts may have arrived."""
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
    """Read the fills since before the order was sent, their orders, and for an entry the position.

    Raises:
        ExchangeUnavailableError: fills or positions were not answered.

    """
    query = query_of(order)
    fills = fills_in_question(query, exchange.fills_since(order.symbol, query.sent_at - LOOK_BACK))
    return with_position(order, fills, _origins(order, fills, exchange), exchange)


def with_position(order: Order, fills: Sequence[FillReport], origins: Mapping[str, str], exchange: Account) -> Traces:
    """Return these traces and, when the order is one that opens a position, the position."""
    key = (order.symbol, order.position_side)
    rows = exchange.positions() if order.purpose == OrderPurpose.ENTRY else ()
    row = next((row for row in rows if (row.symbol, row.position_side) == key), None)
    if row is None:
        return Traces(fills=fills, origins=origins)
    direction = Direction.LONG if order.side == Side.BUY else Direction.SHORT
    held = row.quantity * direction.sign if row.position_side == PositionSide.BOTH else abs(row.quantity)
    return Traces(
        fills=fills,
        origins=origins,
        held=max(ZERO, held),
        held_since=row.updated_at,
        booked=open_quantity_of_trades(order.symbol, order.position_side, direction),
    )


def report_of_fills(order: Order, order_id: str, traces: Traces, exchange: OrderReader) -> OrderReport:
    """Return the order behind our fills: as the exchange shows it, else as the fills themselves do."""
    found = exchange.find_by_order_id(order.symbol, order_id)
    if isinstance(found, OrderReport) and found.client_order_id == order.client_order_id:
        return found
    fills = [fill for fill in traces.fills if fill.order_id == order_id]
    return report_from_fills(query_of(order), order.symbol, fills)


def _origins(order: Order, fills: Sequence[FillReport], exchange: Exchange) -> dict[str, str]:
    """Return the client ids behind fills by order id: from our books, else from the exchange.

    An order that neither knows is left out.
    """
    trade_ids, order_ids = {fill.trade_id for fill in fills}, {fill.order_id for fill in fills}
    known = {order_id: name or BOOKED for order_id, name in booked_origins(order.symbol, trade_ids)}
    known |= names_by_exchange_order_id(order.symbol, order_ids)
    for order_id in sorted(order_ids - set(known)):
        found = exchange.find_by_order_id(order.symbol, order_id)
        if isinstance(found, OrderReport):
            known[order_id] = found.client_order_id
    return known
