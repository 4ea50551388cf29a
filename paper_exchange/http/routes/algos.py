"""Conditional orders of the Algo Service: place, look up, list, cancel."""

from collections.abc import Sequence
from typing import Final

from paper_exchange.core.orders import AlgoOrder
from paper_exchange.core.retention import KEPT_MS, is_kept
from paper_exchange.errors import missing, refuse
from paper_exchange.http import order_params, render
from paper_exchange.http.calls import Call, Route, RouteTable, per_symbol
from paper_exchange.http.routes.orders import CANCELLED_ALL
from paper_exchange.http.routes.pages import Window, after_id, cut, has_times, read_from_id, read_span, within

ALGOS: Final = Window(page=500, most=1000, less_than=True, kept_ms=KEPT_MS)


def place(call: Call) -> object:
    return render.placed_algo(call.exchange.algos.place(call.account, order_params.algo_ticket(call.params)))


def query(call: Call) -> object:
    algo = call.exchange.algos.find(call.account, *named(call))
    if algo is None or not is_kept(algo, call.now):
        raise refuse(-2013)
    return render.queried_algo(algo)


def cancel(call: Call) -> object:
    algo = call.exchange.algos.cancel(call.account, *named(call))
    # The code is a string here, unlike everywhere else.
    return {"algoId": algo.algo_id, "clientAlgoId": algo.client_id, "code": "200", "msg": "success"}


def cancel_all(call: Call) -> object:
    call.exchange.algos.cancel_all(call.account, call.market().symbol.name)
    return CANCELLED_ALL


def list_open(call: Call) -> object:
    chosen, algo_id = call.chosen_market(), call.params.integer("algoId")
    return [
        render.queried_algo(algo)
        for algo in call.account.open_algos.values()
        if (chosen is None or algo.symbol is chosen.symbol)
        and algo_id in {None, algo.algo_id}
        and (algo.is_open or call.exchange.state.assumptions.stuck_listed)
    ]


def list_all(call: Call) -> object:
    """Conditional orders of a symbol in any state, oldest first."""
    rows: Sequence[AlgoOrder] = call.account.algos[call.past_market().symbol.name]
    limit, first = call.limit(ALGOS.page, ALGOS.most), call.params.integer("algoId")
    lone_id = first is not None and not has_times(call)
    span = read_from_id(call, ALGOS) if lone_id else read_span(call, ALGOS)
    if first is not None:
        rows = after_id(rows, first, _algo_id)
    rows = within(rows, span, lambda algo: algo.created)
    return [render.queried_algo(algo) for algo in cut(rows, span, limit, lambda algo: is_kept(algo, call.now))]


def named(call: Call) -> tuple[int | None, str | None]:
    """Return algo id and client id of a call that names one conditional order."""
    algo_id, client_id = call.params.integer("algoId"), call.params.text("clientAlgoId")
    if algo_id is None and client_id is None:
        raise missing("algoId")
    return algo_id, client_id


def _algo_id(algo: AlgoOrder) -> int:
    return algo.algo_id


ROUTES: RouteTable = {
    ("POST", "/fapi/v1/algoOrder"): Route(handler=place, weight=0, orders=(1, 1)),
    ("GET", "/fapi/v1/algoOrder"): Route(handler=query),
    ("DELETE", "/fapi/v1/algoOrder"): Route(handler=cancel),
    ("GET", "/fapi/v1/openAlgoOrders"): Route(handler=list_open, weight=per_symbol(1, 40)),
    ("GET", "/fapi/v1/allAlgoOrders"): Route(handler=list_all, weight=5),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Route(handler=cancel_all),
}
