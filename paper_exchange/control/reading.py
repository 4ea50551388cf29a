"""Control calls that read what happened, and the one that begins anew."""

from paper_exchange.control import views
from paper_exchange.control.report import fills_report
from paper_exchange.control.request import Action, Actions, ControlRequest, Levers


def read_ledger(levers: Levers, request: ControlRequest) -> object:
    state = levers.exchange.state
    return {
        "requests": levers.ledger.since(request.number("since", 0)),
        "orders": [views.order(order) for order in state.orders],
        "algo_orders": [views.algo(algo) for algo in state.algos],
        "fills": [views.fill(fill) for fill in state.fills],
        "balances": [views.balance(change) for change in state.balances],
    }


def clear_ledger(levers: Levers, _: ControlRequest) -> object:
    levers.ledger.clear()
    return {"cleared": True}


def summary(levers: Levers, request: ControlRequest) -> object:
    return views.summary(levers.account(request.query.get("key", "paper")), levers.exchange.state.markets)


def status(levers: Levers, _: ControlRequest) -> object:
    """Return the exchange's time and the source of its prices."""
    return {
        "now_ms": levers.exchange.clock.now_ms(),
        "skew_ms": levers.exchange.clock.skew_ms,
        "frozen": levers.exchange.state.frozen,
        "mirror": levers.mirror and levers.mirror.status(),
    }


def report_fills(levers: Levers, request: ControlRequest) -> object:
    """Compare fills with the book at the arrival of their orders, of one account or of all."""
    account = levers.account(request.query["key"]) if "key" in request.query else None
    fills = levers.exchange.state.fills
    return fills_report([fill for fill in fills if account in {None, fill.order.account}])


def reset(levers: Levers, _: ControlRequest) -> object:
    """Begin anew: accounts, orders, books, prices, time, faults, limits and the ledger of requests."""
    levers.exchange.reset()
    levers.faults.reset()
    levers.users.faults.remove()
    levers.limits.reset()
    levers.ledger.clear()
    return {"reset": True}


ACTIONS: Actions = {
    ("GET", "/paper/ledger"): Action(run=read_ledger, changes=False),
    ("DELETE", "/paper/ledger"): Action(run=clear_ledger, changes=False),
    ("GET", "/paper/summary"): Action(run=summary, changes=False),
    ("GET", "/paper/status"): Action(run=status, changes=False),
    ("GET", "/paper/fills-report"): Action(run=report_fills, changes=False),
    ("POST", "/paper/reset"): Action(run=reset),
}
