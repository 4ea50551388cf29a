"""The dashboard: who sees what, numbers on the screen, a bounded number of queries, and how news reaches a viewer."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from execution.api.health import health_inputs
from execution.dashboard import live, views
from execution.dashboard.access import RIGHTS
from execution.dashboard.board import render_board, spark
from execution.dashboard.live import Board, as_event
from execution.domain.states import OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, OrderType
from execution.models import EntryHold, Position, Trade
from execution.queries import kept
from execution.queries.dashboard import open_positions, performance
from execution_project.sessions import SEEN, UNATTENDED
from execution_project.stopping import STOPPING
from tests.integration.test_admin_pages import Words
from tests.support import builders
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db
D = Decimal
ALL_RIGHTS = frozenset(RIGHTS)
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator", password=None))
    return client


def opened(symbol: str = "BTCUSDT", direction: Direction = Direction.LONG, **columns: object) -> Trade:
    """A position that the exchange shows, with a live stop a thousand USD away and a target two thousand away."""
    sign = direction.sign
    prices = {"stop_price": D(50000) - 1000 * sign, "target_price": D(50000) + 2000 * sign}
    request = builders.approved(symbol=symbol, direction=direction, **prices, received_at=timezone.now())
    builders.bracket(request)
    trade = builders.trade(request, **prices)
    for purpose in (OrderPurpose.STOP, OrderPurpose.TARGET):
        builders.order(request, purpose=purpose)
    mark = D(50000) + 500 * sign
    shown = {"mark_price": mark, "unrealized_pnl": D(1), "observed_at": timezone.now()}
    builders.position(trade, **(shown | columns))
    return trade


def text_of(rights: frozenset[str] = ALL_RIGHTS) -> str:
    return Words(render_board(rights)).text


# Who sees what


@pytest.mark.parametrize("accept", ["*/*", "application/json", "nonsense", "application/json, text/html;q=0.9"])
def test_other_clients_than_browsers_get_the_identity_in_json(client: Client, accept: str) -> None:
    answer = client.get("/", headers={"Accept": accept})

    assert (answer.status_code, answer.json()["service"], answer.headers["Vary"]) == (200, "execution", "Accept")


def test_a_browser_is_sent_to_the_sign_in_and_back(client: Client) -> None:
    User.objects.create_superuser("operator", password="a long password")

    answer = client.get("/", headers=BROWSER)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/")
    signed_in = client.post(answer.headers["Location"], {"username": "operator", "password": "a long password"})
    assert (signed_in.status_code, signed_in.headers["Location"]) == (302, "/")
    assert "Open positions: 0" in Words(client.get("/", headers=BROWSER).content.decode()).text


@pytest.mark.parametrize("address", sorted(UNATTENDED))
def test_a_page_that_is_signed_out_is_answered_401_and_no_form(client: Client, address: str) -> None:
    client.force_login(User.objects.create_user("reader"))

    answer = client.get(address)

    assert (answer.status_code, answer.content) == (401, b"Signed out.")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", sorted(UNATTENDED))
def test_the_page_itself_keeps_no_one_signed_in(operator: Client, address: str) -> None:
    operator.get("/", headers=BROWSER)
    session = operator.session
    before = session[SEEN] = session[SEEN] - 600
    session.save()

    operator.get(address).close()

    assert operator.session[SEEN] == before
    operator.get("/", headers=BROWSER)
    assert operator.session[SEEN] > before


@pytest.mark.parametrize(
    ("right", "shown"),
    [
        ("view_position", "Open positions: 1"),
        ("view_order", "Resting entries"),
        ("view_executionrequest", "Decisions today: 1"),
        ("view_trade", "Last 30 days by strategy"),
        ("view_killswitch", "Kill switch: released"),
    ],
)
def test_a_reader_sees_the_sections_of_his_permissions_alone(client: Client, right: str, shown: str) -> None:
    opened()
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename=right))
    client.force_login(reader)

    found = Words(client.get("/", headers=BROWSER).content.decode()).text

    heads = ("Open positions:", "Resting entries", "Decisions today:", "Last 30 days", "Kill switch:")
    assert shown in found
    assert [head for head in heads if head in found] == [head for head in heads if shown.startswith(head)]


def test_the_pages_policy_allows_neither_script_nor_style_in_the_page(operator: Client) -> None:
    answer = operator.get("/", headers=BROWSER)

    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
    )
    page = answer.content.decode()
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", page) == []


# What it shows


@pytest.mark.parametrize("direction", list(Direction))
def test_a_position_shows_its_result_its_distances_and_its_protection(direction: Direction) -> None:
    opened(direction=direction)

    [row] = open_positions(timezone.now()).shown

    # 500 of the 1,000 USD that 1 BTC risks; it holds 0.002 BTC, which earns 1 USD and has risked 2.
    assert (row.pnl_usd, row.r_multiple) == (D(1), D("0.5"))
    mark = D(50000) + 500 * direction.sign
    assert row.stop is not None
    assert (row.stop.price, row.stop.percent) == (D(1500), D(1500) / mark * 100)
    assert row.target_percent == D(1500) / mark * 100
    found = text_of()
    assert f"BTCUSDT {direction}" in found
    assert "+1.00 +0.50" in found
    assert "protected 0 s ago" in found


def test_a_position_without_a_live_stop_is_shown_unprotected() -> None:
    trade = opened()
    trade.request.orders.filter(purpose=OrderPurpose.STOP).update(state=OrderState.CANCELED)

    assert "unprotected 0 s ago" in text_of()


def test_what_has_just_been_filled_is_shown_before_the_exchange_was_read() -> None:
    trade = opened()
    Position.objects.all().delete()

    [row] = open_positions(timezone.now()).shown

    assert (row.trade, row.is_read, row.pnl_usd, row.r_multiple) == (trade, False, None, None)
    assert "BTCUSDT LONG 0.002 50000.0 - - - 49000.0 52000.0 protected" in text_of()


def test_a_position_whose_trade_has_ended_goes_before_the_exchange_is_read_again() -> None:
    trade = opened()
    closed = {"exit_price": D(51000), "exit_at": timezone.now(), "net_pnl": D(2), "gross_pnl": D(2)}
    Trade.objects.filter(pk=trade.pk).update(state=TradeState.CLOSED, exited_quantity=trade.quantity, **closed)

    assert open_positions(timezone.now()).total == 0


def test_a_position_of_another_client_is_named_as_such() -> None:
    builders.position(None, symbol="DOGEUSDT", observed_at=timezone.now())

    found = text_of()
    assert "DOGEUSDT not ours" in found
    assert "not ours to protect" in found


def test_decisions_of_today_show_their_verdict_and_yesterdays_do_not_count() -> None:
    now = timezone.now()
    builders.request(state=RequestState.DENIED, reason_code="NOTIONAL_EXCEEDS_LIMIT", received_at=now)
    builders.request(symbol="ETHUSDT", received_at=now - timedelta(days=1))

    found = text_of()

    assert "Decisions today: 1 DENIED 1" in found
    assert "BTCUSDT LONG 100.00 USD momentum DENIED NOTIONAL_EXCEEDS_LIMIT" in found
    assert "ETHUSDT" not in found


def test_a_resting_entry_shows_its_price_and_age() -> None:
    limit = {"order_type": OrderType.LIMIT, "limit_price_asked": D(48000)}
    received_at = timezone.now() - timedelta(minutes=4, seconds=3)
    request = builders.approved(state=RequestState.ACCEPTED, received_at=received_at, **limit)
    builders.bracket(request)
    builders.order(request, state=OrderState.ACCEPTED)

    assert re.search(r"BTCUSDT ACCEPTED BUY LIMIT 0.002 0.000 48000.0 4 min [345] s momentum", text_of())


def test_a_lock_and_an_engaged_switch_are_shown_with_their_reasons() -> None:
    now = timezone.now()
    EntryHold.objects.create(scope="BTCUSDT", reason_code="EXTERNAL_POSITION", reason="another", since=now, seen_at=now)
    views.BOARD.html(ALL_RIGHTS)

    assert "BTCUSDT locked EXTERNAL_POSITION: another" in text_of()


def test_results_are_counted_by_strategy_and_by_symbol() -> None:
    now = timezone.now()
    for symbol, net in (("BTCUSDT", D(6)), ("BTCUSDT", D(-2)), ("ETHUSDT", D(1))):
        request = builders.approved(symbol=symbol, received_at=now - timedelta(hours=2))
        builders.closed_trade(request, net_pnl=net, r_multiple=net / 2, slippage_fraction=D("0.0003"))
    builders.closed_trade(builders.approved(received_at=now - timedelta(days=40)))

    [momentum] = performance(now, "strategy")
    bitcoin, ether = performance(now, "symbol")

    assert (momentum.name, momentum.trades, momentum.profit_factor) == ("momentum", 3, D("3.5"))
    assert (bitcoin.name, bitcoin.trades, bitcoin.win_percent, bitcoin.profit_factor) == ("BTCUSDT", 2, D(50), D(3))
    assert (bitcoin.expectancy_r, bitcoin.slippage_bps, bitcoin.net_usd) == (D(1), D(3), D(4))
    # It should not make up a factor where nothing was lost.
    assert (ether.name, ether.profit_factor, ether.win_percent) == ("ETHUSDT", None, D(100))


def test_a_sparkline_runs_from_left_to_right_with_the_largest_on_top() -> None:
    assert spark([0.0, 5.0, 10.0]) == "0.0,36.0 120.0,18.0 240.0,0.0"
    assert spark([0.0]) == "0.0,36.0"


# What it costs


def queries_of_a_board() -> int:
    # Health's own reads are made once a second for all who ask.
    cache.set("health_inputs", health_inputs(), 60)
    with CaptureQueriesContext(connection) as captured:
        render_board(ALL_RIGHTS)
    return len(captured)


def test_the_number_of_queries_does_not_grow_with_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a slow machine a count may seem dear, and be kept.
    monkeypatch.setattr(kept, "DEAR_SECONDS", 3600.0)
    opened("BTCUSDT")
    one = queries_of_a_board()
    for number in range(12):
        opened(f"C{number}USDT", Direction.SHORT)
        builders.closed_trade(builders.approved(symbol=f"D{number}USDT", received_at=timezone.now()))

    assert queries_of_a_board() == one
    assert one == 13


# How it reaches a viewer


class Sequence:
    """A cursor and a renderer that a test moves by hand."""

    def __init__(self) -> None:
        self.cursor = 1
        self.rendered: list[frozenset[str]] = []

    def render(self, rights: frozenset[str]) -> str:
        self.rendered.append(rights)
        return f"<p>{self.cursor}</p>"

    def newest(self) -> int | None:
        return self.cursor


@pytest.fixture
def sequence(monkeypatch: pytest.MonkeyPatch) -> Sequence:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(live, "FRESH_SECONDS", 3600.0)
    monkeypatch.setattr(live, "WAIT_SECONDS", 0.05)
    return Sequence()


@pytest.fixture
def board(sequence: Sequence) -> Board:
    return Board(render=sequence.render, cursor=sequence.newest, most_streams=3)


def next_board(events: Iterator[bytes]) -> bytes:
    return next(each for each in events if each.startswith(b"event: board"))


@pytest.mark.real_pauses
def test_all_viewers_with_the_same_rights_get_what_was_rendered_once(board: Board, sequence: Sequence) -> None:
    viewers = [board.subscribe(ALL_RIGHTS) for _ in range(3)]
    assert None not in viewers
    first = [next_board(each) for each in viewers if each]
    sequence.cursor = 2
    second = [next_board(each) for each in viewers if each]

    assert (first, second) == ([as_event("board", "<p>1</p>")] * 3, [as_event("board", "<p>2</p>")] * 3)
    assert sequence.rendered == [ALL_RIGHTS] * 2
    # It should turn away who comes beyond the bound, and take in again when one leaves.
    assert board.subscribe(ALL_RIGHTS) is None
    for viewer in viewers:
        if viewer:
            viewer.close()
            viewer.close()
    assert board.streams == 0
    late = board.subscribe(ALL_RIGHTS)
    assert late is not None
    assert next_board(late) == as_event("board", "<p>2</p>")
    late.close()


@pytest.mark.real_pauses
def test_a_viewer_without_news_gets_signs_of_life_and_an_end(
    board: Board, sequence: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STREAM_SECONDS", 0.5)
    viewer = board.subscribe(ALL_RIGHTS)
    assert viewer is not None

    events = list(viewer)

    assert (events[0], events.count(as_event("board", "<p>1</p>"))) == (b"retry: 1000\n\n", 1)
    assert events[-1] == b": alive\n\n"
    assert (board.streams, sequence.rendered) == (0, [ALL_RIGHTS])


@pytest.mark.real_pauses
def test_streams_end_when_the_process_is_to_end(board: Board) -> None:
    viewer = board.subscribe(ALL_RIGHTS)
    assert viewer is not None
    next_board(viewer)
    STOPPING.set()
    try:
        assert list(viewer) == []
    finally:
        STOPPING.clear()
    assert board.streams == 0


@pytest.mark.real_pauses
def test_viewers_of_other_rights_get_boards_of_their_own(board: Board, sequence: Sequence) -> None:
    few = frozenset({"execution.view_trade"})
    first, second = board.subscribe(ALL_RIGHTS), board.subscribe(few)
    assert first is not None
    assert second is not None
    next_board(first)
    next_board(second)

    assert sorted(sequence.rendered, key=len) == [few, ALL_RIGHTS]
    first.close()
    second.close()


def test_polling_pages_share_a_board_for_a_moment(
    board: Board, sequence: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([10.0, 10.1, 11.0, 11.0])
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.4)
    board.monotonic = lambda: next(seconds)

    assert [board.html(ALL_RIGHTS) for _ in range(3)] == ["<p>1</p>"] * 3
    assert len(sequence.rendered) == 2


def test_an_event_has_no_line_without_its_field() -> None:
    assert as_event("board", "<p>\n\n   a\n</p>\n") == b"event: board\ndata: <p>\ndata: a\ndata: </p>\n\n"


@pytest.mark.django_db(transaction=True)
def test_a_stream_shows_a_change_within_a_second(operator: Client) -> None:
    answer = operator.get("/dashboard/stream")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    events = iter(answer)
    assert b"Open positions: 0" in next_board(events)

    opened()
    builders.outbox_event(event_type="trade.opened")
    at = datetime.now(UTC)

    while b"Open positions: 1" not in next_board(events):
        pass
    assert datetime.now(UTC) - at < timedelta(seconds=1)
    answer.close()
    eventually(lambda: views.BOARD.streams == 0, within=5, what="the stream has ended")


def test_a_page_beyond_the_bound_is_answered_204_and_polls(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "BOARD", Board(render=render_board, cursor=lambda: None, most_streams=0))

    assert operator.get("/dashboard/stream").status_code == 204
    assert "Open positions: 0" in Words(operator.get("/dashboard/board").content.decode()).text
