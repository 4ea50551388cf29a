"""Windows and pages: what each list answers for times, ids and page sizes, crossed with ages of days and weeks."""

from typing import Any, Final

import pytest

from paper_exchange.core.assumptions import SWITCHES
from paper_exchange.core.orders import Ticket
from tests.paper_exchange.histories import DAY, HISTORIES, NAMES, NOW, WEEK, Historian, History, add_fill, laid
from tests.paper_exchange.trader import BTC, D

AGES: Final = (40, 8, 4, 2)
# Rows of a cluster beyond a full page.
OVER: Final = 5
each_history = pytest.mark.parametrize("history", HISTORIES, ids=NAMES)


def ago(days: float) -> int:
    return NOW - int(days * DAY)


@pytest.fixture
def aged(history: History) -> Historian:
    """A trader with one row each of 40, 8, 4 and 2 days."""
    return laid(history, *(days * DAY for days in AGES))


@each_history
def test_without_times_only_the_last_period_is_told(history: History, aged: Historian) -> None:
    told = [age for age in AGES if history.all_without_times or age * DAY <= history.reach]
    assert history.ages(aged) == told


@each_history
@pytest.mark.parametrize(
    ("start", "week", "month"),
    [(41, [40], []), (40, [40], []), (20, [], [8, 4, 2]), (8, [8, 4, 2], [8, 4, 2]), (4, [4, 2], [4, 2]), (1, [], [])],
)
def test_only_a_start_reaches_one_period_on(
    history: History, aged: Historian, start: int, week: list[int], month: list[int]
) -> None:
    assert history.ages(aged, startTime=ago(start)) == (week if history.reach == WEEK else month)


@each_history
def test_only_a_start_ends_at_the_millisecond(history: History) -> None:
    inside, outside = 30 * DAY - WEEK - 5, 30 * DAY - WEEK - 6
    trader = laid(history, 30 * DAY - 5, inside, outside)
    told = [30 * DAY - 5, inside] if history.reach == WEEK else [30 * DAY - 5, inside, outside]
    assert history.ages(trader, startTime=NOW - 30 * DAY + 5) == [age / DAY for age in told]


@each_history
@pytest.mark.parametrize(
    ("end", "week", "month"),
    [(39, [40], []), (9, [], []), (3, [8, 4], [8, 4]), (2, [8, 4, 2], [8, 4, 2]), (0, [4, 2], [8, 4, 2])],
)
def test_only_an_end_reaches_one_period_back(
    history: History, aged: Historian, end: int, week: list[int], month: list[int]
) -> None:
    assert history.ages(aged, endTime=ago(end)) == (week if history.reach == WEEK else month)


@each_history
def test_period_between_both_times_has_a_longest(history: History, aged: Historian) -> None:
    most, code = history.longest or (90 * DAY, 0)
    times = {"startTime": NOW - most, "endTime": NOW}
    exact = -4165 if history.less_than else 0
    assert aged.code(history.path, **history.params, **times) == exact
    assert aged.code(history.path, **history.params, startTime=NOW - most - 1, endTime=NOW) == code
    assert aged.code(history.path, **history.params, startTime=NOW, endTime=NOW - 1) == -1023

    shorter = history.ages(aged, startTime=NOW - most + 1, endTime=NOW)
    assert shorter == [age for age in AGES if age * DAY < most and age * DAY <= history.kept]


@each_history
def test_periods_where_documents_are_silent_are_switches(history: History, aged: Historian) -> None:
    aged.assume(exact_week="serve", long_span="refuse")
    long = {"startTime": NOW - (history.longest or (WEEK, 0))[0] - 1, "endTime": NOW}
    assert aged.code(history.path, **history.params, **long) == -4165
    assert aged.code(history.path, **history.params, **{**long, "startTime": long["startTime"] + 1}) == 0


@pytest.fixture
def crowded(history: History) -> Historian:
    """A trader with a cluster of rows, one a second and more than a page, at 40, 8, 4 and 2 days."""
    return laid(history, *(days * DAY - 1000 * row for days in AGES for row in range(history.most + OVER)))


def walk(history: History, trader: Historian, since: int) -> list[Any]:
    """Read a history as documented: window by window, page by page from the last time on."""
    rows: list[Any] = []
    start = since
    while start < NOW:
        end = min(start + WEEK - 1, NOW)
        page = history.rows(trader, startTime=start, endTime=end, limit=history.most)
        rows += page
        start = page[-1][history.time] + 1 if len(page) == history.most else end + 1
    return rows


