"""From request parameters to order tickets: presence, spelling and combination of parameters."""

from decimal import Decimal
from typing import Final, cast

from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import (
    CONDITIONAL_TYPES,
    LIMIT_CONDITIONAL,
    AlgoTicket,
    PositionSide,
    Side,
    Ticket,
)
from paper_exchange.errors import missing, refuse, unwanted
from paper_exchange.http.params import Params

_SIDES: Final = frozenset({"BUY", "SELL"})
_POSITION_SIDES: Final = frozenset({"BOTH", "LONG", "SHORT"})
_TIMES: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD", "RPI"})
# Conditional orders may also end with their position.
_CONDITIONAL_TIMES: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD", "GTE_GTC"})
_STP: Final = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
_PRICE_MATCH: Final = frozenset(
    {"NONE", "OPPONENT", "OPPONENT_5", "OPPONENT_10", "OPPONENT_20", "QUEUE", "QUEUE_5", "QUEUE_10", "QUEUE_20"}
)
_WORKING: Final = frozenset({"CONTRACT_PRICE", "MARK_PRICE"})
_RESPONSES: Final = frozenset({"ACK", "RESULT"})
_TYPES: Final = frozenset({"LIMIT", "MARKET"})
_CALLBACK_MIN, _CALLBACK_MAX = Decimal("0.1"), Decimal(20)


def side(params: Params) -> Side:
    params.required("side")
    return cast("Side", params.choice("side", _SIDES, -1117))


def position_side(params: Params) -> PositionSide | None:
    return cast("PositionSide | None", params.choice("positionSide", _POSITION_SIDES, -4060))


def wants_result(params: Params) -> bool:
    return params.choice("newOrderRespType", _RESPONSES, -1136) == "RESULT"


def order_ticket(params: Params, *, conditional_allowed: bool = False) -> Ticket:
    """Read the parameters of POST /order. Conditional types belong to the Algo Service."""
    symbol, order_side = params.required("symbol"), side(params)
    kind = params.required("type")
    if kind in CONDITIONAL_TYPES and not conditional_allowed:
        raise refuse(-4120)
    if kind not in _TYPES:
        raise refuse(-1116)
    wants_result(params)
    is_limit = kind == "LIMIT"
    time_in_force = _time_in_force(params) if is_limit else _no_limit_terms(params)
    price_match = _price_match(params, is_limit=is_limit)
    return Ticket(
        symbol=symbol,
        side=order_side,
        type=kind,
        quantity=params.required_decimal("quantity"),
        price=_price(params, price_match) if is_limit else ZERO,
        time_in_force=time_in_force,
        position_side=position_side(params),
        reduce_only=params.flag("reduceOnly"),
        client_id=params.text("newClientOrderId"),
        price_match=price_match,
        stp=params.choice("selfTradePreventionMode", _STP, -5039) or "EXPIRE_MAKER",
        good_till=_good_till(params, time_in_force),
    )


def amend_ticket(params: Params) -> AmendTicket:
    """Read the parameters of PUT /order."""
    price_match = _price_match(params, is_limit=True)
    order_id, client_id = params.integer("orderId"), params.text("origClientOrderId")
    if order_id is None and client_id is None:
        raise missing("orderId")
    return AmendTicket(
        symbol=params.required("symbol"),
        side=side(params),
        quantity=params.required_decimal("quantity"),
        price=_price(params, price_match),
        order_id=order_id,
        client_id=client_id,
        price_match=price_match,
        modify_id=params.integer("modifyId"),
        reduce_only=params.flag("reduceOnly"),
    )


def algo_ticket(params: Params) -> AlgoTicket:
    """Read the parameters of POST /algoOrder."""
    if params.required("algoType") != "CONDITIONAL":
        raise refuse(-1130, name="algoType")
    symbol, order_side = params.required("symbol"), side(params)
    kind = params.required("type")
    if kind not in CONDITIONAL_TYPES:
        raise refuse(-1116)
    is_limit = kind in LIMIT_CONDITIONAL
    close = _close_position(params, kind)
    price_match = _price_match(params, is_limit=is_limit)
    time_in_force = params.choice("timeInForce", _CONDITIONAL_TIMES, -1115) or "GTC"
    trailing = kind == "TRAILING_STOP_MARKET"
    return AlgoTicket(
        symbol=symbol,
        side=order_side,
        type=kind,
        quantity=ZERO if close else params.required_decimal("quantity"),
        price=_price(params, price_match) if is_limit else ZERO,
        trigger_price=_trigger_price(params, trailing=trailing),
        time_in_force=time_in_force,
        working_type=params.choice("workingType", _WORKING, -4031) or "CONTRACT_PRICE",
        position_side=position_side(params),
        reduce_only=params.flag("reduceOnly"),
        close_position=close,
        price_protect=bool(params.flag("priceProtect")),
        activate_price=params.decimal("activatePrice") if trailing else None,
        callback_rate=_callback_rate(params) if trailing else None,
        client_id=params.text("clientAlgoId"),
        price_match=price_match,
        stp=params.choice("selfTradePreventionMode", _STP, -5039) or "EXPIRE_MAKER",
        good_till=_good_till(params, time_in_force),
    )


def _time_in_force(params: Params) -> str:
    params.required("timeInForce", "timeinforce")
    return params.choice("timeInForce", _TIMES, -1115) or "GTC"


def _no_limit_terms(params: Params) -> str:
    """Refuse what a MARKET order must not carry. It reports GTC."""
    for name in ("timeInForce", "price"):
        if params.has(name):
            raise unwanted(name.lower())
    return "GTC"


def _price(params: Params, price_match: str) -> Decimal:
    if price_match == "NONE":
        return params.required_decimal("price")
    if params.has("price"):
        raise unwanted("price")
    return ZERO


def _price_match(params: Params, *, is_limit: bool) -> str:
    mode = params.choice("priceMatch", _PRICE_MATCH, -5037) or "NONE"
    if mode != "NONE" and not is_limit:
        raise refuse(-5038)
    # Withdrawn in October 2025.
    if mode in {"OPPONENT_10", "OPPONENT_20"}:
        raise refuse(-5037)
    return mode


def _good_till(params: Params, time_in_force: str) -> int:
    good_till = params.integer("goodTillDate")
    if time_in_force != "GTD":
        return 0
    if good_till is None:
        raise missing("goodTillDate")
    return good_till // 1000 * 1000


def _close_position(params: Params, kind: str) -> bool:
    if not params.flag("closePosition"):
        return False
    if kind not in {"STOP_MARKET", "TAKE_PROFIT_MARKET"}:
        raise refuse(-4136, type=kind, close="true")
    if params.has("quantity"):
        raise refuse(-4137)
    if params.has("reduceOnly"):
        raise unwanted("reduceonly")
    return True


def _trigger_price(params: Params, *, trailing: bool) -> Decimal:
    if not trailing:
        return params.required_decimal("triggerPrice", "triggerprice")
    if params.has("triggerPrice"):
        raise refuse(-2021)
    return ZERO


def _callback_rate(params: Params) -> Decimal:
    rate = params.required_decimal("callbackRate", "callbackrate")
    if not _CALLBACK_MIN <= rate <= _CALLBACK_MAX:
        raise refuse(-1130, name="callbackRate")
    return rate
