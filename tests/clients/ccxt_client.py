"""ccxt for REST and ccxt.pro for streams, both as `binanceusdm` in their unified calls. Run by `tests.clients`."""

# The package lives in an environment of its own, where mypy does not look.
# mypy: disable-error-code="import-not-found"

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import ccxt
import ccxt.pro

from tests.clients import raw
from tests.clients.loops import running_loop
from tests.clients.ports import (
    Algo,
    Balance,
    Candle,
    Conditional,
    Event,
    Funding,
    Limit,
    Market,
    Order,
    Position,
    Refusal,
    Tick,
    Trade,
    decimal,
)
from tests.clients.script import Target, main

SYMBOL = "BTC/USDT:USDT"
NATIVE = "BTCUSDT"
STATUS = {"open": "NEW", "closed": "FILLED", "canceled": "CANCELED", "expired": "EXPIRED"}
ALGO_STATUS = {**STATUS, "closed": "FINISHED"}
TRIGGERED = {"trigger": True}
Answer = Mapping[str, Any]


class Ccxt:
    missing = {"engine": "a library without a trading engine", "models": "answers are dictionaries"}
    exceptions: Mapping[int, type[Exception]] = {
        -1003: ccxt.DDoSProtection,
        -1015: ccxt.DDoSProtection,
        -1111: ccxt.BadRequest,
        -2011: ccxt.OrderNotFound,
        -2013: ccxt.OrderNotFound,
        -2019: ccxt.InsufficientFunds,
        -2021: ccxt.OrderImmediatelyFillable,
        -4014: ccxt.BadRequest,
        -4116: ccxt.InvalidOrder,
        -4164: ccxt.InvalidOrder,
        -5021: ccxt.OrderNotFillable,
        -5022: ccxt.OrderNotFillable,
    }

    def __init__(self, target: Target) -> None:
        self._target = target
        self._api = self._aim(ccxt.binanceusdm)
        self._api.load_markets()

    def code_of(self, error: Exception) -> int:
        """Find the code in the exchange's answer, which ccxt puts into its message."""
        found = re.search(r"\{.*\}", str(error))
        return int(json.loads(found[0])["code"]) if found else 0

    def server_time_ms(self) -> int:
        self._api.fapipublic_get_ping()
        return int(self._api.fetch_time())

    def markets(self) -> dict[str, Market]:
        found = self._api.load_markets(reload=True)
        return {
            market["id"]: Market(
                tick=decimal(market["precision"]["price"]),
                step=decimal(market["precision"]["amount"]),
                smallest_notional=decimal(market["limits"]["cost"]["min"]),
            )
            for market in found.values()
        }

    def place_market(self, side: str, quantity: str, client_id: str) -> Order:
        parameters = {"clientOrderId": client_id}
        return order_of(self._api.create_order(SYMBOL, "market", side.lower(), float(quantity), None, parameters))

    def place_limit(self, draft: Limit) -> Order:
        return order_of(self._api.create_order(**limit(draft)))

    def place_unrounded(self, draft: Limit) -> Order:
        """Place by the implicit call, because the unified one rounds to tick and step."""
        return Order.from_answer(self._api.fapiprivate_post_order(raw.limit(draft)))

    def place_conditional(self, draft: Conditional) -> Algo:
        parameters: dict[str, Any] = {"clientOrderId": draft.client_id, "reduceOnly": True}
        if draft.type == "TRAILING_STOP_MARKET":
            parameters |= {"trailingPercent": draft.callback_rate, "trailingTriggerPrice": draft.activation}
        elif draft.type.startswith("STOP"):
            parameters |= {"stopLossPrice": draft.trigger}
        else:
            parameters |= {"takeProfitPrice": draft.trigger}
        price = float(draft.price) if draft.price else None
        kind = "limit" if price else "market"
        amount = float(draft.quantity)
        return algo_of(self._api.create_order(SYMBOL, kind, draft.side.lower(), amount, price, parameters))

    def place_batch(self, drafts: Sequence[Limit]) -> list[Order | Refusal]:
        answers = self._api.create_orders([limit(draft) for draft in drafts])
        # ccxt sorts them by time, and refusals have none.
        orders = {answer["clientOrderId"]: order_of(answer) for answer in answers if answer["id"]}
        refusals = iter(Refusal(code=int(answer["info"]["code"])) for answer in answers if not answer["id"])
        return [orders.get(draft.client_id) or next(refusals) for draft in drafts]

    def cancel(self, order_id: str) -> Order:
        return order_of(self._api.cancel_order(order_id, SYMBOL))

    def cancel_by_client_id(self, client_id: str) -> Order:
        return order_of(self._api.cancel_order(None, SYMBOL, {"clientOrderId": client_id}))

    def cancel_algo(self, algo_id: str) -> None:
        self._api.cancel_order(algo_id, SYMBOL, TRIGGERED)

    def cancel_batch(self, order_ids: Sequence[str]) -> list[Order]:
        return [order_of(answer) for answer in self._api.cancel_orders(list(order_ids), SYMBOL)]

    def amend(self, order: Order, quantity: str, price: str) -> Order:
        answer = self._api.edit_order(order.id, SYMBOL, "limit", order.side.lower(), float(quantity), float(price))
        return order_of(answer)

    def order(self, order_id: str) -> Order:
        return order_of(self._api.fetch_order(order_id, SYMBOL))

    def order_by_client_id(self, client_id: str) -> Order:
        return order_of(self._api.fetch_order(None, SYMBOL, {"clientOrderId": client_id}))

    def algo(self, algo_id: str) -> Algo:
        return algo_of(self._api.fetch_order(algo_id, SYMBOL, TRIGGERED))

    def open_orders(self) -> list[Order]:
        return [order_of(answer) for answer in self._api.fetch_open_orders(SYMBOL)]

    def open_algos(self) -> list[Algo]:
        return [algo_of(answer) for answer in self._api.fetch_open_orders(SYMBOL, params=TRIGGERED)]

    def positions(self) -> list[Position]:
        return [
            Position(
                symbol=answer["info"]["symbol"],
                amount=signed(answer),
                entry=decimal(answer["entryPrice"]),
                unrealised=decimal(answer["unrealizedPnl"]),
            )
            for answer in self._api.fetch_positions([SYMBOL])
            if answer["contracts"]
        ]

    def balance(self) -> Balance:
        answer = self._api.fetch_balance()
        usdt = answer["USDT"]
        # The unified total contains the unrealised profit.
        wallet = decimal(usdt["total"]) - decimal(answer["info"]["totalUnrealizedProfit"])
        return Balance(wallet=wallet, available=decimal(usdt["free"]))

    def trades(self) -> list[Trade]:
        return [
            Trade(
                order_id=answer["order"],
                side=answer["side"].upper(),
                price=decimal(answer["price"]),
                quantity=decimal(answer["amount"]),
                fee=decimal(answer["fee"]["cost"]),
                is_maker=answer["takerOrMaker"] == "maker",
                realised=decimal(answer["info"]["realizedPnl"]),
            )
            for answer in self._api.fetch_my_trades(SYMBOL)
        ]

    def funding(self) -> Funding:
        return Funding(
            rate=decimal(self._api.fetch_funding_rate(SYMBOL)["fundingRate"]),
            newest_rate=decimal(self._api.fetch_funding_rate_history(SYMBOL)[-1]["fundingRate"]),
            income=decimal(self._api.fetch_funding_history(SYMBOL)[-1]["amount"]),
        )

    def book(self, limit: int) -> raw.Book:
        return raw.book(self._api.fetch_order_book(SYMBOL, limit))

    def candles(self, limit: int) -> list[Candle]:
        return [raw.candle(row) for row in self._api.fetch_ohlcv(SYMBOL, "1m", limit=limit)]

    def last_price(self) -> Decimal:
        return decimal(self._api.fetch_ticker(SYMBOL)["last"])

    def set_leverage(self, leverage: int) -> None:
        self._api.set_leverage(leverage, SYMBOL)

    def leverage(self) -> int:
        return int(self._api.fetch_leverage(SYMBOL)["longLeverage"])

    def set_margin_type(self, margin_type: str) -> None:
        self._api.set_margin_mode(margin_type.lower(), SYMBOL)

    def margin_type(self) -> str:
        return {"cross": "CROSSED", "isolated": "ISOLATED"}[self._api.fetch_margin_mode(SYMBOL)["marginMode"]]

    def set_hedge_mode(self, *, on: bool) -> None:
        self._api.set_position_mode(on)

    def is_hedge_mode(self) -> bool:
        return bool(self._api.fetch_position_mode()["hedged"])

    @contextmanager
    def user_stream(self) -> Iterator[Sequence[Event]]:
        events: list[Event] = []

        async def orders(api: Any) -> None:
            events.extend(event_of(one) for one in await api.watch_orders(SYMBOL))

        async def wallet(api: Any) -> None:
            balance = await api.watch_balance()
            events.append(Event(kind="ACCOUNT_UPDATE", wallet=decimal(balance["USDT"]["total"])))

        async def positions(api: Any) -> None:
            found = await api.watch_positions([SYMBOL])
            events.extend(Event(kind="ACCOUNT_UPDATE", position=signed(one)) for one in found)

        with self._watching(orders, wallet, positions):
            yield events

    @contextmanager
    def market_stream(self, kind: str) -> Iterator[Sequence[Tick]]:
        ticks: list[Tick] = []

        async def book_ticker(api: Any) -> None:
            answer = (await api.watch_bids_asks([SYMBOL]))[SYMBOL]
            ticks.append({"bid": decimal(answer["bid"]), "ask": decimal(answer["ask"])})

        async def depth(api: Any) -> None:
            answer = await api.watch_order_book(SYMBOL)
            ticks.append({"bid": decimal(answer["bids"][0][0]), "ask": decimal(answer["asks"][0][0])})

        async def agg_trade(api: Any) -> None:
            found = await api.watch_trades(SYMBOL, params={"name": "aggTrade"})
            ticks.extend({"price": decimal(one["price"]), "quantity": decimal(one["amount"])} for one in found)

        async def mark_price(api: Any) -> None:
            ticks.append({"price": decimal((await api.watch_mark_price(SYMBOL))["markPrice"])})

        async def kline(api: Any) -> None:
            ticks.extend({"close": decimal(answer[4])} for answer in await api.watch_ohlcv(SYMBOL, "1m"))

        watchers = {
            "bookTicker": book_ticker,
            "depth": depth,
            "aggTrade": agg_trade,
            "markPrice": mark_price,
            "kline": kline,
        }
        with self._watching(watchers[kind]):
            yield ticks

    def websocket_api(self, draft: Limit) -> tuple[Order, Order, Order]:
        async def work() -> list[Answer]:
            api = self._aim(ccxt.pro.binanceusdm)
            try:
                placed = await api.create_order_ws(**limit(draft))
                found = await api.fetch_order_ws(placed["id"], SYMBOL)
                return [placed, found, await api.cancel_order_ws(placed["id"], SYMBOL)]
            finally:
                await api.close()

        with running_loop() as loop:
            placed, found, cancelled = (order_of(answer) for answer in loop.run(work()))
        return placed, found, cancelled

    def model_faults(self) -> Sequence[str]:
        raise NotImplementedError

    def trade_by_engine(self) -> Sequence[str]:
        raise NotImplementedError

    @contextmanager
    def _watching(self, *watchers: Callable[[Any], Awaitable[None]]) -> Iterator[None]:
        """Call each watcher again and again, all with one ccxt.pro client, until the block ends."""

        async def watch(api: Any, watcher: Callable[[Any], Awaitable[None]]) -> None:
            while True:
                await watcher(api)

        async def make() -> Any:
            return self._aim(ccxt.pro.binanceusdm)

        with running_loop() as loop:
            api = loop.run(make())
            try:
                for watcher in watchers:
                    loop.spawn(watch(api, watcher))
                yield
            finally:
                loop.run(api.close())

    def _aim(self, kind: Any) -> Any:
        """Make a client that is pointed at the paper exchange."""
        api = kind(
            {
                "apiKey": self._target.key,
                "secret": self._target.secret,
                # It would ask the wallet service of another host.
                "options": {"fetchCurrencies": False},
                # It only waits; the server is what is examined here.
                "enableRateLimit": False,
            }
        )
        urls = api.urls["api"]
        for version, path in (("", "v1"), ("V2", "v2"), ("V3", "v3")):
            urls[f"fapiPublic{version}"] = urls[f"fapiPrivate{version}"] = f"{self._target.rest}/fapi/{path}"
        urls["fapiData"] = f"{self._target.rest}/futures/data"
        if "ws" in urls:
            urls["ws"]["linear"] = f"{self._target.streams}/ws"
            urls["ws"]["ws-api"]["linear"] = f"{self._target.streams}/ws-fapi/v1"
        # ccxt takes its table of futures errors for https://fapi.* only.
        api.exceptions["exact"].update(api.exceptions["linear"]["exact"])
        return api


