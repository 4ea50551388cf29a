"""What the admin's pages say: groups, links, numbers on the contract's grid, times, stops, stories, confirmations."""

import re
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from execution import models as m
from execution import tasks
from execution.admin import menu, numbers
from execution.admin.kill_switch_page import MOVE as KILL_SWITCH
from execution.admin.numbers import Grid
from execution.admin.replay_page import REPLAY
from execution.domain.states import OrderState, TradeState
from execution.domain.trading import Direction, OrderPurpose, OrderType
from execution.models import (
    DeadLetter,
    ExecutionRequest,
    ExternalPosition,
    KillSwitch,
    Order,
    Position,
    PositionSlot,
    Trade,
)
from execution.queries.requests import story_of
from execution.queries.story import chapters, lines
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db

OURS = list(apps.get_app_config("execution").get_models())
LONG_TAIL = re.compile(r"\d\.\d{9}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
AMERICAN = re.compile(r"\d (a|p)\.m\.|noon|midnight")
REPLAY_LINK = "/admin/execution/deadletter/?replayed_at__isempty=1"


class Words(HTMLParser):
    """The text that a person reads on a page, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._said: list[str] = []
        self.links: list[str] = []
        self._silent = 0
        self.feed(page)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in {"script", "style"}
        self.links += [dict(attrs).get("href") or ""] if tag == "a" else []

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        self._said += [] if self._silent else [data]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password=None))
    return client


def read(client: Client, address: str, **form: Any) -> Words:
    answer = client.post(address, form) if form else client.get(address)
    assert answer.status_code == 200, address
    return Words(answer.content.decode())


def address(model: type[Model], page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def opened(symbol: str = "BTCUSDT", direction: Direction = Direction.LONG, **columns: Any) -> Trade:
    """An open trade of 0.002 from 50000 with stop and target 1000 and 2000 away, its plan, orders, fill and claim."""
    sign = direction.sign
    prices = {"stop_price": Decimal(50000 - sign * 1000), "target_price": Decimal(50000 + sign * 2000)}
    request = builders.approved(symbol=symbol, direction=direction, **prices)
    builders.bracket(request)
    trade = builders.trade(request, **columns)
    builders.fill(trade, order=builders.order(request))
    for purpose in (OrderPurpose.STOP, OrderPurpose.TARGET):
        builders.order(request, purpose=purpose)
    PositionSlot.objects.create(symbol=symbol, position_side="BOTH", request=request, claimed_at=NOW)
    return trade


def resting(symbol: str = "SOLUSDT") -> Order:
    """A LIMIT entry that rests at the exchange."""
    asked = {"order_type": OrderType.LIMIT, "limit_price_asked": Decimal(180)}
    request = builders.approved(symbol=symbol, state="ACCEPTED", **asked)
    PositionSlot.objects.create(symbol=symbol, position_side="BOTH", request=request, claimed_at=NOW)
    return builders.order(request, state=OrderState.ACCEPTED)


def letter() -> DeadLetter:
    said = {"stream": "s", "entry_id": "1-0", "event_type": "signal.execute", "reason": "side", "size_bytes": 2}
    return DeadLetter.objects.create(**said, raw="{}", payload="{}", received_at=NOW)


# Where everything is


def test_every_table_stands_in_one_group() -> None:
    shown = [entry[0] for entries in menu.GROUPS.values() for entry in entries if not isinstance(entry, menu.Page)]

    assert sorted(map(str, shown)) == sorted(map(str, [*OURS, User, Group]))
    assert list(menu.GROUPS) == ["Trading", "Controls", "Machinery"]


@pytest.mark.parametrize("page", ["/admin/", "/admin/execution/"])
def test_home_is_grouped_and_not_from_a_to_z(operator: Client, page: str) -> None:
    home = read(operator, page)
    said = home.text

    order = [m.Position, m.Trade, m.KillSwitch, m.DeadLetter, m.Heartbeat, m.JournalSeal]
    places = [home.links.index(address(model, "changelist")) for model in order]
    assert places == sorted(places)
    # It should have each table in the sidebar and on the page.
    assert {home.links.count(address(model, "changelist")) for model in OURS} == {2}
    for plural in ("Protection plans", "Fills", "Income", "Emergency stop", "Journal head", "Events out"):
        assert plural in said
    for wrong in ("Essstatus", "Ess status", "Incomes", "statuss", "Journal heads", "Bracket"):
        assert wrong not in said


@pytest.mark.parametrize("model", OURS)
def test_each_table_has_names_of_its_own(model: type[Model]) -> None:
    assert {"verbose_name", "verbose_name_plural"} <= set(model._meta.original_attrs)


@pytest.mark.parametrize("model", [None, *OURS])
def test_kill_switch_and_replay_are_linked_from_home_and_every_list(
    operator: Client, model: type[Model] | None
) -> None:
    links = read(operator, address(model, "changelist") if model else "/admin/").links

    # It should be in the sidebar, and as a button on the page.
    assert links.count(reverse(f"admin:{KILL_SWITCH}")) >= 2
    assert links.count(REPLAY_LINK) >= 2


def test_the_list_of_letters_leads_to_each_that_waits(operator: Client) -> None:
    waiting = letter()
    done = DeadLetter.objects.create(
        stream="s",
        entry_id="2-0",
        reason="x",
        size_bytes=1,
        received_at=NOW,
        replayed_at=NOW,
        replayed_by="ada",
        outcome="ACCEPTED",
    )

    page = read(operator, REPLAY_LINK)

    assert reverse(f"admin:{REPLAY}", args=[waiting.pk]) in page.links
    assert reverse(f"admin:{REPLAY}", args=[done.pk]) not in page.links
    assert "Correct and replay" in page.text


def test_a_reader_is_shown_nothing_that_he_may_not_use(client: Client) -> None:
    opened()
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(reader)

    home, orders = read(client, "/admin/"), read(client, address(Order, "changelist"))

    for page in (home, orders):
        assert reverse(f"admin:{KILL_SWITCH}") not in page.links
        assert REPLAY_LINK not in page.links
        assert address(Trade, "changelist") not in page.links
        assert address(Order, "changelist") in page.links
    assert "Open positions" not in home.text
    assert "Unsettled orders" in home.text


def test_the_pages_bring_their_own_colours(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()

    for name in ("admin.css", "favicon.svg"):
        assert f'href="/static/execution/{name}"' in page
        assert operator.get(f"/static/execution/{name}").status_code == 200


# Numbers and times


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        ("95120.400000000000000000", "0.1", "95120.4"),
        ("95120.000000000000000000", "0.1", "95120.0"),
        ("50000.333333333333333333", "0.10", "50000.3"),
        ("0.000012340000000000", "0.00000001", "0.00001234"),
        ("7.000000000000000000", "0.05", "7.00"),
        ("1234.000000000000000000", "10", "1234"),
        ("0.333333333333333333", None, "0.33333333"),
        ("42.000000000000000000", None, "42"),
        ("100.000000000000000000", None, "100"),
        ("0.000000000100000000", None, "0.0000000001"),
        ("0E-18", None, "0"),
    ],
)
def test_numbers_are_trimmed_to_their_unit(value: str, unit: str | None, written: str) -> None:
    assert numbers.rounded_text(Decimal(value), None if unit is None else Decimal(unit)) == written


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("entry_price", "50000.123400000000000000", "50000.1"),
        ("quantity", "0.002000000000000000", "0.002"),
        ("executed_quantity", "0E-18", "0.000"),
        ("margin", "10.020000000000000000", "10.02"),
        ("entry_fees", "0.040000000000000000", "0.0400"),
        ("net_pnl", "3.920000000000000000", '<span class="xs-gain">+3.92</span>'),
        ("net_pnl", "-3.920000000000000000", '<span class="xs-loss">-3.92</span>'),
        ("net_pnl", "0E-18", '<span class="xs-level">0.0000</span>'),
        ("r_multiple", "-0.350000000000000000", '<span class="xs-loss">-0.35</span>'),
        ("slippage_fraction", "0.000310000000000000", "0.00031"),
    ],
)
def test_a_column_is_written_by_what_it_is(name: str, value: str, written: str) -> None:
    grid = Grid(tick=Decimal("0.100000000000000000"), step=Decimal("0.001000000000000000"))

    assert numbers.written(name, Decimal(value), grid) == written


def test_no_page_shows_a_long_tail_or_a_time_without_seconds_and_zone(operator: Client) -> None:
    """Walks the list and the row of every table that has numbers or times."""
    trade = opened()
    builders.position(trade)
    builders.ess()
    builders.heartbeat("monitor")
    builders.transition("request", trade.pk)
    builders.outbox_event()
    letter()
    KillSwitch.objects.create(level="halt", reason="drill", engaged_by="anna", engaged_at=NOW)
    shown = [(model, model._default_manager.first()) for model in OURS]
    pages = ["/admin/", reverse(f"admin:{KILL_SWITCH}")]
    pages += [address(model, "changelist") for model, row in shown if row]
    pages += [address(model, "change", row.pk) for model, row in shown if row]
    assert len(pages) > 20

    dated = 0
    for page in pages:
        said = read(operator, page).text
        assert LONG_TAIL.search(said) is None, page
        assert AMERICAN.search(said) is None, page
        dated += bool(MOMENT.search(said))
    assert dated > 15


def test_results_are_green_and_red_and_signed(operator: Client) -> None:
    builders.closed_trade(builders.approved(symbol="ADAUSDT"))
    builders.closed_trade(builders.approved(symbol="BNBUSDT", direction=Direction.SHORT), net_pnl=Decimal("-1.5"))

    page = operator.get(address(Trade, "changelist")).content.decode()

    assert '<span class="xs-gain">+3.92 USDT</span>' in page
    assert '<span class="xs-loss">-1.50 USDT</span>' in page
    # It should stand among the first columns, before the prices.
    assert page.index("column-net") < page.index("column-entry_price")


# A trade


@pytest.mark.parametrize(
    ("direction", "mark", "live", "distance"),
    [
        (Direction.LONG, 51000, "+2.00 USDT", "2000.0 (3.92 %)"),
        (Direction.SHORT, 49000, "+2.00 USDT", "2000.0 (4.08 %)"),
        (Direction.LONG, 49500, "-1.00 USDT", "500.0 (1.01 %)"),
        (Direction.SHORT, 50500, "-1.00 USDT", "500.0 (0.99 %)"),
        (Direction.LONG, 48500, "-3.00 USDT", "-500.0 (-1.03 %) passed"),
        (Direction.SHORT, 51500, "-3.00 USDT", "-500.0 (-0.97 %) passed"),
    ],
)
def test_an_open_trade_shows_orders_fills_stop_distance_and_live_result(
    operator: Client, direction: Direction, mark: int, live: str, distance: str
) -> None:
    trade = opened(direction=direction)
    builders.position(trade, mark_price=Decimal(mark))

    said = read(operator, address(Trade, "change", trade.pk)).text

    assert f"Live PnL {live}" in said
    assert f"Mark to stop {distance}" in said
    assert f"Stop {50000 - direction.sign * 1000}.0" in said
    assert "Mark price" in said
    for order in Order.objects.all():
        assert order.client_order_id in said
    assert (
        f"Fills Fill For Side Quantity Price Realised PnL Fee Filled at {trade.fills.get().exchange_trade_id}" in said
    )
    # It should lead to the home page's row as well.
    home = read(operator, "/admin/")
    assert address(Trade, "change", trade.pk) in home.links
    assert distance in home.text


def test_the_live_result_is_of_what_is_still_open(operator: Client) -> None:
    trade = opened(state=TradeState.REDUCED, exited_quantity=Decimal("0.0015"))
    part = {"price": Decimal(50400), "quantity": Decimal("0.0015"), "realized_pnl": Decimal("0.6")}
    builders.fill(trade, entry=False, filled_at=NOW, **part)
    builders.position(trade, quantity=Decimal("0.0005"), mark_price=Decimal(51000))

    said = read(operator, address(Trade, "change", trade.pk)).text

    assert "Live PnL +0.5000 USDT booked so far +0.6000" in said


@pytest.mark.parametrize("direction", Direction)
def test_an_open_trade_without_a_live_stop_says_so(operator: Client, direction: Direction) -> None:
    trade = opened(direction=direction)
    builders.position(trade)
    Order.objects.filter(purpose=OrderPurpose.STOP).update(state=OrderState.CANCELED)

    assert "Mark to stop no live stop" in read(operator, address(Trade, "change", trade.pk)).text


def test_a_closed_trade_shows_its_books(operator: Client) -> None:
    trade = builders.closed_trade()

    said = read(operator, address(Trade, "change", trade.pk)).text

    assert "Net PnL +3.92 USDT fees 0.0800, funding 0.0000" in said
    assert "Live PnL" not in said


# A request


def test_a_request_tells_its_story_in_words(operator: Client) -> None:
    trade = opened()
    rules = [{"rule": f"RULE_{n}", "numbers": "n=1", "refusal": "", "before": None, "after": None} for n in range(60)]
    details = {"rules": rules, "inputs": {"quote": {"bids": [["1", "2"]], "asks": [["1", "2"]], "mark": "1"}}}
    builders.transition("request", trade.pk, trigger="guard_approved", to_state="APPROVED", details=details)
    assert len(str(details)) > 4000

    page = read(operator, address(ExecutionRequest, "change", trade.pk))

    for head in ("Decision", "Guard", "Entry", "Stop", "Target", "Fill", "Opened", "Steps", "Result"):
        assert head in page.text
    assert "approved: quantity=0.002" in page.text
    assert "RULE_59" in page.text
    assert '"rules"' not in page.text
    assert '{"' not in page.text
    assert f"/admin/execution/auditevent/?q={trade.pk}" in page.links


def test_the_chapters_are_the_lines_of_the_story() -> None:
    trade = opened()
    builders.transition("request", trade.pk)
    builders.transition("trade", trade.pk, to_state="OPEN")
    story = story_of(trade.pk)

    told = [line for chapter in chapters(story) for line in chapter.lines]

    assert told == [line[10:].strip() for line in lines(story)]
    assert [chapter.head for chapter in chapters(story)][:2] == ["Decision", "Entry"]


# The kill switch


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(tasks.work_off_kill_switch, "apply_async", lambda *_, **__: calls.append("begun"))
    return calls


def test_flatten_shows_what_it_closes_before_it_does(operator: Client, begun: list[str]) -> None:
    for symbol, direction in (("BTCUSDT", Direction.LONG), ("ETHUSDT", Direction.SHORT)):
        builders.position(opened(symbol, direction))
    theirs = {"symbol": "DOGEUSDT", "position_side": "BOTH", "direction": "LONG", "quantity": 7, "entry_price": 1}
    builders.position(None, **theirs)
    ExternalPosition.objects.create(**theirs, since=NOW, seen_at=NOW)
    entry = resting()

    asked = read(operator, reverse(f"admin:{KILL_SWITCH}"), level="flatten", reason="drill")

    assert "closes 2 positions at market (BTCUSDT, ETHUSDT) and cancels 1 resting entry" in asked.text
    assert entry.client_order_id in asked.text
    assert "Positions that are not ours and stay" in asked.text
    # It should have done nothing yet.
    assert (KillSwitch.objects.count(), begun) == (0, [])

    form = {"level": "flatten", "reason": "drill", "confirmed": "on"}
    done = operator.post(reverse(f"admin:{KILL_SWITCH}"), form, follow=True).content.decode()
    assert "In force: <strong>flatten</strong>, by operator" in done
    assert (KillSwitch.objects.get().level, begun) == ("flatten", ["begun"])


def test_halt_shows_the_entries_that_it_cancels_and_closes_nothing(operator: Client, begun: list[str]) -> None:
    builders.position(opened())
    entry = resting()
    unknown = resting("XRPUSDT")
    Order.objects.filter(pk=unknown.pk).update(state=OrderState.UNKNOWN)

    asked = read(operator, reverse(f"admin:{KILL_SWITCH}"), level="halt", reason="drill").text

    assert "halt : cancels 1 resting entry." in asked
    assert "1 entry of unknown outcome" in asked
    assert (entry.client_order_id in asked, unknown.client_order_id in asked) == (True, True)
    assert "Positions that are closed" not in asked
    assert (KillSwitch.objects.count(), begun) == (0, [])


def test_what_closes_nothing_is_done_at_once(operator: Client, begun: list[str]) -> None:
    page = reverse(f"admin:{KILL_SWITCH}")

    operator.post(page, {"level": "entries", "reason": "drill"})
    assert KillSwitch.objects.get().level == "entries"
    operator.post(page, {"level": "released", "reason": "over"})
    assert KillSwitch.objects.get().released_at is not None
    assert begun == ["begun"]


def test_a_confirmation_needs_a_reason_too(operator: Client, begun: list[str]) -> None:
    read(operator, reverse(f"admin:{KILL_SWITCH}"), level="flatten", reason="", confirmed="on")

    assert (KillSwitch.objects.count(), begun) == (0, [])


def test_home_says_what_brakes_and_what_waits(operator: Client) -> None:
    KillSwitch.objects.create(level="halt", reason="drill", engaged_by="anna", engaged_at=NOW)
    builders.ess(state="TRIPPED", permitted=False, reason="drawdown")
    letter()
    for hours in range(3):
        builders.closed_trade(builders.approved(symbol=f"C{hours}USDT"), entry_at=NOW + timedelta(hours=hours))
    builders.position(opened())

    said = read(operator, "/admin/").text

    assert "Kill switch halt Emergency stop TRIPPED drawdown Entries held 0 Unsettled orders 0" in said
    assert "Dead letters waiting 1 Open positions 1" in said
    assert Position.objects.count() == 1
