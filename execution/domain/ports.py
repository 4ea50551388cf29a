"""The ports: what steps ask of the outside world. Adapters implement them, `wiring.py` chooses."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Protocol

from execution.domain.candles import Candle, Window
from execution.domain.equity import WalletLine, Wallets
from execution.domain.external import ForeignOrder
from execution.domain.liquidation import MarginBracket
from execution.domain.outcomes import (
    AccountCheck,
    FillReport,
    FundingRate,
    IncomeKind,
    IncomeReport,
    LookUp,
    Mismatch,
    OrderReport,
    PlaceOutcome,
    PositionReport,
)
from execution.domain.quote_index import AccountMargin
from execution.domain.reasons import Reason
from execution.domain.stream import StreamNews
from execution.domain.stream_offsets import StreamPlace, Survey
from execution.domain.trading import InstrumentFilters, OrderService, OrderType, PositionSide, Quote, Side, TimeInForce
from execution.domain.venue_status import READ_ANEW, Terms


class Lane(IntEnum):
    """Which requests go first when capacity is scarce.

    The lower number has a reserve that the others cannot touch.
    """

    PROTECT = 0
    CLOSE = 1
    ENTRY = 2
    READ = 3


@dataclass(frozen=True, kw_only=True)
class OrderTicket:
    """An order to send. `price` is for LIMIT orders only, `trigger_price` for conditional ones.

    `good_till`: when a LIMIT order is to end by itself, by our clock; the exchange may end it later, never earlier.
    `time_in_force`: of a LIMIT order, None for GTD until `good_till`, or GTC without it.
    A trailing stop has a `callback_percent`; its `trigger_price` is where it begins to follow, at once without one.
    """

    client_order_id: str
    symbol: str
    side: Side
    position_side: PositionSide
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    callback_percent: Decimal | None = None
    reduce_only: bool = False
    good_till: datetime | None = None
    time_in_force: TimeInForce | None = None

    @property
    def service(self) -> OrderService:
        return OrderService.STANDARD if self.order_type in {OrderType.MARKET, OrderType.LIMIT} else OrderService.ALGO


class ExchangeUnavailableError(Exception):
    """A read got no usable answer (transport, ban, server error). Nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class EntryBlock:
    """Why an order that was approved must not be sent."""

    code: Reason
    sentence: str


# Asked right before an order leaves. Returns what blocks it, or None.
PreSendCheck = Callable[[], EntryBlock | None]


class MarketData(Protocol):
    """What the exchange publishes about its contracts.

    Reads raise ExchangeUnavailableError when unanswered.
    """

    def rules(self, symbol: str) -> InstrumentFilters | None: ...

    def known_rules(self, symbol: str) -> InstrumentFilters | None:
        """Return the filters as this process last read them, unless another process has seen a change since.

        For what must not wait: the exchange is asked only when the filters are known to be old. None: nothing is known.
        """

    def quote(self, symbol: str) -> Quote:
        """Return the mark price, and the book as deep as one cheap call returns it."""

    def margin_brackets(self, symbol: str) -> Sequence[MarginBracket]:
        """Return the maintenance margin by notional, empty when the exchange lists none for the symbol."""

    def asset_index(self) -> Mapping[str, Decimal]:
        """Return USD per unit of each asset by the exchange's asset index, at most a few seconds old."""

    def funding_rates(self, symbol: str, since: datetime) -> Sequence[FundingRate]:
        """Return the rates at which funding was paid from a time on, oldest first."""

    def price_at(self, symbol: str, at: datetime) -> Decimal | None:
        """Return the open price of the minute of `at`, or None without one.

        The same whenever it is asked.
        """

    def candles(self, symbol: str, window: Window) -> Sequence[Candle]:
        """Return the candles of a window, oldest first, none for an unknown symbol.

        The last one may not have ended.
        """

    def now(self) -> datetime:
        """Return the exchange's present, by its own clock."""


