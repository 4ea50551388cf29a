"""The `Exchange` port on binance-futures-connector, with every call rate-limited."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TypeVar, assert_never

from execution.adapters.binance import parse
from execution.adapters.binance.calls import CALL_ERRORS, READ_WAIT_SECONDS, ApiCaller, unavailable
from execution.adapters.binance.connector import Connector, NotSentError, RequestSlot, VenueConnection
from execution.adapters.binance.errors import Failure
from execution.adapters.binance.history import History, HistorySource
from execution.adapters.binance.key_check import KEY_HOST, KeyCheck
from execution.adapters.binance.market import Market
from execution.adapters.binance.order_parameters import algo_parameters, order_parameters
from execution.adapters.binance.outcome_table import Meaning, Operation
from execution.adapters.binance.rows import Row
from execution.adapters.binance.setup import MODES, EntrySetup, SetupRules
from execution.adapters.binance.terms import TermsReader
from execution.adapters.binance.weights import ORDER
from execution.domain.candles import MOST_CANDLES, Candle, Window
from execution.domain.equity import WalletLine, Wallets
from execution.domain.external import ForeignOrder
from execution.domain.liquidation import MarginBracket
from execution.domain.outcomes import (
    Accepted,
    AccountCheck,
    ExchangeStatus,
    FillReport,
    FundingRate,
    IncomeKind,
    IncomeReport,
    LookUp,
    Mismatch,
    Missing,
    OrderReport,
    PlaceOutcome,
    PositionReport,
    Refused,
    Unknown,
    Unreadable,
    Waits,
)
from execution.domain.ports import ExchangeUnavailableError, Lane, OrderTicket, PreSendCheck
from execution.domain.quote_index import AccountMargin
from execution.domain.reasons import Reason
from execution.domain.trading import InstrumentFilters, OrderService, PositionSide, Quote
from execution.domain.venue_status import READ_ANEW, Terms

# What still waits at the exchange, whatever its cancel was answered with.
OPEN = frozenset({ExchangeStatus.NEW, ExchangeStatus.PARTIALLY_FILLED})
# Orders of these lanes have a time-out of their own.
PROTECTIVE = frozenset({Lane.PROTECT, Lane.CLOSE})
ALGO_ORDER = "/fapi/v1/algoOrder"
OPEN_ALGO_ORDERS = "/fapi/v1/openAlgoOrders"
ALL_ALGO_ORDERS = "/fapi/v1/allAlgoOrders"
NO_LIVING_LISTEN_KEY = -1125
NO_SUCH_SYMBOL = frozenset({-1121, -1122})
# Refusals by a contract's filters or status, which may have changed since they were read.
TERMS_REFUSED = frozenset(
    {-1013, -1111, -1121, -1122, *range(-4007, -4000), -4013, -4014, -4016, -4023, -4024, -4140, -4141, -4164}
)
# Of these, refusals by price, quantity or their steps: rounded anew, the order may be taken.
FILTERS_REFUSED = frozenset({-1013, -1111, *range(-4007, -4000), -4013, -4014, -4023})
# Refusals that have a name of their own, because the order's time in force asked for them.
NAMED_REFUSALS = {-5021: Reason.FOK_NOT_FILLABLE, -5022: Reason.POST_ONLY_WOULD_TAKE}
# The order has a position side in one-way mode, or none in hedge mode: the mode was changed elsewhere.
WRONG_POSITION_MODE = -4061
# The stop and the target that follow an entry: their room is kept when the entry gets its own.
COVER_ORDERS = 2
ENTRY = replace(ORDER, cover_orders=COVER_ORDERS)
# An entry that would wait longer gives its worker free and is tried again, until it is too old: a stop may need it.
PATIENCE_SECONDS = 2.0
# How long before its row an order, or a fill of an order whose id is given, is looked for: clocks that were set by
# hours lose nothing, and a young order still costs one call.
ORDER_LOOK_BACK, FILLS_LOOK_BACK = timedelta(hours=2), timedelta(days=1)


T = TypeVar("T")


class BinanceExchange:
    """Implements the `Exchange` port.

    One instance serves one process or thread, because the connector's HTTP session must not be shared.
    """

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        base_url: str,
        timeout_seconds: float,
        recv_window_ms: int,
        line: VenueConnection,
        rules: SetupRules,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        connect = partial(Connector, key=key, secret=secret, timeout_seconds=timeout_seconds)
        self._client = connect(base_url=base_url, line=line)
        # Another host: its faults are not the exchange's, so the breaker does not count them.
        key_line = replace(line, breaker=None, has_exchange_clock=False)
        key_client = connect(base_url=KEY_HOST, line=key_line) if rules.checks_key else None
        self._key_check = KeyCheck(key_client, monotonic=monotonic)
        self._window: Mapping[str, int] = {"recvWindow": recv_window_ms}
        self._limiter = line.limiter
        protective_seconds = min(timeout_seconds, line.protective_seconds or timeout_seconds)
        self._calls = ApiCaller(self._client, line.limiter, protective_seconds=protective_seconds)
        self._history = History(self._client, self._calls)
        self._market = Market(
            self._client, self._calls, line.limiter, window=self._window, monotonic=monotonic, cache=rules.cache
        )
        self._setup = EntrySetup(self._client, self._calls, rules=rules)
        self._terms = TermsReader(
            client=self._client, calls=self._calls, market=self._market, rules=rules, monotonic=monotonic
        )

    # Reads

    def rules(self, symbol: str) -> InstrumentFilters | None:
        return self._market.rules(symbol)

    def known_rules(self, symbol: str) -> InstrumentFilters | None:
        return self._market.known_rules(symbol)

    def quote(self, symbol: str) -> Quote:
        return self._market.quote(symbol)

    def margin_brackets(self, symbol: str) -> Sequence[MarginBracket]:
        return self._market.margin_brackets(symbol)

    def closed_candles(self, symbol: str, interval: str, count: int) -> Sequence[Candle]:
        # One more, because the newest one still runs.
        return self._calls.read(
            lambda: parse.closed_candles(
                self._client.klines(symbol, interval, limit=count + 1), self._client.at_ms(datetime.now(UTC))
            )[-count:]
        )

    def equity(self) -> AccountMargin:
        return self._market.equity()

    def wallets(self) -> Wallets:
        return self._calls.read(lambda: parse.wallets(self._client.account(**self._window)), lane=Lane.READ)

    def asset_index(self) -> Mapping[str, Decimal]:
        return self._market.asset_index()

    def hedge_mode(self) -> bool:
        return self._setup.hedge_mode()

    def terms(self, *, settings_max_age: timedelta = READ_ANEW) -> Terms:
        return self._terms.read(settings_max_age=settings_max_age)

    # Reads that can show an unprotected position do not queue behind what can wait. Orders use no weight of theirs.

    def open_orders(self, symbol: str = "") -> Sequence[OrderReport]:
        wanted = {"symbol": symbol} if symbol else {}
        return self._calls.read(lambda: parse.our_orders(self._client.get_orders(**wanted)), lane=Lane.CLOSE)

    def open_algo_orders(self, symbol: str = "") -> Sequence[OrderReport]:
        wanted: Mapping[str, object] = {**self._window, "symbol": symbol} if symbol else self._window
        return self._calls.read(
            lambda: parse.our_algo_orders(self._client.sign_request("GET", OPEN_ALGO_ORDERS, wanted)),
            lane=Lane.CLOSE,
        )

    def orders_of_others(self, symbol: str) -> Sequence[ForeignOrder]:
        algo: Mapping[str, object] = {**self._window, "symbol": symbol}
        return [
            *self._calls.read(lambda: parse.orders_of_others(self._client.get_orders(symbol=symbol))),
            *self._calls.read(lambda: parse.orders_of_others(self._client.sign_request("GET", OPEN_ALGO_ORDERS, algo))),
        ]

    def positions(self) -> Sequence[PositionReport]:
        rows = self._calls.read(
            lambda: [parse.position_report(row) for row in self._client.get_position_risk()], lane=Lane.CLOSE
        )
        return [row for row in rows if row.quantity]

    def positions_in(self, symbol: str) -> Sequence[PositionReport]:
        rows = self._calls.read(
            lambda: [parse.position_report(row) for row in self._client.get_position_risk(symbol=symbol)],
            lane=Lane.CLOSE,
            answer_seconds=self._calls.protective_seconds,
        )
        return [row for row in rows if row.quantity]

    def now(self) -> datetime:
        return parse.from_milliseconds(self._calls.read(self._client.exchange_ms))

    def fills_of_order(self, symbol: str, order_id: str, *, since: datetime) -> Sequence[FillReport]:
        return self._fills(symbol, since - FILLS_LOOK_BACK, Lane.ENTRY, orderId=order_id)

    def fills_since(self, symbol: str, since: datetime) -> Sequence[FillReport]:
        return self._fills(symbol, since, Lane.READ)

    def client_id_of(self, symbol: str, order_id: str) -> str:
        """Return the client order id of an order.

        Empty when the exchange no longer knows the order or its contract.
        """
        answer = self._calls.attempt(
            Operation.QUERY, lambda: str(self._client.query_order(symbol, orderId=order_id)["clientOrderId"]), Lane.READ
        )
        if not isinstance(answer, Failure):
            return answer
        if answer.meaning is Meaning.MISSING or answer.code in NO_SUCH_SYMBOL:
            return ""
        raise unavailable(answer)

    def income_since(self, kind: IncomeKind, since: datetime, *, symbol: str = "") -> Sequence[IncomeReport]:
        which = {"symbol": symbol} if symbol else {}
        source = HistorySource(
            fetch=partial(self._client.get_income_history, incomeType=kind.value, **which),
            # Unique among the lines of its kind.
            identity=lambda row: str(row["tranId"]),
            time="time",
        )
        return [self._readable(parse.income_report, row) for row in self._history.walk(source, since)]

    def wallet_lines_since(self, since: datetime) -> Sequence[WalletLine]:
        source = HistorySource(
            fetch=self._client.get_income_history,
            # An id is unique among the lines of a kind.
            identity=lambda row: (row["incomeType"], str(row["tranId"]), str(row.get("symbol") or ""), row["time"]),
            time="time",
        )
        return [self._readable(parse.wallet_line, row) for row in self._history.walk(source, since)]

    def funding_rates(self, symbol: str, since: datetime) -> Sequence[FundingRate]:
        source = HistorySource(
            fetch=partial(self._client.funding_rate, symbol),
            identity=lambda row: int(row["fundingTime"]),
            time="fundingTime",
        )
        return [self._readable(parse.funding_rate, row) for row in self._history.walk(source, since)]

    def price_at(self, symbol: str, at: datetime) -> Decimal | None:
        minute = int(at.timestamp()) // 60 * 60_000
        answer = self._calls.attempt(
            Operation.LIST,
            lambda: parse.opening_price(
                self._client.klines(symbol, "1m", startTime=minute, endTime=minute + 59_999, limit=1)
            ),
            Lane.READ,
        )
        if not isinstance(answer, Failure):
            return answer
        if answer.code in NO_SUCH_SYMBOL:
            return None
        raise unavailable(answer)

    def candles(self, symbol: str, window: Window) -> Sequence[Candle]:
        since, until = (int(at.timestamp() * 1000) for at in (window.since, window.until))
        answer = self._calls.attempt(
            Operation.LIST,
            lambda: parse.candles(
                self._client.klines(symbol, window.name, startTime=since, endTime=until, limit=MOST_CANDLES)
            ),
            Lane.READ,
        )
        if not isinstance(answer, Failure):
            return answer
        if answer.code in NO_SUCH_SYMBOL:
            return ()
        raise unavailable(answer)

    def look_up(self, symbol: str, client_order_id: str, service: OrderService, *, promptly: bool = False) -> LookUp:
        """Query an order by its client id, a conditional one first at the Algo Service.

        When a conditional order triggers, an ordinary order of the same client id appears, and the Algo Service may
        forget its own: an order that is missing there is queried among the ordinary ones.
        """
        if service is OrderService.STANDARD:
            return self._look_up_ordinary(symbol, client_order_id, promptly=promptly)
        own = self._calls.find(
            Operation.QUERY_CONDITIONAL,
            lambda: parse.algo_report(
                self._client.sign_request("GET", ALGO_ORDER, {"clientAlgoId": client_order_id, **self._window})
            ),
            promptly=promptly,
        )
        if not isinstance(own, Missing):
            return own
        triggered = self._look_up_ordinary(symbol, client_order_id, promptly=promptly)
        return parse.as_triggered(triggered) if isinstance(triggered, OrderReport) else triggered

    def find_by_order_id(self, symbol: str, order_id: str) -> LookUp:
        return self._calls.find(
            Operation.QUERY, lambda: parse.order_report(self._client.query_order(symbol, orderId=order_id))
        )

    def find_in_history(
        self, symbol: str, client_order_id: str, service: OrderService, *, since: datetime
    ) -> OrderReport | None:
        begin = since - ORDER_LOOK_BACK
        if service is OrderService.ALGO:
            for row in self._history.walk(self._all_algo_orders(symbol), begin):
                if row.get("clientAlgoId") == client_order_id:
                    return self._readable(parse.algo_report, row)
        for row in self._history.walk(self._all_orders(symbol), begin):
            if row.get("clientOrderId") == client_order_id:
                found = self._readable(parse.order_report, row)
                return parse.as_triggered(found) if service is OrderService.ALGO else found
        return None

    def _all_orders(self, symbol: str) -> HistorySource:
        return HistorySource(
            fetch=partial(self._client.get_all_orders, symbol),
            identity=lambda row: int(row["orderId"]),
            time="time",
            from_id="orderId",
        )

    def _all_algo_orders(self, symbol: str) -> HistorySource:
        fixed: Mapping[str, object] = {"symbol": symbol, **self._window}
        return HistorySource(
            fetch=lambda **which: self._client.sign_request("GET", ALL_ALGO_ORDERS, {**fixed, **which}),
            identity=lambda row: int(row["algoId"]),
            time="createTime",
            from_id="algoId",
        )

    def _look_up_ordinary(self, symbol: str, client_order_id: str, *, promptly: bool) -> LookUp:
        return self._calls.find(
            Operation.QUERY,
            lambda: parse.order_report(self._client.query_order(symbol, origClientOrderId=client_order_id)),
            promptly=promptly,
        )

    # Listen keys: protection depends on the stream, so they go before reads

    def open_listen_key(self) -> str:
        return self._calls.read(lambda: str(self._client.new_listen_key()["listenKey"]), lane=Lane.PROTECT)

    def renew_listen_key(self, key: str) -> bool:
        """Give the account's listen key another hour. False when it has none that is alive."""
        answer = self._calls.attempt(Operation.LIST, lambda: self._client.renew_listen_key(key), Lane.PROTECT)
        if not isinstance(answer, Failure):
            return True
        if answer.code == NO_LIVING_LISTEN_KEY:
            return False
        raise unavailable(answer)

    # Writes

    def prepare_entry(self, symbol: str, *, leverage: int, position_side: PositionSide) -> Mismatch | None:
        wait = self._limiter.await_room(Lane.ENTRY, ENTRY, max_wait_seconds=PATIENCE_SECONDS)
        if wait:
            raise ExchangeUnavailableError(f"{Reason.RATE_LIMIT_WAIT_EXCEEDED}: expected<={PATIENCE_SECONDS}s {wait}")
        return self._key_check.problem() or self._setup.prepare(symbol, leverage, position_side)

    def check(self) -> AccountCheck:
        keys, mode, can_trade = self._key_check.problems(), self._setup.demanded_mode(), self._setup.can_trade()
        problems = [str(problem) for problem in (*keys, mode) if problem]
        return AccountCheck(
            position_mode=MODES[self.hedge_mode()],
            can_trade=can_trade,
            clock_offset_ms=self._client.clock_offset_ms,
            problems=(*problems, *(() if can_trade else ("the account may not trade",))),
        )

    def note_setting(self, symbol: str, leverage: int) -> None:
        """Note a symbol's leverage as the user-data stream reported it."""
        self._setup.note_change(symbol, leverage)

    def place(
        self, ticket: OrderTicket, lane: Lane, *, send_before: datetime, pre_send_check: PreSendCheck | None = None
    ) -> PlaceOutcome:
        wait = (send_before - datetime.now(UTC)).total_seconds()
        turn = RequestSlot(
            lane=lane,
            wait_seconds=max(0.0, wait),
            cover_orders=COVER_ORDERS if lane is Lane.ENTRY else 0,
            send_before=send_before,
            pre_send_check=pre_send_check,
            answer_seconds=self._calls.protective_seconds if lane in PROTECTIVE else None,
        )
        try:
            with self._client.turn(turn):
                return Accepted(report=self._send(ticket))
        except NotSentError as error:
            return Refused(code=None, message=str(error), reason=error.reason, retry_safe=error.retry_safe)
        except CALL_ERRORS as error:
            operation = Operation.PLACE if ticket.service is OrderService.STANDARD else Operation.PLACE_CONDITIONAL
            failure = self._calls.judged(operation, error)
            if failure.code in TERMS_REFUSED:
                # The contract's terms have changed: they are read again before the next order.
                self._market.forget_rules()
            if failure.code == WRONG_POSITION_MODE:
                self._setup.forget_hedge_mode()
            return self._outcome(failure)

    def cancel(self, symbol: str, client_order_id: str, service: OrderService) -> LookUp:
        cancelled: OrderReport | None = None
        try:
            with self._client.turn(self._cancelling):
                cancelled = self._send_cancel(symbol, client_order_id, service)
        except NotSentError as error:
            return Unreadable(message=f"{error.reason}: {error}", sent=False)
        except CALL_ERRORS as error:
            failure = self._calls.judged(Operation.CANCEL, error)
            if failure.waits is Waits.EVERYBODY:
                return Unreadable(message=str(failure), sent=False)
        # Cancelled, filled, triggered or unanswered: in every case the order itself shows what is true now.
        found = self.look_up(symbol, client_order_id, service, promptly=True)
        triggered = isinstance(found, OrderReport) and found.status is ExchangeStatus.TRIGGERED and found.order_id
        if service is OrderService.ALGO and triggered:
            # The ordinary order that the trigger has made is cancelled under the same client id.
            made = self.cancel(symbol, client_order_id, OrderService.STANDARD)
            return parse.as_triggered(made) if isinstance(made, OrderReport) else found
        ended = isinstance(found, OrderReport) and found.status not in OPEN
        # A look-up forgets what ended without a fill, may lag behind, and may fail. The cancel's answer showed the end.
        return found if ended or cancelled is None else cancelled

    @property
    def _cancelling(self) -> RequestSlot:
        seconds = self._calls.protective_seconds
        return RequestSlot(lane=Lane.CLOSE, wait_seconds=READ_WAIT_SECONDS, answer_seconds=seconds)

    def cancel_of_others(self, symbol: str, order: ForeignOrder) -> bool:
        try:
            with self._client.turn(self._cancelling):
                if order.conditional:
                    self._client.sign_request("DELETE", ALGO_ORDER, {"algoId": order.order_id, **self._window})
                else:
                    self._client.cancel_order(symbol, orderId=order.order_id, **self._window)
        except NotSentError:
            return False
        except CALL_ERRORS as error:
            return self._calls.judged(Operation.CANCEL, error).meaning is Meaning.BENIGN
        return True

    def _send_cancel(self, symbol: str, client_order_id: str, service: OrderService) -> OrderReport:
        if service is OrderService.STANDARD:
            return parse.order_report(
                self._client.cancel_order(symbol, origClientOrderId=client_order_id, **self._window)
            )
        answer = self._client.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": client_order_id, **self._window})
        return parse.cancelled_algo(answer, symbol)

    def _send(self, ticket: OrderTicket) -> OrderReport:
        if ticket.service is OrderService.ALGO:
            return parse.algo_report(
                self._client.sign_request("POST", ALGO_ORDER, {**algo_parameters(ticket), **self._window})
            )
        return parse.order_report(
            self._client.new_order(**order_parameters(ticket, self._client.at_ms), **self._window)
        )

    def _outcome(self, failure: Failure) -> Refused | Unknown:
        match failure.meaning:
            case Meaning.REFUSED | Meaning.RETRY | Meaning.BACK_OFF:
                return Refused(
                    code=failure.code,
                    message=failure.message,
                    retry_safe=failure.meaning is not Meaning.REFUSED,
                    retry_after_seconds=failure.back_off_seconds,
                    waits=failure.waits,
                    by_filters=failure.code in FILTERS_REFUSED,
                    reason=NAMED_REFUSALS.get(failure.code or 0, Reason.EXCHANGE_REJECTED),
                )
            # The others are in no table of placements; whatever they would mean, they would prove no refusal.
            case Meaning.UNKNOWN | Meaning.ACCEPTED | Meaning.BENIGN | Meaning.MISSING:
                return Unknown(message=str(failure))
            case _:
                assert_never(failure.meaning)

    def _fills(self, symbol: str, since: datetime, lane: Lane, **which: str) -> list[FillReport]:
        source = HistorySource(
            fetch=partial(self._client.get_account_trades, symbol, **which),
            identity=lambda row: int(row["id"]),
            time="time",
            from_id="fromId",
            lane=lane,
        )
        fills = [self._readable(parse.fill_report, row) for row in self._history.walk(source, since)]
        return sorted(fills, key=lambda fill: fill.trade_id)

    def _readable(self, read: Callable[[Row], T], row: Row) -> T:
        """Read a row of the past. A row that cannot be read makes the whole answer unusable."""
        return self._calls.read(lambda: read(row))
