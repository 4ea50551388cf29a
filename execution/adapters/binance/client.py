"""The exchange behind binance-futures-connector: our words in, outcomes out, every call limited and timed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar, assert_never

import requests
from binance.error import ClientError, ServerError

from execution.adapters.binance import parse
from execution.adapters.binance.connector import Connector, Line, NotSentError, Turn
from execution.adapters.binance.errors import UNREADABLE, Failure, judge
from execution.adapters.binance.key_check import KEY_HOST, KeyCheck
from execution.adapters.binance.outcome_table import Meaning, Operation
from execution.adapters.binance.setup import MODES, EntrySetup, SetupRules
from execution.adapters.binance.terms import read_terms
from execution.adapters.binance.weights import ORDER
from execution.domain.external import ForeignOrder
from execution.domain.liquidation import MarginBracket
from execution.domain.money import ZERO, plain
from execution.domain.outcomes import (
    Accepted,
    AccountCheck,
    FillReport,
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
from execution.domain.ports import ExchangeUnavailableError, Lane, LastWord, OrderTicket
from execution.domain.reasons import Reason
from execution.domain.terms import Terms
from execution.domain.trading import OrderBook, OrderType, PositionSide, Quote, SymbolRules

ALGO_ORDER = "/fapi/v1/algoOrder"
OPEN_ALGO_ORDERS = "/fapi/v1/openAlgoOrders"
ALL_ALGO_ORDERS = "/fapi/v1/allAlgoOrders"
CALL_ERRORS = (ClientError, ServerError, requests.RequestException, *UNREADABLE)
NO_LIVING_LISTEN_KEY = -1125
NO_SUCH_SYMBOL = frozenset({-1121, -1122})
# Refusals by a contract's filters or status, which may have changed since they were read.
TERMS_REFUSED = frozenset(
    {-1013, -1111, -1121, -1122, *range(-4007, -4000), -4013, -4014, -4016, -4023, -4024, -4140, -4141, -4164}
)
# How long the listing of symbols and limits is believed.
LISTING_AGE_SECONDS = 300.0
# A contract that did not trade is looked at again sooner: its halt may be over.
HALTED_AGE_SECONDS = 5.0
MARK_AGE_SECONDS = 3.0
# The exchange announces new brackets days before.
BRACKETS_AGE_SECONDS = 3600.0
# An entry's size follows the equity; what others gain or lose in this time is no matter.
EQUITY_AGE_SECONDS = 5.0
# Levels of the book on each side: as many as cost no more than its best prices alone.
BOOK_LEVELS = 50
READ_WAIT_SECONDS = 10.0
# The order has a position side in one-way mode, or none in hedge mode: somebody has changed the mode.
WRONG_POSITION_MODE = -4061
# The stop and the target that follow an entry: their room is kept when the entry gets its own.
COVER_ORDERS = 2
ENTRY = replace(ORDER, cover_orders=COVER_ORDERS)
# An entry that would wait longer gives its worker free and is tried again, until it is too old: a stop may need it.
PATIENCE_SECONDS = 2.0
FILLS_PAGE = 1000
HISTORY_PAGE = 1000
# Our clock and the exchange's may differ by this much, for all that we rely on when asking for a stretch of time.
CLOCK_MARGIN = timedelta(minutes=1)
T = TypeVar("T")


class BinanceExchange:
    """One instance a process or thread: the connector's HTTP session must not be shared."""

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        base_url: str,
        timeout_seconds: float,
        recv_window_ms: int,
        line: Line,
        rules: SetupRules,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        connect = partial(Connector, key=key, secret=secret, timeout_seconds=timeout_seconds)
        self._client = connect(base_url=base_url, line=line)
        # Another host: its troubles are not the exchange's, so the breaker does not count them.
        asker = (
            connect(base_url=KEY_HOST, line=replace(line, breaker=None, tells_time=False)) if rules.checks_key else None
        )
        self._key_check = KeyCheck(asker, monotonic=monotonic)
        self._setup = EntrySetup(self._client, self._try, rules=rules)
        self._demands = rules
        self._recv_window_ms = recv_window_ms
        self._limiter = line.limiter
        self._monotonic = monotonic
        self._rules: dict[str, SymbolRules] = {}
        self._rules_until = 0.0
        self._halts_until = 0.0
        self._marks: dict[str, Decimal] = {}
        self._marks_until = 0.0
        self._brackets: dict[str, tuple[MarginBracket, ...]] = {}
        self._brackets_until = 0.0
        self._equity = ZERO
        self._equity_until = 0.0

    # Reads

    def rules(self, symbol: str) -> SymbolRules | None:
        known, now = self._rules.get(symbol), self._monotonic()
        halted = known is not None and not known.trading
        if now >= (min(self._rules_until, self._halts_until) if halted else self._rules_until):
            self._rules, limits = self._read(lambda: parse.listing(self._client.exchange_info()))
            self._limiter.learn_limits(limits)
            self._rules_until = self._monotonic() + LISTING_AGE_SECONDS
            self._halts_until = self._monotonic() + HALTED_AGE_SECONDS
        return self._rules.get(symbol)

    def quote(self, symbol: str) -> Quote:
        mark = self._mark_price(symbol)
        return self._read(
            lambda: parse.quote(symbol, self._client.depth(symbol, limit=BOOK_LEVELS), mark), lane=Lane.ENTRY
        )

    def margin_brackets(self, symbol: str) -> Sequence[MarginBracket]:
        if self._monotonic() >= self._brackets_until:
            self._brackets = self._read(
                lambda: parse.margin_brackets(self._client.leverage_brackets(**self._window())), lane=Lane.ENTRY
            )
            self._brackets_until = self._monotonic() + BRACKETS_AGE_SECONDS
        return self._brackets.get(symbol, ())

    def equity(self) -> Decimal:
        if self._monotonic() >= self._equity_until:
            self._equity = self._read(
                lambda: Decimal(self._client.account(**self._window())["totalMarginBalance"]), lane=Lane.ENTRY
            )
            self._equity_until = self._monotonic() + EQUITY_AGE_SECONDS
        return self._equity

    def hedge_mode(self) -> bool:
        return self._setup.hedge_mode()

    def terms(self) -> Terms:
        return read_terms(self._client, self._read, self._demands)

    # What shows that a position is naked does not queue behind what can wait; orders do not compete with it for weight.

    def open_orders(self) -> Sequence[OrderReport]:
        return self._read(lambda: parse.our_orders(self._client.get_orders()), lane=Lane.CLOSE)

    def open_algo_orders(self) -> Sequence[OrderReport]:
        return self._read(
            lambda: parse.our_algo_orders(self._client.sign_request("GET", OPEN_ALGO_ORDERS, self._window())),
            lane=Lane.CLOSE,
        )

    def orders_of_others(self, symbol: str) -> Sequence[ForeignOrder]:
        algo = {**self._window(), "symbol": symbol}
        return [
            *self._read(lambda: parse.orders_of_others(self._client.get_orders(symbol=symbol))),
            *self._read(lambda: parse.orders_of_others(self._client.sign_request("GET", OPEN_ALGO_ORDERS, algo))),
        ]

    def positions(self) -> Sequence[PositionReport]:
        rows = self._read(
            lambda: [parse.position_report(row) for row in self._client.get_position_risk()], lane=Lane.CLOSE
        )
        return [row for row in rows if row.quantity]

    def fills_of_order(self, symbol: str, order_id: str) -> Sequence[FillReport]:
        return self._fills(symbol, Lane.ENTRY, orderId=order_id)

    def fills_since(self, symbol: str, since: datetime) -> Sequence[FillReport]:
        """Return the fills from a time on, oldest first, over as many pages as there are."""
        start = self._client.since_ms(since)
        fills: dict[int, FillReport] = {}
        page = self._fills(symbol, Lane.READ, startTime=start)
        while page:
            fills |= {fill.trade_id: fill for fill in page}
            if len(page) < FILLS_PAGE:
                break
            page = self._fills(symbol, Lane.READ, fromId=max(fills) + 1)
        return [fills[trade_id] for trade_id in sorted(fills)]

    def client_id_of(self, symbol: str, order_id: str) -> str:
        return self._read(lambda: str(self._client.query_order(symbol, orderId=order_id)["clientOrderId"]))

    def income_since(self, kind: IncomeKind, since: datetime, *, symbol: str = "") -> Sequence[IncomeReport]:
        which = {"symbol": symbol} if symbol else {}
        start = self._client.since_ms(since)
        return self._read(
            lambda: [
                parse.income_report(row)
                for row in self._client.get_income_history(
                    incomeType=kind.value, startTime=start, limit=FILLS_PAGE, **which
                )
            ]
        )

    def price_at(self, symbol: str, at: datetime) -> Decimal | None:
        minute = int(at.timestamp()) // 60 * 60_000
        answer = self._try(
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
        raise ExchangeUnavailableError(f"code={answer.code} {answer.message}")

    def look_up(self, symbol: str, client_order_id: str, book: OrderBook) -> LookUp:
        """Ask for an order by its client id; a conditional one first in its own book, then among the ordinary ones.

        When it triggers, an ordinary order of the same client id appears, and the Algo Service may forget its own.
        """
        if book is OrderBook.ORDINARY:
            return self._look_up_ordinary(symbol, client_order_id)
        own = self._find(
            Operation.QUERY_CONDITIONAL,
            lambda: parse.algo_report(
                self._client.sign_request("GET", ALGO_ORDER, {"clientAlgoId": client_order_id, **self._window()})
            ),
        )
        if not isinstance(own, Missing):
            return own
        triggered = self._look_up_ordinary(symbol, client_order_id)
        return parse.as_triggered(triggered) if isinstance(triggered, OrderReport) else triggered

    def find_by_order_id(self, symbol: str, order_id: str) -> LookUp:
        return self._find(
            Operation.QUERY, lambda: parse.order_report(self._client.query_order(symbol, orderId=order_id))
        )

    def find_in_history(
        self, symbol: str, client_order_id: str, book: OrderBook, *, since: datetime
    ) -> OrderReport | None:
        start = self._client.at_ms(since - CLOCK_MARGIN)
        limits = {"startTime": start, "limit": HISTORY_PAGE}
        reports: list[OrderReport] = []
        if book is OrderBook.ALGO:
            parameters = {"symbol": symbol, **limits, **self._window()}
            reports = self._read(
                lambda: parse.our_algo_orders(self._client.sign_request("GET", ALL_ALGO_ORDERS, parameters))
            )
        own = next((report for report in reports if report.client_order_id == client_order_id), None)
        if own:
            return own
        reports = self._read(lambda: parse.our_orders(self._client.get_all_orders(symbol, **limits)))
        found = next((report for report in reports if report.client_order_id == client_order_id), None)
        return parse.as_triggered(found) if found and book is OrderBook.ALGO else found

    def _look_up_ordinary(self, symbol: str, client_order_id: str) -> LookUp:
        return self._find(
            Operation.QUERY,
            lambda: parse.order_report(self._client.query_order(symbol, origClientOrderId=client_order_id)),
        )

    # Listen keys: what protects hangs on them, so they go before reads

    def open_listen_key(self) -> str:
        return self._read(lambda: str(self._client.new_listen_key()["listenKey"]), lane=Lane.PROTECT)

    def renew_listen_key(self, key: str) -> bool:
        """Give the account's key another hour; False when there is none alive."""
        answer = self._try(Operation.LIST, lambda: self._client.renew_listen_key(key), Lane.PROTECT)
        if not isinstance(answer, Failure):
            return True
        if answer.code == NO_LIVING_LISTEN_KEY:
            return False
        raise ExchangeUnavailableError(f"code={answer.code} {answer.message}")

    def _mark_price(self, symbol: str) -> Decimal:
        """Return a mark price at most a few seconds old: for the least notional, and a collar that is percents wide."""
        if symbol not in self._marks or self._monotonic() >= self._marks_until:
            self._marks = self._read(lambda: parse.mark_prices(self._client.mark_price()), lane=Lane.ENTRY)
            self._marks_until = self._monotonic() + MARK_AGE_SECONDS
        if symbol not in self._marks:
            raise ExchangeUnavailableError(f"no mark price of {symbol}")
        return self._marks[symbol]

    # Writes

    def prepare_entry(self, symbol: str, *, leverage: int, position_side: PositionSide) -> Mismatch | None:
        wait = self._limiter.await_room(Lane.ENTRY, ENTRY, max_wait_seconds=PATIENCE_SECONDS)
        if wait:
            raise ExchangeUnavailableError(f"{Reason.RATE_LIMIT_WAIT_EXCEEDED}: expected<={PATIENCE_SECONDS}s {wait}")
        return self._key_check.problem() or self._setup.prepare(symbol, leverage, position_side)

    def check(self) -> AccountCheck:
        key, mode, can_trade = self._key_check.problem(), self._setup.demanded_mode(), self._setup.can_trade()
        problems = [str(problem) for problem in (key, mode) if problem]
        return AccountCheck(
            position_mode=MODES[self.hedge_mode()],
            can_trade=can_trade,
            clock_offset_ms=self._client.clock_offset_ms,
            problems=(*problems, *(() if can_trade else ("the account may not trade",))),
        )

    def note_setting(self, symbol: str, leverage: int) -> None:
        """Take in what the user-data stream tells of a symbol's leverage."""
        self._setup.note_change(symbol, leverage)

    def place(
        self, ticket: OrderTicket, lane: Lane, *, send_before: datetime, last_word: LastWord | None = None
    ) -> PlaceOutcome:
        wait = (send_before - datetime.now(UTC)).total_seconds()
        turn = Turn(
            lane=lane,
            wait_seconds=max(0.0, wait),
            cover_orders=COVER_ORDERS if lane is Lane.ENTRY else 0,
            send_before=send_before,
            last_word=last_word,
        )
        try:
            with self._client.turn(turn):
                return Accepted(report=self._send(ticket))
        except NotSentError as error:
            return Refused(code=None, message=str(error), reason=error.reason, retry_safe=error.retry_safe)
        except CALL_ERRORS as error:
            operation = Operation.PLACE if ticket.book is OrderBook.ORDINARY else Operation.PLACE_CONDITIONAL
            failure = self._judged(operation, error)
            if failure.code in TERMS_REFUSED:
                # Its terms are others than we knew: the next order is judged by what they are now.
                self._rules_until = 0.0
            if failure.code == WRONG_POSITION_MODE:
                self._setup.forget_hedge_mode()
            return self._outcome(failure)

    def cancel(self, symbol: str, client_order_id: str, book: OrderBook) -> LookUp:
        try:
            with self._client.turn(Turn(lane=Lane.CLOSE, wait_seconds=READ_WAIT_SECONDS)):
                self._send_cancel(symbol, client_order_id, book)
        except NotSentError as error:
            return Unreadable(message=f"{error.reason}: {error}")
        except CALL_ERRORS as error:
            failure = self._judged(Operation.CANCEL, error)
            if failure.waits is Waits.EVERYBODY:
                return Unreadable(message=f"code={failure.code} {failure.message}")
        # Cancelled, filled, triggered or unheard: in every case the order itself says what is true now.
        return self.look_up(symbol, client_order_id, book)

    def _send_cancel(self, symbol: str, client_order_id: str, book: OrderBook) -> None:
        if book is OrderBook.ALGO:
            self._client.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": client_order_id, **self._window()})
        else:
            self._client.cancel_order(symbol, origClientOrderId=client_order_id, **self._window())

    def _send(self, ticket: OrderTicket) -> OrderReport:
        if ticket.book is OrderBook.ALGO:
            return parse.algo_report(self._client.sign_request("POST", ALGO_ORDER, self._algo_parameters(ticket)))
        return parse.order_report(self._client.new_order(**self._order_parameters(ticket)))

    def _order_parameters(self, ticket: OrderTicket) -> dict[str, Any]:
        parameters = {
            **self._common_parameters(ticket),
            "newClientOrderId": ticket.client_order_id,
            "newOrderRespType": "RESULT",
        }
        if ticket.order_type is OrderType.LIMIT and ticket.price is not None:
            parameters |= {"price": plain(ticket.price), "timeInForce": "GTC"}
        return parameters

    def _algo_parameters(self, ticket: OrderTicket) -> dict[str, Any]:
        return {
            **self._common_parameters(ticket),
            **_condition(ticket),
            "algoType": "CONDITIONAL",
            "clientAlgoId": ticket.client_order_id,
            # The mark price is not moved by a single trade: a stop on the last price is hunted by any spike.
            "workingType": "MARK_PRICE",
        }

    def _common_parameters(self, ticket: OrderTicket) -> dict[str, Any]:
        """Return what both books take, as strings: the connector would send floats with exponents."""
        parameters = {
            "symbol": ticket.symbol,
            "side": ticket.side.value,
            "type": ticket.order_type.value,
            "quantity": plain(ticket.quantity),
            **self._window(),
        }
        if ticket.reduce_only:
            parameters["reduceOnly"] = "true"
        if ticket.position_side is not PositionSide.BOTH:
            parameters["positionSide"] = ticket.position_side.value
        return parameters

    def _outcome(self, failure: Failure) -> Refused | Unknown:
        match failure.meaning:
            case Meaning.REFUSED | Meaning.RETRY | Meaning.BACK_OFF:
                return Refused(
                    code=failure.code,
                    message=failure.message,
                    retry_safe=failure.meaning is not Meaning.REFUSED,
                    retry_after_seconds=failure.back_off_seconds,
                    waits=failure.waits,
                )
            # The others are in no table of placements; whatever they would mean, they would prove no refusal.
            case Meaning.UNKNOWN | Meaning.ACCEPTED | Meaning.BENIGN | Meaning.MISSING:
                return Unknown(message=f"code={failure.code} {failure.message}")
            case _:
                assert_never(failure.meaning)

    def _find(self, operation: Operation, call: Callable[[], OrderReport]) -> LookUp:
        try:
            # What became of an order decides whether a position is naked: it does not queue with the sweeps.
            answer = self._try(operation, call, Lane.CLOSE)
        except ExchangeUnavailableError as error:
            return Unreadable(message=f"{error}")
        if not isinstance(answer, Failure):
            return answer
        sentence = f"code={answer.code} {answer.message}"
        return Missing(message=sentence) if answer.meaning is Meaning.MISSING else Unreadable(message=sentence)

    def _fills(self, symbol: str, lane: Lane, **which: Any) -> list[FillReport]:
        return self._read(
            lambda: [
                parse.fill_report(row) for row in self._client.get_account_trades(symbol, limit=FILLS_PAGE, **which)
            ],
            lane=lane,
        )

    def _read(self, call: Callable[[], T], *, lane: Lane = Lane.READ) -> T:
        """Make a call that may be repeated without harm, and read its answer; any failure is one exception."""
        answer = self._try(Operation.LIST, call, lane)
        if isinstance(answer, Failure):
            raise ExchangeUnavailableError(f"code={answer.code} {answer.message}")
        return answer

    def _try(self, operation: Operation, call: Callable[[], T], lane: Lane) -> T | Failure:
        """Wait for a turn, make a call and return its answer, or what its failure proves."""
        try:
            with self._client.turn(Turn(lane=lane, wait_seconds=READ_WAIT_SECONDS)):
                return call()
        except NotSentError as error:
            raise ExchangeUnavailableError(f"{error.reason}: {error}") from error
        except CALL_ERRORS as error:
            return self._judged(operation, error)

    def _judged(self, operation: Operation, error: Exception) -> Failure:
        failure = judge(operation, error, exchange_ms=self._client.at_ms(datetime.now(UTC)))
        if failure.waits is not Waits.NOBODY:
            self._limiter.hold(failure.waits, failure.back_off_seconds)
        return failure

    def _window(self) -> Mapping[str, Any]:
        return {"recvWindow": self._recv_window_ms}


def _condition(ticket: OrderTicket) -> Mapping[str, str]:
    """Return what a conditional order waits for; a trailing stop takes no trigger price, but where it activates."""
    if ticket.callback_percent is not None:
        activate = {"activatePrice": plain(ticket.trigger_price)} if ticket.trigger_price is not None else {}
        return {"callbackRate": plain(ticket.callback_percent), **activate}
    if ticket.trigger_price is None:
        raise ValueError(f"conditional order {ticket.client_order_id} without a trigger price")
    return {"triggerPrice": plain(ticket.trigger_price)}
