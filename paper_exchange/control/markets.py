"""Control calls on markets: prices, time, funding, liquidity, and the terms of a contract."""

from paper_exchange.control.wish import Action, Actions, ControlError, Levers, Wish
from paper_exchange.core.book import LEVELS
from paper_exchange.core.relisting import Relisting, RelistingError, relist
from paper_exchange.http.routes.listing import listing


def set_price(levers: Levers, wish: Wish) -> object:
    price, market = wish.decimal("price"), levers.market(wish)
    if not market.symbol.min_price <= price <= market.symbol.max_price or price % market.symbol.tick:
        raise ControlError(f"price must be a multiple of {market.symbol.tick} within the symbol's limits")
    volume = wish.decimal("volume") if "volume" in wish.body else None
    if volume is not None and (volume <= 0 or volume % market.symbol.step):
        raise ControlError(f"volume must be a multiple of {market.symbol.step}")
    levers.exchange.set_price(
        market.symbol.name,
        price,
        hold=wish.flag("hold", default=market.held),
        anchor=wish.flag("anchor"),
        volume=volume,
    )
    return {"symbol": market.symbol.name, "price": str(market.last), "mark": str(market.mark), "hold": market.held}


def freeze(levers: Levers, wish: Wish) -> object:
    """Stop or restart all prices; restarting also lets go of held symbols."""
    frozen = wish.flag("frozen", default=True)
    levers.exchange.state.frozen = frozen
    if not frozen:
        for market in levers.exchange.state.markets.values():
            market.held = False
    return {"frozen": frozen}


def set_clock(levers: Levers, wish: Wish) -> object:
    """Move the exchange's time forward, with funding and expiries on the way; or show clients a wrong time."""
    clock, skew = levers.exchange.clock, wish.optional_integer("skew_ms")
    milliseconds = wish.integer("advance_ms") if "advance_ms" in wish.body or skew is None else 0
    if milliseconds < 0:
        raise ControlError("advance_ms must not be negative")
    if skew is not None:
        clock.skew_ms = skew
    if milliseconds:
        clock.advance(milliseconds)
        levers.exchange.step()
    return {"now_ms": clock.now_ms(), "skew_ms": clock.skew_ms}


def settle_funding(levers: Levers, wish: Wish) -> object:
    """Pay funding of one symbol or all at once; a rate given here stays."""
    state = levers.exchange.state
    markets = [levers.market(wish)] if "symbol" in wish.body else list(state.markets.values())
    rate = wish.decimal("rate") if "rate" in wish.body else None
    for market in markets:
        market.funding_rate = market.funding_rate if rate is None else rate
        levers.exchange.funding.settle(market, levers.exchange.clock.now_ms())
    return {"settled": [market.symbol.name for market in markets]}


def set_liquidity(levers: Levers, wish: Wish) -> object:
    """Make a market thin: fewer levels for takers, smaller fills for resting orders; null is plenty."""
    market = levers.market(wish)
    if "levels" in wish.body:
        market.book.levels = LEVELS if wish.body["levels"] is None else max(0, wish.integer("levels"))
        market.book.change()
    if "resting_fill" in wish.body:
        limit = wish.optional_decimal("resting_fill")
        if limit is not None and (limit <= 0 or limit % market.symbol.step):
            raise ControlError(f"resting_fill must be a multiple of {market.symbol.step}")
        market.resting_fill = limit
    fill = market.resting_fill
    return {"symbol": market.symbol.name, "levels": market.book.levels, "resting_fill": fill and str(fill)}


def relist_symbol(levers: Levers, wish: Wish) -> object:
    """Change a contract's status or filters; answers its row of exchangeInfo."""
    market = levers.market(wish)
    wanted = Relisting(
        status=wish.optional_text("status"),
        tick=wish.optional_decimal("tick"),
        step=wish.optional_decimal("step"),
        min_price=wish.optional_decimal("min_price"),
        max_price=wish.optional_decimal("max_price"),
        max_quantity=wish.optional_decimal("max_quantity"),
        market_max_quantity=wish.optional_decimal("market_max_quantity"),
        min_notional=wish.optional_decimal("min_notional"),
        multiplier_up=wish.optional_decimal("multiplier_up"),
        multiplier_down=wish.optional_decimal("multiplier_down"),
        max_open_orders=wish.optional_integer("max_open_orders"),
        delivery_ms=wish.optional_integer("delivery_ms"),
        position_control=wish.optional_text("position_control"),
        position_limit=wish.optional_decimal("position_limit"),
        position_limit_code=wish.optional_integer("position_limit_code"),
    )
    try:
        relist(market, wanted)
    except RelistingError as error:
        raise ControlError(str(error)) from error
    return listing(market.symbol, with_rpi=levers.exchange.state.switches.rpi_in_times)


ACTIONS: Actions = {
    ("POST", "/paper/price"): Action(run=set_price),
    ("POST", "/paper/prices/freeze"): Action(run=freeze),
    ("POST", "/paper/clock"): Action(run=set_clock),
    ("POST", "/paper/funding"): Action(run=settle_funding),
    ("POST", "/paper/liquidity"): Action(run=set_liquidity),
    ("POST", "/paper/symbols"): Action(run=relist_symbol),
}
