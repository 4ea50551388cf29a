"""binance-futures-connector 4.2.0, REST and WebSocket; the Algo Service through its general signed call.

Run by `tests.clients` in an environment of its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from binance.error import ClientError
from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

from tests.clients import raw
from tests.clients.ports import (
    SYMBOL,
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
    tick_of,
)
from tests.clients.script import Target, main

ORDER = {"symbol": SYMBOL}


class Connector:
    missing = {
        "websocket_api": "the package has no WebSocket API",
        "engine": "a library without a trading engine",
        "models": "answers are plain JSON",
    }
    exceptions: Mapping[int, type[Exception]] = dict.fromkeys(raw.CODES, ClientError)

    def __init__(self, target: Target) -> None:
        self._target = target
        self._api = UMFutures(key=target.key, secret=target.secret, base_url=target.rest, timeout=5)

    def code_of(self, error: Exception) -> int:
        return int(error.error_code) if isinstance(error, ClientError) else 0

    def server_time_ms(self) -> int:
        self._api.ping()
        return int(self._api.time()["serverTime"])

    def markets(self) -> dict[str, Market]:
        return raw.markets(self._api.exchange_info())

    def place_market(self, side: str, quantity: str, client_id: str) -> Order:
        answer = self._api.new_order(
            symbol=SYMBOL, side=side, type="MARKET", quantity=quantity, newClientOrderId=client_id
        )
        return Order.from_answer(answer)

    def place_limit(self, draft: Limit) -> Order:
        return Order.from_answer(self._api.new_order(**raw.limit(draft)))

    place_unrounded = place_limit

    def place_conditional(self, draft: Conditional) -> Algo:
        # The package is older than the Algo Service.
        return Algo.from_answer(self._api.sign_request("POST", "/fapi/v1/algoOrder", raw.conditional(draft)))

    def place_batch(self, drafts: Sequence[Limit]) -> list[Order | Refusal]:
        return raw.batch(self._api.new_batch_order([raw.limit(draft) for draft in drafts]))

    def cancel(self, order_id: str) -> Order:
        return Order.from_answer(self._api.cancel_order(SYMBOL, orderId=order_id))

    def cancel_by_client_id(self, client_id: str) -> Order:
        return Order.from_answer(self._api.cancel_order(SYMBOL, origClientOrderId=client_id))

    def cancel_algo(self, algo_id: str) -> None:
        self._api.sign_request("DELETE", "/fapi/v1/algoOrder", {"algoId": algo_id})

    def cancel_batch(self, order_ids: Sequence[str]) -> list[Order]:
        answer = self._api.cancel_batch_order(SYMBOL, [int(one) for one in order_ids], None)
        return [Order.from_answer(row) for row in answer]

    def amend(self, order: Order, quantity: str, price: str) -> Order:
        answer = self._api.modify_order(SYMBOL, order.side, quantity, price, orderId=order.id)
        return Order.from_answer(answer)

    def order(self, order_id: str) -> Order:
        return Order.from_answer(self._api.query_order(SYMBOL, orderId=order_id))

    def order_by_client_id(self, client_id: str) -> Order:
        return Order.from_answer(self._api.query_order(SYMBOL, origClientOrderId=client_id))

    def algo(self, algo_id: str) -> Algo:
        return Algo.from_answer(self._api.sign_request("GET", "/fapi/v1/algoOrder", {"algoId": algo_id}))

    def open_orders(self) -> list[Order]:
        # The package's names are swapped: get_open_orders asks for one order.
        return [Order.from_answer(row) for row in self._api.get_orders(symbol=SYMBOL)]

    def open_algos(self) -> list[Algo]:
        return [Algo.from_answer(row) for row in self._api.sign_request("GET", "/fapi/v1/openAlgoOrders", dict(ORDER))]

    def positions(self) -> list[Position]:
        return raw.positions(self._api.get_position_risk())

    def balance(self) -> Balance:
        return raw.balance(self._api.balance())

    def trades(self) -> list[Trade]:
        return [raw.trade(row) for row in self._api.get_account_trades(SYMBOL)]

    def funding(self) -> Funding:
        return raw.funding(
            self._api.mark_price(SYMBOL),
            self._api.funding_rate(SYMBOL),
            self._api.get_income_history(symbol=SYMBOL, incomeType="FUNDING_FEE"),
        )

    def book(self, limit: int) -> raw.Book:
        return raw.book(self._api.depth(SYMBOL, limit=limit))

    def candles(self, limit: int) -> list[Candle]:
        return [raw.candle(row) for row in self._api.klines(SYMBOL, "1m", limit=limit)]

    def last_price(self) -> Any:
        return decimal(self._api.ticker_price(SYMBOL)["price"])

    def set_leverage(self, leverage: int) -> None:
        self._api.change_leverage(SYMBOL, leverage)

    def leverage(self) -> int:
        return int(raw.only(self._api.symbol_configuration(symbol=SYMBOL))["leverage"])

    def set_margin_type(self, margin_type: str) -> None:
        self._api.change_margin_type(SYMBOL, margin_type)

    def margin_type(self) -> str:
        return str(raw.only(self._api.symbol_configuration(symbol=SYMBOL))["marginType"])

    def set_hedge_mode(self, *, on: bool) -> None:
        self._api.change_position_mode("true" if on else "false")

    def is_hedge_mode(self) -> bool:
        return bool(self._api.get_position_mode()["dualSidePosition"])

    @contextmanager
    def user_stream(self) -> Iterator[Sequence[Event]]:
        events: list[Event] = []
        with self._socket("private", lambda payload: events.append(Event.from_payload(payload))) as socket:
            socket.user_data(listen_key=self._api.new_listen_key()["listenKey"])
            yield events

    @contextmanager
    def market_stream(self, kind: str) -> Iterator[Sequence[Tick]]:
        ticks: list[Tick] = []
        with self._socket(raw.ROUTES[kind], lambda payload: ticks.append(tick_of(payload))) as socket:
            subscribe = {
                "bookTicker": lambda: socket.book_ticker(SYMBOL),
                "depth": lambda: socket.partial_book_depth(SYMBOL, level=5, speed=100),
                "aggTrade": lambda: socket.agg_trade(SYMBOL),
                "markPrice": lambda: socket.mark_price(SYMBOL, speed=1),
                "kline": lambda: socket.kline(SYMBOL, "1m"),
            }
            subscribe[kind]()
            yield ticks

    def websocket_api(self, draft: Limit) -> tuple[Order, Order, Order]:
        raise NotImplementedError

    def model_faults(self) -> Sequence[str]:
        raise NotImplementedError

    def trade_by_engine(self) -> Sequence[str]:
        raise NotImplementedError

    @contextmanager
    def _socket(self, route: str, take: Any) -> Iterator[UMFuturesWebsocketClient]:
        def on_message(_: object, text: str) -> None:
            payload = json.loads(text)
            if "e" in payload:
                take(payload)

        socket = UMFuturesWebsocketClient(stream_url=f"{self._target.streams}/{route}", on_message=on_message)
        try:
            yield socket
        finally:
            socket.stop()


if __name__ == "__main__":
    main(Connector)
