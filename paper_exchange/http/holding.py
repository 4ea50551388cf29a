"""Whether resting orders hold the quantity that an order closes, for the fault `refuse_reducing`."""

from decimal import Decimal, InvalidOperation
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.matching import reduces_only, reducible
from paper_exchange.core.money import ZERO
from paper_exchange.http.params import Params

_CLOSING: Final = frozenset({("LONG", "SELL"), ("SHORT", "BUY")})


def reduces(params: Params) -> bool:
    """Return whether an order closes by its parameters: the flags, or a closing side in hedge mode."""
    flags = (params.values.get("reduceOnly", ""), params.values.get("closePosition", ""))
    return "true" in {flag.lower() for flag in flags} or _place(params) in _CLOSING


def is_held(exchange: Exchange, key: str | None, params: Params) -> bool:
    """Return whether the account's reducing orders, conditional ones too, leave less than an order closes.

    One that is larger than the position closes no more than that. Without a position there is nothing to hold.
    """
    account = exchange.state.accounts.get(key or "")
    market = exchange.state.markets.get(params.values.get("symbol", ""))
    if account is None or market is None or not reduces(params):
        return False
    position_side, side = _place(params)
    position = reducible(account, market.symbol, side, position_side)  # type: ignore[arg-type] # as sent
    wanted = min(position, _quantity(params))
    return position > 0 and _resting(account, market.symbol.name, params, position) > position - wanted


def _place(params: Params) -> tuple[str, str]:
    return params.values.get("positionSide", "BOTH"), params.values.get("side", "")


def _quantity(params: Params) -> Decimal:
    try:
        return Decimal(params.values.get("quantity", "0"))
    except InvalidOperation:
        return ZERO


def _resting(account: Account, symbol: str, params: Params, position: Decimal) -> Decimal:
    place = _place(params)
    ordinary = (
        order.remaining
        for order in account.open_orders[symbol].values()
        if (order.position_side, order.side) == place and reduces_only(order)
    )
    conditional = (
        position if algo.ticket.close_position else algo.ticket.quantity
        for algo in account.open_algos.values()
        if algo.symbol.name == symbol
        and (algo.position_side, algo.ticket.side) == place
        and (algo.reduce_only or algo.ticket.close_position)
    )
    return sum((*ordinary, *conditional), ZERO)
