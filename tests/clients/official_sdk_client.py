"""The official SDK, binance-sdk-derivatives-trading-usds-futures: REST, streams and WebSocket API, with its models.

Run by `tests.clients` in an environment of its own. Every answer that any scenario gets is also held against the
model that the SDK made of it.
"""

# The package lives in an environment of its own, where mypy does not look.
# mypy: disable-error-code="import-not-found"

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_common.errors import BadRequestError, Error, TooManyRequestsError
from binance_common.utils import resolve_model_from_event
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)
from binance_sdk_derivatives_trading_usds_futures.rest_api.models import (
    ModifyMultipleOrdersBatchOrdersParameterInner,
    PlaceMultipleOrdersBatchOrdersParameterInner,
)
from binance_sdk_derivatives_trading_usds_futures.websocket_streams.models import UserDataStreamEventsResponse
from pydantic import BaseModel

from tests.clients import raw
from tests.clients.loops import running_loop
from tests.clients.model_audit import Audit
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


class OfficialSdk:
    missing: Mapping[str, str] = {"engine": "a library without a trading engine"}
    exceptions: Mapping[int, type[Exception]] = {
        **dict.fromkeys(raw.CODES, BadRequestError),
        -1003: TooManyRequestsError,
        -1015: TooManyRequestsError,
    }

    def __init__(self, target: Target) -> None:
        self._keys = {"api_key": target.key, "api_secret": target.secret}
        self._target = target
        self._audit = Audit()
        self._answers: list[Any] = []
        self._api = self._make().rest_api
        self._api._session.hooks["response"].append(self._remember)
        logging.getLogger().addHandler(self._audit.as_log_handler())

    def code_of(self, error: Exception) -> int:
        return int(error.status_code) if isinstance(error, Error) else 0

    def server_time_ms(self) -> int:
        self._call("test_connectivity")
        return int(self._call("check_server_time")["serverTime"])

    def markets(self) -> dict[str, Market]:
        return raw.markets(self._call("exchange_information"))

    def place_market(self, side: str, quantity: str, client_id: str) -> Order:
        return self._order(
            "new_order", side=side, type="MARKET", quantity=float(quantity), new_client_order_id=client_id
        )

    def place_limit(self, draft: Limit) -> Order:
        return self._order("new_order", **limit(draft))

    place_unrounded = place_limit

    def place_conditional(self, draft: Conditional) -> Algo:
        answer = self._call(
            "new_algo_order",
            algo_type="CONDITIONAL",
            symbol=SYMBOL,
            side=draft.side,
            type=draft.type,
            quantity=float(draft.quantity),
            client_algo_id=draft.client_id,
            reduce_only="true",
            trigger_price=number(draft.trigger),
            price=number(draft.price),
            activate_price=number(draft.activation),
            callback_rate=number(draft.callback_rate),
        )
        return Algo.from_answer(answer)

    def place_batch(self, drafts: Sequence[Limit]) -> list[Order | Refusal]:
        orders = [PlaceMultipleOrdersBatchOrdersParameterInner(symbol=SYMBOL, **limit(draft)) for draft in drafts]
        return raw.batch(self._call("place_multiple_orders", batch_orders=orders))

    def cancel(self, order_id: str) -> Order:
        return self._order("cancel_order", order_id=int(order_id))

    def cancel_by_client_id(self, client_id: str) -> Order:
        return self._order("cancel_order", orig_client_order_id=client_id)

    def cancel_algo(self, algo_id: str) -> None:
        self._call("cancel_algo_order", algo_id=int(algo_id))

    def cancel_batch(self, order_ids: Sequence[str]) -> list[Order]:
        answer = self._call("cancel_multiple_orders", symbol=SYMBOL, order_id_list=[int(one) for one in order_ids])
        return [Order.from_answer(row) for row in answer]

    def amend(self, order: Order, quantity: str, price: str) -> Order:
        return self._order(
            "modify_order", order_id=int(order.id), side=order.side, quantity=float(quantity), price=float(price)
        )

    def order(self, order_id: str) -> Order:
        return self._order("query_order", order_id=int(order_id))

    def order_by_client_id(self, client_id: str) -> Order:
        return self._order("query_order", orig_client_order_id=client_id)

    def algo(self, algo_id: str) -> Algo:
        return Algo.from_answer(self._call("query_algo_order", algo_id=int(algo_id)))

    def open_orders(self) -> list[Order]:
        return [Order.from_answer(row) for row in self._call("current_all_open_orders", symbol=SYMBOL)]

    def open_algos(self) -> list[Algo]:
        return [Algo.from_answer(row) for row in self._call("current_all_algo_open_orders", symbol=SYMBOL)]

    def positions(self) -> list[Position]:
        return raw.positions(self._call("position_information_v3", symbol=SYMBOL))

    def balance(self) -> Balance:
        return raw.balance(self._call("futures_account_balance_v3"))

    def trades(self) -> list[Trade]:
        return [raw.trade(row) for row in self._call("account_trade_list", symbol=SYMBOL)]

    def funding(self) -> Funding:
        return raw.funding(
            self._call("mark_price", symbol=SYMBOL),
            self._call("get_funding_rate_history", symbol=SYMBOL),
            self._call("get_income_history", symbol=SYMBOL, income_type="FUNDING_FEE"),
        )

    def book(self, limit: int) -> raw.Book:
        return raw.book(self._call("order_book", symbol=SYMBOL, limit=limit))

    def candles(self, limit: int) -> list[Candle]:
        rows = self._call("kline_candlestick_data", symbol=SYMBOL, interval="1m", limit=limit)
        return [raw.candle(row) for row in rows]

    def last_price(self) -> Decimal:
        return decimal(self._call("symbol_price_ticker_v2", symbol=SYMBOL)["price"])

    def set_leverage(self, leverage: int) -> None:
        self._call("change_initial_leverage", symbol=SYMBOL, leverage=leverage)

    def leverage(self) -> int:
        return int(raw.only(self._call("symbol_configuration", symbol=SYMBOL))["leverage"])

    def set_margin_type(self, margin_type: str) -> None:
        self._call("change_margin_type", symbol=SYMBOL, margin_type=margin_type)

    def margin_type(self) -> str:
        return str(raw.only(self._call("symbol_configuration", symbol=SYMBOL))["marginType"])

    def set_hedge_mode(self, *, on: bool) -> None:
        self._call("change_position_mode", dual_side_position="true" if on else "false")

    def is_hedge_mode(self) -> bool:
        return bool(self._call("get_current_position_mode")["dualSidePosition"])

    @contextmanager
    def user_stream(self) -> Iterator[Sequence[Event]]:
        events: list[Event] = []
        key = self._call("start_user_data_stream")["listenKey"]

        def look(_: Any, payload: Mapping[str, Any]) -> None:
            kind = payload["e"]
            model = resolve_model_from_event(UserDataStreamEventsResponse, kind)
            if model is None:
                self._audit.add(f"event {kind}", "the SDK does not know it")
                return
            # The models of events leave out what chose them.
            fields = {name: value for name, value in payload.items() if name != "e"}
            self._audit.compare(f"event {kind}", model.model_validate(payload), fields)

        def take(message: Any) -> None:
            event = message.actual_instance
            events.append(Event.from_payload({"e": event_kind(event), **as_json(event)}))

        with self._subscribed(lambda streams: streams.user_data(key), take, look):
            yield events

    @contextmanager
    def market_stream(self, kind: str) -> Iterator[Sequence[Tick]]:
        ticks: list[Tick] = []
        openers: dict[str, Callable[[Any], Any]] = {
            "bookTicker": lambda streams: streams.individual_symbol_book_ticker_streams("btcusdt"),
            "depth": lambda streams: streams.partial_book_depth_streams("btcusdt", 5, update_speed="100ms"),
            "aggTrade": lambda streams: streams.aggregate_trade_streams("btcusdt"),
            "markPrice": lambda streams: streams.mark_price_stream("btcusdt", update_speed="1s"),
            "kline": lambda streams: streams.kline_candlestick_streams("btcusdt", "1m"),
        }

        def look(model: Any, payload: Mapping[str, Any]) -> None:
            self._audit.compare(f"stream {kind}", model.model_validate(payload), payload)

        def take(message: Any) -> None:
            ticks.append(tick_of(as_json(message)))

        with self._subscribed(openers[kind], take, look):
            yield ticks

    def websocket_api(self, draft: Limit) -> tuple[Order, Order, Order]:
        with running_loop() as loop:
            return loop.run(self._by_websocket(draft))

    def model_faults(self) -> Sequence[str]:
        self._ask_everything()
        return self._audit.faults()

    def trade_by_engine(self) -> Sequence[str]:
        raise NotImplementedError

    def _make(self) -> DerivativesTradingUsdsFutures:
        return DerivativesTradingUsdsFutures(
            config_rest_api=ConfigurationRestAPI(base_path=self._target.rest, timeout=5000, **self._keys),
            config_ws_api=ConfigurationWebSocketAPI(stream_url=f"{self._target.streams}/ws-fapi/v1", **self._keys),
            config_ws_streams=ConfigurationWebSocketStreams(stream_url=self._target.streams),
        )

    def _remember(self, response: Any, *_: object, **__: object) -> None:
        self._answers.append(response)

    def _call(self, name: str, **parameters: Any) -> Any:
        """Call one endpoint, hold the model against the answer, and return what the model says."""
        response = getattr(self._api, name)(**parameters)
        answer = self._answers[-1].json()
        self._answers.clear()
        data = response.data()
        self._audit.compare(name, data, answer)
        return as_json(data)

    def _order(self, name: str, **parameters: Any) -> Order:
        return Order.from_answer(self._call(name, **{"symbol": SYMBOL, **parameters}))

    async def _by_websocket(self, draft: Limit) -> tuple[Order, Order, Order]:
        api = self._make().websocket_api
        await api.create_connection()
        try:
            answers = [await api.new_order(symbol=SYMBOL, **limit(draft))]
            ids = {"symbol": SYMBOL, "orig_client_order_id": draft.client_id}
            answers += [await api.query_order(**ids), await api.cancel_order(**ids)]
        finally:
            await api.close_connection()
        found = [answer.data() for answer in answers]
        for name, answer in zip(("order.place", "order.status", "order.cancel"), found, strict=True):
            self._audit.walk(f"WebSocket API {name}", answer)
        placed, asked, cancelled = (Order.from_answer(as_json(answer)["result"]) for answer in found)
        return placed, asked, cancelled

    @contextmanager
    def _subscribed(
        self, opener: Callable[[Any], Any], take: Callable[[Any], None], look: Callable[[Any, Any], None]
    ) -> Iterator[None]:
        """Follow a stream twice: parsed by the SDK for `take`, and as it comes, with its model, for `look`."""
        parsed, plain = self._make().websocket_streams, self._make().websocket_streams

        async def start() -> None:
            for streams in (parsed, plain):
                await streams.create_connection()
            handle = await opener(parsed)
            handle.on("message", take)
            name, model = handle._stream, handle._response_model
            route = parsed.stream_connections.stream_connections_map[name].url_path
            await plain.subscribe([name], stream_url=route)
            plain.on("message", lambda message: look(model, message["data"]), name)

        async def stop() -> None:
            for streams in (parsed, plain):
                await streams.close_connection()

        with running_loop() as loop:
            loop.run(start())
            try:
                yield
            finally:
                loop.run(stop())

    def _ask_everything(self) -> None:
        """Call what no scenario calls, on an account that has something of everything."""
        self.place_market("BUY", "0.010", "models-entry")
        order = self.place_limit(Limit(side="BUY", quantity="0.010", price="49000.00", client_id="models-rest"))
        self.place_conditional(
            Conditional(type="STOP_MARKET", side="SELL", quantity="0.010", client_id="models-stop", trigger="49000.00")
        )
        self.amend(order, "0.020", "48900.00")
        for name, parameters in READS:
            self._try(name, parameters)
        for name in ("query_current_open_order", "get_order_modify_history"):
            self._try(name, {"symbol": SYMBOL, "order_id": int(order.id)})
        change = {"symbol": SYMBOL, "side": "BUY", "quantity": 0.01, "price": 48800.0, "order_id": int(order.id)}
        self._try("modify_multiple_orders", {"batch_orders": [ModifyMultipleOrdersBatchOrdersParameterInner(**change)]})
        for name, parameters in WRITES:
            self._try(name, parameters)

    def _try(self, name: str, parameters: Mapping[str, Any]) -> None:
        try:
            self._call(name, **parameters)
        except Error as error:
            self._audit.add(name, f"{type(error).__name__} {error}")