@each_history
def test_windows_and_pages_together_tell_everything_once(history: History, crowded: Historian) -> None:
    rows = walk(history, crowded, ago(41))
    clusters = [age for age in AGES if age * DAY <= history.kept]
    assert len(rows) == len(clusters) * (history.most + OVER)
    times = [row[history.time] for row in rows]
    assert times == sorted(set(times))
    # It should not be told by one call with a start, however large its page.
    short = history.rows(crowded, startTime=times[0], limit=history.most)
    assert len(short) == history.most < len(rows)


@each_history
def test_pages_have_a_default_and_a_most(history: History, crowded: Historian) -> None:
    assert len(history.rows(crowded)) == history.page
    assert len(history.rows(crowded, limit=history.most)) == history.most
    assert len(history.rows(crowded, limit=1)) == 1
    for wrong in (history.most + 1, 100_000, 0, -1):
        assert crowded.code(history.path, **history.params, limit=wrong) == -1130

    crowded.assume(limit_above_most="cap")
    assert len(history.rows(crowded, limit=100_000)) == history.most


@each_history
@pytest.mark.parametrize(
    ("switch", "times"),
    [
        ("page_from_start", {"startTime": ago(2)}),
        ("page_to_end", {"endTime": NOW}),
        ("page_between", {"startTime": ago(2), "endTime": NOW}),
    ],
)
def test_which_end_of_a_full_page_is_cut_is_a_switch(
    history: History, crowded: Historian, switch: str, times: dict[str, int]
) -> None:
    last = NOW - 2 * DAY + 1000 * (history.most + OVER - 1)
    newest = [last - 2000, last - 1000, last]
    # The oldest that a call with only an end may mean is a period before it.
    days = 2 if "startTime" in times else max(age for age in AGES if age * DAY <= history.reach)
    oldest = [ago(days) + 1000 * row for row in range(3)]
    by_value = {"oldest": oldest, "newest": newest}

    default, other = SWITCHES[switch]
    assert told(history, crowded, times) == by_value[default]
    crowded.assume(**{switch: other})
    assert told(history, crowded, times) == by_value[other]
    # Without times the most recent rows are told, whatever is assumed.
    assert told(history, crowded, {}) == newest


def told(history: History, trader: Historian, times: dict[str, int]) -> list[int]:
    return [row[history.time] for row in history.rows(trader, limit=3, **times)]


FILLS: Final = HISTORIES[0]
ORDERS: Final = HISTORIES[1]
ALGOS: Final = HISTORIES[3]


def test_trades_of_an_order_are_told_for_a_week_unless_assumed_otherwise() -> None:
    trader = laid(FILLS, *(days * DAY for days in AGES))
    orders = list(trader.account.orders[BTC])
    by_age = {age: FILLS.ages(trader, orderId=order.order_id) for age, order in zip(AGES, orders, strict=True)}
    assert by_age == {40: [], 8: [], 4: [4], 2: [2]}
    # A start on the day of the order finds them.
    assert FILLS.ages(trader, orderId=orders[0].order_id, startTime=ago(40)) == [40]

    trader.assume(order_id_reach="all")
    by_age = {age: FILLS.ages(trader, orderId=order.order_id) for age, order in zip(AGES, orders, strict=True)}
    assert by_age == {40: [40], 8: [8], 4: [4], 2: [2]}


@pytest.mark.parametrize(
    ("history", "name", "row_id"),
    [(FILLS, "fromId", "id"), (ORDERS, "orderId", "orderId"), (ALGOS, "algoId", "algoId")],
    ids=["userTrades", "allOrders", "allAlgoOrders"],
)
def test_first_ids_page_through_the_whole_past(history: History, name: str, row_id: str) -> None:
    trader = laid(history, *(days * DAY - row for days in AGES for row in range(2)))
    rows = [row for age in AGES for row in history.rows(trader, startTime=ago(age), endTime=ago(age) + 10)]
    ids = [row[row_id] for row in rows]
    assert len(ids) == 8

    pages, first = [], ids[0]
    while page := history.rows(trader, **{name: first}, limit=3):
        pages.append([row[row_id] for row in page])
        first = page[-1][row_id] + 1
    assert pages == [ids[:3], ids[3:6], ids[6:]]

    trader.assume(first_id_reach="week")
    assert [row[row_id] for row in history.rows(trader, **{name: ids[0]})] == ids[4:]


def test_first_id_of_trades_excludes_times() -> None:
    trader = laid(FILLS, *(days * DAY for days in AGES))
    first = FILLS.rows(trader, startTime=ago(40))[0]["id"]
    for times in ({"startTime": ago(2)}, {"endTime": NOW}, {"startTime": ago(2), "endTime": NOW}):
        assert trader.code("userTrades", symbol=BTC, fromId=first, **times) == -1128
        assert trader.code("aggTrades", symbol=BTC, fromId=first, **times) == -1128
    trader.assume(first_id_with_times="ignore")
    assert FILLS.ages(trader, fromId=first, startTime=ago(2)) == list(AGES)


