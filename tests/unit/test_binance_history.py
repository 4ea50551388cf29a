"""Every list of the past at its edge: windows of less than a week, pages, a millisecond that is larger than a page."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import responses
import time_machine
from structlog.testing import capture_logs

from execution.adapters.binance.client import BinanceExchange
from execution.domain.outcomes import IncomeKind
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.trading import OrderService
from tests.unit.test_binance_client import BASE, Clock, Turns, connected

Row = dict[str, Any]
DAY_MS = 86_400_000
AMOUNTS = dict.fromkeys(["price", "qty", "realizedPnl", "commission"], "1")
TRADE = {**AMOUNTS, "symbol": "BTCUSDT", "side": "BUY", "positionSide": "BOTH", "commissionAsset": "USDT"}
ORDER = {"symbol": "BTCUSDT", "status": "CANCELED", "origQty": "1", "executedQty": "0"}
ALGO = {"symbol": "BTCUSDT", "algoStatus": "CANCELED", "quantity": "1"}
INCOME = {"symbol": "BTCUSDT", "incomeType": "FUNDING_FEE", "income": "-0.01", "asset": "USDT"}
Make = Callable[[int, int], Row]
Ask = Callable[[BinanceExchange, datetime], list[str]]


@dataclass(frozen=True, kw_only=True)
class Past:
    """One list: where it is, how a row of a number and a time looks, and what the service reads of it."""

    path: str
    row: Make
    ask: Ask
    time: str = "time"
    identity: str = "id"
    from_id: str = ""


def nowhere(exchange: BinanceExchange, service: OrderService, since: datetime) -> list[str]:
    """Look for an order that is in no list, so that all of it is read."""
    assert exchange.find_in_history("BTCUSDT", "es1-none", service, since=since) is None
    return []


PASTS = {
    "fills": Past(
        path="/fapi/v1/userTrades",
        row=lambda number, at: {**TRADE, "id": number, "orderId": 1, "maker": False, "time": at},
        ask=lambda exchange, since: [str(fill.trade_id) for fill in exchange.fills_since("BTCUSDT", since)],
        from_id="fromId",
    ),
    "fills of an order": Past(
        path="/fapi/v1/userTrades",
        row=lambda number, at: {**TRADE, "id": number, "orderId": 1, "maker": False, "time": at},
        ask=lambda exchange, since: [str(f.trade_id) for f in exchange.fills_of_order("BTCUSDT", "1", since=since)],
        from_id="fromId",
    ),
    "orders": Past(
        path="/fapi/v1/allOrders",
        row=lambda number, at: {**ORDER, "clientOrderId": f"es1-{number}", "orderId": number, "time": at},
        ask=lambda exchange, since: nowhere(exchange, OrderService.STANDARD, since),
        identity="orderId",
        from_id="orderId",
    ),
    "algo orders": Past(
        path="/fapi/v1/allAlgoOrders",
        row=lambda number, at: {**ALGO, "clientAlgoId": f"es1-{number}", "algoId": number, "createTime": at},
        ask=lambda exchange, since: nowhere(exchange, OrderService.ALGO, since),
        time="createTime",
        identity="algoId",
        from_id="algoId",
    ),
    "income": Past(
        path="/fapi/v1/income",
        row=lambda number, at: {**INCOME, "tranId": number, "time": at},
        ask=lambda exchange, since: [
            line.transaction_id for line in exchange.income_since(IncomeKind.FUNDING, since, symbol="BTCUSDT")
        ],
        identity="tranId",
    ),
    "funding rates": Past(
        path="/fapi/v1/fundingRate",
        row=lambda number, at: {"symbol": "BTCUSDT", "fundingRate": f"0.{number}", "fundingTime": at, "markPrice": "1"},
        ask=lambda exchange, since: [str(rate.rate)[2:] for rate in exchange.funding_rates("BTCUSDT", since)],
        time="fundingTime",
        identity="fundingTime",
    ),
}


class Venue:
    """Answers as documented: refuses a week and more, shows a page at most, oldest first, and remembers the calls."""

    def __init__(self, past: Past, rows: list[Row]) -> None:
        self.past = past
        self.rows = sorted(rows, key=lambda row: (row[past.time], row[past.identity]))
        self.calls: list[dict[str, str]] = []
        self.keeps_newest = False
        # Whatever is asked for.
        self.everything = False

    def __call__(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        asked = dict(parse_qsl(urlsplit(str(request.url)).query))
        self.calls.append(asked)
        rows, limit = self.answer(asked), int(asked["limit"])
        return 200, {}, json.dumps(rows[-limit:] if self.keeps_newest else rows[:limit])

    def answer(self, asked: dict[str, str]) -> list[Row]:
        past = self.past
        if self.everything:
            return self.rows
        if past.from_id and past.from_id in asked:
            assert not {"startTime", "endTime"} & set(asked)
            return [row for row in self.rows if row[past.identity] >= int(asked[past.from_id])]
        start, end = int(asked["startTime"]), int(asked["endTime"])
        assert start <= end < start + 7 * DAY_MS
        return [row for row in self.rows if start <= row[past.time] <= end]


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for path in {past.path for past in PASTS.values()}:
            mock.get(BASE + path, json=[])
        yield mock


@pytest.fixture
def exchange(server: responses.RequestsMock) -> BinanceExchange:  # noqa: ARG001 - first
    return connected(Turns(), Clock())


def venue(server: responses.RequestsMock, past: Past, times: list[int]) -> Venue:
    found = Venue(past, [past.row(number, at) for number, at in enumerate(times, start=1001)])
    server.remove("GET", BASE + past.path)
    server.add_callback("GET", BASE + past.path, callback=found)
    return found


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@pytest.mark.parametrize("name", PASTS)
@pytest.mark.parametrize(("days", "windows"), [(0, 1), (2, 1), (8, 2), (40, 6)])
def test_the_past_is_read_to_now_in_windows_of_less_than_a_week(
    server: responses.RequestsMock, exchange: BinanceExchange, name: str, days: int, windows: int
) -> None:
    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    every_day = [ms(since + timedelta(days=day, seconds=1)) for day in range(days)]
    found = venue(server, PASTS[name], [*every_day, ms(now) - 1])

    seen = PASTS[name].ask(exchange, since)

    # It should ask as often as there are weeks, each time for an explicit stretch, and leave no time out
    assert len(found.calls) == windows
    stretches = [(int(call["startTime"]), int(call["endTime"])) for call in found.calls]
    assert stretches[0][0] <= ms(since)
    assert stretches[-1][1] >= ms(now)
    assert [start for start, _ in stretches[1:]] == [end + 1 for _, end in stretches[:-1]]
    assert seen in ([], [str(number) for number in range(1001, 1002 + days)])


@pytest.mark.parametrize("name", PASTS)
@pytest.mark.parametrize("keeps_newest", [False, True])
def test_every_window_is_read_to_its_last_page(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    name: str,
    keeps_newest: bool,  # noqa: FBT001 -- a case
) -> None:
    since = datetime.now(UTC) - timedelta(days=8)
    first, second = ms(since) + 1000, ms(since) + 7 * DAY_MS + 1000
    times = [*(first + number for number in range(2500)), *(second + number for number in range(1200))]
    found = venue(server, PASTS[name], times)
    found.keeps_newest = keeps_newest

    seen = PASTS[name].ask(exchange, since)

    # It should give each row once, whichever a full page keeps, and ask once for what is before the first one
    assert sorted(seen) in ([], [str(number) for number in range(1001, 1001 + 3700)])
    assert len(seen) == len(set(seen))
    assert len(found.calls) == (5 + 3 if keeps_newest else 4 + 3)


@pytest.mark.parametrize("name", [name for name, past in PASTS.items() if past.from_id])
def test_a_millisecond_larger_than_a_page_is_read_by_ids(
    server: responses.RequestsMock, exchange: BinanceExchange, name: str
) -> None:
    since = datetime.now(UTC) - timedelta(days=1)
    moment = ms(since) + 1000
    found = venue(server, PASTS[name], [moment - 1, *([moment] * 2300), moment + 1])

    seen = PASTS[name].ask(exchange, since)

    assert seen in ([], [str(number) for number in range(1001, 1001 + 2302)])
    assert [call[PASTS[name].from_id] for call in found.calls if PASTS[name].from_id in call] == ["2002", "3002"]


def test_a_millisecond_of_income_larger_than_a_page_is_said(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    since = datetime.now(UTC) - timedelta(days=1)
    moment = ms(since) + 1000
    venue(server, PASTS["income"], [*([moment] * 1001), moment + 1])

    with capture_logs() as logs:
        seen = PASTS["income"].ask(exchange, since)

    # It should neither go round in circles nor lose what is behind
    assert (len(seen), seen[-1]) == (1001, "2002")
    assert [line["event"] for line in logs] == ["history_moment_cut_off"]


@pytest.mark.parametrize("name", PASTS)
def test_nothing_is_asked_of_what_the_exchange_does_not_keep(
    server: responses.RequestsMock, exchange: BinanceExchange, name: str
) -> None:
    now = datetime.now(UTC)
    found = venue(server, PASTS[name], [])

    PASTS[name].ask(exchange, now - timedelta(days=400))

    earliest = min(int(call["startTime"]) for call in found.calls)
    assert 0 < earliest - ms(now - timedelta(days=90)) < 120_000
    assert len(found.calls) == 13


@pytest.mark.parametrize("name", PASTS)
def test_a_time_ahead_of_the_exchange_is_not_asked_for(
    server: responses.RequestsMock, exchange: BinanceExchange, name: str
) -> None:
    found = venue(server, PASTS[name], [])

    PASTS[name].ask(exchange, datetime.now(UTC) + timedelta(days=3))

    assert [int(call["startTime"]) <= ms(datetime.now(UTC)) for call in found.calls] == [True]


@pytest.mark.parametrize("name", PASTS)
@pytest.mark.parametrize("broken", ["time", "identity"])
def test_a_row_without_id_or_time_makes_the_answer_unusable(
    server: responses.RequestsMock, exchange: BinanceExchange, name: str, broken: str
) -> None:
    past = PASTS[name]
    now = datetime.now(UTC)
    found = venue(server, past, [ms(now) - 1000])
    del found.rows[0][getattr(past, broken)]
    found.everything = True

    with pytest.raises(ExchangeUnavailableError):
        past.ask(exchange, now - timedelta(hours=1))


@pytest.mark.parametrize("name", PASTS)
def test_a_page_that_is_not_answered_makes_the_whole_past_unknown(
    server: responses.RequestsMock, exchange: BinanceExchange, name: str
) -> None:
    path = BASE + PASTS[name].path
    server.remove("GET", path)
    server.get(path, json=[])
    server.get(path, status=503, json={"code": -1000, "msg": "Unknown error"})

    with pytest.raises(ExchangeUnavailableError):
        PASTS[name].ask(exchange, datetime.now(UTC) - timedelta(days=8))


AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
MINUTE_MS = 60_000


@pytest.fixture
def _still() -> Iterator[None]:
    with time_machine.travel(AT, tick=False):
        yield


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize(
    ("since_ms", "stretches"),
    [
        # From the time on for seven days less a millisecond; a time ahead of us begins a minute ago.
        (-DAY_MS, [(-DAY_MS, 6 * DAY_MS - 1)]),
        (-MINUTE_MS, [(-MINUTE_MS, 7 * DAY_MS - MINUTE_MS - 1)]),
        (-MINUTE_MS + 1, [(-MINUTE_MS, 7 * DAY_MS - MINUTE_MS - 1)]),
        (3 * DAY_MS, [(-MINUTE_MS, 7 * DAY_MS - MINUTE_MS - 1)]),
        # The last window reaches a minute beyond now, because the exchange's clock may be ahead.
        (-7 * DAY_MS + MINUTE_MS + 1, [(-7 * DAY_MS + MINUTE_MS + 1, MINUTE_MS)]),
        (
            -7 * DAY_MS + MINUTE_MS,
            [(-7 * DAY_MS + MINUTE_MS, MINUTE_MS - 1), (MINUTE_MS, 7 * DAY_MS + MINUTE_MS - 1)],
        ),
        # Nothing older than ninety days, less the minute.
        *(
            (since, [(-90 * DAY_MS + MINUTE_MS + 7 * DAY_MS * week, 0) for week in range(13)])
            for since in (-90 * DAY_MS + MINUTE_MS, -90 * DAY_MS, -400 * DAY_MS)
        ),
    ],
)
def test_the_windows_of_the_past_by_hand(
    server: responses.RequestsMock, exchange: BinanceExchange, since_ms: int, stretches: list[tuple[int, int]]
) -> None:
    found = venue(server, PASTS["income"], [])

    PASTS["income"].ask(exchange, AT + timedelta(milliseconds=since_ms))

    asked = [(int(call["startTime"]) - ms(AT), int(call["endTime"]) - ms(AT)) for call in found.calls]
    wanted = [(start, end or start + 7 * DAY_MS - 1) for start, end in stretches]
    assert asked == wanted
    assert {call["limit"] for call in found.calls} == {"1000"}


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize("keeps_newest", [False, True])
@pytest.mark.parametrize(
    ("rows", "calls"),
    [
        # One row less than a page is all; a full one may not be.
        (999, [(-DAY_MS, 6 * DAY_MS - 1)]),
        (1000, [(-DAY_MS, 6 * DAY_MS - 1), (-DAY_MS, 1000 - DAY_MS), (1999 - DAY_MS, 6 * DAY_MS - 1)]),
    ],
)
def test_the_pages_of_a_window_by_hand(
    server: responses.RequestsMock,
    exchange: BinanceExchange,
    rows: int,
    calls: list[tuple[int, int]],
    *,
    keeps_newest: bool,
) -> None:
    """Rows of every millisecond from a second behind the beginning on."""
    found = venue(server, PASTS["income"], [ms(AT) - DAY_MS + 1000 + number for number in range(rows)])
    found.keeps_newest = keeps_newest

    seen = PASTS["income"].ask(exchange, AT - timedelta(days=1))

    assert seen == [str(number) for number in range(1001, 1001 + rows)]
    asked = [(int(call["startTime"]) - ms(AT), int(call["endTime"]) - ms(AT)) for call in found.calls]
    assert asked == calls


@pytest.mark.usefixtures("_still")
def test_a_moment_that_fills_a_page_is_left_behind_and_what_is_before_it_is_read(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    """The newest are kept: a page of one moment hides the one before it, and the next begins behind it."""
    moment = ms(AT) - 1000
    found = venue(server, PASTS["fills"], [moment - 1, *([moment] * 1000), moment + 1])
    found.rows = found.rows[:-1]
    found.keeps_newest = True

    seen = PASTS["fills"].ask(exchange, AT - timedelta(days=1))

    assert seen == [str(number) for number in range(1001, 2002)]
    asked = [
        call.get("fromId") or (int(call["startTime"]) - moment, int(call["endTime"]) - moment) for call in found.calls
    ]
    begin, end = 1000 - DAY_MS, 6 * DAY_MS + 999
    assert asked == [(begin, end), "2002", (begin, -1), (1, end)]


@pytest.mark.usefixtures("_still")
@pytest.mark.parametrize("number", [1001, 1500, 1999])
def test_ids_are_followed_no_further_than_the_end_of_their_moment(
    server: responses.RequestsMock, exchange: BinanceExchange, number: int
) -> None:
    moment = ms(AT) - 5000
    found = venue(server, PASTS["fills"], [*([moment] * number), *(moment + 1 + later for later in range(1100))])

    seen = PASTS["fills"].ask(exchange, AT - timedelta(days=1))

    assert seen == [str(each) for each in range(1001, 1001 + number + 1100)]
    assert [call["fromId"] for call in found.calls if "fromId" in call] == ["2001"]


def test_an_order_is_looked_for_no_further_than_where_it_is(
    server: responses.RequestsMock, exchange: BinanceExchange
) -> None:
    since = datetime.now(UTC) - timedelta(days=40)
    found = venue(server, PASTS["orders"], [ms(since) + 1000])

    report = exchange.find_in_history("BTCUSDT", "es1-1001", OrderService.STANDARD, since=since)

    assert report is not None
    assert len(found.calls) == 1
