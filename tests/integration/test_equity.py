"""The equity history: a row a cycle, explained by the exchange's income to the last digit, and rolled up by age."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from execution import wiring
from execution.domain.equity import IncomeScope, Resolution, WalletPart
from execution.domain.money import plain
from execution.domain.outcomes import IncomeKind
from execution.models import AccountIncome, EquityPoint, IncomeReading
from execution.queries.equity import CurveCursor, CurvePoint, equity_curve, resolution_for
from execution.trades.equity import keep_equity, read_wallet_income, record_equity, roll_up
from tests.support.builders import NOW
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db

D = Decimal
URL = "/api/execution/equity"
ACCOUNT, INCOME = "/fapi/v3/account", "/fapi/v1/income"
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def transfer(desk: Desk, amount: str, asset: str = "USDT") -> None:
    desk.paper.control("POST", "transfer", {"asset": asset, "amount": amount})


def curve(desk: Desk) -> list[CurvePoint]:
    now = desk.exchange.now()
    return list(equity_curve(now - DAY, now + DAY, resolution=Resolution.SAMPLE).points)


def test_a_cycle_adds_a_row_by_one_call_and_one_statement(desk: Desk) -> None:
    desk.paper.clear_ledger()
    desk.cycle()
    row, index = EquityPoint.objects.get(), desk.exchange.asset_index()
    assert row.balances == {"USDT": "10000", "USDC": "5000", "BTC": "0.1"}
    assert row.prices == {asset: plain(index[asset]) for asset in row.balances}
    assert row.wallet_usd == 10_000 * index["USDT"] + 5000 * index["USDC"] + index["BTC"] / 10
    assert row.parts is None

    with CaptureQueriesContext(connection) as queries:
        assert record_equity(desk.exchange)
    assert len(queries) == 1
    calls = [call["path"] for call in desk.ledger.requests]
    assert len([path for path in calls if path.endswith("/account")]) == 2
    # The expensive list should not be read by a cycle.
    assert [path for path in calls if path.endswith("/income")] == []


def test_a_trade_a_deposit_and_a_withdrawal_are_told_apart_and_nothing_is_unexplained(desk: Desk) -> None:
    desk.cycle()
    request_id = desk.trade_opened()
    desk.cycle()
    transfer(desk, "500")
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0001"})
    desk.cycle()
    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.01", reduceOnly="true")
    desk.cycle()
    desk.cycle()
    transfer(desk, "-200")
    desk.cycle()

    # It should show what it cannot explain yet.
    assert sum(point.parts[WalletPart.UNEXPLAINED] for point in curve(desk)) != 0
    assert read_wallet_income(desk.exchange, clock=desk.clock) == 6

    points, books, summary = curve(desk), desk.trade(request_id), desk.paper.summary()
    sums = {part: sum((point.parts[part] for point in points), D(0)) for part in WalletPart}
    assert sums == {
        WalletPart.REALISED: D(summary["realized_pnl"]),
        WalletPart.FEES: -D(summary["commission"]),
        WalletPart.FUNDING: D(summary["funding"]),
        WalletPart.TRANSFERS: D(300),
        WalletPart.OTHER: D(0),
        WalletPart.UNEXPLAINED: D(0),
    }
    # It should agree with the trade's books, and with the wallet.
    assert (sums[WalletPart.REALISED], -sums[WalletPart.FEES], sums[WalletPart.FUNDING]) == (
        books.gross_pnl,
        books.entry_fees + books.exit_fees,
        books.funding,
    )
    assert points[-1].wallet_usd - points[0].wallet_usd == sum(sums.values())
    # A deposit is no rise and a withdrawal no fall: what is lost is what the trade has cost.
    assert points[-1].drawdown.usd == -(books.net_pnl or D(0))
    # What was read is not read again while all is explained.
    desk.paper.clear_ledger()
    assert read_wallet_income(desk.exchange, clock=desk.clock) == 0
    assert [call["path"] for call in desk.ledger.requests if call["path"].endswith("/income")] == []


def test_what_no_income_explains_stays_in_the_figures(desk: Desk) -> None:
    desk.cycle()
    transfer(desk, "50")
    desk.cycle()
    read_wallet_income(desk.exchange, clock=desk.clock)
    AccountIncome.objects.filter(kind="TRANSFER").update(amount=D(30))

    assert dict(curve(desk)[-1].parts) == dict.fromkeys(WalletPart, D(0)) | {
        WalletPart.TRANSFERS: D(30),
        WalletPart.UNEXPLAINED: D(20),
    }


def test_the_books_of_a_trade_do_not_take_income_of_other_kinds(desk: Desk) -> None:
    """All kinds lie in one table; a reading of all of them stands for no reading of funding."""
    desk.cycle()
    desk.trade_opened()
    desk.cycle()
    read_wallet_income(desk.exchange, clock=desk.clock)

    assert set(AccountIncome.objects.values_list("kind", flat=True)) == {"COMMISSION"}
    assert IncomeReading.objects.get().kind == IncomeScope.ALL
    assert not IncomeReading.objects.filter(kind=IncomeKind.FUNDING).exists()


def test_other_assets_are_valued_by_the_index_or_shown_without_a_value(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer(desk, "0.4", "BTC")
    desk.cycle()
    price, valued = desk.exchange.asset_index()["BTC"], EquityPoint.objects.get().wallet_usd

    index = {asset: usd for asset, usd in desk.exchange.asset_index().items() if asset != "BTC"}
    monkeypatch.setattr(type(desk.exchange), "asset_index", lambda _: index)
    record_equity(desk.exchange)

    point = curve(desk)[-1]
    assert (point.wallet_usd, point.unpriced, point.assets["BTC"].price_usd) == (valued - price / 2, ["BTC"], None)
    assert (point.assets["BTC"].balance, point.revaluation_usd) == (D("0.5"), -price / 2)
    assert point.parts == dict.fromkeys(WalletPart, D(0))


def test_an_exchange_that_does_not_show_the_account_costs_a_row_and_no_cycle(desk: Desk) -> None:
    desk.paper.add_fault(path=ACCOUNT, method="GET", count=None, action="reply", status=503, body={})

    assert desk.cycle().failed == 0
    assert not EquityPoint.objects.exists()


# By age


def sample(at: datetime, balance: Any, *, unrealized: Any = 0, asset: str = "USDT") -> EquityPoint:
    equity = D(balance) + D(unrealized)
    return EquityPoint.objects.create(
        at=at,
        balances={asset: str(balance)},
        unrealized={asset: str(unrealized)},
        prices={asset: "1"},
        wallet_usd=D(balance),
        unrealized_usd=D(unrealized),
        low_usd=equity,
        high_usd=equity,
    )


def line(at: datetime, kind: str, amount: Any) -> None:
    number = AccountIncome.objects.count()
    AccountIncome.objects.create(kind=kind, transaction_id=str(number), symbol="", amount=amount, asset="USDT", at=at)


def history() -> None:
    """Three hours of a sample each 20 seconds, with a fee each minute, one deposit and one loss without a line."""
    balance = D(1000)
    for number in range(540):
        at = NOW + number * 20 * SECOND
        if number and number % 3 == 0:
            balance -= D("0.1")
            line(at - SECOND, "COMMISSION", D("-0.1"))
        if number == 100:
            balance += 50
            line(at - SECOND, "TRANSFER", 50)
        if number == 400:
            balance -= 7
        sample(at, balance, unrealized=-20 if number == 250 else 0)
    IncomeReading.objects.create(
        kind=IncomeScope.ALL, covers_from=NOW, read_to=NOW + 1000 * DAY, read_at=NOW + 1000 * DAY
    )


def totals(points: Sequence[CurvePoint]) -> dict[WalletPart, D]:
    return {part: sum((point.parts[part] for point in points), D(0)) for part in WalletPart}


def rolled(days: float) -> int:
    gone = 0
    while batch := roll_up(now=NOW + days * DAY):
        gone += batch
    return gone


def test_rolling_up_changes_no_figure_of_a_coarser_resolution() -> None:
    history()
    begin, end = NOW - SECOND, NOW + DAY
    before = {each: equity_curve(begin, end, resolution=each) for each in (Resolution.HOUR, Resolution.DAY)}
    assert before[Resolution.HOUR].totals == {
        WalletPart.REALISED: 0,
        WalletPart.FEES: D("-17.9"),
        WalletPart.FUNDING: 0,
        WalletPart.TRANSFERS: 50,
        WalletPart.OTHER: 0,
        WalletPart.UNEXPLAINED: -7,
    }

    # It should leave what is young, and go on where a batch has ended.
    assert rolled(0.9) == 0
    assert (rolled(2), EquityPoint.objects.count()) == (540, 180)
    for resolution, shown in before.items():
        assert equity_curve(begin, end, resolution=resolution).points == shown.points

    assert (rolled(16), EquityPoint.objects.count()) == (180, 4)
    # The account's income is gone from the exchange, and from our table.
    AccountIncome.objects.all().delete()
    for resolution, shown in before.items():
        assert equity_curve(begin, end, resolution=resolution).points == shown.points

    assert (rolled(403), EquityPoint.objects.count()) == (4, 1)
    [day] = equity_curve(begin, end, resolution=Resolution.DAY).points
    assert [day] == list(before[Resolution.DAY].points)
    assert (day.low_usd, day.high_usd) == (D(1000) - D("3.3"), D(1000) - D("3.3") + 50)


def test_a_sample_is_not_rolled_up_before_its_income_is_read() -> None:
    history()
    IncomeReading.objects.update(read_to=NOW + 3600 * SECOND)

    assert rolled(3) == 180
    # In the end it goes, for the exchange lists nothing older.
    assert rolled(95) == 360 + 180


def test_the_duty_reads_and_rolls_up_while_the_exchange_is_silent(desk: Desk) -> None:
    history()
    IncomeReading.objects.all().delete()
    desk.paper.add_fault(path=INCOME, method="GET", count=None, action="reply", status=503, body={})

    keep_equity(desk.exchange, clock=lambda: NOW + 95 * DAY, length=10 * SECOND)

    assert set(EquityPoint.objects.values_list("resolution", flat=True)) == {Resolution.HOUR}


@pytest.mark.parametrize(
    ("length", "resolution"),
    [(6 / 24, "sample"), (1, "minute"), (2, "minute"), (30, "hour"), (90, "hour"), (365, "day")],
)
def test_the_resolution_follows_the_range(length: float, resolution: str) -> None:
    assert resolution_for(length * DAY) == resolution


# The address


def get(client: Client, **asked: Any) -> dict[str, Any]:
    answer = client.get(URL, asked)
    assert answer.status_code == 200, answer.json()
    page: dict[str, Any] = answer.json()
    return page


def test_pages_are_the_whole_curve(client: Client) -> None:
    history()
    asked = {"from": NOW.isoformat(), "to": (NOW + DAY).isoformat(), "resolution": "minute"}
    whole = get(client, **asked)
    assert (len(whole["points"]), whole["following"]) == (180, None)

    points: list[dict[str, Any]] = []
    after = None
    while after or not points:
        page = get(client, **asked, limit=50, **({"after": after} if after else {}))
        points += page["points"]
        after = page["following"]

    # Drawdowns of later pages should count from the peak of the earlier ones.
    assert points == whole["points"]
    assert whole["worst"] == {"usd": "24.9", "percent": "2.3714"}
    assert whole["totals"] == {
        "realised": "0",
        "fees": "-17.9",
        "funding": "0",
        "transfers": "50",
        "other": "0",
        "unexplained": "-7",
    }
    assert points[0]["assets"]["USDT"] == {
        "balance": "1000",
        "unrealized": "0",
        "price_usd": "1",
        "parts": dict.fromkeys(whole["totals"], "0"),
    }


def test_without_a_range_it_is_the_last_day(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    history()
    monkeypatch.setattr(wiring, "clock", lambda: NOW + DAY + 3600 * SECOND)

    page = get(client)

    assert (page["resolution"], len(page["points"])) == ("minute", 120)
    # The first of them is compared with the row before.
    assert page["points"][0]["parts"]["fees"] == "-0.1"


def test_an_empty_history_is_an_answer(client: Client) -> None:
    page = get(client)

    assert (page["points"], page["worst"], page["explained_to"], page["following"]) == ([], None, None, None)


@pytest.mark.parametrize(
    "query",
    ["from=x", "to=", "resolution=week", "after=7", "limit=0", "limit=5001", "from=2031-01-01T00:00:00Z", "offset=1"],
)
def test_what_cannot_be_understood_is_an_error(client: Client, query: str) -> None:
    answer = client.get(f"{URL}?{query}")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [query.partition("=")[0]])


def test_a_cursor_goes_through_the_address_unchanged(client: Client) -> None:
    history()
    asked = {"from": NOW.isoformat(), "to": (NOW + DAY).isoformat(), "resolution": "hour", "limit": 1}
    following = get(client, **asked)["following"]

    found = equity_curve(NOW, NOW + DAY, resolution=Resolution.HOUR, limit=1).following
    assert isinstance(found, CurveCursor)
    assert get(client, **asked, after=following)["points"][0]["at"] > found.at.isoformat()
