"""Lists of large tables: what was typed is recognised, every search and filter goes by an index, counts are bounded."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from execution.admin import lookups
from execution.admin.lookups import EstimatedPaginator, LargeTableAdmin
from execution.domain.typed_ids import TypedId, ids_beginning_with, recognise
from execution.models import AuditEvent, ExecutionRequest, Fill, Order, OutboxEvent, Trade
from tests.support.history import make_history

pytestmark = pytest.mark.django_db

TRADES = 4000
MODELS = (ExecutionRequest, Trade, Order, Fill, AuditEvent, OutboxEvent)


@pytest.fixture(scope="module")
def history(django_db_setup: None, django_db_blocker: Any) -> Any:  # noqa: ARG001 -- the database first
    """Some thousand trades for all tests of this module; each test's own transaction adds to them."""
    with django_db_blocker.unblock():
        make_history(TRADES)
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE execution_inboxevent, execution_outboxevent CASCADE")
            cursor.execute("ALTER TABLE execution_auditevent DISABLE TRIGGER USER")
            cursor.execute("DELETE FROM execution_auditevent")
            cursor.execute("ALTER TABLE execution_auditevent ENABLE TRIGGER USER")


@pytest.fixture
def admin_client(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password=None))
    return client


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11", TypedId.ID),
        ("0B0E4B06", TypedId.ID),
        ("es1-eabcdefghijklmnopqrstuvwxyz-1", TypedId.CLIENT_ORDER_ID),
        ("8000000017", TypedId.NUMBER),
        ("btcusdt", TypedId.SYMBOL),
        ("BTCUSDT_260327", TypedId.SYMBOL),
        ("我踏马来了USDT", TypedId.SYMBOL),
        ("%", TypedId.OTHER),
        ("trace:1", TypedId.OTHER),
    ],
)
def test_what_was_typed_is_recognised(word: str, kind: TypedId) -> None:
    assert recognise(word) is kind


def test_the_first_digits_stand_for_all_ids_that_begin_so() -> None:
    first, last = ids_beginning_with("0B0E4B06-3c")

    assert (str(first), str(last)) == ("0b0e4b06-3c00-0000-0000-000000000000", "0b0e4b06-3cff-ffff-ffff-ffffffffffff")


def tables_read_whole(rows: "QuerySet[Any]") -> set[str]:
    """Return the large tables that a list's page scans: its rows with all that the list joins, in its order.

    What the history leaves empty is rightly scanned.
    """
    scanned = set(re.findall(r"Seq Scan on (\w+)", rows[:50].explain()))
    return scanned & {model._meta.db_table for model in MODELS}


def shown(model: type[Any], query: dict[str, str]) -> "QuerySet[Any]":
    """Return the rows of a list as the admin asks for them."""
    request = RequestFactory().get("/", query)
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    page = admin.site.get_model_admin(model)
    found: QuerySet[Any] = page.get_changelist_instance(request).queryset
    return found


def words_of(model: type[Any]) -> list[str]:
    order = Order.objects.filter(purpose="ENTRY").order_by("pk")[17]
    fill = Fill.objects.order_by("pk")[99]
    words = {
        TypedId.ID: str(order.request_id),
        TypedId.CLIENT_ORDER_ID: order.client_order_id,
        TypedId.NUMBER: order.exchange_order_id,
        TypedId.SYMBOL: "ethusdc",
    }
    page: Any = admin.site.get_model_admin(model)
    typed = [words[kind] for kind in page.searches if kind in words]
    return [*typed, str(fill.exchange_trade_id)] if model in {Fill, Trade} else typed


@pytest.mark.parametrize("model", MODELS)
def test_every_list_and_search_goes_by_an_index_and_finds(history: None, model: type[Any]) -> None:  # noqa: ARG001
    assert tables_read_whole(shown(model, {})) == set()
    for word in words_of(model):
        found = shown(model, {"q": word})
        if not (model is AuditEvent and word.startswith("es1-")):
            assert found.exists(), word
        assert tables_read_whole(found) == set(), word


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (Trade, {"state": "OPEN"}),
        (Trade, {"state": "WRITTEN_OFF"}),
        (Trade, {"close_reason": "LIQUIDATION"}),
        (Trade, {"close_reason": "SL"}),
        (ExecutionRequest, {"state": "EXPIRED"}),
        (ExecutionRequest, {"source": "external"}),
        (ExecutionRequest, {"reason_code": "SLIPPAGE_TOO_HIGH"}),
        (Order, {"state": "UNKNOWN"}),
        (Order, {"state": "REJECTED"}),
        (Order, {"purpose": "CLOSE"}),
        (Order, {"alarmed_at__isempty": "0"}),
    ],
)
def test_a_filter_for_what_is_rare_reads_no_whole_table(history: None, model: type[Any], query: dict[str, str]) -> None:  # noqa: ARG001
    assert tables_read_whole(shown(model, query)) == set()


def test_no_filter_of_a_large_table_reads_its_words_from_the_table(history: None, admin_client: Client) -> None:  # noqa: ARG001
    for model in MODELS:
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(reverse(f"admin:execution_{model._meta.model_name}_changelist")).status_code == 200
        assert [query["sql"] for query in queries if "DISTINCT" in query["sql"]] == []


def test_a_word_that_nothing_is_looked_up_by_finds_nothing_and_explains_itself(
    history: None,  # noqa: ARG001
    admin_client: Client,
) -> None:
    page = admin_client.get(reverse("admin:execution_trade_changelist"), {"q": "100% sure"}).content.decode()

    assert "none of what this table is searched by" in page
    assert shown(Order, {"q": "zz"}).count() == 0


def test_counts_are_exact_up_to_a_bound_and_estimated_above(history: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    rows = Trade.objects.order_by("-entry_at")
    assert EstimatedPaginator(rows, 50).count == TRADES

    monkeypatch.setattr(lookups, "COUNTED", 100)
    with CaptureQueriesContext(connection) as queries:
        pages = EstimatedPaginator(rows, 50)
        assert TRADES * 0.8 < pages.count < TRADES * 1.2
    assert "LIMIT 101" in queries[0]["sql"]

    # It should not lead to a page that reads everything before it.
    monkeypatch.setattr(lookups, "MOST_PAGES", 7)
    assert EstimatedPaginator(rows, 50).num_pages == 7


def test_only_what_an_index_sorts_can_be_sorted() -> None:
    for model in MODELS:
        page: Any = admin.site.get_model_admin(model)
        assert isinstance(page, LargeTableAdmin)
        assert set(page.sortable_by) <= {"entry_at", "received_at", "filled_at", "at"}