@pytest.mark.parametrize(("history", "name"), [(ORDERS, "orderId"), (ALGOS, "algoId")])
def test_first_id_of_orders_and_times_hold_together(history: History, name: str) -> None:
    trader = laid(history, *(days * DAY for days in AGES))
    row_id = "orderId" if name == "orderId" else "algoId"
    [old] = history.rows(trader, startTime=ago(40))
    assert history.ages(trader, **{name: old[row_id]}, startTime=ago(8), endTime=ago(4)) == [8, 4]


def test_orders_of_all_symbols_come_in_one_order() -> None:
    trader = Historian()
    trader.go_to(DAY)
    state = trader.exchange.state
    for symbol in ("ETHUSDT", BTC, "SOLUSDT", BTC):
        trader.clock.advance(1)
        quantity = D(200) // state.markets[symbol].last + 1
        ticket = Ticket(symbol=symbol, side="BUY", type="MARKET", quantity=quantity if symbol != BTC else D("0.003"))
        trader.exchange.orders.place(trader.account, ticket)
    trader.go_to(0)
    assert [row["symbol"] for row in trader.get("allOrders")] == ["ETHUSDT", BTC, "SOLUSDT", BTC]
    assert [row["symbol"] for row in trader.get("allOrders", limit=2)] == ["SOLUSDT", BTC]


def test_unknown_income_type_is_refused_unless_assumed_otherwise() -> None:
    trader = laid(HISTORIES[4], DAY)
    assert len(trader.get("income", incomeType="TRANSFER")) == 1
    # Known kinds that never happened are an empty page.
    assert trader.get("income", incomeType="BFUSD_REWARD") == []
    for unknown in ("NO_SUCH", "transfer", "TRANSFER;COMMISSION"):
        assert trader.code("income", incomeType=unknown) == -1130
    trader.assume(unknown_income_type="empty")
    assert trader.get("income", incomeType="NO_SUCH") == []


def test_income_is_filtered_before_its_page_is_cut() -> None:
    trader = Historian()
    trader.go_to(DAY)
    for _ in range(150):
        trader.clock.advance(1)
        trader.exchange.state.book_income(trader.account, "TRANSFER", D(1))
        trader.exchange.state.book_income(trader.account, "FUNDING_FEE", D(2), symbol=BTC)
    trader.go_to(0)
    rows = trader.get("income", incomeType="FUNDING_FEE", startTime=ago(1))
    assert len(rows) == 100
    assert {row["incomeType"] for row in rows} == {"FUNDING_FEE"}
    # `page` is no parameter any more: it changes nothing.
    assert trader.get("income", incomeType="FUNDING_FEE", startTime=ago(1), page=2) == rows
    assert len(trader.get("income", symbol=BTC, limit=1000)) == 150


def test_more_than_a_page_of_hourly_funding_is_told_by_windows() -> None:
    """Forty-two days of hourly funding are 1,008 rows: more than a page, and more than one call tells."""
    trader = Historian()
    for hour in range(1008, 0, -1):
        trader.go_to(hour * 3_600_000)
        trader.exchange.state.book_income(trader.account, "FUNDING_FEE", D("-0.1"), symbol=BTC)
    trader.go_to(0)
    asked = {"incomeType": "FUNDING_FEE", "limit": 1000}
    assert len(trader.get("income", **asked, startTime=ago(42))) == 169
    assert len(trader.get("income", **asked, startTime=ago(42), endTime=NOW)) == 1000
    weeks = [trader.get("income", **asked, startTime=ago(42 - 7 * n), endTime=ago(35 - 7 * n) - 1) for n in range(6)]
    assert [len(week) for week in weeks] == [168] * 6


@pytest.mark.parametrize(
    ("path", "page", "most", "params"),
    [
        ("klines", 500, 1500, {"symbol": BTC, "interval": "1m"}),
        ("markPriceKlines", 500, 1500, {"symbol": BTC, "interval": "1h"}),
        ("indexPriceKlines", 500, 1500, {"pair": BTC, "interval": "1h"}),
        ("premiumIndexKlines", 500, 1500, {"symbol": BTC, "interval": "1m"}),
        ("continuousKlines", 500, 1500, {"pair": BTC, "contractType": "PERPETUAL", "interval": "1m"}),
        ("trades", 500, 1000, {"symbol": BTC}),
        ("aggTrades", 500, 1000, {"symbol": BTC}),
        ("historicalTrades", 100, 500, {"symbol": BTC}),
        ("fundingRate", 200, 1000, {"symbol": BTC}),
    ],
)
def test_public_lists_have_a_default_page_and_a_most(
    path: str, page: int, most: int, params: dict[str, object]
) -> None:
    trader = Historian()
    trader.exchange.advance(100 * DAY)
    for _ in range(1001):
        trader.market.print_trade(D(50_000), D("0.001"), NOW)
    assert len(trader.get(path, **params)) == page
    assert len(trader.get(path, **params, limit=most)) == most
    for wrong in (most + 1, 0, -5):
        assert trader.code(path, **params, limit=wrong) == -1130
    trader.assume(limit_above_most="cap")
    assert len(trader.get(path, **params, limit=most + 1)) == most


