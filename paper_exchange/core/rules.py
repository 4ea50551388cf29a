"""The filters for price, quantity and notional, and the codes of their refusals."""

import re
from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account, Exposure, closes
from paper_exchange.core.margin import account_figures, order_margin, worst_notional
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO, plain
from paper_exchange.core.orders import PositionSide, Side
from paper_exchange.core.symbols import Symbol
from paper_exchange.errors import refuse, unwanted

CLIENT_ID_RANGE: Final = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_CLIENT_ID: Final = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")
MAX_LEVERAGE: Final = 125


def check_client_id(client_id: str, name: str) -> None:
    if len(client_id) > 36:
        raise refuse(-4015)
    if not _CLIENT_ID.fullmatch(client_id):
        raise refuse(-1100, name=name, legal=CLIENT_ID_RANGE)


def check_price(symbol: Symbol, price: Decimal) -> None:
    if _decimals(price) > symbol.price_precision:
        raise refuse(-1111)
    if price <= 0:
        raise refuse(-4001)
    if price < symbol.min_price:
        raise refuse(-4013)
    if price > symbol.max_price:
        raise refuse(-4002)
    if (price - symbol.min_price) % symbol.tick:
        raise refuse(-4014)


def check_trigger(symbol: Symbol, price: Decimal) -> None:
    if _decimals(price) > symbol.price_precision:
        raise refuse(-1111)
    if price <= 0:
        raise refuse(-4006)
    if price > symbol.max_price:
        raise refuse(-4007)
    if (price - symbol.min_price) % symbol.tick:
        raise refuse(-4014)


def check_quantity(symbol: Symbol, quantity: Decimal, *, market: bool) -> None:
    if _decimals(quantity) > symbol.quantity_precision:
        raise refuse(-1111)
    if quantity <= 0:
        raise refuse(-4003)
    if quantity < symbol.min_quantity:
        raise refuse(-4004)
    if quantity > (symbol.market_max_quantity if market else symbol.max_quantity):
        raise refuse(-4005)
    if quantity % symbol.step:
        raise refuse(-4023)


def check_notional(symbol: Symbol, notional: Decimal, code: int = -4164) -> None:
    if notional < symbol.min_notional:
        raise refuse(code, notional=plain(symbol.min_notional))


def check_percent_price(market: Market, side: Side, price: Decimal) -> None:
    symbol = market.symbol
    highest, lowest = market.mark * symbol.multiplier_up, market.mark * symbol.multiplier_down
    if side == "BUY" and price > highest:
        raise refuse(-4016, bound=symbol.price_text(highest))
    if side == "SELL" and price < lowest:
        raise refuse(-4024, bound=symbol.price_text(lowest))


def resolve_position_side(account: Account, wanted: PositionSide | None) -> PositionSide:
    """Return the row an order goes to. -4061 when it does not fit the account's position mode."""
    side: PositionSide = wanted or "BOTH"
    if (side == "BOTH") == account.dual_side:
        raise refuse(-4061)
    return side


def resolve_reduce_only(account: Account, wanted: bool | None) -> bool:  # noqa: FBT001 - None means not sent
    """In hedge mode the parameter must not be sent at all."""
    if account.dual_side and wanted is not None:
        raise unwanted("reduceonly")
    return bool(wanted)


def check_margin(
    account: Account, markets: dict[str, Market], market: Market, side: Side, position_side: PositionSide, cost: Decimal
) -> None:
    """Refuse a notional `cost` beyond the free balance (-2019) or the leverage bracket (-2027)."""
    if closes(side, position_side):
        return
    held = account.amount(market.symbol, position_side) * market.mark
    known = account.exposures.get((market.symbol.name, position_side)) or Exposure()
    buys, sells = (cost, ZERO) if side == "BUY" else (ZERO, cost)
    wanted = Exposure(known.bids + buys, known.asks + sells)
    leverage = account.setting(market.symbol).leverage
    # What is too large already may not grow; everything that does not enlarge it passes.
    before, after = worst_notional(held, known), worst_notional(held, wanted)
    if max(before, market.symbol.max_notional(leverage)) < after:
        raise refuse(-2027)
    limit = market.symbol.position_limit
    if limit is not None and max(before, limit) < after:
        raise refuse(market.symbol.position_limit_code)
    extra = order_margin(held, wanted, leverage) - order_margin(held, known, leverage)
    if extra > 0 and extra > account_figures(account, markets, account.margin_of(market.symbol)).available:
        raise refuse(-2019)


def _decimals(value: Decimal) -> int:
    """Decimals that matter: trailing zeros do not count."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
