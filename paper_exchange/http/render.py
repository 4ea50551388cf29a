"""JSON shapes of orders, fills, positions and balances, as the exchange answered in late 2026."""

from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account, Income
from paper_exchange.core.amending import Amendment
from paper_exchange.core.margin import Figures, SideMargin
from paper_exchange.core.money import ZERO, cash, plain
from paper_exchange.core.orders import LIMIT_CONDITIONAL, AlgoOrder, Fill, Order

Json = dict[str, object]
_ZEROS: Final = "0"


def placed_order(order: Order, *, acknowledged: bool = False) -> Json:
    """Answer of place, amend and cancel. An acknowledgement shows the order as before matching."""
    symbol = order.symbol
    executed = symbol.quantity_text(ZERO if acknowledged else order.executed)
    return {
        "orderId": order.order_id,
        "symbol": symbol.name,
        "status": "NEW" if acknowledged else order.status,
        "clientOrderId": order.client_id,
        "price": symbol.price_text(order.price),
        "origQty": symbol.quantity_text(order.quantity),
        "executedQty": executed,
        "cumQty": executed,
        **_order_terms(order),
        "updateTime": order.updated,
    }


def queried_order(order: Order) -> Json:
    """Answer of the look-ups: with average price and turnover."""
    symbol = order.symbol
    return {
        "orderId": order.order_id,
        "symbol": symbol.name,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": symbol.price_text(order.price),
        "avgPrice": average_text(order),
        "origQty": symbol.quantity_text(order.quantity),
        "executedQty": symbol.quantity_text(order.executed),
        "cumQuote": plain(order.quote),
        **_order_terms(order),
        "time": order.created,
        "updateTime": order.updated,
    }


def listed_order(order: Order) -> Json:
    """Row of allOrders and forceOrders."""
    return {**queried_order(order), "pair": order.symbol.pair, "cumBase": "0"}


def amended_order(order: Order) -> Json:
    """Answer of PUT /order."""
    row = placed_order(order) | {"pair": order.symbol.pair}
    return row if order.modify_id is None else row | {"modifyId": order.modify_id}


def amendment(row: Amendment) -> Json:
    symbol = row.order.symbol
    change: Json = {
        "price": {"before": symbol.price_text(row.price_before), "after": symbol.price_text(row.price_after)},
        "origQty": {
            "before": symbol.quantity_text(row.quantity_before),
            "after": symbol.quantity_text(row.quantity_after),
        },
        "count": row.count,
    }
    if row.modify_id is not None:
        change["modifyId"] = row.modify_id
    return {
        "amendmentId": row.amendment_id,
        "symbol": symbol.name,
        "pair": symbol.pair,
        "orderId": row.order.order_id,
        "clientOrderId": row.order.client_id,
        "time": row.time,
        "amendment": change,
    }


def average_text(order: Order) -> str:
    """Average price padded to the symbol's precision, with up to eight decimals when that would round it."""
    average = order.average_price
    text = order.symbol.price_text(average)
    return text if Decimal(text) == average else cash(average)


def _order_terms(order: Order) -> Json:
    algo = order.algo
    return {
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": order.symbol.price_text(ZERO),
        "workingType": algo.ticket.working_type if algo else "CONTRACT_PRICE",
        "priceProtect": bool(algo and algo.ticket.price_protect),
        "origType": order.type,
        "priceMatch": order.price_match,
        "selfTradePreventionMode": order.stp,
        "goodTillDate": order.good_till,
    }


def placed_algo(algo: AlgoOrder) -> Json:
    ticket, symbol = algo.ticket, algo.symbol
    trailing = ticket.type == "TRAILING_STOP_MARKET"
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_id,
        "algoType": "CONDITIONAL",
        "orderType": ticket.type,
        "symbol": symbol.name,
        "side": ticket.side,
        "positionSide": algo.position_side,
        "timeInForce": ticket.time_in_force,
        "quantity": symbol.quantity_text(ticket.quantity),
        "algoStatus": algo.status,
        "triggerPrice": symbol.price_text(ticket.trigger_price),
        "price": symbol.price_text(ticket.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": ticket.stp,
        "workingType": ticket.working_type,
        "priceMatch": ticket.price_match,
        "closePosition": ticket.close_position,
        "priceProtect": ticket.price_protect,
        "reduceOnly": algo.reduce_only,
        "activatePrice": symbol.price_text(algo.activate_price) if trailing else "",
        "callbackRate": plain(ticket.callback_rate or ZERO) if trailing else "",
        "createTime": algo.created,
        "updateTime": algo.updated,
        "triggerTime": algo.triggered_at,
        "goodTillDate": ticket.good_till,
    }


