"""Pages of a trade and of a decision: chart with its levels, rules with numbers, search, and moving the stop."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from execution import wiring
from execution.dashboard.chart_json import chart_json, points_of
from execution.domain.candles import Candle, Window
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.states import RequestState
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest, Fill, TradeChart
from execution.queries.charts import LegPath, levels_over_time
from execution.queries.search import PAGE
from execution.queries.trade_now import trade_now
from execution.trades.charts import candles_of, keep_next_chart
from tests.integration.test_admin_pages import Words
from tests.integration.test_bracket_targets import opened, resting
from tests.support import builders
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
D = Decimal
DENIED = "NOTIONAL_EXCEEDS_LIMIT: expected<=5000 actual=9000"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password=None))
    return client


@pytest.fixture
def trader(desk: Desk, operator: Client, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Client:
    """An operator before the paper exchange, with an order worker that carries out at once what it is handed."""
    monkeypatch.setattr(wiring, "exchange", lambda: desk.exchange)
    monkeypatch.setattr("execution.workflow.cover", lambda trade_id: desk.step("protect_position", trade_id))
    settings.ENV = settings.ENV.model_copy(update={"order_answer_seconds": 0.2})
    return operator


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return Words(answer.content.decode()).text


def moved(client: Client, trade_id: UUID, to: str, **fields: str) -> Any:
    form = {"price": to, "reason": "news ahead", "confirmed": "on"} | fields
    return client.post(f"/dashboard/trades/{trade_id}/stop", form, follow=True)


# A trade


def test_a_trades_page_shows_its_books_its_rules_and_its_timings(desk: Desk, trader: Client) -> None:
    trade_id = opened(desk)
    trade = desk.trade(trade_id)

    page = read(trader, f"/dashboard/trades/{trade_id}")

    assert "Trade BTCUSDT LONG" in page
    assert f"Entry {trade.entry_price:.1f}" in page
    assert "Rules of policy version" in page
    assert "leverage expected<=" in page
    stages = ["decided", "received", "approved", "entry sent", "entry acknowledged", "entry filled", "stop accepted"]
    begins = [page.index(f" {stage} 20") for stage in stages]
    assert begins == sorted(begins)
    assert "STOP ACCEPTED SELL STOP_MARKET 0.010" in page
    assert "trade.opened" in page
    # It should offer what may be done with an open position.
    assert "Move stop Break-even" in page


def test_the_chart_has_candles_fills_and_each_level_that_the_stop_had(desk: Desk, trader: Client) -> None:
    trade_id = opened(desk, take_profit="52000")
    moved(trader, trade_id, "49500")

    answer = trader.get(f"/dashboard/trades/{trade_id}/chart").json()

    stop, target = sorted(answer["levels"], key=lambda level: level["name"])
    assert stop["name"] == "stop"
    assert stop["points"][-1]["value"] == 49500.0
    assert [step.partition(" at ")[0] for step in stop["steps"]] == ["49000", "49500"]
    assert (target["name"], {point["value"] for point in target["points"]}) == ("target 1", {52000.0})
    [fill] = answer["fills"]
    assert (fill["entry"], fill["buyer"], fill["quantity"]) == (True, True, "0.01")
    assert answer["candles"] == sorted(answer["candles"], key=lambda candle: candle["time"])
    assert len(answer["candles"]) > 0
    assert answer["note"] == ""
    assert not TradeChart.objects.exists()
    [level] = [each for each in levels_over_time(desk.trade(trade_id), now=desk.clock()) if each.name == "stop"]
    assert [price for _, price in level.steps] == [D(49000), D(49500)]


def ended_trade() -> Any:
    request = builders.approved(received_at=datetime.now(UTC) - timedelta(hours=3))
    builders.bracket(request)
    trade = builders.closed_trade(request)
    builders.fill(trade)
    return trade


class History:
    """Market data of the exchange that answers with one candle, or not at all."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.none_of = ""
        self.asked: list[Window] = []

    def candles(self, symbol: str, window: Window) -> list[Candle]:
        self.asked.append(window)
        if self.silent:
            raise ExchangeUnavailableError("silent")
        if symbol == self.none_of:
            return []
        return [Candle(at=window.since, open=D(1), high=D("2.5"), low=D("0.5"), close=D(2))]


def test_the_chart_of_a_trade_that_has_ended_is_kept_and_outlives_the_exchange() -> None:
    trade, exchange, now = ended_trade(), History(), datetime.now(UTC)

    first = candles_of(trade, exchange, now=now)  # type: ignore[arg-type]  # the part that is asked
    exchange.silent = True
    second = candles_of(trade, exchange, now=now + timedelta(days=400))  # type: ignore[arg-type]  # as above

    assert len(exchange.asked) == 1
    assert TradeChart.objects.get().candles[0][1:] == ["1", "2.5", "0.5", "2"]
    assert [replace(each, at=first.candles[0].at) for each in second.candles] == list(first.candles)
    assert (first.note, second.note) == ("", "")


