"""NautilusTrader 1.221: the HTTP and WebSocket clients of its Binance adapter, and its live node with a strategy.

Run by `tests.clients` in an environment of its own. Its sockets are opened by compiled code, which the watch on
connections that leave the machine does not see; every address that it gets is on loopback.
"""

# mypy: disable-error-code="import-not-found"

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from nautilus_trader.adapters.binance.common.enums import (
    BinanceAccountType,
    BinanceKlineInterval,
    BinanceOrderSide,
    BinanceOrderType,
    BinanceTimeInForce,
)
from nautilus_trader.adapters.binance.common.symbol import BinanceSymbol
from nautilus_trader.adapters.binance.futures.enums import BinanceFuturesMarginType
from nautilus_trader.adapters.binance.futures.http.account import BinanceFuturesAccountHttpAPI
from nautilus_trader.adapters.binance.futures.http.market import BinanceFuturesMarketHttpAPI
from nautilus_trader.adapters.binance.futures.http.user import BinanceFuturesUserDataHttpAPI
from nautilus_trader.adapters.binance.futures.schemas.user import (
    BinanceFuturesAccountUpdateWrapper,
    BinanceFuturesOrderUpdateWrapper,
    BinanceFuturesTradeLiteWrapper,
)
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.http.error import BinanceClientError
from nautilus_trader.adapters.binance.websocket.client import BinanceWebSocketClient
from nautilus_trader.common.component import LiveClock
from nautilus_trader.core.nautilus_pyo3 import HttpMethod

from tests.clients import raw
from tests.clients.loops import Loop
from tests.clients.nautilus_node import trade
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

Value = TypeVar("Value")
# Its closed schemas of user events; it has none for conditional orders.
EVENTS = {
    "ORDER_TRADE_UPDATE": msgspec.json.Decoder(BinanceFuturesOrderUpdateWrapper),
    "ACCOUNT_UPDATE": msgspec.json.Decoder(BinanceFuturesAccountUpdateWrapper),
    "TRADE_LITE": msgspec.json.Decoder(BinanceFuturesTradeLiteWrapper),
}


