"""Control calls on markets: prices, time, funding, liquidity, and the terms of a contract."""

from dataclasses import replace

from paper_exchange.control.request import Action, Actions, ControlError, ControlRequest, Levers
from paper_exchange.core import settings
from paper_exchange.core.book import LEVELS
from paper_exchange.core.contract_changes import ContractChange, ContractChangeError, change_contract
from paper_exchange.core.exchange import MOST_STRIDES, stride_of
from paper_exchange.core.listing import ListingError
from paper_exchange.core.market import Market
from paper_exchange.core.rules import MAX_LEVERAGE
from paper_exchange.core.symbols import NO_DELIVERY_MS, Bracket, Symbol, make_brackets
from paper_exchange.http.render import Json
from paper_exchange.http.routes.listing import listing


def set_price(levers: Levers, request: ControlRequest) -> object:
    price, market = request.decimal("price"), levers.market(request)
    if not market.symbol.min_price <= price <= market.symbol.max_price or price % market.symbol.tick:
        raise ControlError(f"price must be a multiple of {market.symbol.tick} within the symbol's limits")
    volume = request.decimal("volume") if "volume" in request.body else None
    if volume is not None and (volume <= 0 or volume % market.symbol.step):
        raise ControlError(f"volume must be a multiple of {market.symbol.step}")
    mark = request.optional_decimal("mark")
    if mark is not None and mark <= 0:
        raise ControlError("mark must be above 0")
    levers.exchange.set_price(
        market.symbol.name,
        price,
        mark=mark,
        hold=request.flag("hold", default=market.held),
        anchor=request.flag("anchor"),
        volume=volume,
    )
    return {"symbol": market.symbol.name, "price": str(market.last), "mark": str(market.mark), "hold": market.held}


def freeze(levers: Levers, request: ControlRequest) -> object:
    """Stop or restart all prices. Restarting also lets go of held symbols."""
    frozen = request.flag("frozen", default=True)
    levers.exchange.state.frozen = frozen
    if not frozen:
        for market in levers.exchange.state.markets.values():
            market.held = False
    return {"frozen": frozen}


def set_clock(levers: Levers, request: ControlRequest) -> object:
    """Move the exchange's time forward with all that falls due, or show clients a wrong time."""
    clock, skew = levers.exchange.clock, request.optional_integer("skew_ms")
    milliseconds = request.integer("advance_ms") if "advance_ms" in request.body or skew is None else 0
    stride = request.optional_integer("stride_ms")
    _check_leap(milliseconds, stride)
    if skew is not None:
        clock.skew_ms = skew
    if milliseconds:
        levers.exchange.advance(milliseconds, stride)
    return {"now_ms": clock.now_ms(), "skew_ms": clock.skew_ms}


def _check_leap(milliseconds: int, stride: int | None) -> None:
    if milliseconds < 0:
        raise ControlError("advance_ms must not be negative")
    if stride is not None and stride <= 0:
        raise ControlError("stride_ms must be positive")
    if milliseconds > MOST_STRIDES * (stride or stride_of(milliseconds)):
        raise ControlError(f"a leap takes at most {MOST_STRIDES} strides: advance less, or by a longer stride_ms")


def settle_funding(levers: Levers, request: ControlRequest) -> object:
    """Pay funding of one symbol or all at once, so many times in a row. A rate given here stays."""
    state, times = levers.exchange.state, request.times()
    markets = [levers.market(request)] if "symbol" in request.body else list(state.markets.values())
    rate = request.decimal("rate") if "rate" in request.body else None
    for market in markets:
        market.funding_rate = market.funding_rate if rate is None else rate
        for _ in range(times):
            levers.exchange.funding.settle(market, levers.exchange.clock.now_ms())
    return {"settled": [market.symbol.name for market in markets]}


def set_liquidity(levers: Levers, request: ControlRequest) -> object:
    """Make a market thin: fewer levels for takers, smaller fills for resting orders. Null is plenty."""
    market = levers.market(request)
    if "levels" in request.body:
        market.book.levels = LEVELS if request.body["levels"] is None else max(0, request.integer("levels"))
        market.book.change()
    if "resting_fill" in request.body:
        limit = request.optional_decimal("resting_fill")
        if limit is not None and (limit <= 0 or limit % market.symbol.step):
            raise ControlError(f"resting_fill must be a multiple of {market.symbol.step}")
        market.resting_fill = limit
    fill = market.resting_fill
    return {"symbol": market.symbol.name, "levels": market.book.levels, "resting_fill": fill and str(fill)}


def change_symbol(levers: Levers, request: ControlRequest) -> object:
    """Change a contract's terms. Answers its row of exchangeInfo."""
    market, wanted = levers.market(request), _terms(request)
    if wanted.brackets is None:
        wanted = replace(wanted, brackets=_capped(market.symbol, request))
    before = market.symbol.status, market.symbol.delivery_ms
    if wanted.funding_hours is not None:
        levers.exchange.calendar.begin_interval(market)
    try:
        change_contract(market, wanted)
    except ContractChangeError as error:
        raise ControlError(str(error)) from error
    if wanted.brackets is not None:
        settings.fit_leverage(levers.exchange.state, market.symbol)
    levers.exchange.calendar.change()
    if wanted.brackets is not None or (market.symbol.status, market.symbol.delivery_ms) != before:
        with_brackets = wanted.brackets is not None
        levers.exchange.state.listener.contract_changed(market.symbol, with_brackets=with_brackets)
    return _row(levers, market)


