"""Running a route's handler: reads as they are, changes through the exchange's journal."""

from paper_exchange.core.accounts import Account
from paper_exchange.core.exchange import Exchange
from paper_exchange.http.calls import Call
from paper_exchange.http.params import Params
from paper_exchange.http.routes import ROUTES


def run(exchange: Exchange, method: str, path: str, params: Params, account: Account | None) -> object:
    """Return what the handler of a known route answers."""
    route = ROUTES[method, path]

    def act() -> object:
        return route.handler(Call(exchange, params, exchange.clock.now_ms(), account))

    if method == "GET":
        return act()
    note: dict[str, object] = {
        "k": "call",
        "m": method,
        "p": path,
        "q": params.values,
        "a": account.key if account else None,
    }
    return exchange.perform(note, act)