def test_the_monitor_keeps_one_chart_a_cycle_and_asks_for_none_twice() -> None:
    trade, exchange, now = ended_trade(), History(), datetime.now(UTC)
    builders.closed_trade(builders.approved(symbol="OLDUSDT", received_at=now - timedelta(days=3)))
    builders.closed_trade(builders.approved(symbol="NEWUSDT", received_at=now - timedelta(minutes=70)))
    exchange.none_of = "BTCUSDT"

    kept = [keep_next_chart(exchange, now=now) for _ in range(3)]  # type: ignore[arg-type]  # as above

    # It should wait until the room behind a trade's end has passed, and leave old trades to their readers.
    assert kept == [True, False, False]
    assert [(chart.trade_id, chart.candles) for chart in TradeChart.objects.all()] == [(trade.pk, [])]
    assert candles_of(trade, exchange, now=now).note == (  # type: ignore[arg-type]  # as above
        "The exchange has no candles of this time."
    )
    exchange.silent = True
    with pytest.raises(ExchangeUnavailableError):
        keep_next_chart(exchange, now=now + timedelta(minutes=30))  # type: ignore[arg-type]  # as above
    assert TradeChart.objects.count() == 1


def test_without_an_answer_the_chart_still_has_fills_and_levels() -> None:
    trade, now = ended_trade(), datetime.now(UTC)
    shown = candles_of(trade, History(silent=True), now=now)  # type: ignore[arg-type]  # as above

    answer = chart_json(shown, levels_over_time(trade, now=now), trade_now(trade))

    assert answer["note"] == "The exchange does not answer: no candles."
    assert (answer["candles"], answer["mark"]) == ([], None)
    assert (len(answer["fills"]), len(answer["levels"])) == (1, 2)  # type: ignore[arg-type]  # lists
    assert not TradeChart.objects.exists()


def test_two_moves_within_a_candle_are_drawn_as_the_later_one() -> None:
    begin = datetime(2026, 3, 2, 9, 30, 5, tzinfo=UTC)
    steps = [(begin, D(1)), (begin + timedelta(seconds=70), D(2)), (begin + timedelta(seconds=80), D(3))]
    path = LegPath(name="stop", steps=steps, until=begin + timedelta(minutes=5))
    start = int(begin.timestamp()) - 5

    assert points_of(path, 60) == [
        {"time": start, "value": 1.0},
        {"time": start + 60, "value": 3.0},
        {"time": start + 300, "value": 3.0},
    ]


def test_a_trades_page_takes_no_more_queries_for_more_rows(operator: Client) -> None:
    def queries_of(trade_id: UUID) -> int:
        with CaptureQueriesContext(connection) as captured:
            read(operator, f"/dashboard/trades/{trade_id}")
        return len(captured)

    trade = ended_trade()
    queries_of(trade.pk)
    one = queries_of(trade.pk)
    for number in range(10):
        builders.fill(trade, exchange_trade_id=900_000 + number)
        builders.order(trade.request, purpose=OrderPurpose.STOP, sequence=number + 2)
        builders.transition("trade", trade.pk, to_state="LEG_MOVED", trigger="leg_moved_operator")

    assert Fill.objects.count() == 11
    assert queries_of(trade.pk) == one
    assert one == 15


# Moving the stop


def test_an_operator_moves_the_stop_and_the_page_confirms_it(desk: Desk, trader: Client) -> None:
    trade_id = opened(desk)

    answer = moved(trader, trade_id, "49250.5")

    page = Words(answer.content.decode()).text
    assert answer.redirect_chain == [(f"/dashboard/trades/{trade_id}", 302)]
    assert "The stop lies at 49250.5 and rests at the exchange." in page
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D("49250.5"), D("0.010"))]
    # It should name the operator and the reason in the journal.
    assert "STOP 1: 49000 -> 49250.5 by operator news ahead" in page
    desk.check()


def test_break_even_brings_the_price_along(desk: Desk, trader: Client) -> None:
    trade_id = opened(desk)
    desk.paper.set_price("BTCUSDT", "51000")
    entry = desk.trade(trade_id).entry_price

    form = trader.get(f"/dashboard/trades/{trade_id}/stop?break-even").context["form"]
    moved(trader, trade_id, str(form["price"].value()), reason=form["reason"].value())

    # A thousandth beyond the entry pays for the fees; the price is on its tick.
    assert (entry, form["price"].value(), form["reason"].value()) == (D("50000.1"), "50050.2", "break-even")
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D("50050.2"), D("0.010"))]
    desk.check()


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"price": "50500"}, "Nothing was changed."),
        ({"price": "-1"}, "greater than or equal to"),
        ({"price": "NaN"}, "Enter a number."),
        ({"reason": ""}, "This field is required."),
        ({"confirmed": ""}, "This field is required."),
    ],
)
def test_a_move_that_breaks_a_rule_changes_nothing(
    desk: Desk, trader: Client, fields: dict[str, str], shown: str
) -> None:
    trade_id = opened(desk)

    answer = moved(trader, trade_id, "49500", **fields)

    assert shown in Words(answer.content.decode()).text
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D(49000), D("0.010"))]


