"""Ordinary orders: place, test, look up, list, cancel, and the trades they made."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from paper_exchange.core.orders import Fill, Order
from paper_exchange.core.retention import KEPT_MS, is_kept
from paper_exchange.errors import missing, refuse
from paper_exchange.http import order_params, render
from paper_exchange.http.calls import Call, Route, RouteTable, per_symbol
from paper_exchange.http.routes.pages import Span, Window, after_id, cut, has_times, read_from_id, read_span, within

ORDERS: Final = Window(page=500, most=1000, less_than=True, kept_ms=KEPT_MS)
TRADES: Final = Window(page=500, most=1000)
CANCELLED_ALL: Final = {"code": 200, "msg": "The operation of cancel all open order is done."}


def place(call: Call) -> object:
    order = call.exchange.orders.place(call.account, order_params.order_ticket(call.params))
    # ACK answers before matching; RESULT waits for the end, which is immediate here.
    return render.placed_order(order, acknowledged=not order_params.wants_result(call.params))


def test(call: Call) -> object:
    """Check an order like POST /order does, and record nothing."""
    order = call.exchange.orders.check(call.account, order_params.order_ticket(call.params))
    return render.placed_order(order) | {"avgPrice": "0.00", "cumQuote": "0.00000"}


def cancel(call: Call) -> object:
    symbol, order_id, client_id = named(call)
    return render.placed_order(call.exchange.orders.cancel(call.account, symbol, order_id, client_id))


def cancel_all(call: Call) -> object:
    call.exchange.orders.cancel_all(call.account, call.market().symbol.name)
    return CANCELLED_ALL


def query(call: Call) -> object:
    return render.queried_order(found(call))


def query_open(call: Call) -> object:
    order = call.exchange.orders.find(call.account, *named(call))
    if order is None or not order.is_open:
        raise refuse(-2013)
    return render.queried_order(order)


def list_open(call: Call) -> object:
    chosen = call.chosen_market()
    opened = call.account.open_orders
    books = [opened[chosen.symbol.name]] if chosen else list(opened.values())
    orders = [order for book in books for order in book.values()]
    return [render.queried_order(order) for order in sorted(orders, key=_order_id)]


def list_all(call: Call) -> object:
    """All orders of a symbol, or of all symbols, oldest first."""
    chosen, books = call.chosen_past_market(), call.account.orders
    limit, first = call.limit(ORDERS.page, ORDERS.most), call.params.integer("orderId")
    lone_id = first is not None and not has_times(call)
    span = read_from_id(call, ORDERS) if lone_id else read_span(call, ORDERS)
    lists: list[Sequence[Order]] = [books[chosen.symbol.name]] if chosen else list(books.values())
    if first is not None:
        lists = [after_id(rows, first, _order_id) for rows in lists]
    found_rows = chain.from_iterable(within(rows, span, _created) for rows in lists)
    page = cut(sorted(found_rows, key=_order_id), span, limit, lambda order: is_kept(order, call.now))
    return [render.listed_order(order) for order in page]


def list_trades(call: Call) -> object:
    """Trades of a symbol, or of one of its orders, oldest first."""
    symbol, params = call.past_market().symbol.name, call.params
    limit, order_id, first = call.limit(TRADES.page, TRADES.most), params.integer("orderId"), params.integer("fromId")
    rows = _fills(call, symbol, order_id)
    span = _trades_span(call, first, order_id)
    if first is not None:
        rows = after_id(rows, first, _trade_id)
    return [render.trade(fill) for fill in cut(within(rows, span, _time), span, limit)]


def _fills(call: Call, symbol: str, order_id: int | None) -> Sequence[Fill]:
    """Return the fills of a symbol or of one order, which may itself be forgotten."""
    rows = call.account.fills[symbol]
    if order_id is None:
        return rows
    order = call.account.order_by_id.get((symbol, order_id))
    return order.fills if order else [fill for fill in rows if fill.order.order_id == order_id]


def _trades_span(call: Call, first: int | None, order_id: int | None) -> Span:
    assumed, timed = call.exchange.state.assumptions, has_times(call)
    if first is None:
        return read_span(call, TRADES, everything=order_id is not None and assumed.order_id_reach == "all")
    if timed and assumed.first_id_with_times == "refuse":
        raise refuse(-1128)
    return read_from_id(call, TRADES)


def named(call: Call) -> tuple[str, int | None, str | None]:
    """Return symbol, order id and client id of a call that names one order."""
    symbol = call.past_market().symbol.name
    order_id, client_id = call.params.integer("orderId"), call.params.text("origClientOrderId")
    if order_id is None and client_id is None:
        text = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
        error = missing("orderId")
        error.msg = text
        raise error
    return symbol, order_id, client_id


def found(call: Call) -> Order:
    order = call.exchange.orders.find(call.account, *named(call))
    if order is None or not is_kept(order, call.now):
        raise refuse(-2013)
    return order


def _order_id(order: Order) -> int:
    return order.order_id


def _created(order: Order) -> int:
    return order.created


def _time(fill: Fill) -> int:
    return fill.time


def _trade_id(fill: Fill) -> int:
    return fill.trade_id


ROUTES: RouteTable = {
    ("POST", "/fapi/v1/order"): Route(handler=place, weight=0, orders=(1, 1)),
    ("POST", "/fapi/v1/order/test"): Route(handler=test),
    ("GET", "/fapi/v1/order"): Route(handler=query),
    ("DELETE", "/fapi/v1/order"): Route(handler=cancel),
    ("GET", "/fapi/v1/openOrder"): Route(handler=query_open),
    ("GET", "/fapi/v1/openOrders"): Route(handler=list_open, weight=per_symbol(1, 40)),
    ("GET", "/fapi/v1/allOrders"): Route(handler=list_all, weight=5),
    ("DELETE", "/fapi/v1/allOpenOrders"): Route(handler=cancel_all),
    ("GET", "/fapi/v1/userTrades"): Route(handler=list_trades, weight=5),
}
