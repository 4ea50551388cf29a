"""Ordinary orders: place, test, look up, list, cancel, and the trades they made."""

from typing import Final

from paper_exchange.core import rules
from paper_exchange.core.orders import Fill, Order
from paper_exchange.errors import missing, refuse
from paper_exchange.http import render, tickets
from paper_exchange.http.calls import Call, Route, RouteTable, per_symbol
from paper_exchange.http.routes.pages import by_time, from_id, time_span

CANCELLED_ALL: Final = {"code": 200, "msg": "The operation of cancel all open order is done."}


def place(call: Call) -> object:
    order = call.exchange.orders.place(call.account, tickets.order_ticket(call.params))
    # ACK answers before matching; RESULT waits for the end, which is immediate here.
    return render.placed_order(order, acknowledged=not tickets.wants_result(call.params))


def test(call: Call) -> object:
    """Check an order like POST /order does, and record nothing."""
    order = call.exchange.orders.check(call.account, tickets.order_ticket(call.params))
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
    order = found(call)
    if not order.is_open:
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
    chosen = call.chosen_past_market()
    books = call.account.orders
    rows = books[chosen.symbol.name] if chosen else sorted((o for b in books.values() for o in b), key=_order_id)
    limit, first_id = call.params.limit(500, 1000), call.params.integer("orderId")
    if first_id is not None:
        page = from_id(rows, first_id, limit, _order_id)
    else:
        page = by_time(rows, time_span(call), call.now, limit, lambda order: order.created)
    return [render.listed_order(order) for order in page if rules.is_kept(order, call.now)]


def list_trades(call: Call) -> object:
    symbol, params = call.past_market().symbol.name, call.params
    rows, limit = call.account.fills[symbol], params.limit(500, 1000)
    first_id, order_id = params.integer("fromId"), params.integer("orderId")
    if order_id is not None:
        order = call.account.order_by_id.get((symbol, order_id))
        rows = order.fills if order else []
    if first_id is not None:
        page = from_id(rows, first_id, limit, _trade_id)
    else:
        page = by_time(rows, time_span(call), call.now, limit, lambda fill: fill.time)
    return [render.trade(fill) for fill in page]


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
    if order is None or not rules.is_kept(order, call.now):
        raise refuse(-2013)
    return order


def _order_id(order: Order) -> int:
    return order.order_id


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
