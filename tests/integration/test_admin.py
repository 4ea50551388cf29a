"""The admin: everything can be found and read, nothing changed, and a list costs the same however long it is."""

import io
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from execution import wiring
from execution.admin.kill_switch_page import MOVE as KILL_SWITCH
from execution.admin.replay_page import REPLAY
from execution.domain.trading import OrderPurpose
from execution.models import (
    AccountIncome,
    DeadLetter,
    EntryHold,
    EquityPoint,
    ExternalPosition,
    Income,
    IncomeReading,
    KillSwitch,
    Metric,
    ModelPromotion,
    OperatorAction,
    OutboxSequence,
    PolicyValue,
    PositionSlot,
    QuarantinedRow,
    SeenNonce,
    StreamLoss,
    StreamPosition,
    Trade,
    TradeChart,
    VenueBlock,
    Webhook,
)
from execution.store.journal_seal import seal_journal
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db

OURS = list(apps.get_app_config("execution").get_models())
PASSWORD = "a sentence that nobody guesses"


@pytest.fixture
def admin_client(client: Client) -> Client:
    """A signed-in superuser, without the half second that hashing a password takes."""
    client.force_login(User.objects.create_superuser("admin", password=None))
    return client


@pytest.fixture
def _quick_passwords(settings: LazySettings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def trade() -> Trade:
    """One row in every table, all about one trade."""
    trade = builders.closed_trade()
    request = trade.request
    entry = builders.order(request)
    builders.order(request, purpose=OrderPurpose.STOP)
    builders.fill(trade, order=entry)
    builders.position(trade)
    script = "<script>alert(1)</script>"
    builders.transition("request", request.pk, reason=script, details={"why": script})
    builders.transition("order", entry.client_order_id, to_state="FILLED", trigger="all_filled")
    builders.outbox_event()
    builders.ess()
    builders.heartbeat("monitor")
    builders.bracket(request)
    Income.objects.create(trade=trade, kind="FUNDING_FEE", transaction_id="7", amount=-1, asset="USDT", at=NOW)
    AccountIncome.objects.create(
        kind="FUNDING_FEE", transaction_id="7", symbol="BTCUSDT", amount=-1, asset="USDT", at=NOW
    )
    builders.shortfall(trade)
    EquityPoint.objects.create(at=NOW, wallet_usd=1, unrealized_usd=0, low_usd=1, high_usd=1, balances={"USDT": "1"})
    IncomeReading.objects.create(kind="FUNDING_FEE", covers_from=NOW, read_to=NOW, read_at=NOW)
    builders.told_fill(entry)
    TradeChart.objects.create(trade=trade, interval="1m", interval_seconds=60, candles=[], read_at=NOW)
    PositionSlot.objects.create(symbol="BTCUSDT", position_side="BOTH", request=request, claimed_at=NOW)
    KillSwitch.objects.create(level="halt", reason="drill", engaged_by="anna", engaged_at=NOW)
    DeadLetter.objects.create(stream="s", entry_id="1-0", reason="not JSON", size_bytes=1, received_at=NOW)
    PolicyValue.objects.create(key="risk.max_leverage", value=5, source="http", version=1, changed_at=NOW)
    ModelPromotion.objects.create(model="ensemble", new_version="v4", details={}, promoted_at=NOW, received_at=NOW)
    OutboxSequence.objects.create(aggregate="a", last=1)
    StreamPosition.objects.create(event_type="signal.execute", entry_id="7-0", entries_read=7, noted_at=NOW)
    StreamLoss.objects.create(event_type="signal.execute", after_id="7-0", before_id="9-0", entries=1, noticed_at=NOW)
    builders.lease(wiring.stack())
    VenueBlock.objects.create(scope="BTCUSDT", reason_code="SYMBOL_ENDS", sentence="", alarming=True, since=NOW)
    Metric.objects.create(name="repairs", kind="Cover", count=1)
    ExternalPosition.objects.create(
        symbol="BTCUSDT", position_side="BOTH", direction="LONG", quantity=1, entry_price=1, since=NOW, seen_at=NOW
    )
    QuarantinedRow.objects.create(
        table="execution_trade", row_id="7", problem="a time before year 1", first_seen_at=NOW, last_seen_at=NOW
    )
    SeenNonce.objects.create(key_id="ai-1", nonce="n" * 16, stream="s", entry_id="1-0", signed_at=NOW)
    OperatorAction.objects.create(
        verb="WRITE_OFF", subject=request.pk, symbol="BTCUSDT", by="anna", reason="lost", at=NOW
    )
    Webhook.objects.create(name="tv", token_sha256="0" * 64, verbs=["long"], created_at=NOW, created_by="anna")
    EntryHold.objects.create(scope="BTCUSDT", reason_code="POSITION_NOT_OURS", reason="", since=NOW, seen_at=NOW)
    # The chain has a head from here on, and a seal for each line.
    seal_journal()
    return trade


def address(model: type[Model], page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def test_every_table_of_ours_is_in_the_admin() -> None:
    assert [model for model in OURS if not admin.site.is_registered(model)] == []


@pytest.mark.parametrize("model", OURS)
def test_a_table_can_be_read_and_not_changed(admin_client: Client, trade: Trade, model: type[Model]) -> None:  # noqa: ARG001
    row = model._default_manager.first()
    assert row is not None
    assert admin_client.get(address(model, "changelist")).status_code == 200

    page = admin_client.get(address(model, "change", row.pk))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content

    # It should refuse to add, change or delete, also for a superuser.
    before = model._default_manager.count()
    assert admin_client.get(address(model, "add")).status_code == 403
    assert admin_client.post(address(model, "add"), {}).status_code == 403
    assert admin_client.post(address(model, "change", row.pk), {}).status_code == 403
    assert admin_client.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    bulk = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin_client.post(address(model, "changelist"), bulk)
    assert model._default_manager.count() == before


@pytest.mark.parametrize("model", OURS)
def test_every_search_and_filter_can_be_asked(admin_client: Client, trade: Trade, model: type[Model]) -> None:  # noqa: ARG001
    page = admin.site.get_model_admin(model)

    if page.search_fields:
        assert admin_client.get(address(model, "changelist"), {"q": "BTCUSDT"}).status_code == 200
    for each in page.list_filter:
        if isinstance(each, type) and issubclass(each, SimpleListFilter):
            (word, _), *_ = each(HttpRequest(), {}, model, page).lookup_choices
            answer = admin_client.get(address(model, "changelist"), {str(each.parameter_name): word})
            assert answer.status_code == 200
            # It should have filtered: an unknown filter makes the admin redirect to an error.
            assert "e=1" not in answer.request["QUERY_STRING"]


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("trade", "id"),
        ("trade", "symbol"),
        ("trade", "client_order_id"),
        ("executionrequest", "id"),
        ("executionrequest", "client_order_id"),
        ("order", "id"),
        ("order", "client_order_id"),
        ("fill", "client_order_id"),
    ],
)
def test_what_people_know_finds_the_row(admin_client: Client, trade: Trade, model: str, word: str) -> None:
    stranger = builders.closed_trade(symbol="ETHUSDT", entry_at=NOW + timedelta(hours=2))
    builders.fill(stranger, order=builders.order(stranger.request))
    order = trade.request.orders.get(purpose=OrderPurpose.ENTRY)
    known = {"id": str(trade.pk), "symbol": "btcusdt", "client_order_id": order.client_order_id}[word]

    answer = admin_client.get(address(apps.get_model("execution", model), "changelist"), {"q": known})

    found = answer.context["cl"].queryset
    assert found.exists()
    assert not found.filter(symbol="ETHUSDT").exists()


