"""Conditional orders of the Algo Service: place, look up, list, cancel."""

from paper_exchange.core import rules
from paper_exchange.core.orders import AlgoOrder
from paper_exchange.errors import missing, refuse
from paper_exchange.http import render, tickets
from paper_exchange.http.calls import Call, Route, RouteTable, per_symbol
from paper_exchange.http.routes.orders import CANCELLED_ALL
from paper_exchange.http.routes.pages import by_time, from_id, time_span


def place(call: Call) -> object:
    return render.placed_algo(call.exchange.algos.place(call.account, tickets.algo_ticket(call.params)))


def query(call: Call) -> object:
    algo = call.exchange.algos.find(call.account, *named(call))
    if algo is None or not rules.is_kept(algo, call.now):
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
        and (algo.is_open or call.exchange.state.switches.stuck_listed)
    ]


def list_all(call: Call) -> object:
    rows, limit = call.account.algos[call.market().symbol.name], call.params.limit(500, 1000)
    first_id = call.params.integer("algoId")
    if first_id is not None:
        page = from_id(rows, first_id, limit, _algo_id)
    else:
        page = by_time(rows, time_span(call), call.now, limit, lambda algo: algo.created)
    return [render.queried_algo(algo) for algo in page if rules.is_kept(algo, call.now)]


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
