"""Binance's own JSON turned into records, for the clients that hand it on as it came; standard library only."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tests.clients.ports import (
    SYMBOL,
    Balance,
    Candle,
    Conditional,
    Funding,
    Limit,
    Market,
    Order,
    Position,
    Refusal,
    Trade,
    decimal,
)

CODES = (-1003, -1015, -1111, -2011, -2013, -2019, -2021, -4014, -4116, -4164, -5021, -5022)
ROUTES = {"bookTicker": "public", "depth": "public", "aggTrade": "market", "markPrice": "market", "kline": "market"}
STREAMS = {
    "bookTicker": "btcusdt@bookTicker",
    "depth": "btcusdt@depth5@100ms",
    "aggTrade": "btcusdt@aggTrade",
    "markPrice": "btcusdt@markPrice@1s",
    "kline": "btcusdt@kline_1m",
}

Answer = Mapping[str, Any]
Rows = Sequence[Answer]
Book = tuple[list[list[Decimal]], list[list[Decimal]]]


def only(rows: Rows) -> Answer:
    (row,) = [row for row in rows if row["symbol"] == SYMBOL]
    return row


def limit(draft: Limit) -> dict[str, Any]:
    parameters = {
        "symbol": SYMBOL,
        "side": draft.side,
        "type": "LIMIT",
        "timeInForce": draft.time_in_force,
        "quantity": draft.quantity,
        "price": draft.price,
        "newClientOrderId": draft.client_id,
    }
    return {**parameters, "reduceOnly": "true"} if draft.reduce_only else parameters


def conditional(draft: Conditional) -> dict[str, Any]:
    parameters = {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": draft.side,
        "type": draft.type,
        "quantity": draft.quantity,
        "clientAlgoId": draft.client_id,
        "reduceOnly": "true",
        "triggerPrice": draft.trigger,
        "price": draft.price,
        "activatePrice": draft.activation,
        "callbackRate": draft.callback_rate,
    }
    return {name: value for name, value in parameters.items() if value}


def batch(answer: Rows) -> list[Order | Refusal]:
    return [Refusal(code=row["code"]) if row.get("code") else Order.from_answer(row) for row in answer]


def markets(answer: Answer) -> dict[str, Market]:
    return {row["symbol"]: market(row) for row in answer["symbols"]}


def market(row: Answer) -> Market:
    filters = {one["filterType"]: one for one in row["filters"]}
    return Market(
        tick=decimal(filters["PRICE_FILTER"]["tickSize"]),
        step=decimal(filters["LOT_SIZE"]["stepSize"]),
        smallest_notional=decimal(filters["MIN_NOTIONAL"]["notional"]),
    )


def positions(rows: Rows) -> list[Position]:
    return [
        Position(
            symbol=row["symbol"],
            amount=decimal(row["positionAmt"]),
            entry=decimal(row["entryPrice"]),
            unrealised=decimal(row["unRealizedProfit"]),
        )
        for row in rows
        if decimal(row["positionAmt"])
    ]


def balance(rows: Rows) -> Balance:
    (row,) = [row for row in rows if row["asset"] == "USDT"]
    return Balance(wallet=decimal(row["balance"]), available=decimal(row["availableBalance"]))


def trade(row: Answer) -> Trade:
    return Trade(
        order_id=str(row["orderId"]),
        side=row["side"],
        price=decimal(row["price"]),
        quantity=decimal(row["qty"]),
        fee=decimal(row["commission"]),
        is_maker=row["maker"],
        realised=decimal(row["realizedPnl"]),
    )


def funding(premium: Answer, history: Rows, income: Rows) -> Funding:
    """Take both lists oldest first."""
    return Funding(
        rate=decimal(premium["lastFundingRate"]),
        newest_rate=decimal(history[-1]["fundingRate"]),
        income=decimal(income[-1]["income"]),
    )


def book(answer: Answer) -> Book:
    bids, asks = ([[decimal(one) for one in row] for row in answer[side]] for side in ("bids", "asks"))
    return bids, asks


def candle(row: Sequence[Any]) -> Candle:
    opened, high, low, closed = (decimal(one) for one in row[1:5])
    return Candle(open_time_ms=int(row[0]), open=opened, high=high, low=low, close=closed)