def limit(draft: Limit) -> dict[str, Any]:
    parameters: dict[str, Any] = {"clientOrderId": draft.client_id, "timeInForce": draft.time_in_force}
    return {
        "symbol": SYMBOL,
        "type": "limit",
        "side": draft.side.lower(),
        "amount": float(draft.quantity),
        "price": float(draft.price),
        "params": {**parameters, "reduceOnly": True} if draft.reduce_only else parameters,
    }


def order_of(answer: Answer) -> Order:
    average = answer["average"]
    return Order(
        id=answer["id"],
        client_id=answer["clientOrderId"],
        status=STATUS[answer["status"]],
        type=answer["type"].upper(),
        side=answer["side"].upper(),
        quantity=decimal(answer["amount"]),
        filled=decimal(answer["filled"]),
        price=decimal(answer["price"] or 0),
        average=None if average is None else decimal(average),
    )


def algo_of(answer: Answer) -> Algo:
    return Algo(
        id=answer["id"],
        client_id=answer["clientOrderId"],
        status=ALGO_STATUS[answer["status"]],
        # The unified type is only "market" or "limit".
        type=answer["info"]["orderType"],
        side=answer["side"].upper(),
        quantity=decimal(answer["amount"]),
        trigger=decimal(answer["triggerPrice"] or 0),
        order_id=answer["info"].get("actualOrderId") or "",
    )


def event_of(answer: Answer) -> Event:
    if "aid" in answer["info"]:
        return Event(kind="ALGO_UPDATE", client_id=answer["clientOrderId"], status=ALGO_STATUS[answer["status"]])
    order = order_of(answer)
    return Event(
        kind="ORDER_TRADE_UPDATE",
        client_id=order.client_id,
        status=order.status,
        filled=order.filled,
        average=order.average,
    )


def signed(position: Answer) -> Decimal:
    return decimal(position["contracts"] or 0) * (-1 if position["side"] == "short" else 1)


if __name__ == "__main__":
    main(Ccxt)
