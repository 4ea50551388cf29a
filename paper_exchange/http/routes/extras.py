"""The rest of the account and market endpoints: funding, forced orders, isolated margin, quantiles, statistics."""

from decimal import Decimal
from typing import Final

from paper_exchange.core import settings
from paper_exchange.core.accounts import CREDITS
from paper_exchange.core.coins import BUFFERS, index_price
from paper_exchange.core.funding import FundingRate
from paper_exchange.core.history import Candle
from paper_exchange.core.market import Market
from paper_exchange.core.money import cash, plain
from paper_exchange.core.orders import PositionSide
from paper_exchange.core.premium import Span
from paper_exchange.core.state import State
from paper_exchange.errors import missing, refuse
from paper_exchange.http import render, tickets
from paper_exchange.http.calls import PUBLIC, SUCCESS, Call, Route, RouteTable, per_symbol
from paper_exchange.http.params import Params
from paper_exchange.http.render import Json
from paper_exchange.http.routes.market import candle_row, candles, each, kline_weight, klines
from paper_exchange.http.routes.pages import by_time, time_span

_DAY: Final = 86_400_000


def funding_rates(call: Call) -> object:
    chosen = call.chosen_market()
    span = time_span(call, 366 * _DAY) or (call.now - 30 * _DAY, call.now)
    rows = call.exchange.funding.rates(chosen.symbol.name if chosen else None, *span)
    limit = call.params.limit(100, 1000)
    # A start asks for the oldest rows from there on, otherwise the newest count.
    page = rows[:limit] if call.params.has("startTime") else rows[-limit:]
    return [_funding_row(row) for row in page]


def funding_info(_: Call) -> object:
    """Only symbols with other than the default settings are listed; here there are none."""
    return []


def open_interest(call: Call) -> object:
    """Contracts that the whole market holds; what the accounts here hold is no part of it."""
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
    market, found = candles(_by_pair(call))
    return [_span_row(candle, market.basis.index_span(candle, call.now)) for candle in found]


def premium_klines(call: Call) -> object:
    """Candles of the premium: the fraction by which the mark price is above the index."""
    market, found = candles(call)
    return [
        _span_row(candle, market.basis.premium_span(candle.open_time, min(candle.close_time, call.now)))
        for candle in found
    ]


def continuous_klines(call: Call) -> object:
    call.params.required("pair")
    if call.params.required("contractType") != "PERPETUAL":
        raise refuse(-1130, name="contractType")
    return klines(_by_pair(call))


def _by_pair(call: Call) -> Call:
    """Return the call with its pair as its symbol."""
    params = Params({**call.params.values, "symbol": call.params.required("pair")})
    return Call(call.exchange, params, call.now, call.caller)


def force_orders(call: Call) -> object:
    params, chosen = call.params, call.chosen_market()
    kind = params.choice("autoCloseType", {"LIQUIDATION", "ADL"}, -1130)
    rows = [
        order
        for forced, order in call.account.force_orders
        if kind in {None, forced} and (chosen is None or order.symbol is chosen.symbol)
    ]
    page = by_time(rows, time_span(call), call.now, params.limit(50, 100), lambda order: order.created)
    return [render.listed_order(order) for order in page]


def set_position_margin(call: Call) -> object:
    market, params = call.market(), call.params
    side = tickets.position_side(params) or "BOTH"
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
    market, direction = call.market(), call.params.integer("type")
    rows = [
        row
        for row in call.account.margin_changes
        if row.symbol == market.symbol.name and direction in {None, 1 if row.amount > 0 else 2}
    ]
    page = by_time(rows, time_span(call, 30 * _DAY), call.now, call.params.limit(100, 500), lambda row: row.time)
    return [
        {
            "symbol": row.symbol,
            "type": 1 if row.amount > 0 else 2,
            "deltaType": "USER_ADJUST",
            "amount": plain(abs(row.amount)),
            "asset": call.account.asset,
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
    """Remember the wish; without enough BNB fees stay in USDT, as on the exchange."""
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
    assets = [{"asset": "USDT", "marginBalance": "1000000000.00000000", "updateTime": call.now}]
    row = {"symbols": symbols, "assets": assets}
    return row if call.params.has("symbol") else [row]


def asset_index(call: Call) -> object:
    """Prices of margin assets in multi-assets mode, and by how much less they count: USDT is worth one dollar."""
    rows, wanted = asset_rows(call.exchange.state, call.now), call.params.text("symbol")
    if wanted is None:
        return rows
    found = next((row for row in rows if row["symbol"] == wanted), None)
    if found is None:
        raise refuse(-1121)
    return found


def asset_rows(state: State, now: int) -> list[Json]:
    return [
        _asset_row(f"{asset}USD", index_price(state.markets, asset), buffer, now)
        for asset, buffer in BUFFERS.items()
        if asset != CREDITS or state.switches.credits_listed
    ]


def _asset_row(symbol: str, index: Decimal, buffer: Decimal, now: int) -> Json:
    bid, ask = cash(index * (1 - buffer)), cash(index * (1 + buffer))
    row: Json = {"symbol": symbol, "time": now, "index": cash(index)}
    row |= dict.fromkeys(("bidRate", "autoExchangeBidRate"), bid)
    row |= dict.fromkeys(("askRate", "autoExchangeAskRate"), ask)
    names = ("bidBuffer", "askBuffer", "autoExchangeBidBuffer", "autoExchangeAskBuffer")
    return row | dict.fromkeys(names, cash(buffer))


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
