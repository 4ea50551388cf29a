"""The listen key of an account: create, keep alive, close. By key header alone, unsigned."""

from paper_exchange.http.calls import KEYED, Call, Route, RouteTable


def create(call: Call) -> object:
    return {"listenKey": call.exchange.listen_keys.open(call.account.key, call.now)}


def keep_alive(call: Call) -> object:
    return {"listenKey": call.exchange.listen_keys.renew(call.account.key, call.now)}


def close(call: Call) -> object:
    call.exchange.close_listen_key(call.account.key)
    return {}


ROUTES: RouteTable = {
    ("POST", "/fapi/v1/listenKey"): Route(handler=create, security=KEYED),
    ("PUT", "/fapi/v1/listenKey"): Route(handler=keep_alive, security=KEYED),
    ("DELETE", "/fapi/v1/listenKey"): Route(handler=close, security=KEYED),
}
