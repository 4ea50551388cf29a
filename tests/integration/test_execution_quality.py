"""Execution quality: each closed trade's shortfall, computed from what is stored, and the reports over them."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from execution import wiring
from execution.domain.shortfall import Benchmark
from execution.models import AuditEvent, Shortfall, Trade
from execution.models.shortfall import PARTS
from execution.trades.shortfalls import book_shortfalls, keep_shortfalls
from tests.support import builders
from tests.support.builders import NOW
from tests.support.desk import BTC_ASK, BTC_BID, Desk

pytestmark = pytest.mark.django_db

D = Decimal
URL = "/api/execution/tca"
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "desk" not in request.fixturenames:
        monkeypatch.setattr(wiring, "clock", lambda: NOW + DAY)


def parts(row: Shortfall) -> dict[str, D | None]:
    return {name: row.part(name) for name in PARTS}


def get(client: Client, **asked: Any) -> dict[str, Any]:
    answer = client.get(URL, asked)
    assert answer.status_code == 200, answer.json()
    report: dict[str, Any] = answer.json()
    return report


def closed(desk: Desk, side: str, **fields: Any) -> Trade:
    request_id = desk.trade_opened(side=side, **fields)
    desk.cycle()
    way = "SELL" if side == "buy" else "BUY"
    quantity = format(desk.trade(request_id).quantity, "f")
    desk.person.new_order(symbol="BTCUSDT", side=way, type="MARKET", quantity=quantity, reduceOnly="true")
    desk.cycle()
    desk.cycle()
    return desk.trade(request_id)


@pytest.mark.parametrize(
    ("side", "best", "left", "stops"),
    [
        ("buy", BTC_ASK, BTC_BID, {"stop_loss": 49000, "take_profit": 52000}),
        ("sell", BTC_BID, BTC_ASK, {"stop_loss": 51000, "take_profit": 48000}),
    ],
)
def test_a_real_trade_s_parts_follow_from_decision_book_and_fills(
    desk: Desk, side: str, best: D, left: D, stops: dict[str, int]
) -> None:
    trade = closed(desk, side, entry_price=49990, **stops)
    assert (trade.entry_price, trade.exit_price) == (best, left)

    assert (book_shortfalls(), book_shortfalls()) == (1, 0)

    row, sign = Shortfall.objects.get(), 1 if side == "buy" else -1
    assert parts(row) == {
        "delay": sign * 10 * trade.quantity,
        "spread": D("0.1") * trade.quantity,
        "impact": D(0),
        "unsplit": None,
        "missed": D(0),
        "fees": trade.entry_fees + trade.exit_fees,
        "funding": D(0),
        "other": D(0),
    }
    net = trade.net_pnl or D(0)
    assert row.total == sum(amount or D(0) for amount in parts(row).values())
    assert row.total == sign * (left - 49990) * trade.quantity - net
    assert (row.benchmark, row.benchmark_price, row.size) == (Benchmark.DECISION, D(49990), "<1k")


def test_a_decision_without_a_price_is_compared_with_the_book_that_it_met(desk: Desk) -> None:
    trade = closed(desk, "buy", entry_price=None)
    book_shortfalls()

    row = Shortfall.objects.get()
    assert (row.benchmark, row.benchmark_price, row.delay) == (Benchmark.ARRIVAL, D(50000), None)
    assert row.total == (row.spread or D(0)) + row.fees == D("0.1") * trade.quantity + row.fees


def test_a_book_that_was_not_stored_leaves_the_parts_unsplit_and_invents_nothing() -> None:
    owner = builders.approved(expected_price=D(49900), quantity=D("0.003"), decided_at=NOW)
    trade = builders.closed_trade(owner, quantity=D("0.002"), exited_quantity=D("0.002"))
    builders.fill(trade)
    builders.fill(trade, entry=False)
    nothing = builders.closed_trade(builders.approved(symbol="ETHUSDT", expected_price=None), symbol="ETHUSDT")

    assert book_shortfalls() == 2

    known, unknown = Shortfall.objects.get(trade=trade), Shortfall.objects.get(trade=nothing)
    assert parts(known) == {
        "delay": None,
        "spread": None,
        "impact": None,
        # (50000 - 49900) x 0.002
        "unsplit": D("0.2"),
        # (52000 - 49900) x 0.001
        "missed": D("2.1"),
        "fees": D("0.08"),
        "funding": D(0),
        "other": D(0),
    }
    assert (known.total, known.missed_quantity, known.hour) == (D("2.38"), D("0.001"), 9)
    assert (unknown.benchmark, unknown.total, unknown.missed, unknown.fees) == ("unknown", None, None, D("0.08"))


def test_a_correction_of_the_books_is_followed_and_what_was_computed_stays() -> None:
    trade = builders.closed_trade(builders.approved(expected_price=D(50000)))
    builders.fill(trade)
    book_shortfalls()
    before = Shortfall.objects.get()
    assert book_shortfalls() == 0

    Trade.objects.update(funding=D("-0.5"), net_pnl=D("3.42"), corrections=1)
    keep_shortfalls(length=DAY)

    row = Shortfall.objects.get()
    assert (row.funding - before.funding, (row.total or D(0)) - (before.total or D(0))) == (D("0.5"), D("0.5"))


def test_batches_take_every_trade_once_also_those_of_one_moment() -> None:
    for number in range(7):
        builders.closed_trade(builders.approved(symbol=f"S{number}USDT"), symbol=f"S{number}USDT")
    builders.trade(builders.approved(symbol="OPENUSDT"), symbol="OPENUSDT")

    assert [book_shortfalls(most=3) for _ in range(4)] == [3, 3, 1, 0]
    assert Shortfall.objects.count() == 7


def test_the_book_is_that_of_the_approval_whatever_was_written_later() -> None:
    trade = builders.closed_trade(builders.approved(expected_price=D(50000)))
    builders.fill(trade)
    for trigger, bid in (("guard_approved", "49990"), ("policy_renewed", "1")):
        quote = {"bids": [[bid, "1"]], "asks": [["50010", "1"]]}
        AuditEvent.objects.create(
            entity="request",
            entity_id=str(trade.pk),
            to_state="APPROVED",
            trigger=trigger,
            details={"inputs": {"quote": quote}},
            at=NOW,
        )
    book_shortfalls()

    row = Shortfall.objects.get()
    assert (row.delay, row.spread, row.impact) == (D(0), D("0.02"), D("-0.02"))


# Reports


def some_trades() -> None:
    for number, strategy in enumerate(("a", "a", "b", "")):
        symbol = ("BTCUSDT", "ETHUSDT", "ETHUSDC", "XRPUSDT")[number]
        owner = builders.approved(
            symbol=symbol, strategy=strategy, decided_at=NOW + number * timedelta(hours=1), quote_index=D("1.01")
        )
        trade = builders.closed_trade(owner, symbol=symbol, exit_at=NOW + number * timedelta(hours=1))
        builders.shortfall(trade, total=D(number) + D("0.5"), delay=D(number), notional_usd=D(100 * (number + 1)))
    Shortfall.objects.filter(symbol="XRPUSDT").update(total=None, benchmark="unknown")


def test_the_sums_are_those_of_the_trades_and_the_parts_add_up(client: Client) -> None:
    some_trades()

    report = get(client)

    total = report["total"]
    assert (total["trades"], total["unknown"], total["notional_usd"]) == (4, 1, "600")
    # (0.5 + 1.5 + 2.5) x 1.01
    assert (total["total_usd"], total["basis_points"]) == ("4.545", "75.75")
    assert sum(D(amount) for amount in total["parts"].values() if amount is not None) == D("4.545")
    assert total["parts"]["unsplit"] is None
    assert [(group["key"], group["trades"], group["total_usd"]) for group in report["groups"]] == [
        ("a", 2, "2.02"),
        ("b", 1, "2.525"),
        ("", 1, "0"),
    ]
    assert [(row["symbol"], row["total_usd"]) for row in report["worst"]] == [
        ("ETHUSDC", "2.525"),
        ("ETHUSDT", "1.515"),
        ("BTCUSDT", "0.505"),
    ]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("symbol", ["ETHUSDC", "ETHUSDT", "BTCUSDT", "XRPUSDT"]),
        ("hour", ["11", "10", "9", "12"]),
        ("order_type", ["MARKET"]),
        ("size", ["<1k"]),
        ("side", ["LONG"]),
    ],
)
def test_groups_begin_with_the_largest_turnover(client: Client, by: str, keys: list[str]) -> None:
    some_trades()

    assert [group["key"] for group in get(client, by=by)["groups"]] == keys


def test_range_symbol_and_strategy_are_filters(client: Client) -> None:
    some_trades()
    begin, end = (NOW + timedelta(hours=1)).isoformat(), (NOW + timedelta(hours=2)).isoformat()

    assert get(client, **{"from": begin, "to": end})["total"]["trades"] == 1
    assert [row["symbol"] for row in get(client, symbol="ethusdc")["worst"]] == ["ETHUSDC"]
    assert get(client, strategy="a")["total"]["trades"] == 2
    assert get(client, to=NOW.isoformat())["total"] | {"parts": {}} == {
        "key": "",
        "trades": 0,
        "unknown": 0,
        "notional_usd": "0",
        "total_usd": "0",
        "basis_points": None,
        "parts": {},
    }


@pytest.mark.parametrize("header", [False, True])
def test_csv_has_a_line_a_trade_with_the_same_digits(client: Client, header: bool) -> None:  # noqa: FBT001
    some_trades()
    Shortfall.objects.filter(symbol="ETHUSDC").update(strategy="=HYPERLINK(1)")
    answer = client.get(URL, headers={"accept": "text/csv"}) if header else client.get(URL, {"format": "csv"})

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    content: Any = answer.streaming_content  # type: ignore[attr-defined]  # of a streamed answer
    rows = list(csv.DictReader(io.StringIO(b"".join(content).decode(), newline="")))
    assert [row["symbol"] for row in rows] == ["XRPUSDT", "ETHUSDC", "ETHUSDT", "BTCUSDT"]
    assert (rows[0]["total"], rows[1]["total"], rows[1]["total_usd"]) == ("", "2.5", "2.525")
    assert rows[1]["strategy"] == "'=HYPERLINK(1)"
    for row in rows[1:]:
        assert sum(D(row[name] or 0) for name in PARTS) == D(row["total"])


@pytest.mark.parametrize(
    "query", ["from=x", "by=colour", "symbol=%20", "format=xml", "limit=1", "from=2031-01-01T00:00:00Z"]
)
def test_what_cannot_be_understood_is_an_error(client: Client, query: str) -> None:
    answer = client.get(f"{URL}?{query}")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [query.partition("=")[0]])


def test_a_report_costs_as_many_statements_for_any_number_of_trades(client: Client) -> None:
    some_trades()

    with CaptureQueriesContext(connection) as queries:
        get(client)

    assert len(queries) == 3


# The admin


def test_the_page_shows_sums_groups_and_the_worst_with_links(client: Client) -> None:
    some_trades()
    client.force_login(User.objects.create_superuser("admin", password=None))

    page = client.get(reverse("admin:execution_shortfall_report"), {"by": "symbol", "days": "7"}).content.decode()

    worst = Shortfall.objects.get(symbol="ETHUSDC")
    assert reverse("admin:execution_trade_change", args=[worst.pk]) in page
    assert "By symbol" in page
    assert "75.75" in page
    # A parameter that is not understood shows the usual report.
    assert client.get(reverse("admin:execution_shortfall_report"), {"by": "x", "days": "-1"}).status_code == 200


def test_the_page_asks_for_its_permission(client: Client) -> None:
    client.force_login(User.objects.create_user("reader", password=None, is_staff=True))

    assert client.get(reverse("admin:execution_shortfall_report")).status_code == 403
