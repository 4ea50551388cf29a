import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import responses
from structlog.testing import capture_logs

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.clock import ServerClock
from execution.adapters.binance.connector import VenueConnection
from execution.adapters.binance.settings_cache import SettingsCache, life_of
from execution.adapters.binance.setup import SetupRules
from execution.adapters.binance.weights import cost_of
from execution.adapters.rate_limit import RateLimiter
from execution.domain.candles import Candle, Window
from execution.domain.outcomes import (
    Accepted,
    ExchangeStatus,
    IncomeKind,
    Mismatch,
    Missing,
    OrderReport,
    Refused,
    Unknown,
    Unreadable,
    Waits,
)
from execution.domain.ports import EntryBlock, ExchangeUnavailableError, Lane, OrderTicket
from execution.domain.rate_limits import Cost, Limits, Permit, Throttled, WindowUsage
from execution.domain.reasons import Reason
from execution.domain.trading import OrderService, OrderType, PositionSide, Side
from execution.management.commands.check_exchange import log_setup_problems
from tests.unit.examples import BTCUSDT

BASE = "http://exchange.invalid"
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
ENTRY = OrderTicket(
    client_order_id="es1-e-1",
    symbol="BTCUSDT",
    side=Side.BUY,
    position_side=PositionSide.BOTH,
    order_type=OrderType.MARKET,
    quantity=Decimal("0.00200000"),
)
STOP = OrderTicket(
    client_order_id="es1-s-1",
    symbol="BTCUSDT",
    side=Side.SELL,
    position_side=PositionSide.BOTH,
    order_type=OrderType.STOP_MARKET,
    quantity=Decimal("0.002"),
    trigger_price=Decimal("48750.00"),
    reduce_only=True,
)
ORDER_ROW: dict[str, Any] = {
    "orderId": 7,
    "symbol": "BTCUSDT",
    "status": "NEW",
    "clientOrderId": "es1-e-1",
    "origQty": "0.002",
    "executedQty": "0",
}
ALGO_ROW: dict[str, Any] = {
    "algoId": 9,
    "clientAlgoId": "es1-s-1",
    "symbol": "BTCUSDT",
    "quantity": "0.002",
    "algoStatus": "NEW",
}