HERE = {"symbol": SYMBOL}
MINUTES = {"symbol": SYMBOL, "interval": "1m", "limit": 3}
READS: list[tuple[str, dict[str, Any]]] = [
    ("account_information_v2", {}),
    ("account_information_v3", {}),
    ("futures_account_balance_v2", {}),
    ("futures_account_balance_v3", {}),
    ("futures_account_configuration", {}),
    ("futures_trading_quantitative_rules_indicators", {}),
    ("get_bnb_burn_status", {}),
    ("get_current_multi_assets_mode", {}),
    ("get_income_history", {}),
    ("notional_and_leverage_brackets", {}),
    ("notional_and_leverage_brackets", HERE),
    ("query_user_rate_limit", {}),
    ("symbol_configuration", {}),
    ("user_commission_rate", HERE),
    ("adl_risk", {}),
    ("adl_risk", HERE),
    ("asset_index", {}),
    ("compressed_aggregate_trades_list", HERE),
    ("continuous_contract_kline_candlestick_data", {"pair": SYMBOL, "contract_type": "PERPETUAL", "interval": "1m"}),
    ("get_funding_rate_history", HERE),
    ("get_funding_rate_info", {}),
    ("index_price_kline_candlestick_data", {"pair": SYMBOL, "interval": "1m", "limit": 3}),
    ("kline_candlestick_data", MINUTES),
    ("mark_price", {}),
    ("mark_price_kline_candlestick_data", MINUTES),
    ("old_trades_lookup", HERE),
    ("open_interest", HERE),
    ("premium_index_kline_data", MINUTES),
    ("query_insurance_fund_balance_snapshot", {}),
    ("recent_trades_list", HERE),
    ("symbol_order_book_ticker", {}),
    ("symbol_order_book_ticker", HERE),
    ("symbol_price_ticker", {}),
    ("symbol_price_ticker", HERE),
    ("symbol_price_ticker_v2", {}),
    ("ticker24hr_price_change_statistics", {}),
    ("ticker24hr_price_change_statistics", HERE),
    ("account_trade_list", HERE),
    ("all_orders", HERE),
    ("current_all_open_orders", {}),
    ("current_all_algo_open_orders", {}),
    ("position_adl_quantile_estimation", {}),
    ("position_information_v2", HERE),
    ("position_information_v3", {}),
    ("query_all_algo_orders", HERE),
    ("users_force_orders", {}),
]
WRITES: list[tuple[str, dict[str, Any]]] = [
    ("test_order", {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": 0.01}),
    ("auto_cancel_all_open_orders", {"symbol": SYMBOL, "countdown_time": 0}),
    ("cancel_all_open_orders", HERE),
    ("cancel_all_algo_open_orders", HERE),
    ("new_order", {"symbol": SYMBOL, "side": "SELL", "type": "MARKET", "quantity": 0.01}),
    ("change_margin_type", {"symbol": SYMBOL, "margin_type": "ISOLATED"}),
    ("new_order", {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": 0.01}),
    ("modify_isolated_position_margin", {"symbol": SYMBOL, "amount": 10.0, "type": 1, "position_side": "BOTH"}),
    ("get_position_margin_change_history", HERE),
    ("position_information_v3", HERE),
    ("toggle_bnb_burn_on_futures_trade", {"fee_burn": "false"}),
    ("start_user_data_stream", {}),
    ("keepalive_user_data_stream", {}),
    ("close_user_data_stream", {}),
]


def as_json(data: Any) -> Any:
    """Return what a model says under the exchange's names, without what it does not know."""
    if isinstance(data, BaseModel):
        inner = getattr(data, "actual_instance", None)
        return as_json(inner) if inner is not None else data.model_dump(by_alias=True, exclude_none=True)
    return [as_json(one) for one in data] if isinstance(data, list) else data


def event_kind(event: BaseModel) -> str:
    """Return ORDER_TRADE_UPDATE for an OrderTradeUpdate."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).upper()


def limit(draft: Limit) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "side": draft.side,
        "type": "LIMIT",
        "time_in_force": draft.time_in_force,
        "quantity": float(draft.quantity),
        "price": float(draft.price),
        "new_client_order_id": draft.client_id,
    }
    return {**parameters, "reduce_only": "true"} if draft.reduce_only else parameters


def number(text: str) -> float | None:
    return float(text) if text else None


if __name__ == "__main__":
    main(OfficialSdk)