def test_moving_a_stop_asks_for_its_own_permission_and_a_token(client: Client) -> None:
    trade = ended_trade()
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_trade"))
    client.force_login(reader)
    address = f"/dashboard/trades/{trade.pk}/stop"

    assert client.get(address).status_code == 403
    assert "Move stop" not in read(client, f"/dashboard/trades/{trade.pk}")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("operator", password=None))
    assert strict.post(address, {"price": "1", "reason": "x", "confirmed": "on"}).status_code == 403


def test_the_stop_of_a_trade_that_has_ended_cannot_be_moved(operator: Client) -> None:
    trade = ended_trade()

    answer = operator.get(f"/dashboard/trades/{trade.pk}/stop")

    assert (answer.status_code, answer.headers["Location"]) == (302, f"/dashboard/trades/{trade.pk}")


# A decision


def denied(**columns: Any) -> ExecutionRequest:
    code, _, numbers = DENIED.partition(": ")
    request = builders.request(
        state=RequestState.DENIED, reason_code=code, reason=DENIED, **({"received_at": timezone.now()} | columns)
    )
    rule = {"rule": "max_order_notional", "numbers": numbers, "refusal": code, "before": None, "after": None}
    passed = {"rule": "leverage", "numbers": "expected<=20 actual=10", "refusal": "", "before": None, "after": None}
    details = {"rules": [passed, rule], "policy_version": 3}
    builders.transition(
        "request", request.pk, to_state="DENIED", trigger="guard_denied", reason=DENIED, details=details
    )
    return request


def test_a_denied_decision_shows_the_rule_its_numbers_and_what_would_have_to_be_different(operator: Client) -> None:
    request = denied()

    page = read(operator, f"/dashboard/decisions/{request.pk}")

    assert "Why it ended here: NOTIONAL_EXCEEDS_LIMIT" in page
    assert "Rules of policy version 3" in page
    assert "leverage expected<=20 actual=10 passed" in page
    assert "max_order_notional expected<=5000 actual=9000 NOTIONAL_EXCEEDS_LIMIT" in page
    assert (
        "What would have to be different The order would have to be smaller, or risk.max_order_notional_usd larger."
        " The rule asks for at most 5000, and the value was 9000."
    ) in page


@pytest.mark.parametrize("address", ["decisions", "trades"])
def test_what_does_not_exist_is_not_found(operator: Client, address: str) -> None:
    assert operator.get(f"/dashboard/{address}/{uuid4()}").status_code == 404


# The search


def test_any_id_of_a_decision_leads_to_it(operator: Client) -> None:
    request = builders.approved()
    order = builders.order(request)

    for text in (str(request.pk), order.client_order_id, order.exchange_order_id, f" {request.pk} "):
        answer = operator.get("/dashboard/decisions", {"id": text})
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/dashboard/decisions/{request.pk}"), text
    assert "There is no decision" in read(operator, f"/dashboard/decisions?id={uuid4()}")


@pytest.mark.parametrize(
    "asked",
    [
        {"symbol": "ethusdt"},
        {"strategy": "breakout"},
        {"reason_code": "NOTIONAL_EXCEEDS_LIMIT"},
        {"state": "DENIED"},
        {"before": "2026-03-01 00:00"},
        {"since": "2026-02-28 09:00", "before": "2026-02-28T10:00"},
    ],
)
def test_each_field_narrows_the_search(operator: Client, asked: dict[str, str]) -> None:
    at = datetime(2026, 2, 28, 9, 30, tzinfo=UTC)
    wanted = denied(symbol="ETHUSDT", strategy="breakout", received_at=at)
    builders.request()

    answer = operator.get("/dashboard/decisions", asked)

    page = answer.content.decode()
    assert str(wanted.pk) in page
    assert page.count('<tr><td data-label="Received">') == 1


def test_a_value_that_means_nothing_is_refused_beside_its_field(operator: Client) -> None:
    page = read(operator, "/dashboard/decisions?since=yesterday&state=GONE&symbol=%00")

    assert "Enter a valid date/time." in page
    assert "Select a valid choice." in page


def test_older_decisions_come_on_further_pages_each_once(operator: Client) -> None:
    now = timezone.now()
    for number in range(PAGE + 3):
        builders.request(received_at=now - timedelta(seconds=number))

    first = operator.get("/dashboard/decisions")
    second = operator.get(f"/dashboard/decisions?{first.context['older']}")

    rows = [page.content.decode().count('<tr><td data-label="Received">') for page in (first, second)]
    assert rows == [PAGE, 3]
    assert second.context["older"] == ""
