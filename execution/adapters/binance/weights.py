"""What each of our requests costs at the exchange, by its documented weight tables.

The headers of answers correct a weight that is wrong here. Too high a default costs a little of the limit.
"""

from collections.abc import Mapping
from types import MappingProxyType

from execution.domain.rate_limits import Cost

ORDER = Cost(orders_10s=1, orders_1m=1)
# A path that is not listed: heavy enough that forgetting it does no harm.
UNLISTED = 10
FIXED: Mapping[tuple[str, str], Cost] = MappingProxyType(
    {
        ("POST", "/fapi/v1/order"): ORDER,
        ("PUT", "/fapi/v1/order"): ORDER,
        ("POST", "/fapi/v1/algoOrder"): ORDER,
        ("POST", "/fapi/v1/order/test"): Cost(weight=1),
        ("POST", "/fapi/v1/batchOrders"): Cost(weight=5, orders_10s=5, orders_1m=1),
        ("PUT", "/fapi/v1/batchOrders"): Cost(weight=5, orders_10s=5, orders_1m=1),
        ("POST", "/fapi/v1/countdownCancelAll"): Cost(weight=10),
        **{
            (method, f"/fapi/{path}"): Cost(weight=weight)
            for weight, method, paths in (
                # A limit of their own, 500 in five minutes.
                (0, "GET", "v1/fundingRate v1/fundingInfo"),
                (1, "GET", "v1/ping v1/time v1/exchangeInfo v1/order v1/openOrder v1/algoOrder v1/orderAmendment"),
                (1, "GET", "v1/openInterest v1/leverageBracket v1/rateLimit/order v1/positionMargin/history"),
                (1, "DELETE", "v1/order v1/algoOrder v1/allOpenOrders v1/algoOpenOrders v1/batchOrders v1/listenKey"),
                (1, "POST", "v1/leverage v1/marginType v1/positionSide/dual v1/positionMargin v1/listenKey"),
                (1, "POST", "v1/multiAssetsMargin v1/feeBurn"),
                (1, "PUT", "v1/listenKey"),
                (5, "GET", "v1/allOrders v1/allAlgoOrders v1/userTrades v1/trades v1/adlQuantile"),
                (5, "GET", "v1/accountConfig v1/symbolConfig"),
                (5, "GET", "v2/account v3/account v2/balance v3/balance v2/positionRisk v3/positionRisk"),
                (20, "GET", "v1/commissionRate v1/aggTrades"),
                (30, "GET", "v1/income v1/positionSide/dual v1/multiAssetsMargin v1/feeBurn"),
            )
            for path in paths.split()
        },
    }
)
# Weight with the parameter `symbol`, and for all symbols.
BY_SYMBOL: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "/fapi/v1/openOrders": (1, 40),
        "/fapi/v1/openAlgoOrders": (1, 40),
        "/fapi/v1/premiumIndex": (1, 10),
        "/fapi/v1/ticker/bookTicker": (2, 5),
        "/fapi/v1/ticker/price": (1, 2),
        "/fapi/v2/ticker/price": (1, 2),
        "/fapi/v1/ticker/24hr": (1, 40),
        "/fapi/v1/forceOrders": (20, 50),
        "/fapi/v1/apiTradingStatus": (1, 10),
        "/fapi/v1/assetIndex": (1, 10),
    }
)
# The largest `limit` of each weight, and the limit when none is given.
STEPS: Mapping[str, tuple[int, tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        "/fapi/v1/depth": (500, ((50, 2), (100, 5), (500, 10), (1000, 20))),
        **{
            f"/fapi/v1/{path}": (500, ((99, 1), (499, 2), (1000, 5), (1500, 10)))
            for path in ("klines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines")
        },
    }
)


def cost_of(method: str, path: str, parameters: Mapping[str, object]) -> Cost:
    """Return the cost of a request by its parameters."""
    fixed = FIXED.get((method, path))
    if fixed is not None:
        return fixed
    if path in BY_SYMBOL:
        one, all_symbols = BY_SYMBOL[path]
        return Cost(weight=one if parameters.get("symbol") else all_symbols)
    if path in STEPS:
        default, steps = STEPS[path]
        limit = int(str(parameters.get("limit") or default))
        return Cost(weight=next((weight for most, weight in steps if limit <= most), steps[-1][1]))
    return Cost(weight=UNLISTED)
