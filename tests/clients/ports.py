"""What the scenarios ask of a client, and the records that its answers are turned into; standard library only."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

SYMBOL = "BTCUSDT"


def decimal(value: object) -> Decimal:
    return Decimal(str(value))


@dataclass(frozen=True, kw_only=True)
class Market:
    tick: Decimal
    step: Decimal
    smallest_notional: Decimal


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A LIMIT order to place; figures are decimal strings."""

    side: str
    quantity: str
    price: str
    client_id: str
    time_in_force: str = "GTC"
    reduce_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Conditional:
    """An order of the Algo Service to place; only STOP and TAKE_PROFIT have a price; `callback_rate` is in percent."""

    type: str
    side: str
    quantity: str
    client_id: str
    trigger: str = ""
    price: str = ""
    activation: str = ""
    callback_rate: str = ""


@dataclass(frozen=True, kw_only=True)
class Order:
    """An ordinary order; `average` is None where the answer has none (placement, amendment, cancellation)."""

    id: str
    client_id: str
    status: str
    type: str
    side: str
    quantity: Decimal
    filled: Decimal
    price: Decimal
    average: Decimal | None = None

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> "Order":
        return cls(
            id=str(answer["orderId"]),
            client_id=answer["clientOrderId"],
            status=answer["status"],
            type=answer["type"],
            side=answer["side"],
            quantity=decimal(answer["origQty"]),
            filled=decimal(answer["executedQty"]),
            price=decimal(answer["price"]),
            average=decimal(answer["avgPrice"]) if "avgPrice" in answer else None,
        )


@dataclass(frozen=True, kw_only=True)
class Algo:
    """An order of the Algo Service; `trigger` is zero for a trailing one, `order_id` empty before it was triggered."""

    id: str
    client_id: str
    status: str
    type: str
    side: str
    quantity: Decimal
    trigger: Decimal
    order_id: str = ""

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> "Algo":
        return cls(
            id=str(answer["algoId"]),
            client_id=answer["clientAlgoId"],
            status=answer["algoStatus"],
            type=answer["orderType"],
            side=answer["side"],
            quantity=decimal(answer["quantity"]),
            trigger=decimal(answer["triggerPrice"] or 0),
            order_id=str(answer.get("actualOrderId") or ""),
        )


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One element of a batch that the exchange refused."""

    code: int


@dataclass(frozen=True, kw_only=True)
class Position:
    """Amount is signed; `unrealised` and `entry` in USDT."""

    symbol: str
    amount: Decimal
    entry: Decimal
    unrealised: Decimal


@dataclass(frozen=True, kw_only=True)
class Balance:
    wallet: Decimal
    available: Decimal


@dataclass(frozen=True, kw_only=True)
class Trade:
    order_id: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    is_maker: bool
    realised: Decimal


@dataclass(frozen=True, kw_only=True)
class Funding:
    """The rate now, the newest rate of the history, and the newest amount that the account received."""

    rate: Decimal
    newest_rate: Decimal
    income: Decimal


@dataclass(frozen=True, kw_only=True)
class Candle:
    open_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of the user stream; `filled` is cumulative; only what the event tells is set."""

    kind: str
    client_id: str = ""
    status: str = ""
    filled: Decimal | None = None
    average: Decimal | None = None
    wallet: Decimal | None = None
    position: Decimal | None = None

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "Event":
        """Read an event as Binance writes it."""
        kind, order, account = payload["e"], payload.get("o", {}), payload.get("a", {})
        if kind == "ORDER_TRADE_UPDATE":
            return cls(
                kind=kind,
                client_id=order["c"],
                status=order["X"],
                filled=decimal(order["z"]),
                average=decimal(order["ap"]),
            )
        if kind == "ALGO_UPDATE":
            return cls(kind=kind, client_id=order["caid"], status=order["X"])
        if kind == "ACCOUNT_UPDATE":
            return cls(
                kind=kind,
                wallet=next((decimal(row["wb"]) for row in account["B"] if row["a"] == "USDT"), None),
                position=next((decimal(row["pa"]) for row in account["P"] if row["s"] == SYMBOL), None),
            )
        return cls(kind=kind)


Tick = Mapping[str, Decimal]


def tick_of(payload: Mapping[str, Any]) -> Tick:
    """Read a market event as Binance writes it; depth by the best price of each side."""
    match payload["e"]:
        case "bookTicker":
            return {"bid": decimal(payload["b"]), "ask": decimal(payload["a"])}
        case "depthUpdate":
            return {"bid": decimal(payload["b"][0][0]), "ask": decimal(payload["a"][0][0])}
        case "aggTrade":
            return {"price": decimal(payload["p"]), "quantity": decimal(payload["q"])}
        case "markPriceUpdate":
            return {"price": decimal(payload["p"])}
        case "kline":
            return {"close": decimal(payload["k"]["c"])}
    raise ValueError(f"unexpected event {payload['e']}")


class Client(Protocol):
    """One third-party client; all calls concern BTCUSDT, in one-way mode."""

    @property
    def missing(self) -> Mapping[str, str]:
        """Capabilities that the client itself has no call for, each with the reason."""

    @property
    def exceptions(self) -> Mapping[int, type[Exception]]:
        """The class that the client's own table gives to an error code."""

    def code_of(self, error: Exception) -> int: ...
    def server_time_ms(self) -> int: ...
    def markets(self) -> Mapping[str, Market]: ...
    def place_market(self, side: str, quantity: str, client_id: str) -> Order: ...
    def place_limit(self, draft: Limit) -> Order: ...
    def place_conditional(self, draft: Conditional) -> Algo: ...
    def place_unrounded(self, draft: Limit) -> Order: ...
    def place_batch(self, drafts: Sequence[Limit]) -> Sequence[Order | Refusal]: ...
    def cancel(self, order_id: str) -> Order: ...
    def cancel_by_client_id(self, client_id: str) -> Order: ...
    def cancel_algo(self, algo_id: str) -> None: ...
    def cancel_batch(self, order_ids: Sequence[str]) -> Sequence[Order]: ...
    def amend(self, order: Order, quantity: str, price: str) -> Order: ...
    def order(self, order_id: str) -> Order: ...
    def order_by_client_id(self, client_id: str) -> Order: ...
    def algo(self, algo_id: str) -> Algo: ...
    def open_orders(self) -> Sequence[Order]: ...
    def open_algos(self) -> Sequence[Algo]: ...
    def positions(self) -> Sequence[Position]: ...
    def balance(self) -> Balance: ...
    def trades(self) -> Sequence[Trade]: ...
    def funding(self) -> Funding: ...
    def book(self, limit: int) -> tuple[Sequence[Sequence[Decimal]], Sequence[Sequence[Decimal]]]: ...
    def candles(self, limit: int) -> Sequence[Candle]: ...
    def last_price(self) -> Decimal: ...
    def set_leverage(self, leverage: int) -> None: ...
    def leverage(self) -> int: ...
    def set_margin_type(self, margin_type: str) -> None: ...
    def margin_type(self) -> str: ...
    def set_hedge_mode(self, *, on: bool) -> None: ...
    def is_hedge_mode(self) -> bool: ...
    def user_stream(self) -> AbstractContextManager[Sequence[Event]]: ...
    def market_stream(self, kind: str) -> AbstractContextManager[Sequence[Tick]]: ...
    def websocket_api(self, draft: Limit) -> tuple[Order, Order, Order]: ...
    def model_faults(self) -> Sequence[str]: ...
    def trade_by_engine(self) -> Sequence[str]: ...
