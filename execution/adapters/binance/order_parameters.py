"""Writes an order in the exchange's words: one form for ordinary orders, one for the Algo Service."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from execution.domain.money import plain
from execution.domain.ports import OrderTicket
from execution.domain.trading import OrderType, PositionSide

# The exchange refuses an end that is not more than 600 s ahead (-5040); a minute more bears clocks and travel.
LEAST_GOOD_FOR_MS = 660_000
# It takes whole seconds below the year 10000.
LATEST_GOOD_TILL_MS = 253_402_300_798_000


def order_parameters(ticket: OrderTicket, at_ms: Callable[[datetime], int]) -> dict[str, Any]:
    """Return the parameters of an ordinary order; its answer is to tell the result.

    `at_ms` writes a moment of our clock by the exchange's. The end of a LIMIT order there is the safety net for when
    nobody here is alive to cancel it: never before its own end, and as soon after it as the exchange takes it.
    """
    parameters = {
        **_common(ticket),
        "newClientOrderId": ticket.client_order_id,
        "newOrderRespType": "RESULT",
    }
    if ticket.order_type is OrderType.LIMIT and ticket.price is not None:
        parameters |= {"price": plain(ticket.price), **_time_in_force(ticket.good_till, at_ms)}
    return parameters


def _time_in_force(good_till: datetime | None, at_ms: Callable[[datetime], int]) -> dict[str, Any]:
    if good_till is None:
        return {"timeInForce": "GTC"}
    soonest = at_ms(datetime.now(UTC)) + LEAST_GOOD_FOR_MS
    seconds = -(-max(at_ms(good_till), soonest) // 1000)
    return {"timeInForce": "GTD", "goodTillDate": min(seconds * 1000, LATEST_GOOD_TILL_MS)}


def algo_parameters(ticket: OrderTicket) -> dict[str, Any]:
    """Return the parameters of a conditional order."""
    return {
        **_common(ticket),
        **_condition(ticket),
        "algoType": "CONDITIONAL",
        "clientAlgoId": ticket.client_order_id,
        # The mark price is not moved by a single trade: a stop on the last price is hunted by any spike.
        "workingType": "MARK_PRICE",
    }


def _common(ticket: OrderTicket) -> dict[str, Any]:
    """Return what both books take, as strings: the connector would send floats with exponents."""
    parameters = {
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


def _condition(ticket: OrderTicket) -> Mapping[str, str]:
    """Return what a conditional order waits for; a trailing stop takes no trigger price, but where it activates."""
    if ticket.callback_percent is not None:
        activate = {"activatePrice": plain(ticket.trigger_price)} if ticket.trigger_price is not None else {}
        return {"callbackRate": plain(ticket.callback_percent), **activate}
    if ticket.trigger_price is None:
        raise ValueError(f"conditional order {ticket.client_order_id} without a trigger price")
    return {"triggerPrice": plain(ticket.trigger_price)}
