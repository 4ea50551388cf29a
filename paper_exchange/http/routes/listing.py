"""The listing of all contracts with their filters, and the rate limits: exchangeInfo."""

from typing import Final

from paper_exchange.core.margin_assets import ASSETS
from paper_exchange.core.money import CREDITS, plain
from paper_exchange.core.symbols import Symbol
from paper_exchange.http.calls import Call
from paper_exchange.http.limits import ORDERS_1M, ORDERS_10S, WEIGHT_LIMIT
from paper_exchange.http.render import Json

# What may be owed of an asset before others are sold for it, in multi-assets mode.
_AUTO_EXCHANGE: Final = {"USDT": "-10000", "USDC": "-10000"}
# Published when limits are counted and not enforced, so that clients that keep to what is published are not slowed.
NO_LIMIT: Final = 1_000_000


def order_limits(call: Call) -> list[Json]:
    """Return the rows of the order counters, of the minute first."""
    enforced = call.exchange.config.limits
    return [
        _limit("ORDERS", "MINUTE", 1, ORDERS_1M if enforced else NO_LIMIT),
        _limit("ORDERS", "SECOND", 10, ORDERS_10S if enforced else NO_LIMIT),
    ]


def _limit(kind: str, interval: str, number: int, limit: int) -> Json:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def exchange_info(call: Call) -> object:
    with_rpi = call.exchange.state.assumptions.rpi_in_times
    return {
        "timezone": "UTC",
        "serverTime": call.exchange.clock.shown_ms(),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_LIMIT if call.exchange.config.limits else NO_LIMIT),
            *order_limits(call),
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": asset, "marginAvailable": True, "autoAssetExchange": _AUTO_EXCHANGE.get(asset, "0")}
            for asset in ASSETS
            if asset != CREDITS or call.exchange.state.assumptions.credits_listed
        ],
        "symbols": [listing(symbol, with_rpi=with_rpi) for symbol in call.exchange.state.symbols.values()],
    }


def listing(symbol: Symbol, *, with_rpi: bool = True) -> Json:
    """Row of exchangeInfo. `with_rpi` names RPI among the times in force of a contract that takes it."""
    last = symbol.brackets[0]
    return {
        "symbol": symbol.name,
        "pair": symbol.pair,
        "contractType": symbol.contract_type,
        "deliveryDate": symbol.delivery_ms,
        "onboardDate": symbol.onboard_ms,
        "status": symbol.status,
        "maintMarginPercent": format(last.maint_ratio * 100, ".4f"),
        "requiredMarginPercent": "5.0000",
        "baseAsset": symbol.base,
        "quoteAsset": symbol.quote,
        "marginAsset": symbol.margin,
        "pricePrecision": symbol.price_precision,
        "quantityPrecision": symbol.quantity_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": symbol.underlying,
        "underlyingSubType": list(symbol.sub_types),
        "settlePlan": 0,
        "triggerProtect": str(symbol.trigger_protect),
        "liquidationFee": str(symbol.liquidation_fee),
        "marketTakeBound": str(symbol.market_take_bound),
        "maxMoveOrderLimit": 10_000,
        "filters": filters(symbol),
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD", *(["RPI"] if symbol.rpi and with_rpi else [])],
        "permissionSets": ["GRID", "COPY", *(["RPI"] if symbol.rpi else []), "DCA"],
    }


def filters(symbol: Symbol) -> list[Json]:
    step, least = str(symbol.step), str(symbol.min_quantity)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": str(symbol.min_price),
            "maxPrice": plain(symbol.max_price),
            "tickSize": str(symbol.tick),
        },
        {"filterType": "LOT_SIZE", "minQty": least, "maxQty": plain(symbol.max_quantity), "stepSize": step},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": least,
            "maxQty": plain(symbol.market_max_quantity),
            "stepSize": step,
        },
        {"filterType": "MAX_NUM_ORDERS", "limit": symbol.max_open_orders},
        {"filterType": "MIN_NOTIONAL", "notional": plain(symbol.min_notional)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": str(symbol.multiplier_up),
            "multiplierDown": str(symbol.multiplier_down),
            "multiplierDecimal": "4",
        },
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": symbol.position_control},
    ]