class Turns(RateLimiter):
    """A limiter that grants what the test allows and remembers what it was asked."""

    def __init__(self) -> None:
        self.allowed = True
        self.asked: list[tuple[Lane, float]] = []
        self.costs: list[Cost] = []
        self.holds: list[tuple[Waits, float]] = []
        self.usages: list[WindowUsage] = []
        self.limits: list[Limits] = []
        self.clocks: list[float] = []
        self.looked: list[tuple[Lane, Cost, float]] = []
        self.ahead: Throttled | None = None

    def admit(self, lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Permit | Throttled:
        self.asked.append((lane, max_wait_seconds))
        self.costs.append(cost)
        return Permit(cost=cost) if self.allowed else Throttled(blocked_by="orders_10s", wait_seconds=7)

    def await_room(self, lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Throttled | None:
        self.looked.append((lane, cost, max_wait_seconds))
        return self.ahead

    def answered(self, ticket: Permit, usage: WindowUsage) -> None:  # noqa: ARG002 -- the limiter's signature
        self.usages.append(usage)

    def hold(self, who: Waits, seconds: float) -> None:
        self.holds.append((who, seconds))

    def learn_limits(self, limits: Limits) -> None:
        self.limits.append(limits)

    def learn_clock(self, server_ms: float, *, measured_at: float, uncertainty_ms: float) -> None:  # noqa: ARG002 -- as above
        self.clocks.append(server_ms)


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Remembered(SettingsCache):
    """The cache of settings without Redis."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[str, float]] = {}

    def _get(self, name: str) -> str | None:
        text, until = self._kept.get(name, ("", 0.0))
        return text if self._clock() < until else None

    def _get_all(self, names: list[str]) -> dict[str, str]:
        return {name: text for name in names if (text := self._get(name)) is not None}

    def _set(self, name: str, text: str) -> None:
        self._kept[name] = (text, self._clock() + life_of(name))

    def _forget(self, name: str) -> None:
        self._kept.pop(name, None)


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def limiter() -> Turns:
    return Turns()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(server: responses.RequestsMock, limiter: Turns, clock: Clock) -> BinanceExchange:  # noqa: ARG001 - first
    return connected(limiter, clock)


def connected(
    limiter: Turns, clock: Clock, *, server_clock: ServerClock | None = None, **demands: Any
) -> BinanceExchange:
    """An exchange client of a process that has just begun; without a clock it signs its own time."""
    return BinanceExchange(
        key="the-key",
        secret="the-secret",
        base_url=BASE,
        timeout_seconds=5,
        recv_window_ms=3000,
        line=VenueConnection(limiter=limiter, clock=server_clock),
        rules=SetupRules(cache=Remembered(clock), **demands),
        monotonic=clock,
    )


def sent(server: responses.RequestsMock) -> list[tuple[str, str, dict[str, str]]]:
    """Every request as method, path and parameters, less timestamp and signature."""
    calls = []
    for call in server.calls:
        url = urlsplit(str(call.request.url))
        parameters = dict(parse_qsl(url.query))
        calls.append(
            (
                str(call.request.method),
                url.path,
                {name: value for name, value in parameters.items() if name not in {"timestamp", "signature"}},
            )
        )
    return calls


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=5)


def error(code: int, message: str = "message") -> dict[str, object]:
    return {"code": code, "msg": message}


# Placing


def test_a_market_entry_on_the_wire(server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns) -> None:
    server.post(BASE + ORDER, json=ORDER_ROW | {"status": "FILLED", "executedQty": "0.002"})

    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    # It should send exactly these, the numbers without exponent or useless zeros
    assert sent(server) == [
        (
            "POST",
            ORDER,
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "MARKET",
                "quantity": "0.002",
                "newClientOrderId": "es1-e-1",
                "newOrderRespType": "RESULT",
                "recvWindow": "3000",
            },
        )
    ]
    assert isinstance(outcome, Accepted)
    assert (outcome.report.order_id, outcome.report.status) == ("7", ExchangeStatus.FILLED)
    # It should wait for its turn in its own lane, no longer than it may be sent
    assert [lane for lane, _ in limiter.asked] == [Lane.ENTRY]
    assert 4 < limiter.asked[0][1] <= 5


def test_a_limit_entry_on_the_wire(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.post(BASE + ORDER, json=ORDER_ROW)
    ticket = replace(
        ENTRY, order_type=OrderType.LIMIT, price=Decimal("1E-7"), quantity=Decimal("1E+3"), symbol="1000PEPEUSDT"
    )

    exchange.place(ticket, Lane.ENTRY, send_before=soon())

    parameters = sent(server)[0][2]
    assert (parameters["price"], parameters["quantity"]) == ("0.0000001", "1000")
    assert parameters["timeInForce"] == "GTC"


def test_a_stop_goes_to_the_algo_service(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.post(BASE + ALGO, json=ALGO_ROW)

    outcome = exchange.place(STOP, Lane.PROTECT, send_before=soon())

    # It should send the Algo Service's own names, and none of the ordinary book's
    assert sent(server) == [
        (
            "POST",
            ALGO,
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "STOP_MARKET",
                "quantity": "0.002",
                "recvWindow": "3000",
                "reduceOnly": "true",
                "algoType": "CONDITIONAL",
                "clientAlgoId": "es1-s-1",
                "triggerPrice": "48750",
                "workingType": "MARK_PRICE",
            },
        )
    ]
    assert isinstance(outcome, Accepted)
    assert (outcome.report.algo_id, outcome.report.order_id) == ("9", "")


@pytest.mark.parametrize(
    ("side", "reduce_only", "flags"),
    [
        (PositionSide.BOTH, True, {"reduceOnly": "true"}),
        (PositionSide.BOTH, False, {}),
        (PositionSide.LONG, False, {"positionSide": "LONG"}),
        (PositionSide.SHORT, False, {"positionSide": "SHORT"}),
    ],
)
def test_one_way_mode_has_reduce_only_and_hedge_mode_a_position_side(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    *,
    side: PositionSide,
    reduce_only: bool,
    flags: dict[str, str],
) -> None:
    server.post(BASE + ALGO, json=ALGO_ROW)

    exchange.place(replace(STOP, position_side=side, reduce_only=reduce_only), Lane.PROTECT, send_before=soon())

    parameters = sent(server)[0][2]
    assert {name: parameters[name] for name in ("reduceOnly", "positionSide") if name in parameters} == flags


def test_every_request_is_signed_afresh(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.post(BASE + ALGO, json=ALGO_ROW)

    for _ in range(2):
        exchange.place(STOP, Lane.PROTECT, send_before=soon())

    for call in server.calls:
        query, _, signature = urlsplit(str(call.request.url)).query.rpartition("&signature=")
        # It should sign what it sends, once, and nothing of an earlier request
        assert query.count("signature") == 0
        assert query.count("timestamp=") == 1
        assert signature == hmac.new(b"the-secret", query.encode(), hashlib.sha256).hexdigest()
        assert call.request.headers["X-MBX-APIKEY"] == "the-key"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error(-2019, "Margin is insufficient.")),
        (400, error(-1021, "Timestamp for this request is outside of the recvWindow.")),
        (408, error(-1007)),
        (429, error(-1015)),
        (500, "oops"),
        (503, {"msg": "Service Unavailable."}),
        (503, error(-1008)),
    ],
)
def test_the_adapter_never_repeats_a_placement(
    server: responses.RequestsMock, exchange: BinanceExchange, status: int, body: object
) -> None:
    if isinstance(body, str):
        server.post(BASE + ORDER, status=status, body=body)
    else:
        server.post(BASE + ORDER, status=status, json=body)

    exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    assert [call.request.method for call in server.calls if call.request.url != f"{BASE}/fapi/v1/time"] == ["POST"]


@pytest.mark.parametrize(
    ("status", "body", "outcome", "holds"),
    [
        (
            400,
            error(-2019, "Margin is insufficient."),
            Refused(code=-2019, message="Margin is insufficient.", retry_safe=False),
            [],
        ),
        (400, error(-1021, "late"), Refused(code=-1021, message="late", retry_safe=True), []),
        (
            503,
            error(-1008, "busy"),
            Refused(code=-1008, message="busy", retry_safe=True, retry_after_seconds=2.0, waits=Waits.ENTRIES),
            [(Waits.ENTRIES, 2.0)],
        ),
        (408, error(-1007, "who knows"), Unknown(message="code=-1007 who knows"), []),
        (503, error(-1000, "Unknown error"), Unknown(message="code=-1000 Unknown error"), []),
        (400, error(-4116, "duplicated"), Unknown(message="code=-4116 duplicated"), []),
    ],
)
def test_what_an_answer_proves(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    limiter: Turns,
    status: int,
    body: object,
    outcome: object,
    holds: list[tuple[Waits, float]],
) -> None:
    server.post(BASE + ORDER, status=status, json=body)

    assert exchange.place(ENTRY, Lane.ENTRY, send_before=soon()) == outcome
    # It should hold back those whom the exchange means, and nobody else
    assert limiter.holds == holds


def test_a_full_order_counter_holds_orders_back(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    server.post(BASE + ORDER, status=429, json=error(-1015, "Too many"), headers={"Retry-After": "7"})

    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    assert outcome == Refused(
        code=-1015, message="Too many", retry_safe=True, retry_after_seconds=7.0, waits=Waits.ORDERS
    )
    assert limiter.holds == [(Waits.ORDERS, 7.0)]


@pytest.mark.parametrize(
    ("fault", "known"),
    [(requests.ReadTimeout(), False), (requests.ConnectionError("reset"), False), (requests.ConnectTimeout(), True)],
)
def test_a_transport_fault_is_unknown_unless_nothing_left(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    *,
    fault: Exception,
    known: bool,
) -> None:
    server.post(BASE + ORDER, body=fault)

    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    assert isinstance(outcome, Refused if known else Unknown)
    assert not isinstance(outcome, Refused) or outcome.retry_safe


@pytest.mark.parametrize(
    "body", ["OK", "[]", "{}", '{"status": "A_NEW_ONE", "symbol": "BTCUSDT", "clientOrderId": "x", "origQty": "1"}']
)
def test_an_accepted_order_with_an_unreadable_answer_is_unknown(
    server: responses.RequestsMock, exchange: BinanceExchange, body: str
) -> None:
    server.post(BASE + ORDER, body=body)

    # It should not crash after the order may be there
    assert isinstance(exchange.place(ENTRY, Lane.ENTRY, send_before=soon()), Unknown)


def test_nothing_is_sent_after_its_time(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=datetime.now(UTC) - timedelta(milliseconds=1))

    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.message[-17:], outcome.retry_safe) == (None, " too late to send", True)
    assert len(server.calls) == 0


def test_each_request_is_paid_for_by_its_own_cost(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    server.post(BASE + ORDER, json=ORDER_ROW)
    server.post(BASE + ALGO, json=ALGO_ROW)
    server.get(f"{BASE}/fapi/v1/openOrders", json=[])
    server.get(BASE + ORDER, json=ORDER_ROW)

    exchange.place(ENTRY, Lane.ENTRY, send_before=soon())
    exchange.place(STOP, Lane.PROTECT, send_before=soon())
    exchange.open_orders()
    exchange.look_up("BTCUSDT", "es1-e-1", OrderService.STANDARD)

    assert limiter.costs == [
        # It should ask for the room of stop and target together with the entry's
        Cost(orders_10s=1, orders_1m=1, cover_orders=2),
        Cost(orders_10s=1, orders_1m=1),
        Cost(weight=40),
        Cost(weight=1),
    ]


def test_the_limiter_is_told_what_every_answer_says(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    used = {"X-MBX-USED-WEIGHT-1M": "37", "X-MBX-ORDER-COUNT-10S": "2", "X-MBX-ORDER-COUNT-1M": "11"}
    server.post(BASE + ORDER, json=ORDER_ROW, headers=used)
    server.post(BASE + ORDER, status=400, json=error(-2019), headers={"x-mbx-used-weight-1m": "38"})
    server.post(BASE + ORDER, body=requests.ReadTimeout())

    for _ in range(3):
        exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    # It should tell also of a refusal, and that a request without an answer is no longer under way
    assert limiter.usages == [WindowUsage(weight=37, orders_10s=2, orders_1m=11), WindowUsage(weight=38), WindowUsage()]


def test_published_limits_are_passed_on(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    rows = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
    ]
    server.get(f"{BASE}/fapi/v1/exchangeInfo", json={"symbols": [], "rateLimits": rows})

    exchange.rules("BTCUSDT")

    assert limiter.limits == [Limits(weight=6000, orders_10s=100, orders_1m=1200)]


def test_nothing_is_sent_without_a_turn(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    limiter.allowed = False

    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    assert isinstance(outcome, Refused)
    assert outcome.reason == "RATE_LIMIT_WAIT_EXCEEDED"
    assert not outcome.retry_safe
    assert len(server.calls) == 0


def test_an_order_that_is_not_wanted_any_more_does_not_leave(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    veto = EntryBlock(code=Reason.KILL_SWITCH_ENGAGED, sentence="level=halt by=anna: drill")

    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=soon(), pre_send_check=lambda: veto)

    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.message) == (veto.code, "level=halt by=anna: drill before sending")
    assert not outcome.retry_safe
    assert len(server.calls) == 0


# Looking up and cancelling


def test_an_order_is_looked_up_in_its_own_book(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.get(BASE + ORDER, json=ORDER_ROW)
    server.get(BASE + ALGO, json=ALGO_ROW | {"algoStatus": "TRIGGERED", "actualOrderId": "12", "actualQty": "0.001"})

    ordinary = exchange.look_up("BTCUSDT", "es1-e-1", OrderService.STANDARD)
    conditional = exchange.look_up("BTCUSDT", "es1-s-1", OrderService.ALGO)

    assert isinstance(ordinary, OrderReport)
    assert isinstance(conditional, OrderReport)
    assert (conditional.status, conditional.order_id) == (ExchangeStatus.TRIGGERED, "12")
    assert sent(server) == [
        ("GET", ORDER, {"symbol": "BTCUSDT", "origClientOrderId": "es1-e-1"}),
        ("GET", ALGO, {"clientAlgoId": "es1-s-1", "recvWindow": "3000"}),
    ]


@pytest.mark.parametrize("service", OrderService)
@pytest.mark.parametrize("code", [-2013, -2011])
def test_an_order_that_does_not_exist_is_missing(
    server: responses.RequestsMock, exchange: BinanceExchange, service: OrderService, code: int
) -> None:
    for path in (ORDER, ALGO):
        server.get(BASE + path, status=400, json=error(code, "Order does not exist."))

    assert exchange.look_up("BTCUSDT", "es1-x", service) == Missing(message=f"code={code} Order does not exist.")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "oops"),
        (503, "-2013"),
        (503, '{"code": -2013, "msg": "Order does not exist."}'),
        (408, '{"code": -1007, "msg": "late"}'),
        (401, '{"code": -2015, "msg": "Invalid API-key"}'),
        (429, '{"code": -1003, "msg": "Too many"}'),
        (403, "<html>"),
        (404, "<html>Not Found</html>"),
        (400, '{"msg": "no code"}'),
        (200, "<html>"),
        (200, "{}"),
    ],
)
def test_no_answer_about_the_order_is_never_missing(
    server: responses.RequestsMock, exchange: BinanceExchange, status: int, body: str
) -> None:
    server.get(BASE + ORDER, status=status, body=body)

    # It should not take an error for the absence of an order
    assert isinstance(exchange.look_up("BTCUSDT", "es1-e-1", OrderService.STANDARD), Unreadable)


def test_without_a_turn_a_look_up_is_unreadable(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    limiter.allowed = False

    assert isinstance(exchange.look_up("BTCUSDT", "es1-e-1", OrderService.STANDARD), Unreadable)
    assert len(server.calls) == 0


@pytest.mark.parametrize(
    ("status", "answer"), [(200, ORDER_ROW), (400, error(-2011, "Unknown order sent.")), (500, error(-1000))]
)
def test_a_cancel_believes_only_the_order_itself(
    server: responses.RequestsMock, exchange: BinanceExchange, status: int, answer: object
) -> None:
    server.delete(BASE + ORDER, status=status, json=answer)
    server.get(BASE + ORDER, json=ORDER_ROW | {"status": "FILLED", "executedQty": "0.002"})

    found = exchange.cancel("BTCUSDT", "es1-e-1", OrderService.STANDARD)

    # It should report the fill that was faster
    assert isinstance(found, OrderReport)
    assert found.status is ExchangeStatus.FILLED
    assert [call[:2] for call in sent(server)] == [("DELETE", ORDER), ("GET", ORDER)]


def test_a_conditional_order_is_cancelled_in_its_own_book(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    server.delete(BASE + ALGO, json={"algoId": 9, "clientAlgoId": "es1-s-1", "code": "200", "msg": "success"})
    server.get(BASE + ALGO, json=ALGO_ROW | {"algoStatus": "CANCELED"})

    found = exchange.cancel("BTCUSDT", "es1-s-1", OrderService.ALGO)

    assert isinstance(found, OrderReport)
    assert found.status is ExchangeStatus.CANCELED
    assert [call[:2] for call in sent(server)] == [("DELETE", ALGO), ("GET", ALGO)]


@pytest.mark.parametrize(
    ("status", "executed", "seen"),
    [
        ("NEW", "0", ExchangeStatus.TRIGGERED),
        ("PARTIALLY_FILLED", "0.001", ExchangeStatus.TRIGGERED),
        ("FILLED", "0.002", ExchangeStatus.FILLED),
        ("EXPIRED", "0", ExchangeStatus.EXPIRED),
    ],
)
def test_a_conditional_order_that_its_book_forgets_is_asked_for_among_the_ordinary_ones(
    server: responses.RequestsMock, exchange: BinanceExchange, status: str, executed: str, seen: ExchangeStatus
) -> None:
    row = ORDER_ROW | {"clientOrderId": "es1-s-1", "status": status, "executedQty": executed, "orderId": 12}
    server.get(BASE + ALGO, status=400, json=error(-2013, "Order does not exist."))
    server.get(BASE + ORDER, json=row)

    found = exchange.look_up("BTCUSDT", "es1-s-1", OrderService.ALGO)

    # It should be the same order under the id of what it has become
    assert isinstance(found, OrderReport)
    assert (found.status, found.order_id, found.executed_quantity) == (seen, "12", Decimal(executed))
    assert [call[:2] for call in sent(server)] == [("GET", ALGO), ("GET", ORDER)]


def test_a_conditional_order_is_not_missing_when_one_book_did_not_answer(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    server.get(BASE + ALGO, status=400, json=error(-2013, "Order does not exist."))
    server.get(BASE + ORDER, status=503, json=error(-1000, "Unknown error"))

    assert isinstance(exchange.look_up("BTCUSDT", "es1-s-1", OrderService.ALGO), Unreadable)


def test_a_triggered_order_is_found_in_the_history_of_ordinary_orders(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    row = ORDER_ROW | {"clientOrderId": "es1-s-1", "status": "FILLED", "time": 1767225600000}
    server.get(BASE + "/fapi/v1/allAlgoOrders", json=[])
    server.get(BASE + "/fapi/v1/allOrders", json=[row])

    found = exchange.find_in_history("BTCUSDT", "es1-s-1", OrderService.ALGO, since=since)

    assert found
    assert found.status is ExchangeStatus.FILLED


CANCELLED_ROW = ORDER_ROW | {"status": "CANCELED", "executedQty": "0.001"}
CANCELLED_ALGO = {"algoId": 9, "clientAlgoId": "es1-s-1", "code": "200", "msg": "success"}


@pytest.mark.parametrize(
    ("service", "path", "answer", "executed"),
    [(OrderService.STANDARD, ORDER, CANCELLED_ROW, "0.001"), (OrderService.ALGO, ALGO, CANCELLED_ALGO, "0")],
)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error(-2013, "Order does not exist.")),
        (503, error(-1000)),
        (200, {}),
        (200, {**ORDER_ROW, **ALGO_ROW}),
    ],
)
def test_the_answer_to_a_cancel_is_evidence_where_the_look_up_tells_nothing(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    service: OrderService,
    path: str,
    answer: dict[str, object],
    executed: str,
    status: int,
    body: dict[str, object],
) -> None:
    server.delete(BASE + path, json=answer)
    for each in (ORDER, ALGO):
        server.get(BASE + each, status=status, json=body)

    found = exchange.cancel("BTCUSDT", str(answer.get("clientOrderId") or "es1-s-1"), service)

    # It should be cancelled with what it had filled: forgotten, silent, unreadable, or shown as it was before
    assert isinstance(found, OrderReport)
    assert (found.status, found.executed_quantity) == (ExchangeStatus.CANCELED, Decimal(executed))


@pytest.mark.parametrize("answer", [{"algoId": 9, "clientAlgoId": "es1-s-1", "code": "400"}, {}])
def test_an_answer_that_does_not_say_so_is_no_evidence_of_a_cancel(
    server: responses.RequestsMock, exchange: BinanceExchange, answer: dict[str, object]
) -> None:
    server.delete(BASE + ALGO, json=answer)
    for each in (ORDER, ALGO):
        server.get(BASE + each, status=400, json=error(-2013))

    assert isinstance(exchange.cancel("BTCUSDT", "es1-s-1", OrderService.ALGO), Missing)


def test_a_cancel_asks_nothing_more_while_everybody_has_to_wait(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    server.delete(BASE + ORDER, status=418, json=error(-1003, "banned"), headers={"Retry-After": "30"})

    expected = Unreadable(message="code=-1003 banned", sent=False)
    assert exchange.cancel("BTCUSDT", "es1-e-1", OrderService.STANDARD) == expected
    assert (limiter.holds, len(server.calls)) == ([(Waits.EVERYBODY, 30.0)], 1)


def test_a_cancel_without_a_turn_is_not_sent_into_a_ban(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    limiter.allowed = False

    assert isinstance(exchange.cancel("BTCUSDT", "es1-e-1", OrderService.STANDARD), Unreadable)
    assert len(server.calls) == 0
    assert limiter.asked == [(Lane.CLOSE, 10.0)]


# Setting up


LEVERAGE, CONFIG, MODE = f"{BASE}/fapi/v1/leverage", f"{BASE}/fapi/v1/symbolConfig", f"{BASE}/fapi/v1/positionSide/dual"


def setting_up(exchange: BinanceExchange, leverage: int = 5, side: PositionSide = PositionSide.BOTH) -> Mismatch | None:
    return exchange.prepare_entry("BTCUSDT", leverage=leverage, position_side=side)


def account(server: responses.RequestsMock, leverage: int = 5, margin: str = "CROSSED", *, hedge: bool = False) -> None:
    server.get(MODE, json={"dualSidePosition": hedge})
    server.post(LEVERAGE, json={"leverage": leverage, "symbol": "BTCUSDT"})
    server.get(CONFIG, json=[{"symbol": "BTCUSDT", "leverage": leverage, "marginType": margin}])


def test_leverage_is_set_and_read_back(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    account(server)

    assert setting_up(exchange) is None
    assert [(method, path, parameters) for method, path, parameters in sent(server)] == [
        ("GET", "/fapi/v1/positionSide/dual", {}),
        ("POST", "/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": "5"}),
        ("GET", "/fapi/v1/symbolConfig", {"symbol": "BTCUSDT"}),
    ]


def test_an_entry_that_would_wait_long_asks_for_nothing(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    account(server)
    limiter.ahead = Throttled(blocked_by="orders_1m", wait_seconds=31)
    with pytest.raises(ExchangeUnavailableError, match=r"expected<=2.0s blocked_by=orders_1m needed=31.0s"):
        setting_up(exchange)
    assert len(server.calls) == 0
    assert limiter.looked == [(Lane.ENTRY, Cost(orders_10s=1, orders_1m=1, cover_orders=2), 2.0)]

    limiter.ahead = None
    assert setting_up(exchange) is None


def test_another_leverage_at_the_read_back_refuses(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    account(server, leverage=20)

    found = setting_up(exchange)
    assert found == Mismatch(reason=Reason.LEVERAGE_MISMATCH, wanted="5", found="20")
    assert str(found) == "LEVERAGE_MISMATCH: wanted=5 found=20"
    # It should not believe that it is set
    setting_up(exchange)
    assert len(server.calls) == 5


def test_what_was_read_back_is_believed_for_a_while(
    server: responses.RequestsMock, exchange: BinanceExchange, clock: Clock
) -> None:
    account(server)
    paths = []
    for passed in (0, 50, 240, 20):
        clock.now += passed
        setting_up(exchange)
        paths.append([path.rpartition("/")[2] for _, path, _ in sent(server)])
        server.calls.reset()

    # It should ask for the mode again after a minute, and for the symbol after five
    assert paths == [["dual", "leverage", "symbolConfig"], [], ["dual"], ["leverage", "symbolConfig"]]


def test_another_leverage_is_set_anew(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    account(server)
    setting_up(exchange)

    assert setting_up(exchange, leverage=7) == Mismatch(reason=Reason.LEVERAGE_MISMATCH, wanted="7", found="5")
    assert sent(server)[-2][2] == {"symbol": "BTCUSDT", "leverage": "7"}


@pytest.mark.parametrize(("told", "calls"), [(5, 3), (9, 5)])
def test_a_change_from_outside_ends_the_belief_and_our_own_does_not(
    server: responses.RequestsMock, exchange: BinanceExchange, told: int, calls: int
) -> None:
    account(server)
    setting_up(exchange)
    exchange.note_setting("BTCUSDT", told)
    setting_up(exchange)

    assert len(server.calls) == calls


def test_a_refused_leverage_says_why(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.get(MODE, json={"dualSidePosition": False})
    server.post(LEVERAGE, status=400, json=error(-4028, "Leverage 200 is not valid"))

    assert setting_up(exchange, leverage=200) == Mismatch(
        reason=Reason.LEVERAGE_MISMATCH, wanted="200", found="code=-4028 Leverage 200 is not valid", code=-4028
    )


@pytest.mark.parametrize(("leverage", "refused"), [(5, False), (20, True)])
def test_a_leverage_that_is_so_already_is_read_back(
    server: responses.RequestsMock, exchange: BinanceExchange, *, leverage: int, refused: bool
) -> None:
    server.get(MODE, json={"dualSidePosition": False})
    server.post(LEVERAGE, status=400, json=error(-4028, "Leverage 5 already exist with 5"))
    server.get(CONFIG, json=[{"symbol": "BTCUSDT", "leverage": leverage, "marginType": "CROSSED"}])

    # It should believe the setting itself, not the sentence
    assert (setting_up(exchange) is not None) is refused


@pytest.mark.parametrize("status", [418, 500, 503])
def test_an_unanswered_leverage_is_no_refusal(
    server: responses.RequestsMock, exchange: BinanceExchange, status: int
) -> None:
    server.get(MODE, json={"dualSidePosition": False})
    server.post(LEVERAGE, status=status, json=error(-1003))

    with pytest.raises(ExchangeUnavailableError):
        setting_up(exchange)


@pytest.mark.parametrize(
    ("demanded", "side", "hedge", "found"),
    [
        ("any", PositionSide.BOTH, True, ("one-way", "hedge")),
        ("any", PositionSide.LONG, False, ("hedge", "one-way")),
        ("hedge", PositionSide.BOTH, False, ("hedge", "one-way")),
        ("one-way", PositionSide.SHORT, True, ("one-way", "hedge")),
        ("hedge", PositionSide.LONG, True, None),
        ("any", PositionSide.BOTH, False, None),
    ],
)
def test_a_position_mode_that_is_not_as_approved_refuses(
    server: responses.RequestsMock,
    limiter: Turns,
    clock: Clock,
    *,
    demanded: str,
    side: PositionSide,
    hedge: bool,
    found: tuple[str, str] | None,
) -> None:
    account(server, hedge=hedge)
    exchange = connected(limiter, clock, position_mode=demanded)

    wanted = Mismatch(reason=Reason.POSITION_MODE_MISMATCH, wanted=found[0], found=found[1]) if found else None
    assert setting_up(exchange, side=side) == wanted


def test_a_refusal_for_the_mode_has_it_read_again(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    account(server)
    setting_up(exchange)
    server.post(BASE + ORDER, status=400, json=error(-4061, "position side does not match"))
    exchange.place(ENTRY, Lane.ENTRY, send_before=soon())
    setting_up(exchange)

    assert sent(server)[-1][1] == "/fapi/v1/positionSide/dual"


def test_another_margin_type_than_demanded_refuses(
    server: responses.RequestsMock, limiter: Turns, clock: Clock
) -> None:
    account(server, margin="CROSSED")

    assert setting_up(connected(limiter, clock, margin_type="ISOLATED")) == Mismatch(
        reason=Reason.MARGIN_TYPE_MISMATCH, wanted="ISOLATED", found="CROSSED"
    )
    assert setting_up(connected(limiter, clock, margin_type="CROSSED")) is None


# The key


RIGHTS = "https://api.binance.com/sapi/v1/account/apiRestrictions"
# As the exchange answers for a key that may trade futures and nothing else.
CLEAN = {
    "ipRestrict": True,
    "createTime": 1_790_000_000_000,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "enableFutures": True,
    "permitsUniversalTransfer": False,
    "enableVanillaOptions": False,
    "enableFixApiTrade": False,
    "enableFixReadOnly": False,
    "enableSpotAndMarginTrading": False,
    "enablePortfolioMarginTrading": False,
}


def test_a_key_that_may_withdraw_opens_nothing(server: responses.RequestsMock, limiter: Turns, clock: Clock) -> None:
    server.get(RIGHTS, json=CLEAN | {"enableWithdrawals": True})

    found = setting_up(connected(limiter, clock, checks_key=True))

    assert found == Mismatch(reason=Reason.KEY_MAY_WITHDRAW, wanted="enableWithdrawals=false", found="true")
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("right", "value", "reason", "wanted"),
    [
        ("enableWithdrawals", "false", Reason.KEY_MAY_WITHDRAW, "false"),
        ("enableInternalTransfer", True, Reason.KEY_MAY_TRANSFER, "false"),
        ("permitsUniversalTransfer", True, Reason.KEY_MAY_TRANSFER, "false"),
        ("permitsUniversalTransfer", None, Reason.KEY_MAY_TRANSFER, "false"),
        ("ipRestrict", False, Reason.KEY_NOT_IP_RESTRICTED, "true"),
        ("ipRestrict", 1, Reason.KEY_NOT_IP_RESTRICTED, "true"),
        ("enableFutures", False, Reason.KEY_MAY_NOT_TRADE_FUTURES, "true"),
    ],
)
def test_a_key_with_a_right_that_could_cost_the_account_opens_nothing(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, right: str, value: object, reason: Reason, wanted: str
) -> None:
    server.get(RIGHTS, json=CLEAN | {right: value})

    found = setting_up(connected(limiter, clock, checks_key=True))

    assert found == Mismatch(reason=reason, wanted=f"{right}={wanted}", found=str(value).lower())
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "right", ["enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer", "ipRestrict", "enableFutures"]
)
def test_a_right_that_is_not_mentioned_is_not_taken_for_harmless(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, right: str
) -> None:
    server.get(RIGHTS, json={name: value for name, value in CLEAN.items() if name != right})

    with pytest.raises(ExchangeUnavailableError, match="the key's rights cannot be read"):
        setting_up(connected(limiter, clock, checks_key=True))


def test_needless_rights_are_logged_and_do_not_refuse(
    server: responses.RequestsMock, limiter: Turns, clock: Clock
) -> None:
    account(server)
    server.get(RIGHTS, json=CLEAN | {"enableMargin": True})

    with capture_logs() as logged:
        assert setting_up(connected(limiter, clock, checks_key=True)) is None

    assert {"event": "key_has_needless_rights", "rights": ["enableMargin"], "log_level": "warning"} in logged


@pytest.mark.parametrize(("status", "body"), [(401, error(-2015)), (500, "oops"), (200, "{}"), (200, "[]")])
def test_a_key_that_cannot_be_asked_about_opens_nothing(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, status: int, body: object
) -> None:
    if isinstance(body, str):
        server.get(RIGHTS, status=status, body=body)
    else:
        server.get(RIGHTS, status=status, json=body)

    with pytest.raises(ExchangeUnavailableError, match="the key's rights cannot be read"):
        setting_up(connected(limiter, clock, checks_key=True))


def test_a_clean_key_is_asked_about_once_an_hour(server: responses.RequestsMock, limiter: Turns, clock: Clock) -> None:
    account(server)
    server.get(RIGHTS, json=CLEAN)
    exchange = connected(limiter, clock, checks_key=True)

    for passed in (0, 3599, 2):
        clock.now += passed
        assert setting_up(exchange) is None

    asked = [call for call in server.calls if str(call.request.url).startswith(RIGHTS)]
    assert len(asked) == 2
    # It should be signed, and sent to nobody but that host
    assert "signature=" in str(asked[0].request.url)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"json": CLEAN | {"enableWithdrawals": True}}, "KEY_MAY_WITHDRAW: wanted=enableWithdrawals=false found=true"),
        ({"status": 401, "json": error(-2015)}, "the exchange cannot be asked: the key's rights cannot be read: -2015"),
    ],
)
def test_a_start_tells_of_a_key_that_will_open_nothing(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, answer: dict[str, Any], problem: str
) -> None:
    account(server)
    server.get(f"{BASE}/fapi/v1/accountConfig", json={"canTrade": True})
    server.get(RIGHTS, **answer)

    with capture_logs() as told:
        log_setup_problems(connected(limiter, clock, checks_key=True))

    assert told == [{"event": "entries_will_be_refused", "problem": problem, "log_level": "critical"}]


# The clock


def server_time(server: responses.RequestsMock, ahead_ms: float) -> None:
    def answer(_: object) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps({"serverTime": int(time.time() * 1000 + ahead_ms)})

    server.add_callback("GET", f"{BASE}/fapi/v1/time", callback=answer)


def timestamps(server: responses.RequestsMock) -> list[float]:
    """How far each signed request's time is ahead of our clock, in seconds."""
    queries = [dict(parse_qsl(urlsplit(str(call.request.url)).query)) for call in server.calls]
    return [int(query["timestamp"]) / 1000 - time.time() for query in queries if "timestamp" in query]


@pytest.mark.parametrize("hours", [1, -1])
def test_the_exchange_s_time_is_signed(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, hours: int
) -> None:
    server_time(server, hours * 3_600_000)
    server.post(BASE + ORDER, json=ORDER_ROW)
    exchange = connected(limiter, clock, server_clock=ServerClock(monotonic=clock))

    for _ in range(3):
        exchange.place(ENTRY, Lane.ENTRY, send_before=soon())

    # It should ask once, and be right to the second
    assert len(server.calls) == 4
    assert timestamps(server) == [pytest.approx(hours * 3600, abs=1)] * 3
    assert limiter.clocks == [pytest.approx(time.time() * 1000 + hours * 3_600_000, abs=2000)]


@pytest.mark.parametrize("skew_ms", [10_000, -10_000, 3_600_000, -3_600_000])
def test_a_clock_that_went_wrong_costs_one_more_request(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, skew_ms: int
) -> None:
    """The read is repeated, since reading twice does no harm; the order is left to who has written it."""
    server_time(server, skew_ms)
    late = error(-1021, "Timestamp for this request is outside of the recvWindow.")
    server.post(BASE + ORDER, status=400, json=late)
    measured = ServerClock(monotonic=clock)
    measured.ask(lambda: int(time.time() * 1000))
    exchange = connected(limiter, clock, server_clock=measured)

    outcome = exchange.place(ENTRY, Lane.ENTRY, send_before=soon())
    assert isinstance(outcome, Refused)
    assert outcome.retry_safe
    assert [path for _, path, _ in sent(server)] == [ORDER, "/fapi/v1/time"]
    server.post(BASE + ORDER, json=ORDER_ROW)
    server.replace("POST", BASE + ORDER, json=ORDER_ROW)
    assert isinstance(exchange.place(ENTRY, Lane.ENTRY, send_before=soon()), Accepted)
    assert timestamps(server)[-1] == pytest.approx(skew_ms / 1000, abs=1)
    # It should not widen the window in which a late order may still be taken
    assert {parameters.get("recvWindow", "3000") for _, _, parameters in sent(server)} == {"3000"}


def test_a_read_with_a_wrong_time_is_repeated_once(
    server: responses.RequestsMock, limiter: Turns, clock: Clock
) -> None:
    server_time(server, 10_000)
    server.get(f"{BASE}/fapi/v1/openOrders", status=400, json=error(-1021))
    measured = ServerClock(monotonic=clock)
    measured.ask(lambda: int(time.time() * 1000))
    exchange = connected(limiter, clock, server_clock=measured)

    with pytest.raises(ExchangeUnavailableError, match="-1021"):
        exchange.open_orders()

    assert [path.rpartition("/")[2] for _, path, _ in sent(server)] == ["openOrders", "time", "openOrders"]


def test_the_wait_for_a_turn_is_no_part_of_the_clock(
    server: responses.RequestsMock, limiter: Turns, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second in the queue would look like a clock that is half a second ahead, and move the limiter's windows."""

    def slowly(lane: Lane, cost: Cost, *, max_wait_seconds: float) -> Permit | Throttled:
        clock.now += 1.0
        return Turns.admit(limiter, lane, cost, max_wait_seconds=max_wait_seconds)

    server_time(server, 0)
    server.get(f"{BASE}/fapi/v1/openOrders", json=[])
    measured = ServerClock(monotonic=clock)
    monkeypatch.setattr(limiter, "admit", slowly)

    connected(limiter, clock, server_clock=measured).open_orders()

    assert measured.uncertainty_ms == 0
    assert measured.offset_ms == pytest.approx(0, abs=200)


def test_a_slow_answer_is_believed_and_asked_for_again_ever_more_seldom(clock: Clock) -> None:
    measured = ServerClock(monotonic=clock)

    def slow() -> int:
        clock.now += 0.4
        return int(time.time() * 1000)

    for pause in (10, 20, 40):
        assert measured.ask(slow)
        assert measured.uncertainty_ms == pytest.approx(200)
        clock.now += pause - 1
        assert not measured.is_due
        clock.now += 2
        assert measured.is_due
    assert measured.ask(lambda: int(time.time() * 1000))
    clock.now += 299
    assert not measured.is_due


def test_a_time_that_is_not_told_keeps_nothing_from_leaving(
    server: responses.RequestsMock, limiter: Turns, clock: Clock
) -> None:
    server.get(f"{BASE}/fapi/v1/time", status=500, body="oops")
    server.post(BASE + ORDER, json=ORDER_ROW)
    exchange = connected(limiter, clock, server_clock=ServerClock(monotonic=clock))

    for _ in range(2):
        assert isinstance(exchange.place(ENTRY, Lane.ENTRY, send_before=soon()), Accepted)

    # It should not ask for every order
    assert len(server.calls) == 3


# Reads

RULES = f"{BASE}/fapi/v1/exchangeInfo"
INFORMATION = {
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "556.80", "maxPrice": "4529764", "tickSize": "0.10"},
                {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
                {"filterType": "MIN_NOTIONAL", "notional": "5"},
            ],
        }
    ]
}