@pytest.mark.parametrize("limit", [1, 6, 499, 501, 1001, 5000])
def test_depth_knows_seven_limits(limit: int) -> None:
    trader = Historian()
    assert trader.code("depth", symbol=BTC, limit=limit) == -4021
    # It is no page size that could be capped.
    trader.assume(limit_above_most="cap")
    assert trader.code("depth", symbol=BTC, limit=limit) == -4021
    assert {trader.code("depth", symbol=BTC, limit=known) for known in (5, 10, 20, 50, 100, 500, 1000)} == {0}


def test_aggregate_trades_lie_within_an_hour() -> None:
    trader = Historian()
    trader.go_to(3 * 3_600_000)
    for _ in range(180):
        trader.clock.advance(60_000)
        trader.market.print_trade(D(50_000), D("0.001"), trader.clock.now_ms())
    hour = {"startTime": NOW - 7_200_000, "endTime": NOW - 3_600_000}
    assert len(trader.get("aggTrades", symbol=BTC, **hour)) == 61
    assert trader.code("aggTrades", symbol=BTC, **{**hour, "endTime": hour["endTime"] + 1}) == -1127
    assert trader.code("aggTrades", symbol=BTC, startTime=NOW, endTime=NOW - 1) == -1023
    # One time alone has no hour: the oldest from a start, the most recent before an end.
    assert trader.get("aggTrades", symbol=BTC, startTime=NOW - 7_200_000, limit=1)[0]["T"] == NOW - 7_200_000
    assert trader.get("aggTrades", symbol=BTC, endTime=NOW - 3_600_000, limit=1)[0]["T"] == NOW - 3_600_000


def test_old_trades_are_paged_by_id() -> None:
    trader = Historian()
    ids = [trader.market.print_trade(D(50_000), D("0.001"), NOW).trade_id for _ in range(600)]
    assert [row["id"] for row in trader.get("historicalTrades", symbol=BTC, fromId=ids[0], limit=500)] == ids[:500]
    assert [row["id"] for row in trader.get("historicalTrades", symbol=BTC, fromId=ids[500], limit=500)] == ids[500:]
    assert [row["id"] for row in trader.get("historicalTrades", symbol=BTC)] == ids[-100:]


def test_funding_rates_from_a_start_are_the_oldest_and_before_an_end_the_newest() -> None:
    trader = Historian()
    trader.exchange.advance(100 * DAY)
    eight_hours = 8 * 3_600_000
    first = -(-ago(40) // eight_hours) * eight_hours
    from_start = trader.get("fundingRate", symbol=BTC, startTime=ago(40), limit=3)
    assert [row["fundingTime"] for row in from_start] == [first + eight_hours * n for n in range(3)]
    between = trader.get("fundingRate", symbol=BTC, startTime=ago(40), endTime=NOW, limit=1000)
    assert len(between) == 120
    to_end = trader.get("fundingRate", symbol=BTC, endTime=ago(8), limit=2)
    last = ago(8) // eight_hours * eight_hours
    assert [row["fundingTime"] for row in to_end] == [last - eight_hours, last]
    assert trader.code("fundingRate", symbol=BTC, startTime=NOW, endTime=NOW - 1) == -1023
    # A start before there were markets is answered at once, with a page from there on.
    assert len(trader.get("fundingRate", startTime=0, limit=1000)) == 1000


def test_pages_out_of_a_book_of_weeks_are_where_they_should_be() -> None:
    """Five thousand orders over forty days, one every 691.2 seconds, 875 a week."""
    trader = Historian()
    for row in range(5_000):
        trader.go_to(40 * DAY - row * 691_200)
        add_fill(trader)
    trader.go_to(0)
    newest = trader.get("userTrades", symbol=BTC, limit=1000)
    assert [newest[0]["time"], newest[-1]["time"]] == [NOW - 875 * 691_200, NOW - 691_200]
    oldest = trader.get("allOrders", startTime=ago(40), limit=1000)
    assert [oldest[0]["time"], oldest[-1]["time"]] == [ago(40), ago(33)]