def test_a_request_shows_its_transitions_escaped(admin_client: Client, trade: Trade) -> None:
    page = admin_client.get(address(type(trade.request), "change", trade.request.pk)).content.decode()

    assert "all_filled" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize("model", OURS)
def test_a_list_costs_the_same_however_long_it_is(admin_client: Client, trade: Trade, model: type[Model]) -> None:  # noqa: ARG001
    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            admin_client.get(address(model, "changelist"))
        return len(asked)

    cost()
    short = cost()
    for hours in range(1, 6):
        each = builders.closed_trade(symbol=f"COIN{hours}USDT", entry_at=NOW + timedelta(hours=hours))
        builders.fill(each, order=builders.order(each.request))
        builders.position(each)
        builders.transition("trade", each.pk)
        builders.outbox_event()
        PositionSlot.objects.create(symbol=each.symbol, position_side="BOTH", request=each.request, claimed_at=NOW)

    assert cost() == short


class InlineScripts(HTMLParser):
    """Notes what of a page a policy without 'unsafe-inline' keeps from running."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.files = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [f"{tag} {name}" for name in given if name.startswith("on")]
        self.found += [
            f"{tag} {name}" for name, value in given.items() if (value or "").strip().startswith("javascript:")
        ]
        if tag == "script" and given.get("type") != "application/json":
            self.files += "src" in given
            self.found += [] if "src" in given else ["script"]


def admin_pages() -> list[str]:
    """Return the address of every page that a person can reach: lists, rows, histories, our own, and the sign-in's."""
    models: list[type[Model]] = [*OURS, User]
    rows = [(model, model._default_manager.first()) for model in models]
    pages = [address(model, "changelist") for model, _ in rows] + [reverse("admin:auth_user_add")]
    pages += [address(model, page, row.pk) for model, row in rows if row for page in ("change", "history")]
    pages += [
        reverse(f"admin:{name}", args=arguments)
        for name, arguments in (
            *(("index", []), ("login", []), ("password_change", []), ("password_change_done", []), ("logout", [])),
            *((REPLAY, [DeadLetter.objects.get().pk]), (KILL_SWITCH, []), ("app_list", ["execution"])),
            *(
                ("auth_group_changelist", []),
                ("auth_group_add", []),
                ("auth_user_password_change", [User.objects.get().pk]),
            ),
            ("auth_user_delete", [User.objects.get().pk]),
        )
    ]
    return pages


