"""python-binance: its synchronous client, its sockets and its WebSocket API. Run by `tests.clients`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from decimal import Decimal
from typing import Any

from binance import AsyncClient, BinanceSocketManager
from binance.client import Client
from binance.exceptions import BinanceAPIException

from tests.clients import raw
from tests.clients.loops import Loop, running_loop
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


class PythonBinance:
    missing = {"engine": "a library without a trading engine", "models": "answers are plain JSON"}
    exceptions: Mapping[int, type[Exception]] = dict.fromkeys(raw.CODES, BinanceAPIException)

    def __init__(self, target: Target) -> None:
        self._target = target
        self._api = self._aim(Client(target.key, target.secret, ping=False))

    def code_of(self, error: Exception) -> int:
        return int(error.code) if isinstance(error, BinanceAPIException) else 0

    def server_time_ms(self) -> int:
        self._api.futures_ping()
        return int(self._api.futures_time()["serverTime"])

    def markets(self) -> dict[str, Market]:
        return raw.markets(self._api.futures_exchange_info())

    def place_market(self, side: str, quantity: str, client_id: str) -> Order:
        answer = self._api.futures_create_order(
            symbol=SYMBOL, side=side, type="MARKET", quantity=quantity, newClientOrderId=client_id
        )
        return Order.from_answer(answer)

    def place_limit(self, draft: Limit) -> Order:
        return Order.from_answer(self._api.futures_create_order(**raw.limit(draft)))

    place_unrounded = place_limit

    def place_conditional(self, draft: Conditional) -> Algo:
        return Algo.from_answer(self._api.futures_create_order(**raw.conditional(draft)))

    def place_batch(self, drafts: Sequence[Limit]) -> list[Order | Refusal]:
        return raw.batch(self._api.futures_place_batch_order(batchOrders=[raw.limit(draft) for draft in drafts]))

    def cancel(self, order_id: str) -> Order:
        return Order.from_answer(self._api.futures_cancel_order(symbol=SYMBOL, orderId=order_id))

    def cancel_by_client_id(self, client_id: str) -> Order:
        return Order.from_answer(self._api.futures_cancel_order(symbol=SYMBOL, origClientOrderId=client_id))

    def cancel_algo(self, algo_id: str) -> None:
        self._api.futures_cancel_order(conditional=True, symbol=SYMBOL, algoId=algo_id)

    def cancel_batch(self, order_ids: Sequence[str]) -> list[Order]:
        answer = self._api.futures_cancel_orders(symbol=SYMBOL, orderidlist=[int(one) for one in order_ids])
        return [Order.from_answer(row) for row in answer]

    def amend(self, order: Order, quantity: str, price: str) -> Order:
        answer = self._api.futures_modify_order(
            symbol=SYMBOL, side=order.side, quantity=quantity, price=price, orderId=order.id
        )
        return Order.from_answer(answer)

    def order(self, order_id: str) -> Order:
        return Order.from_answer(self._api.futures_get_order(symbol=SYMBOL, orderId=order_id))

    def order_by_client_id(self, client_id: str) -> Order:
        return Order.from_answer(self._api.futures_get_order(symbol=SYMBOL, origClientOrderId=client_id))

    def algo(self, algo_id: str) -> Algo:
        return Algo.from_answer(self._api.futures_get_order(conditional=True, symbol=SYMBOL, algoId=algo_id))

    def open_orders(self) -> list[Order]:
        return [Order.from_answer(row) for row in self._api.futures_get_open_orders(symbol=SYMBOL)]

    def open_algos(self) -> list[Algo]:
        return [Algo.from_answer(row) for row in self._api.futures_get_open_orders(symbol=SYMBOL, conditional=True)]

    def positions(self) -> list[Position]:
        return raw.positions(self._api.futures_position_information(symbol=SYMBOL))

    def balance(self) -> Balance:
        return raw.balance(self._api.futures_account_balance())

    def trades(self) -> list[Trade]:
        return [raw.trade(row) for row in self._api.futures_account_trades(symbol=SYMBOL)]

    def funding(self) -> Funding:
        return raw.funding(
            self._api.futures_mark_price(symbol=SYMBOL),
            self._api.futures_funding_rate(symbol=SYMBOL),
            self._api.futures_income_history(symbol=SYMBOL, incomeType="FUNDING_FEE"),
        )

    def book(self, limit: int) -> raw.Book:
        return raw.book(self._api.futures_order_book(symbol=SYMBOL, limit=limit))

    def candles(self, limit: int) -> list[Candle]:
        return [raw.candle(row) for row in self._api.futures_klines(symbol=SYMBOL, interval="1m", limit=limit)]

    def last_price(self) -> Decimal:
        return decimal(self._api.futures_symbol_ticker(symbol=SYMBOL)["price"])

    def set_leverage(self, leverage: int) -> None:
        self._api.futures_change_leverage(symbol=SYMBOL, leverage=leverage)

    def leverage(self) -> int:
        return int(raw.only(self._api.futures_symbol_config(symbol=SYMBOL))["leverage"])

    def set_margin_type(self, margin_type: str) -> None:
        self._api.futures_change_margin_type(symbol=SYMBOL, marginType=margin_type)

    def margin_type(self) -> str:
        return str(raw.only(self._api.futures_symbol_config(symbol=SYMBOL))["marginType"])

    def set_hedge_mode(self, *, on: bool) -> None:
        self._api.futures_change_position_mode(dualSidePosition=on)

    def is_hedge_mode(self) -> bool:
        return bool(self._api.futures_get_position_mode()["dualSidePosition"])

    @contextmanager
    def user_stream(self) -> Iterator[Sequence[Event]]:
        events: list[Event] = []
        with running_loop() as loop:
            self._read(loop, lambda sockets: sockets.futures_user_socket(), events, Event.from_payload)
            yield events

    @contextmanager
    def market_stream(self, kind: str) -> Iterator[Sequence[Tick]]:
        openers: dict[str, Callable[[BinanceSocketManager], Any]] = {
            "bookTicker": lambda sockets: sockets.futures_multiplex_socket([raw.STREAMS[kind]], category="public"),
            "depth": lambda sockets: sockets.futures_depth_socket(SYMBOL, depth="5"),
            "aggTrade": lambda sockets: sockets.aggtrade_futures_socket(SYMBOL),
            "markPrice": lambda sockets: sockets.symbol_mark_price_socket(SYMBOL),
            "kline": lambda sockets: sockets.futures_multiplex_socket([raw.STREAMS[kind]]),
        }
        ticks: list[Tick] = []
        with running_loop() as loop:
            self._read(loop, openers[kind], ticks, tick_of)
            yield ticks

    def websocket_api(self, draft: Limit) -> tuple[Order, Order, Order]:
        with running_loop() as loop:
            return loop.run(self._by_websocket(draft))

    async def _by_websocket(self, draft: Limit) -> tuple[Order, Order, Order]:
        api = await self._asynchronous()
        try:
            placed = await api.ws_futures_create_order(**raw.limit(draft))
            found = await api.ws_futures_get_order(symbol=SYMBOL, orderId=placed["orderId"])
            cancelled = await api.ws_futures_cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
        finally:
            await api.close_connection()
        return Order.from_answer(placed), Order.from_answer(found), Order.from_answer(cancelled)

    def model_faults(self) -> Sequence[str]:
        raise NotImplementedError

    def trade_by_engine(self) -> Sequence[str]:
        raise NotImplementedError

    def _read(
        self,
        loop: Loop,
        opener: Callable[[BinanceSocketManager], AbstractAsyncContextManager[Any]],
        found: list[Any],
        convert: Callable[[Mapping[str, Any]], Any],
    ) -> None:
        """Fill a list with what a socket tells, until the loop ends."""

        async def read() -> None:
            api = await self._asynchronous()
            try:
                async with opener(BinanceSocketManager(api)) as socket:
                    while True:
                        message = await socket.recv()
                        payload = message.get("data", message)
                        found.append(convert(payload))
            finally:
                await api.close_connection()

        loop.spawn(read())

    async def _asynchronous(self) -> AsyncClient:
        return self._aim(AsyncClient(self._target.key, self._target.secret))

    def _aim(self, api: Any) -> Any:
        """Point a client at the paper exchange."""
        api.FUTURES_URL = f"{self._target.rest}/fapi"
        api.FUTURES_DATA_URL = f"{self._target.rest}/futures/data"
        return api


def connect(target: Target) -> PythonBinance:
    BinanceSocketManager.FSTREAM_URL = f"{target.streams}/"
    for kind in (Client, AsyncClient):
        kind.WS_FUTURES_URL = f"{target.streams}/ws-fapi/v1"
    return PythonBinance(target)


if __name__ == "__main__":
    main(connect)