def test_rules_are_read_once_for_all_symbols(
    server: responses.RequestsMock, exchange: BinanceExchange, clock: Clock
) -> None:
    server.get(RULES, json=INFORMATION)

    assert exchange.rules("BTCUSDT") == BTCUSDT
    assert exchange.rules("NOSUCHUSDT") is None
    assert len(server.calls) == 1
    # It should read them again after five minutes
    clock.now += 300
    assert exchange.rules("BTCUSDT") == BTCUSDT
    assert len(server.calls) == 2


def test_a_contract_that_did_not_trade_is_looked_at_again_soon(
    server: responses.RequestsMock, exchange: BinanceExchange, clock: Clock
) -> None:
    halted = {**INFORMATION["symbols"][0], "status": "BREAK"}
    server.get(RULES, json={"symbols": [halted, {**halted, "symbol": "ETHUSDT", "status": "TRADING"}]})
    server.get(RULES, json=INFORMATION)

    assert exchange.rules("BTCUSDT") == replace(BTCUSDT, trading=False)
    clock.now += 4.9
    assert exchange.rules("BTCUSDT") == replace(BTCUSDT, trading=False)
    # One that trades should be believed for as long as ever.
    clock.now += 0.1
    assert exchange.rules("ETHUSDT") is not None
    assert len(server.calls) == 1

    assert exchange.rules("BTCUSDT") == BTCUSDT
    assert len(server.calls) == 2


