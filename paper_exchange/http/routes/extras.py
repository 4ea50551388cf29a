"""Further account and market endpoints: funding, forced orders, isolated margin, statistics."""

from decimal import Decimal
from typing import Final, cast

from paper_exchange.core import settings
from paper_exchange.core.accounts import MarginChange
from paper_exchange.core.funding import FundingRate
from paper_exchange.core.history import Candle
from paper_exchange.core.margin_assets import ASSETS, BUFFERS, index_price
from paper_exchange.core.market import FUNDING_INTERVAL_MS, Market
from paper_exchange.core.money import CREDITS, cash, plain
from paper_exchange.core.orders import Order, PositionSide
from paper_exchange.core.premium import Span
from paper_exchange.core.retention import KEPT_MS, MARGIN_HISTORY_KEPT_MS
from paper_exchange.core.state import State
from paper_exchange.core.symbols import Symbol
from paper_exchange.errors import missing, refuse
from paper_exchange.http import order_params, render
from paper_exchange.http.calls import PUBLIC, SUCCESS, Call, Route, RouteTable, per_symbol
from paper_exchange.http.params import Params
from paper_exchange.http.render import Json
from paper_exchange.http.routes.market import candle_row, candles, each, kline_weight, klines
from paper_exchange.http.routes.pages import Window, cut, has_times, read_span, within

FORCED: Final = Window(page=50, most=100, most_ms=None, kept_ms=KEPT_MS)
# The most is not documented: the default is taken for it.
MARGIN_CHANGES: Final = Window(
    page=500, most=500, reach_ms=MARGIN_HISTORY_KEPT_MS, most_ms=MARGIN_HISTORY_KEPT_MS, kept_ms=MARGIN_HISTORY_KEPT_MS
)
# Rows of the funding history when neither times nor a limit are sent.
_RECENT_RATES: Final = 200


def funding_rates(call: Call) -> object:
    """Rates in the order of time: from a start on the oldest, otherwise the most recent."""
    market, limit = call.chosen_market(), call.limit(100 if has_times(call) else _RECENT_RATES, 1000)
    start, end = call.params.integer("startTime"), call.params.integer("endTime")
    if None not in {start, end} and cast("int", start) > cast("int", end):
        raise refuse(-1023)
    last = call.now if end is None else min(end, call.now)
    rows = call.exchange.funding.rates(market, start or 0, last, limit, newest=start is None)
    return [_funding_row(row) for row in rows]


def funding_info(call: Call) -> object:
    """Only symbols with other than the default settings are listed: those that are paid more often."""
    symbols = call.exchange.state.symbols.values()
    return [_interval_row(symbol) for symbol in symbols if symbol.funding_ms not in {0, FUNDING_INTERVAL_MS}]


def open_interest(call: Call) -> object:
    """Contracts that the whole market holds. What the accounts here hold is no part of it."""
    market = call.market()
    held = market.symbol.quantity_text(market.basis.open_interest(call.now))
    return {"symbol": market.symbol.name, "openInterest": held, "time": call.now}


def adl_risk_view(market: Market, now: int) -> Json:
    return {"symbol": market.symbol.name, "adlRisk": "low", "updateTime": now}


def mark_klines(call: Call) -> object:
    """Candles of the mark price: as klines, with volumes of zero."""
    market, found = candles(call)
    rows = [candle_row(market.symbol, candle) for candle in found]
    return [[*row[:5], "0", row[6], "0", row[8], "0", "0", "0"] for row in rows]


def index_klines(call: Call) -> object:
    """Candles of the index price, of which the mark price is above or below by the premium."""
    market, found = candles(_of(call, call.params.required("pair")))
    return [_span_row(candle, market.basis.index_span(candle, call.now)) for candle in found]


def premium_klines(call: Call) -> object:
    """Candles of the premium: the fraction by which the mark price is above the index."""
    market, found = candles(call)
    return [
        _span_row(candle, market.basis.premium_span(candle.open_time, min(candle.close_time, call.now)))
        for candle in found
    ]