class Account(Protocol):
    """The account's positions, margin, settings and income.

    Reads raise ExchangeUnavailableError when unanswered.
    """

    def positions(self) -> Sequence[PositionReport]:
        """Return the positions that are open: none of quantity zero."""

    def positions_in(self, symbol: str) -> Sequence[PositionReport]:
        """Return the open positions of one symbol with a short time-out: one may be unprotected."""

    def closed_candles(self, symbol: str, interval: str, count: int) -> Sequence[Candle]:
        """Return the newest closed candles, at most `count`, oldest first."""

    def equity(self) -> AccountMargin:
        """Return the account's margin with open results, at most a few seconds old."""

    def hedge_mode(self) -> bool: ...

    def terms(self, *, settings_max_age: timedelta = READ_ANEW) -> Terms:
        """Read every contract's status and the account's settings: three calls for all contracts.

        `settings_max_age`: settings that this client has read within that time are not read again. Then it is one call.
        """

    def check(self) -> AccountCheck:
        """Read what every entry rests on, whatever its symbol. Changes nothing."""

    def prepare_entry(self, symbol: str, *, leverage: int, position_side: PositionSide) -> Mismatch | None:
        """Set the leverage, read back what an entry rests on, and return what is not as it must be.

        Raises ExchangeUnavailableError also when an entry would have to wait long for its turn.
        """

    def wallets(self) -> Wallets:
        """Return the balance and the open result of each asset, read now: one call."""

    def income_since(self, kind: IncomeKind, since: datetime, *, symbol: str = "") -> Sequence[IncomeReport]: ...

    def wallet_lines_since(self, since: datetime) -> Sequence[WalletLine]:
        """Return the account's income of every kind, oldest first."""


class OrderEntry(Protocol):
    """Sends and cancels orders. Neither raises for an answer that is missing: it is an outcome."""

    def place(
        self, ticket: OrderTicket, lane: Lane, *, send_before: datetime, pre_send_check: PreSendCheck | None = None
    ) -> PlaceOutcome:
        """Send an order. One that cannot leave before `send_before` is not sent and counts as refused.

        `pre_send_check` is asked when the order's turn has come, right before it leaves. A block is a refusal, too.
        """

    def cancel(self, symbol: str, client_order_id: str, service: OrderService) -> LookUp:
        """Cancel and return the final state, which may be a fill that was faster."""

    def cancel_of_others(self, symbol: str, order: ForeignOrder) -> bool:
        """Cancel an order that is not ours, by the exchange's own id. True when it rests no more."""


class OrderReader(Protocol):
    """Orders and fills as the exchange knows them. Reads raise ExchangeUnavailableError when unanswered.

    The past is read whole, however long it is, as far back as the exchange keeps it (90 days).
    """

    def look_up(self, symbol: str, client_order_id: str, service: OrderService, *, promptly: bool = False) -> LookUp:
        """Ask for an order by its client id.

        `promptly`: a position may be unprotected meanwhile, so that the answer is not waited for as long as usual.
        """

    def find_by_order_id(self, symbol: str, order_id: str) -> LookUp:
        """Return an ordinary order by the exchange's own id, ours or not."""

    def find_in_history(
        self, symbol: str, client_order_id: str, service: OrderService, *, since: datetime
    ) -> OrderReport | None:
        """Return an order from the list of all orders since then, when a look-up has forgotten it."""

    def open_orders(self, symbol: str = "") -> Sequence[OrderReport]:
        """Return the open ordinary orders with our prefix: weight 1 of one symbol, 40 of all."""

    def open_algo_orders(self, symbol: str = "") -> Sequence[OrderReport]:
        """Return the open conditional orders with our prefix: weight 1 of one symbol, 40 of all."""

    def orders_of_others(self, symbol: str) -> Sequence[ForeignOrder]:
        """Return the open orders of both kinds in a symbol that do not carry our prefix."""

    def fills_of_order(self, symbol: str, order_id: str, *, since: datetime) -> Sequence[FillReport]:
        """Return an order's fills, oldest first. `since` is the order's creation."""

    def fills_since(self, symbol: str, since: datetime) -> Sequence[FillReport]:
        """Return the fills from a time on, oldest first."""

    def client_id_of(self, symbol: str, order_id: str) -> str:
        """Return the client id of an order, the origin of a fill that is not ours.

        Empty when the exchange does not know the order (any more), or does not list its contract any more.
        """


