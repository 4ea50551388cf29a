"""Settings of an account: leverage, margin type, position mode, asset mode."""

from paper_exchange.core import settings
from paper_exchange.core.money import plain
from paper_exchange.errors import missing
from paper_exchange.http.calls import SUCCESS, Call, Route, RouteTable


def set_leverage(call: Call) -> object:
    market = call.market()
    leverage = call.params.required_integer("leverage")
    most = settings.change_leverage(call.exchange.state, call.account, market, leverage)
    return {"leverage": leverage, "maxNotionalValue": plain(most), "symbol": market.symbol.name}


def set_margin_type(call: Call) -> object:
    market = call.market()
    call.params.required("marginType")
    # Clients spell it CROSSED or, as the answers do, CROSS.
    wanted = call.params.choice("marginType", {"ISOLATED", "CROSSED", "CROSS"}, -1130)
    settings.change_margin_type(call.exchange.state, call.account, market, isolated=wanted == "ISOLATED")
    return SUCCESS


def set_position_mode(call: Call) -> object:
    settings.change_position_mode(call.account, dual=_required_flag(call, "dualSidePosition"))
    return SUCCESS


def get_position_mode(call: Call) -> object:
    return {"dualSidePosition": call.account.dual_side}


def set_assets_mode(call: Call) -> object:
    settings.change_assets_mode(call.exchange.state, call.account, multi=_required_flag(call, "multiAssetsMargin"))
    return SUCCESS


def get_assets_mode(call: Call) -> object:
    return {"multiAssetsMargin": call.account.multi_assets}


def _required_flag(call: Call, name: str) -> bool:
    flag = call.params.flag(name)
    if flag is None:
        raise missing(name)
    return flag


ROUTES: RouteTable = {
    ("POST", "/fapi/v1/leverage"): Route(handler=set_leverage),
    ("POST", "/fapi/v1/marginType"): Route(handler=set_margin_type),
    ("POST", "/fapi/v1/positionSide/dual"): Route(handler=set_position_mode),
    ("GET", "/fapi/v1/positionSide/dual"): Route(handler=get_position_mode, weight=30),
    ("POST", "/fapi/v1/multiAssetsMargin"): Route(handler=set_assets_mode),
    ("GET", "/fapi/v1/multiAssetsMargin"): Route(handler=get_assets_mode, weight=30),
}
