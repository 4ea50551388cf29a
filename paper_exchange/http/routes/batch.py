"""Several orders in one call, amendments, and the countdown that cancels all."""

from collections.abc import Callable
from typing import Final, TypeVar

import orjson

from paper_exchange.errors import ExchangeError, missing, refuse
from paper_exchange.http import order_params, render
from paper_exchange.http.calls import Call, Route, RouteTable
from paper_exchange.http.params import Params
from paper_exchange.http.routes.orders import found
from paper_exchange.http.routes.pages import Window, cut, read_span, within

Wanted = TypeVar("Wanted")
AMENDMENTS: Final = Window(page=50, most=100, most_ms=None)
MAX_PLACED: Final = 5
MAX_CANCELLED: Final = 10


def amend(call: Call) -> object:
    return render.amended_order(call.exchange.amendments.amend(call.account, order_params.amend_ticket(call.params)))


def list_amendments(call: Call) -> object:
    """List the changes of one order, newest first. Without times all that are kept."""
    rows = call.exchange.amendments.history(call.account, found(call).order_id)
    span = read_span(call, AMENDMENTS, everything=True)
    page = cut(within(rows, span, lambda row: row.time), span, call.limit(AMENDMENTS.page, AMENDMENTS.most))
    return [render.amendment(row) for row in reversed(page)]


def place_batch(call: Call) -> object:
    def place_one(params: Params) -> object:
        order = call.exchange.orders.place(call.account, order_params.order_ticket(params))
        return render.placed_order(order, acknowledged=not order_params.wants_result(params))

    return [_attempt(place_one, params) for params in _orders(call)]


def amend_batch(call: Call) -> object:
    def amend_one(params: Params) -> object:
        return render.amended_order(call.exchange.amendments.amend(call.account, order_params.amend_ticket(params)))

    return [_attempt(amend_one, params) for params in _orders(call)]


def cancel_batch(call: Call) -> object:
    symbol = call.market().symbol.name

    def cancel_one(order_id: int | None, client_id: str | None) -> object:
        return render.placed_order(call.exchange.orders.cancel(call.account, symbol, order_id, client_id))

    ids, clients = _list(call, "orderIdList"), _list(call, "origClientOrderIdList")
    if ids is None and clients is None:
        raise missing("orderIdList")
    if len(ids or clients or []) > MAX_CANCELLED:
        raise refuse(-4032)
    if ids is not None:
        return [_attempt(lambda order_id: cancel_one(order_id, None), _integer(item)) for item in ids]
    return [_attempt(lambda client_id: cancel_one(None, client_id), str(item)) for item in clients or []]


def count_down(call: Call) -> object:
    symbol, wait = call.market().symbol.name, call.params.required_integer("countdownTime")
    if wait < 0:
        raise refuse(-1130, name="countdownTime")
    call.exchange.count_down(call.account, symbol, wait)
    # The time is a string here.
    return {"symbol": symbol, "countdownTime": str(wait)}


def _attempt(act: Callable[[Wanted], object], wanted: Wanted) -> object:
    """Answer of one element: its order, or its own error object."""
    try:
        return act(wanted)
    except ExchangeError as error:
        return {"code": error.code, "msg": error.msg}


def _orders(call: Call) -> list[Params]:
    rows = _list(call, "batchOrders")
    if rows is None:
        raise missing("batchOrders")
    if not 1 <= len(rows) <= MAX_PLACED:
        raise refuse(-4082)
    if not all(isinstance(row, dict) for row in rows):
        raise refuse(-1130, name="batchOrders")
    return [Params({str(name): _text(value) for name, value in row.items()}) for row in rows if isinstance(row, dict)]


def _list(call: Call, name: str) -> list[object] | None:
    text = call.params.folded(name)
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refuse(-1130, name=name) from error
    if not isinstance(value, list):
        raise refuse(-1130, name=name)
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _integer(value: object) -> int:
    text = str(value)
    if not text.isascii() or not text.isdigit():
        raise refuse(-1130, name="orderIdList")
    return int(text)


ROUTES: RouteTable = {
    ("PUT", "/fapi/v1/order"): Route(handler=amend, weight=0, orders=(1, 1)),
    ("GET", "/fapi/v1/orderAmendment"): Route(handler=list_amendments),
    ("POST", "/fapi/v1/batchOrders"): Route(handler=place_batch, weight=5, orders=(5, 1)),
    ("PUT", "/fapi/v1/batchOrders"): Route(handler=amend_batch, weight=5, orders=(5, 1)),
    ("DELETE", "/fapi/v1/batchOrders"): Route(handler=cancel_batch),
    ("POST", "/fapi/v1/countdownCancelAll"): Route(handler=count_down, weight=10),
}