@pytest.mark.parametrize("hedge", [True, False])
def test_the_position_mode(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    *,
    hedge: bool,
) -> None:
    server.get(f"{BASE}/fapi/v1/positionSide/dual", json={"dualSidePosition": hedge})

    assert exchange.hedge_mode() is hedge
    assert exchange.hedge_mode() is hedge
    assert len(server.calls) == 1


def test_flat_rows_are_no_positions(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    row = {
        "positionSide": "BOTH",
        "entryPrice": "1",
        "markPrice": "1",
        "unRealizedProfit": "0",
        "liquidationPrice": "0",
        "notional": "1",
    }
    server.get(
        f"{BASE}/fapi/v3/positionRisk",
        json=[row | {"symbol": "BTCUSDT", "positionAmt": "0.000"}, row | {"symbol": "ETHUSDT", "positionAmt": "-1"}],
    )

    assert [(position.symbol, position.quantity) for position in exchange.positions()] == [("ETHUSDT", Decimal(-1))]


def test_both_books_of_open_orders(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.get(f"{BASE}/fapi/v1/openOrders", json=[ORDER_ROW])
    server.get(f"{BASE}/fapi/v1/openAlgoOrders", json=[ALGO_ROW])

    assert [report.client_order_id for report in exchange.open_orders()] == ["es1-e-1"]
    assert [report.client_order_id for report in exchange.open_algo_orders()] == ["es1-s-1"]
    # It should ask for all symbols at once
    assert [parameters for _, _, parameters in sent(server)] == [{}, {"recvWindow": "3000"}]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "oops"),
        (429, '{"code":-1003,"msg":"x"}'),
        (400, '{"code":-1121,"msg":"x"}'),
        (200, "<html>"),
        (200, "[{}]"),
    ],
)
def test_a_read_without_a_usable_answer_is_one_exception(
    server: responses.RequestsMock, exchange: BinanceExchange, status: int, body: str
) -> None:
    server.get(f"{BASE}/fapi/v1/openOrders", status=status, body=body)

    # It should never be an empty list: that would read as "nothing there"
    with pytest.raises(ExchangeUnavailableError):
        exchange.open_orders()