def continuous_klines(call: Call) -> object:
    """Candles of whatever contract of a pair has that type now."""
    pair, wanted = call.params.required("pair"), call.params.required("contractType")
    listed = call.exchange.state.symbols.values()
    found = next((s.name for s in listed if (s.pair, s.contract_type) == (pair, wanted)), None)
    if found is None:
        raise refuse(-1121) if all(s.pair != pair for s in listed) else refuse(-1130, name="contractType")
    return klines(_of(call, found))


def _of(call: Call, symbol: str) -> Call:
    """Return the call with a symbol."""
    return Call(call.exchange, Params({**call.params.values, "symbol": symbol}), call.now, call.caller)


def force_orders(call: Call) -> object:
    params, chosen = call.params, call.chosen_past_market()
    kind = params.choice("autoCloseType", {"LIQUIDATION", "ADL"}, -1130)

    def wanted(row: tuple[str, Order]) -> bool:
        return kind in {None, row[0]} and (chosen is None or row[1].symbol.name == chosen.symbol.name)

    span = read_span(call, FORCED)
    rows = within(call.account.force_orders, span, lambda row: row[1].created)
    return [render.listed_order(order) for _, order in cut(rows, span, call.limit(FORCED.page, FORCED.most), wanted)]


def set_position_margin(call: Call) -> object:
    market, params = call.market(), call.params
    side = order_params.position_side(params) or "BOTH"
    amount, direction = params.required_decimal("amount"), params.required_integer("type")
    if direction not in {1, 2}:
        raise refuse(-1130, name="type")
    if amount <= 0:
        raise refuse(-4055)
    signed = amount if direction == 1 else -amount
    settings.change_position_margin(call.exchange.state, call.account, market, side, signed)
    return {
        "amount": float(amount),
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": direction,
    }


def position_margin_history(call: Call) -> object:
    market, direction = call.past_market(), call.params.integer("type")

    def wanted(row: MarginChange) -> bool:
        return row.symbol == market.symbol.name and direction in {None, 1 if row.amount > 0 else 2}

    span = read_span(call, MARGIN_CHANGES)
    rows = within(call.account.margin_changes, span, lambda row: row.time)
    page = cut(rows, span, call.limit(MARGIN_CHANGES.page, MARGIN_CHANGES.most), wanted)
    return [
        {
            "symbol": row.symbol,
            "type": 1 if row.amount > 0 else 2,
            "deltaType": "USER_ADJUST",
            "amount": plain(abs(row.amount)),
            "asset": call.account.margin_of(market.symbol),
            "time": row.time,
            "positionSide": row.side,
        }
        for row in page
    ]


def adl_quantile(call: Call) -> object:
    rows = []
    for market in call.markets():
        held = {side: call.account.amount(market.symbol, side) for side in _SIDES}
        if any(held.values()):
            quantiles: dict[str, int] = {side: 1 if amount else 0 for side, amount in held.items()}
            if call.account.dual_side:
                quantiles["HEDGE"] = quantiles.pop("BOTH")
            rows.append({"symbol": market.symbol.name, "adlQuantile": quantiles})
    return rows


def get_fee_burn(call: Call) -> object:
    return {"feeBurn": call.account.fee_burn}


def set_fee_burn(call: Call) -> object:
    """Remember the setting. Without enough BNB fees stay in USDT, as on the exchange."""
    wanted = call.params.flag("feeBurn")
    if wanted is None:
        raise missing("feeBurn")
    call.account.fee_burn = wanted
    return SUCCESS


def trading_status(call: Call) -> object:
    """No quantitative rule is ever broken here."""
    return {"indicators": {}, "updateTime": call.now}


def insurance_balance(call: Call) -> object:
    symbols = [market.symbol.name for market in call.markets()]
    margins = sorted({market.symbol.margin for market in call.markets()}, reverse=True)
    assets = [{"asset": name, "marginBalance": "1000000000.00000000", "updateTime": call.now} for name in margins]
    row = {"symbols": symbols, "assets": assets}
    return row if call.params.has("symbol") else [row]