def queried_algo(algo: AlgoOrder) -> Json:
    order, nothing = algo.order, algo.symbol.price_text(ZERO)
    row = placed_algo(algo) | {
        "actualOrderId": str(order.order_id) if order else "",
        "actualPrice": average_text(order) if order else "0.00000",
        "actualQty": algo.symbol.quantity_text(order.executed) if order else "0.0",
        "tpTriggerPrice": nothing,
        "tpPrice": nothing,
        "slTriggerPrice": nothing,
        "slPrice": nothing,
        "tpOrderType": "",
    }
    if order:
        row["actualType"] = "LIMIT" if algo.ticket.type in LIMIT_CONDITIONAL else "MARKET"
    return row


def trade(fill: Fill) -> Json:
    """Row of userTrades."""
    order, symbol = fill.order, fill.order.symbol
    return {
        "id": fill.trade_id,
        "orderId": order.order_id,
        "symbol": symbol.name,
        "pair": symbol.pair,
        "side": order.side,
        "positionSide": order.position_side,
        "price": symbol.price_text(fill.price),
        "qty": symbol.quantity_text(fill.quantity),
        "quoteQty": cash(fill.quote),
        "baseQty": "0",
        "realizedPnl": cash(fill.realized) if fill.realized else _ZEROS,
        "commission": cash(fill.commission),
        "commissionAsset": fill.commission_asset,
        "marginAsset": order.account.margin_of(symbol),
        "maker": fill.maker,
        "buyer": order.side == "BUY",
        "time": fill.time,
    }


def income(row: Income) -> Json:
    return {
        "symbol": row.symbol,
        "incomeType": row.type,
        "income": cash(row.amount),
        "asset": row.asset,
        "info": row.info,
        "time": row.time,
        "tranId": row.tran_id,
        "tradeId": row.trade_id,
    }


def balance(account: Account, name: str, figures: Figures) -> Json:
    """Row of GET balance for an asset."""
    return {
        "accountAlias": account.alias,
        "asset": name,
        "balance": cash(figures.wallet),
        "crossWalletBalance": cash(figures.cross_wallet),
        "crossUnPnl": cash(figures.cross_unrealized),
        "availableBalance": cash(figures.available),
        "maxWithdrawAmount": cash(withdrawable(figures)),
        "marginAvailable": True,
        "updateTime": account.updated,
    }


def asset(account: Account, name: str, figures: Figures) -> Json:
    """Row of `assets` in GET account."""
    return {
        "asset": name,
        "walletBalance": cash(figures.wallet),
        "unrealizedProfit": cash(figures.unrealized),
        "marginBalance": cash(figures.margin_balance),
        "maintMargin": cash(figures.maintenance),
        "initialMargin": cash(figures.initial),
        "positionInitialMargin": cash(figures.position_initial),
        "openOrderInitialMargin": cash(figures.order_initial),
        "crossWalletBalance": cash(figures.cross_wallet),
        "crossUnPnl": cash(figures.cross_unrealized),
        "availableBalance": cash(figures.available),
        "maxWithdrawAmount": cash(withdrawable(figures)),
        "updateTime": account.updated,
    }


def totals(figures: Figures) -> Json:
    """Top level of GET account."""
    return {
        "totalInitialMargin": cash(figures.initial),
        "totalMaintMargin": cash(figures.maintenance),
        "totalWalletBalance": cash(figures.wallet),
        "totalUnrealizedProfit": cash(figures.unrealized),
        "totalMarginBalance": cash(figures.margin_balance),
        "totalPositionInitialMargin": cash(figures.position_initial),
        "totalOpenOrderInitialMargin": cash(figures.order_initial),
        "totalCrossWalletBalance": cash(figures.cross_wallet),
        "totalCrossUnPnl": cash(figures.cross_unrealized),
        "availableBalance": cash(figures.available),
        "maxWithdrawAmount": cash(withdrawable(figures)),
    }


def withdrawable(figures: Figures) -> Decimal:
    """Free balance without unrealised profit, and no more of the asset than there is."""
    free = max(figures.available - max(figures.cross_unrealized, ZERO), ZERO)
    return min(free, max(figures.cross_wallet, ZERO))


def margins(row: SideMargin) -> Json:
    """Return margin fields that several position shapes share."""
    return {
        "notional": cash(row.notional) if row.notional else _ZEROS,
        "initialMargin": cash(row.position_initial + row.order_initial),
        "maintMargin": cash(row.maintenance),
    }
