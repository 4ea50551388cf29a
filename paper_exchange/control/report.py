"""The report of fills: what each one cost against the book that stood when its order arrived."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from paper_exchange.core.money import ZERO, cash
from paper_exchange.core.orders import Fill
from paper_exchange.http.render import Json

_BPS: Final = Decimal(10_000)
_BPS_UNIT: Final = Decimal("0.0001")


def fills_report(fills: Sequence[Fill]) -> dict[str, Any]:
    """Return a row for each fill, and the totals.

    Bps are weighted by what the arrival price made of the fills.
    """
    slippages = [(fill, slippage) for fill in fills if (slippage := _slippage(fill)) is not None]
    paid = sum((slippage for _, slippage in slippages), ZERO)
    expected = sum((fill.quote for fill, _ in slippages), ZERO) - sum(
        (slippage if fill.order.side == "BUY" else -slippage for fill, slippage in slippages), ZERO
    )
    return {
        "fills": [_row(fill) for fill in fills],
        "totals": {
            "fills": len(fills),
            "quote": cash(sum((fill.quote for fill in fills), ZERO)),
            "commission": cash(
                sum((fill.commission for fill in fills if fill.commission_asset == fill.order.account.asset), ZERO)
            ),
            "slippage": cash(paid),
            "slippageBps": _bps(paid, expected) if expected else None,
        },
    }


def _row(fill: Fill) -> Json:
    order, symbol = fill.order, fill.order.symbol
    arrival, slippage = order.arrival_price, _slippage(fill)
    return {
        "key": order.account.key,
        "symbol": symbol.name,
        "tradeId": fill.trade_id,
        "orderId": order.order_id,
        "clientOrderId": order.client_id,
        "side": order.side,
        "type": order.type,
        "maker": fill.maker,
        "price": symbol.price_text(fill.price),
        "qty": symbol.quantity_text(fill.quantity),
        "arrivalTime": order.created,
        "arrivalBid": None if order.arrival_bid is None else symbol.price_text(order.arrival_bid),
        "arrivalAsk": None if order.arrival_ask is None else symbol.price_text(order.arrival_ask),
        "time": fill.time,
        "slippage": None if slippage is None else cash(slippage),
        "slippageBps": None if slippage is None or arrival is None else _bps(slippage, arrival * fill.quantity),
        "commission": cash(fill.commission),
        "commissionAsset": fill.commission_asset,
    }


def _slippage(fill: Fill) -> Decimal | None:
    """USDT lost against taking the best opposite price at arrival.

    Negative for a better fill, None without a book.
    """
    arrival = fill.order.arrival_price
    if arrival is None:
        return None
    worse = fill.price - arrival if fill.order.side == "BUY" else arrival - fill.price
    return worse * fill.quantity


def _bps(part: Decimal, whole: Decimal) -> str:
    return format((part / whole * _BPS).quantize(_BPS_UNIT), "f")