class Exchange(MarketData, Account, OrderEntry, OrderReader, Protocol):
    """Binance USDⓈ-M Futures, or the paper exchange."""


# Lends a client that no other thread uses meanwhile.
SpareExchange = Callable[[], AbstractContextManager[Exchange]]


class StreamClosedError(Exception):
    """A connection of the user-data stream could not be opened, or has ended."""


class StreamConnection(Protocol):
    """One connection of the user-data stream."""

    last_sign_at: datetime

    def receive(self, *, within_seconds: float) -> StreamNews | None:
        """Return the next news, or None when there was none in time.

        Raises StreamClosedError at the end.
        """

    def close(self) -> None: ...


class UserStream(Protocol):
    """The exchange's user-data stream, named by a listen key.

    Keys raise ExchangeUnavailableError when unanswered.
    """

    def open_key(self) -> str:
        """Return the account's living key with its full hour ahead, or a new one."""

    def renew_key(self, key: str) -> bool:
        """Give the key another hour. False when the exchange knows no living key."""

    def connect(self, key: str) -> StreamConnection:
        """Open a connection, or raise StreamClosedError."""


class MarkConnection(Protocol):
    """One connection of the stream of mark prices."""

    def receive(self, *, within_seconds: float) -> Mapping[str, Decimal] | None:
        """Return mark prices by symbol, or None when there were none in time.

        Raises StreamClosedError at the end.
        """

    def close(self) -> None: ...


class MarkStream(Protocol):
    """The exchange's public stream of all mark prices, one message a second."""

    def connect(self) -> MarkConnection:
        """Open a connection, or raise StreamClosedError."""


@dataclass(frozen=True, kw_only=True)
class EssReading:
    """One answer of the risk-safety service about its emergency stop."""

    state: str
    can_execute: bool
    reason: str


class RiskSafety(Protocol):
    """The risk-safety service.

    All raise RiskSafetyUnavailableError when it does not answer usefully in time.
    """

    def ess(self) -> EssReading: ...

    def policy(self, key: str) -> object: ...

    def policies(self) -> Mapping[str, object]:
        """Return every value that the service keeps, in one call."""


class RiskSafetyUnavailableError(Exception):
    """No usable answer within the budget. `kind` is its label in the metrics."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class StreamEntry:
    """One entry of an incoming stream, as read. `deliveries` counts this delivery too.

    `producer`: who has signed it, once that is proven; empty where events are not signed.
    """

    stream: str
    event_type: str
    entry_id: str
    fields: Mapping[bytes, bytes]
    deliveries: int = 1
    producer: str = ""


class EventBus(Protocol):
    """The system's event bus: one stream an event type, read in slices."""

    def begin(self, known: Mapping[str, StreamPlace]) -> Survey:
        """Begin a slice of reading. Groups that were lost go on from the known places."""

    def survey(self) -> Survey:
        """End the slice: return how far each stream is handled, and what is gone unread."""

    def read(self, *, block_ms: int, count: int) -> Sequence[StreamEntry]: ...

    def reclaim(self, *, pause_ms: Callable[[int], int], count: int) -> Sequence[StreamEntry]:
        """Take over entries that were delivered and not acknowledged.

        `pause_ms`: how long an entry rests after so many deliveries.
        """

    def acknowledge(self, entries: Sequence[StreamEntry]) -> None: ...

    def publish(self, messages: Sequence[Mapping[str, str]]) -> frozenset[str]:
        """Append each message to its `event_type`'s stream. Returns the types that were refused.

        Raises when Redis did not take the others either.
        """

    def tidy(self) -> Mapping[str, int]:
        """Shorten incoming streams that every group has read. Returns how many went, by event type."""


class Memory(Protocol):
    """Whether Redis has kept what was written to it. Neither method raises: no answer counts as loss."""

    def is_whole(self) -> bool: ...

    def mark_intact(self) -> None: ...


class MirrorError(Exception):
    """The mirror takes nothing now. PostgreSQL, which is the truth, has all of it."""


class TradeMirror(Protocol):
    """The second backend: trades as Redis hashes for neighbours that read fast."""

    def write(self, trades: Sequence[Mapping[str, str]], *, keep_seconds: int | None) -> None:
        """Store trades, or raise MirrorError."""
        ...