def asset_index(call: Call) -> object:
    """Index prices of margin assets in multi-assets mode, and their buffers. A stablecoin is one dollar."""
    rows, wanted = asset_rows(call.exchange.state, call.now), call.params.text("symbol")
    if wanted is None:
        return rows
    found = next((row for row in rows if row["symbol"] == wanted), None)
    if found is None:
        raise refuse(-1121)
    return found


def asset_rows(state: State, now: int) -> list[Json]:
    return [
        _asset_row(f"{asset}USD", index_price(state.markets, asset), BUFFERS[asset], now)
        for asset in ASSETS
        if asset != CREDITS or state.assumptions.credits_listed
    ]


def _asset_row(symbol: str, index: Decimal, share: Decimal, now: int) -> Json:
    bid, ask = cash(index * (1 - share)), cash(index * (1 + share))
    row: Json = {"symbol": symbol, "time": now, "index": cash(index)}
    row |= dict.fromkeys(("bidRate", "autoExchangeBidRate"), bid)
    row |= dict.fromkeys(("askRate", "autoExchangeAskRate"), ask)
    names = ("bidBuffer", "askBuffer", "autoExchangeBidBuffer", "autoExchangeAskBuffer")
    return row | dict.fromkeys(names, cash(share))


def _interval_row(symbol: Symbol) -> Json:
    return {
        "symbol": symbol.name,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": symbol.funding_hours,
        "disclaimer": False,
    }


def _funding_row(row: FundingRate) -> Json:
    return {
        "symbol": row.symbol,
        "fundingRate": format(row.rate, ".8f"),
        "fundingTime": row.time,
        "markPrice": cash(row.mark),
        "rateType": "Regular",
    }


def _span_row(candle: Candle, span: Span) -> list[object]:
    prices = [cash(price) for price in (span.first, span.high, span.low, span.last)]
    return [candle.open_time, *prices, "0", candle.close_time, "0", candle.count, "0", "0", "0"]


_SIDES: Final[tuple[PositionSide, ...]] = ("LONG", "SHORT", "BOTH")

ROUTES: RouteTable = {
    ("GET", "/fapi/v1/fundingRate"): Route(handler=funding_rates, security=PUBLIC, weight=0, is_funding=True),
    ("GET", "/fapi/v1/fundingInfo"): Route(handler=funding_info, security=PUBLIC, weight=0, is_funding=True),
    ("GET", "/fapi/v1/openInterest"): Route(handler=open_interest, security=PUBLIC),
    ("GET", "/fapi/v1/symbolAdlRisk"): Route(handler=each(adl_risk_view), security=PUBLIC),
    ("GET", "/fapi/v1/insuranceBalance"): Route(handler=insurance_balance, security=PUBLIC),
    ("GET", "/fapi/v1/assetIndex"): Route(handler=asset_index, security=PUBLIC, weight=per_symbol(1, 10)),
    ("GET", "/fapi/v1/markPriceKlines"): Route(handler=mark_klines, security=PUBLIC, weight=kline_weight),
    ("GET", "/fapi/v1/indexPriceKlines"): Route(handler=index_klines, security=PUBLIC, weight=kline_weight),
    ("GET", "/fapi/v1/premiumIndexKlines"): Route(handler=premium_klines, security=PUBLIC, weight=kline_weight),
    ("GET", "/fapi/v1/continuousKlines"): Route(handler=continuous_klines, security=PUBLIC, weight=kline_weight),
    ("GET", "/fapi/v1/forceOrders"): Route(handler=force_orders, weight=per_symbol(20, 50)),
    ("POST", "/fapi/v1/positionMargin"): Route(handler=set_position_margin),
    ("GET", "/fapi/v1/positionMargin/history"): Route(handler=position_margin_history),
    ("GET", "/fapi/v1/adlQuantile"): Route(handler=adl_quantile, weight=5),
    ("GET", "/fapi/v1/feeBurn"): Route(handler=get_fee_burn, weight=30),
    ("POST", "/fapi/v1/feeBurn"): Route(handler=set_fee_burn),
    ("GET", "/fapi/v1/apiTradingStatus"): Route(handler=trading_status, weight=per_symbol(1, 10)),
}