def change_listing(levers: Levers, request: ControlRequest) -> object:
    """List a new contract on the terms of another one, or settle one and take it off the listing."""
    calendar, state = levers.exchange.calendar, levers.exchange.state
    if request.flag("delist"):
        market = levers.market(request)
        calendar.delist(market)
        return _row(levers, market)
    name = request.text("symbol")
    if name in state.markets:
        raise ControlError(f"{name} is listed")
    try:
        market = calendar.list(_new_contract(levers, request, name))
        change_contract(market, _terms(request))
    except (ListingError, ContractChangeError) as error:
        if name in state.markets:
            calendar.delist(state.markets[name])
        raise ControlError(str(error)) from error
    calendar.change()
    return _row(levers, market)


def _row(levers: Levers, market: Market) -> Json:
    return listing(market.symbol, with_rpi=levers.exchange.state.assumptions.rpi_in_times)


def _new_contract(levers: Levers, request: ControlRequest, name: str) -> Symbol:
    like = levers.exchange.state.market(str(request.body.get("like", "BTCUSDT"))).symbol
    delivery = request.optional_integer("delivery_ms")
    return replace(
        like,
        name=name,
        pair=request.optional_text("pair") or (like.pair if delivery and like.is_dated else name),
        base=request.optional_text("base") or name.removesuffix(like.quote),
        price=request.decimal("price") if "price" in request.body else like.price,
        status=request.optional_text("status") or "TRADING",
        onboard_ms=request.optional_integer("onboard_ms") or levers.exchange.clock.now_ms(),
        delivery_ms=delivery or NO_DELIVERY_MS,
    )


def _brackets(request: ControlRequest) -> tuple[Bracket, ...] | None:
    """Read brackets: rows of {leverage, cap, maint_ratio}, the largest leverage first."""
    rows = request.body.get("brackets")
    if rows is None:
        return None
    if not isinstance(rows, list) or not rows:
        raise ControlError("brackets must be a list of {leverage, cap, maint_ratio}")
    read = [ControlRequest(row, {}) for row in rows if isinstance(row, dict)]
    terms = [(row.integer("leverage"), row.decimal("cap"), row.decimal("maint_ratio")) for row in read]
    falling = [leverage for leverage, _, _ in terms]
    rising = [(cap, ratio) for _, cap, ratio in terms]
    if len(read) != len(rows) or falling != sorted(falling, reverse=True) or rising != sorted(rising):
        raise ControlError("brackets go from the largest leverage to the smallest, with caps and rates that rise")
    if min(falling) < 1 or max(falling) > MAX_LEVERAGE or min(min(pair) for pair in rising) <= 0:
        raise ControlError(f"leverage is 1 to {MAX_LEVERAGE}, caps and rates are positive")
    return make_brackets(terms)


def _capped(symbol: Symbol, request: ControlRequest) -> tuple[Bracket, ...] | None:
    """Return a contract's brackets with no more leverage than the request allows."""
    most = request.optional_integer("max_leverage")
    if most is None:
        return None
    if not 1 <= most <= MAX_LEVERAGE:
        raise ControlError(f"max_leverage is 1 to {MAX_LEVERAGE}")
    return make_brackets((min(row.leverage, most), row.cap, row.maint_ratio) for row in symbol.brackets)


def _terms(request: ControlRequest) -> ContractChange:
    return ContractChange(
        status=request.optional_text("status"),
        tick=request.optional_decimal("tick"),
        step=request.optional_decimal("step"),
        min_price=request.optional_decimal("min_price"),
        max_price=request.optional_decimal("max_price"),
        max_quantity=request.optional_decimal("max_quantity"),
        market_max_quantity=request.optional_decimal("market_max_quantity"),
        min_notional=request.optional_decimal("min_notional"),
        multiplier_up=request.optional_decimal("multiplier_up"),
        multiplier_down=request.optional_decimal("multiplier_down"),
        max_open_orders=request.optional_integer("max_open_orders"),
        delivery_ms=request.optional_integer("delivery_ms"),
        funding_hours=request.optional_integer("funding_interval_hours"),
        brackets=_brackets(request),
        position_control=request.optional_text("position_control"),
        position_limit=request.optional_decimal("position_limit"),
        position_limit_code=request.optional_integer("position_limit_code"),
    )


ACTIONS: Actions = {
    ("POST", "/paper/price"): Action(run=set_price),
    ("POST", "/paper/prices/freeze"): Action(run=freeze),
    ("POST", "/paper/clock"): Action(run=set_clock),
    ("POST", "/paper/funding"): Action(run=settle_funding),
    ("POST", "/paper/liquidity"): Action(run=set_liquidity),
    ("POST", "/paper/symbols"): Action(run=change_symbol),
    ("POST", "/paper/listing"): Action(run=change_listing),
}