def test_no_page_has_a_script_in_it(admin_client: Client, trade: Trade) -> None:  # noqa: ARG001
    """The policy runs scripts of files only; what a newer theme writes into its pages would stand still."""
    pages = admin_pages()
    assert len(pages) > 60
    for page in pages:
        # Who has signed in already is led away from the sign-in.
        expected = 302 if page.endswith("/login/") else 200
        answer = admin_client.post(page) if page.endswith("logout/") else admin_client.get(page)
        assert answer.status_code == expected, page
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self' 'unsafe-eval'; script-src-attr 'none'" in policy
        assert "'unsafe-inline'" not in policy.partition("script-src")[2]
        scripts = InlineScripts(answer.content.decode())
        assert scripts.found == [], page
        assert scripts.files or expected == 302, page
        if page.endswith("logout/"):
            admin_client.force_login(User.objects.get())


def test_nobody_enters_without_a_password(client: Client) -> None:
    answer = client.get(reverse("admin:index"))

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.usefixtures("_quick_passwords")
def test_signing_in_from_another_site_is_refused() -> None:
    User.objects.create_superuser("admin", password=PASSWORD)
    browser = Client(enforce_csrf_checks=True)

    assert browser.post("/admin/login/", {"username": "admin", "password": PASSWORD}).status_code == 403


def ensure_admin(monkeypatch: pytest.MonkeyPatch, password: str) -> str:
    output = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    call_command("ensure_admin", "--username", "admin", "--password-stdin", stdout=output)
    return output.getvalue()


@pytest.mark.usefixtures("_quick_passwords")
def test_ensure_admin_makes_a_user_who_can_sign_in(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ensure_admin(monkeypatch, PASSWORD) == "Created admin.\n"
    assert client.login(username="admin", password=PASSWORD)
    assert client.get(reverse("admin:index")).status_code == 200

    # It should be safe to repeat, and leave the open session open.
    assert ensure_admin(monkeypatch, PASSWORD) == "Updated admin.\n"
    assert client.get(reverse("admin:index")).status_code == 200

    # It should give back rights that were taken, and set a new password.
    User.objects.update(is_superuser=False, is_active=False)
    ensure_admin(monkeypatch, PASSWORD + " either")
    assert client.login(username="admin", password=PASSWORD + " either")
    assert not client.login(username="admin", password=PASSWORD)
    assert User.objects.get().is_superuser


@pytest.mark.parametrize("password", ["", "short", "password123", "1234567890123"])
def test_ensure_admin_refuses_a_weak_password(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    with pytest.raises(CommandError):
        ensure_admin(monkeypatch, password)

    assert not User.objects.exists()