def test_a_ban_met_by_a_read_holds_everybody_back(
    server: responses.RequestsMock, exchange: BinanceExchange, limiter: Turns
) -> None:
    server.get(f"{BASE}/fapi/v1/openOrders", status=418, json=error(-1003), headers={"Retry-After": "120"})

    with pytest.raises(ExchangeUnavailableError):
        exchange.open_orders()

    assert limiter.holds == [(Waits.EVERYBODY, 120.0)]


def test_funding_payments(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    row = {"symbol": "BTCUSDT", "income": "-0.01", "asset": "USDT", "time": 1765855800000, "tranId": 7}
    row["incomeType"] = "FUNDING_FEE"
    server.get(f"{BASE}/fapi/v1/income", json=[row])

    payments = exchange.income_since(IncomeKind.FUNDING, datetime(2025, 12, 16, tzinfo=UTC), symbol="BTCUSDT")

    assert [payment.amount for payment in payments] == [Decimal("-0.01")]
    assert sent(server)[0][2]["incomeType"] == "FUNDING_FEE"


def test_candles_are_read_with_the_bounds_of_their_window(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    address = f"{BASE}/fapi/v1/klines"
    server.get(address, json=[[1765855800000, "600.10", "601", "599", "600.55", "1"]])
    server.get(address, status=400, json={"code": -1121, "msg": "Invalid symbol."})
    server.get(address, status=503, json={"code": -1008, "msg": "Server is currently overloaded"})
    since = datetime(2025, 12, 16, 3, 30, tzinfo=UTC)
    length = timedelta(minutes=5)
    window = Window(since=since, until=since + timedelta(hours=1), length=length, name="5m")

    [candle] = exchange.candles("BNBUSDT", window)

    assert candle == Candle(
        at=since, open=Decimal("600.10"), high=Decimal(601), low=Decimal(599), close=Decimal("600.55")
    )
    assert sent(server)[0][2] == {
        "symbol": "BNBUSDT",
        "interval": "5m",
        "startTime": "1765855800000",
        "endTime": "1765859400000",
        "limit": "400",
    }
    assert exchange.candles("XYZUSDT", window) == ()
    with pytest.raises(ExchangeUnavailableError):
        exchange.candles("BNBUSDT", window)


def test_the_price_of_a_minute_is_the_one_at_which_it_opened(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    candles = f"{BASE}/fapi/v1/klines"
    server.get(candles, json=[[1765855800000, "600.10", "601", "599", "600.55", "1"]])
    server.get(candles, json=[])
    server.get(candles, status=400, json={"code": -1121, "msg": "Invalid symbol."})
    server.get(candles, status=503, json={"code": -1008, "msg": "Server is currently overloaded"})
    at = datetime(2025, 12, 16, 3, 30, 42, tzinfo=UTC)

    assert exchange.price_at("BNBUSDT", at) == Decimal("600.10")
    assert sent(server)[0][2] == {
        "symbol": "BNBUSDT",
        "interval": "1m",
        "startTime": "1765855800000",
        "endTime": "1765855859999",
        "limit": "1",
    }
    # It should say that there is none, and never invent one
    assert exchange.price_at("BNBUSDT", at) is None
    assert exchange.price_at("XYZUSDT", at) is None
    # It should not take silence for an answer
    with pytest.raises(ExchangeUnavailableError):
        exchange.price_at("BNBUSDT", at)


def test_who_placed_an_order(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.get(BASE + ORDER, json=ORDER_ROW | {"clientOrderId": "web_x1"})

    assert exchange.client_id_of("BTCUSDT", "7") == "web_x1"
    assert sent(server)[0][2] == {"symbol": "BTCUSDT", "orderId": "7"}


def test_who_placed_an_order_that_the_exchange_has_forgotten(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    server.get(BASE + ORDER, status=400, json=error(-2013, "Order does not exist."))
    server.get(BASE + ORDER, status=503, json=error(-1000))

    assert exchange.client_id_of("BTCUSDT", "7") == ""
    # It should not take silence for that
    with pytest.raises(ExchangeUnavailableError):
        exchange.client_id_of("BTCUSDT", "7")


def test_a_quote_joins_book_and_mark_price(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.get(f"{BASE}/fapi/v1/depth", json={"bids": [["49999", "1"], ["49998", "1"]], "asks": [["50000", "2"]]})
    server.get(f"{BASE}/fapi/v1/premiumIndex", json=[{"symbol": "BTCUSDT", "markPrice": "50001"}])

    quote = exchange.quote("BTCUSDT")

    assert [quote.bid, quote.ask, quote.mark] == [49999, 50000, 50001]
    assert [len(quote.bids), len(quote.asks)] == [2, 1]
    # It should ask for as many levels as cost no more than the best prices alone
    assert [asked for _, path, asked in sent(server) if path == "/fapi/v1/depth"] == [
        {"symbol": "BTCUSDT", "limit": "50"}
    ]
    assert cost_of("GET", "/fapi/v1/depth", {"limit": 50}) == cost_of(
        "GET", "/fapi/v1/ticker/bookTicker", {"symbol": "BTCUSDT"}
    )


def test_a_symbol_without_a_mark_price_has_no_quote(server: responses.RequestsMock, exchange: BinanceExchange) -> None:
    server.get(f"{BASE}/fapi/v1/premiumIndex", json=[{"symbol": "BTCUSDT", "markPrice": "50001"}])

    with pytest.raises(ExchangeUnavailableError, match="no mark price of ETHUSDT"):
        exchange.quote("ETHUSDT")


def test_no_proxy_of_the_environment_sees_our_orders(exchange: BinanceExchange) -> None:
    assert exchange._client.session.trust_env is False
    assert exchange._client.timeout == 5
