"""Writes an order as request parameters: one form for ordinary orders, one for the Algo Service."""

from collections.abc import Callable
from datetime import UTC, datetime

from execution.domain.money import plain
from execution.domain.ports import OrderTicket
from execution.domain.trading import OrderType, PositionSide, TimeInForce

# The exchange refuses an end that is not more than 600 s ahead (-5040). A minute more covers clocks and latency.
LEAST_GOOD_FOR_MS = 660_000
# It takes whole seconds below the year 10000.
LATEST_GOOD_TILL_MS = 253_402_300_798_000
# The exchange takes an end for GTD alone: these have none, or one that only the service keeps.
WITHOUT_END = frozenset({TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTX})
Parameters = dict[str, str | int]


def order_parameters(ticket: OrderTicket, at_ms: Callable[[datetime], int]) -> Parameters:
    """Return the parameters of an ordinary order. Its answer shall report the result.

    `at_ms` converts a moment of our clock to the exchange's. The end of a LIMIT order at the exchange is the safety net
    for when no process is alive to cancel it: never before its own end, and as soon after it as the exchange allows.
    """
    parameters: Parameters = {
        **_common(ticket),
        "newClientOrderId": ticket.client_order_id,
        "newOrderRespType": "RESULT",
    }
    if ticket.order_type is OrderType.LIMIT and ticket.price is not None:
        parameters["price"] = plain(ticket.price)
        parameters |= _time_in_force(ticket, at_ms)
    return parameters


def _time_in_force(ticket: OrderTicket, at_ms: Callable[[datetime], int]) -> Parameters:
    if ticket.time_in_force in WITHOUT_END:
        return {"timeInForce": ticket.time_in_force.value}
    if ticket.good_till is None:
        return {"timeInForce": "GTC"}
    soonest = at_ms(datetime.now(UTC)) + LEAST_GOOD_FOR_MS
    seconds = -(-max(at_ms(ticket.good_till), soonest) // 1000)
    return {"timeInForce": "GTD", "goodTillDate": min(seconds * 1000, LATEST_GOOD_TILL_MS)}


def algo_parameters(ticket: OrderTicket) -> Parameters:
    """Return the parameters of a conditional order."""
    return {
        **_common(ticket),
        **_condition(ticket),
        "algoType": "CONDITIONAL",
        "clientAlgoId": ticket.client_order_id,
        # The mark price is not moved by a single trade: a stop on the last price is hunted by any spike.
        "workingType": "MARK_PRICE",
    }


def _common(ticket: OrderTicket) -> Parameters:
    """Return the parameters of both services, as strings: the connector would send floats with exponents."""
    parameters: Parameters = {
        "symbol": ticket.symbol,
        "side": ticket.side.value,
        "type": ticket.order_type.value,
        "quantity": plain(ticket.quantity),
    }
    if ticket.reduce_only:
        parameters["reduceOnly"] = "true"
    if ticket.position_side is not PositionSide.BOTH:
        parameters["positionSide"] = ticket.position_side.value
    return parameters


def _condition(ticket: OrderTicket) -> dict[str, str]:
    """Return what triggers a conditional order. A trailing stop has an activation price instead."""
    if ticket.callback_percent is not None:
        activate = {"activatePrice": plain(ticket.trigger_price)} if ticket.trigger_price is not None else {}
        return {"callbackRate": plain(ticket.callback_percent), **activate}
    if ticket.trigger_price is None:
        raise ValueError(f"conditional order {ticket.client_order_id} without a trigger price")
    return {"triggerPrice": plain(ticket.trigger_price)}