class Nautilus:
    missing = {
        "batch_place": "the adapter places orders one by one",
        "funding": "the adapter has no call for rates and income",
        "websocket_api": "the adapter of this version trades by REST only",
        "models": "every answer went through its closed models; they do not report unknown fields",
    }
    exceptions: Mapping[int, type[Exception]] = dict.fromkeys(raw.CODES, BinanceClientError)

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loop = Loop()
        kind = BinanceAccountType.USDT_FUTURES
        self._clock = LiveClock()
        self._http = BinanceHttpClient(
            clock=self._clock, api_key=target.key, api_secret=target.secret, base_url=target.rest
        )
        self._account = BinanceFuturesAccountHttpAPI(self._http, self._clock, kind)
        self._market = BinanceFuturesMarketHttpAPI(self._http, kind)
        self._user = BinanceFuturesUserDataHttpAPI(self._http, kind)

    def code_of(self, error: Exception) -> int:
        return int(error.message["code"]) if isinstance(error, BinanceClientError) else 0

    def server_time_ms(self) -> int:
        self._run(self._market.ping)
        return int(self._run(self._market.request_server_time))

    def markets(self) -> dict[str, Market]:
        info = self._run(self._market.query_futures_exchange_info)
        return {row.symbol: _market(row.filters) for row in info.symbols}

    def place_market(self, side: str, quantity: str, client_id: str) -> Order:
        return self._place(side=side, kind="MARKET", quantity=quantity, new_client_order_id=client_id)

    def place_limit(self, draft: Limit) -> Order:
        return self._place(
            side=draft.side,
            kind="LIMIT",
            time_in_force=BinanceTimeInForce(draft.time_in_force),
            quantity=draft.quantity,
            price=draft.price,
            new_client_order_id=draft.client_id,
            reduce_only="true" if draft.reduce_only else None,
        )

    place_unrounded = place_limit

    def place_conditional(self, draft: Conditional) -> Algo:
        # This version is older than the Algo Service.
        return Algo.from_answer(self._signed(HttpMethod.POST, "algoOrder", raw.conditional(draft)))

    def place_batch(self, drafts: Sequence[Limit]) -> Sequence[Order | Refusal]:
        raise NotImplementedError

    def cancel(self, order_id: str) -> Order:
        return _order(self._run(self._account.cancel_order, SYMBOL, order_id=int(order_id)))

    def cancel_by_client_id(self, client_id: str) -> Order:
        return _order(self._run(self._account.cancel_order, SYMBOL, orig_client_order_id=client_id))

    def cancel_algo(self, algo_id: str) -> None:
        self._signed(HttpMethod.DELETE, "algoOrder", {"algoId": algo_id})

    def cancel_batch(self, order_ids: Sequence[str]) -> list[Order]:
        # Its call takes client ids and tells only that all is well.
        names = [self.order(one).client_id for one in order_ids]
        self._run(self._account.cancel_multiple_orders, SYMBOL, client_order_ids=names)
        return [self.order(one) for one in order_ids]

    def amend(self, order: Order, quantity: str, price: str) -> Order:
        side = BinanceOrderSide(order.side)
        return _order(
            self._run(
                self._account.modify_order, SYMBOL, side=side, quantity=quantity, price=price, order_id=int(order.id)
            )
        )

    def order(self, order_id: str) -> Order:
        return _order(self._run(self._account.query_order, SYMBOL, order_id=int(order_id)))

    def order_by_client_id(self, client_id: str) -> Order:
        return _order(self._run(self._account.query_order, SYMBOL, orig_client_order_id=client_id))

    def algo(self, algo_id: str) -> Algo:
        return Algo.from_answer(self._signed(HttpMethod.GET, "algoOrder", {"algoId": algo_id}))

    def open_orders(self) -> list[Order]:
        return [_order(row) for row in self._run(self._account.query_open_orders, SYMBOL)]

    def open_algos(self) -> list[Algo]:
        return [Algo.from_answer(row) for row in self._signed(HttpMethod.GET, "openAlgoOrders", {"symbol": SYMBOL})]

    def positions(self) -> list[Position]:
        rows = self._run(self._account.query_futures_position_risk)
        return raw.positions([msgspec.to_builtins(row) for row in rows])

    def balance(self) -> Balance:
        info = self._run(self._account.query_futures_account_info)
        (row,) = [row for row in info.assets if row.asset == "USDT"]
        return Balance(wallet=decimal(row.walletBalance), available=decimal(row.availableBalance))

    def trades(self) -> list[Trade]:
        rows = self._run(self._account.query_user_trades, SYMBOL)
        return [raw.trade(msgspec.to_builtins(row)) for row in rows]

    def funding(self) -> Funding:
        raise NotImplementedError

    def book(self, limit: int) -> raw.Book:
        return raw.book(msgspec.to_builtins(self._run(self._market.query_depth, SYMBOL, limit=limit)))

    def candles(self, limit: int) -> list[Candle]:
        rows = self._run(self._market.query_klines, SYMBOL, interval=BinanceKlineInterval.MINUTE_1, limit=limit)
        return [raw.candle(msgspec.to_builtins(row)) for row in rows]

    def last_price(self) -> Decimal:
        (row,) = self._run(self._market.query_ticker_price, SYMBOL)
        return decimal(row.price)

    def set_leverage(self, leverage: int) -> None:
        self._run(self._account.set_leverage, BinanceSymbol(SYMBOL), leverage)

    def leverage(self) -> int:
        return int(self._config().leverage)

    def set_margin_type(self, margin_type: str) -> None:
        wanted = BinanceFuturesMarginType.ISOLATED if margin_type == "ISOLATED" else BinanceFuturesMarginType.CROSS
        self._run(self._account.set_margin_type, BinanceSymbol(SYMBOL), wanted)

    def margin_type(self) -> str:
        return str(self._config().marginType)

    def set_hedge_mode(self, *, on: bool) -> None:
        # The adapter's own call sends GET.
        self._signed(HttpMethod.POST, "positionSide/dual", {"dualSidePosition": str(on).lower()})

    def is_hedge_mode(self) -> bool:
        return bool(self._run(self._account.query_futures_hedge_mode).dualSidePosition)

    @contextmanager
    def user_stream(self) -> Iterator[Sequence[Event]]:
        events: list[Event] = []

        def take(text: bytes) -> None:
            payload = json.loads(text)["data"]
            # What its schemas know must fit them.
            if payload["e"] in EVENTS:
                EVENTS[payload["e"]].decode(text)
            events.append(Event.from_payload(payload))

        key = self._run(self._user.create_listen_key).listenKey
        with self._socket(take, lambda socket: socket.subscribe_listen_key(key)):
            yield events

    @contextmanager
    def market_stream(self, kind: str) -> Iterator[Sequence[Tick]]:
        ticks: list[Tick] = []
        subscribe: dict[str, Callable[[BinanceWebSocketClient], Coroutine[Any, Any, None]]] = {
            "bookTicker": lambda socket: socket.subscribe_book_ticker(SYMBOL),
            "depth": lambda socket: socket.subscribe_partial_book_depth(SYMBOL, depth=5, speed=100),
            "aggTrade": lambda socket: socket.subscribe_agg_trades(SYMBOL),
            "markPrice": lambda socket: socket.subscribe_mark_price(SYMBOL, speed=1000),
            "kline": lambda socket: socket.subscribe_bars(SYMBOL, "1m"),
        }
        with self._socket(lambda text: ticks.append(tick_of(json.loads(text)["data"])), subscribe[kind]):
            yield ticks

    def websocket_api(self, draft: Limit) -> tuple[Order, Order, Order]:
        raise NotImplementedError

    def model_faults(self) -> Sequence[str]:
        raise NotImplementedError

    def trade_by_engine(self) -> Sequence[str]:
        return trade(self._target)

    def _place(self, *, side: str, kind: str, **terms: Any) -> Order:
        call = self._account.new_order
        return _order(self._run(call, SYMBOL, side=BinanceOrderSide(side), order_type=BinanceOrderType(kind), **terms))

    def _config(self) -> Any:
        (row,) = self._run(self._account.query_futures_symbol_config, SYMBOL)
        return row

    def _signed(self, method: HttpMethod, path: str, parameters: Mapping[str, Any]) -> Any:
        payload = {**parameters, "timestamp": str(self._clock.timestamp_ms())}
        return json.loads(self._run(self._http.sign_request, method, f"/fapi/v1/{path}", payload))

    def _run(self, call: Callable[..., Coroutine[Any, Any, Value]], *words: Any, **terms: Any) -> Value:
        """Call on the loop: what the adapter's compiled part returns can only be awaited there."""

        async def run() -> Value:
            return await call(*words, **terms)

        return self._loop.run(run())

    @contextmanager
    def _socket(
        self, take: Callable[[bytes], None], subscribe: Callable[[BinanceWebSocketClient], Coroutine[Any, Any, None]]
    ) -> Iterator[None]:
        async def connect() -> BinanceWebSocketClient:
            socket = BinanceWebSocketClient(
                clock=self._clock,
                base_url=self._target.streams,
                handler=take,
                handler_reconnect=None,
                loop=asyncio.get_running_loop(),
            )
            await subscribe(socket)
            return socket

        socket = self._loop.run(connect())
        try:
            yield
        finally:
            self._run(socket.disconnect)


def _order(answer: Any) -> Order:
    row = msgspec.to_builtins(answer)
    return Order.from_answer({name: value for name, value in row.items() if value is not None})


def _market(filters: Sequence[Any]) -> Market:
    found = {one.filterType.value: one for one in filters}
    return Market(
        tick=decimal(found["PRICE_FILTER"].tickSize),
        step=decimal(found["LOT_SIZE"].stepSize),
        smallest_notional=decimal(found["MIN_NOTIONAL"].notional),
    )


if __name__ == "__main__":
    main(Nautilus)
