"""Exports: what is read back from a file equals the books to the last digit, and no cell becomes a formula."""

import csv
import importlib
import io
import json
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from execution.domain.money import plain
from execution.models import AccountIncome, Fill, Income, OutboxEvent, Trade
from execution.queries import downloads
from execution.queries.exports import DATASETS, KOINLY, Dataset, ExportFilter, ValueKind, exported
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db

D = Decimal
HOUR = timedelta(hours=1)
URL = "/api/execution/exports"
FINEST = D("0.000000000000000001")


@pytest.fixture
def books() -> Trade:
    """Two trades with everything, a decision that became none, and texts that try to be formulas."""
    first = builders.closed_trade(
        builders.approved(strategy="=1+1", metadata={"why": '"quoted", and\nbroken', "n": 1.5}),
        entry_price=D("50000.000000000000000001"),
        net_pnl=-FINEST,
    )
    second = builders.closed_trade(
        builders.approved(symbol="我踏马来了USDT", strategy="breakout", received_at=NOW + HOUR),
        symbol="我踏马来了USDT",
        entry_at=NOW + HOUR,
    )
    for trade in (first, second):
        entry = builders.order(trade.request)
        builders.fill(trade, order=entry, commission=D("0.00001234"), commission_asset="BNB")
        builders.fill(trade, entry=False)
        Income.objects.create(
            trade=trade, kind="FUNDING_FEE", transaction_id="7", amount=D("-0.5"), asset="USDT", at=NOW + HOUR / 2
        )
        builders.outbox_event(aggregate=str(trade.pk))
    for kind, amount in (("TRANSFER", "500"), ("COMMISSION", "-1")):
        AccountIncome.objects.create(kind=kind, transaction_id="1", symbol="", amount=D(amount), asset="USDT", at=NOW)
    return first


def stored(table: Dataset, row: Model, name: str) -> object:
    """Return the value of a column as the database has it, by its way over other tables where it has one."""
    value: object = row
    for step in table.further.get(name, name).split("__"):
        value = getattr(value, step) if value is not None else None
    return value


def read_back(kind: ValueKind, text: str | None) -> object:
    if text in {None, ""}:
        return None
    readers: dict[ValueKind, Any] = {
        ValueKind.NUMBER: D,
        ValueKind.WHOLE: int,
        ValueKind.TIME: datetime.fromisoformat,
        ValueKind.TRUTH: lambda each: each in {"true", True},
        ValueKind.TEXT: str,
    }
    return readers[kind](text)


def same(kind: ValueKind, value: object, *, csv_cell: bool = False) -> object:
    """Return a stored value as a reader of the file should see it."""
    if value in {None, ""} if not isinstance(value, dict | list) else False:
        return None
    if kind is not ValueKind.TEXT:
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = str(value)
    return f"'{text}" if csv_cell and text.startswith(("=", "+", "-", "@")) else text


def in_order(table: Dataset) -> list[Model]:
    return list(table.model._default_manager.order_by(*table.order))


@pytest.mark.parametrize("name", DATASETS)
def test_csv_reads_back_as_the_books(books: Trade, client: Client, name: str) -> None:  # noqa: ARG001
    table = DATASETS[name]
    answer = client.get(f"{URL}/{name}")
    content: Any = answer.streaming_content  # type: ignore[attr-defined]  # of a streamed answer
    rows = list(csv.DictReader(io.StringIO(b"".join(content).decode(), newline="")))

    kept = in_order(table)
    assert len(rows) == len(kept) > 0
    for row, cells in zip(kept, rows, strict=True):
        for column in table.columns():
            found = read_back(column.kind, cells[column.name])
            assert found == same(column.kind, stored(table, row, column.name), csv_cell=True), column


@pytest.mark.parametrize("name", DATASETS)
def test_json_lines_read_back_as_the_books(books: Trade, client: Client, name: str) -> None:  # noqa: ARG001
    table = DATASETS[name]
    answer = client.get(f"{URL}/{name}", {"format": "jsonl"})
    content: Any = answer.streaming_content  # type: ignore[attr-defined]  # of a streamed answer
    lines = b"".join(content).decode().splitlines()

    for row, line in zip(in_order(table), lines, strict=True):
        values = json.loads(line)
        for column in table.columns():
            value, found = stored(table, row, column.name), values[column.name]
            if isinstance(value, dict | list):
                assert found == value
            else:
                # An empty text stays one here.
                assert (read_back(column.kind, found) if found != "" else None) == same(column.kind, value), column


@pytest.mark.parametrize("name", DATASETS)
def test_parquet_reads_back_as_the_books(books: Trade, tmp_path: Path, name: str) -> None:  # noqa: ARG001
    parquet = pytest.importorskip("pyarrow.parquet")
    table, path = DATASETS[name], tmp_path / f"{name}.parquet"
    call_command("export", name, output=str(path), stdout=io.StringIO())

    rows = parquet.read_table(path).to_pylist()
    kept = in_order(table)
    assert len(rows) == len(kept) > 0
    for row, values in zip(kept, rows, strict=True):
        for column in table.columns():
            found = values[column.name]
            assert (found if found != "" else None) == same(column.kind, stored(table, row, column.name)), column


def test_without_pyarrow_the_command_is_named(books: Trade, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    answer = client.get(f"{URL}/trades", {"format": "parquet"})
    assert answer.status_code == 400
    assert "pip install '.[reports]'" in answer.json()["errors"]["format"][0]
    with pytest.raises(CommandError, match=r"pip install '\.\[reports\]'"):
        call_command("export", "trades", output="unwritten.parquet")
    Path("unwritten.parquet").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("name", "asked", "number"),
    [
        ("trades", {"symbol": "btcusdt"}, 1),
        ("fills", {"symbol": "BTCUSDT"}, 2),
        ("orders", {"strategy": "breakout"}, 1),
        ("income", {"strategy": "breakout"}, 1),
        ("decisions", {"from": (NOW + HOUR / 2).isoformat()}, 1),
        ("trades", {"to": NOW.isoformat()}, 0),
        ("fills", {"from": NOW.isoformat(), "to": (NOW + HOUR).isoformat()}, 1),
        ("events", {"from": (NOW - HOUR).isoformat()}, 2),
        ("account-income", {}, 2),
    ],
)
def test_filters(books: Trade, client: Client, name: str, asked: dict[str, str], number: int) -> None:  # noqa: ARG001
    answer = client.get(f"{URL}/{name}", {**asked, "format": "jsonl"})

    content: Any = answer.streaming_content  # type: ignore[attr-defined]  # of a streamed answer
    assert len(b"".join(content).decode().splitlines()) == number


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("events?symbol=BTCUSDT", "symbol"),
        ("account-income?strategy=a", "strategy"),
        ("trades?format=xlsx", "format"),
        ("trades?from=x", "from"),
        ("trades?limit=1", "limit"),
        ("tax?format=jsonl", "format"),
    ],
)
def test_what_cannot_be_exported_so_is_an_error(client: Client, path: str, parameter: str) -> None:
    answer = client.get(f"{URL}/{path}")

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [parameter])


def test_a_table_that_does_not_exist_is_not_found(client: Client) -> None:
    assert client.get(f"{URL}/secrets").status_code == 404


def test_a_file_that_is_too_large_for_a_request_names_the_command(
    books: Trade,  # noqa: ARG001
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downloads, "MOST_ROWS", 3)

    answer = client.get(f"{URL}/fills")

    assert answer.status_code == 400
    assert "manage.py export fills" in answer.json()["errors"]["from"][0]
    assert client.get(f"{URL}/trades").status_code == 200


def test_the_command_writes_what_the_address_answers(books: Trade, client: Client, tmp_path: Path) -> None:  # noqa: ARG001
    path = tmp_path / "decisions.csv"
    call_command("export", "decisions", output=str(path), symbol="btcusdt", stdout=io.StringIO())

    content: Any = client.get(f"{URL}/decisions", {"symbol": "BTCUSDT"}).streaming_content  # type: ignore[attr-defined]  # as above
    assert path.read_bytes() == b"".join(content)


@pytest.mark.parametrize("refused", [("events", {"symbol": "BTCUSDT"}), ("tax", {"format": "jsonl"})])
def test_the_command_refuses_what_does_not_fit(refused: tuple[str, dict[str, str]]) -> None:
    with pytest.raises(CommandError, match=r"cannot be filtered by symbol|The tax file is CSV"):
        call_command("export", refused[0], **refused[1])


# Taxes


def test_the_tax_file_has_koinly_s_columns_and_every_change_of_the_wallet(books: Trade, client: Client) -> None:
    Fill.objects.filter(trade=books, entry=False).update(realized_pnl=D("-4"))
    content: Any = client.get(f"{URL}/tax").streaming_content  # type: ignore[attr-defined]  # of a streamed answer
    rows = list(csv.DictReader(io.StringIO(b"".join(content).decode(), newline="")))

    assert list(rows[0]) == list(KOINLY)
    changes = [
        (
            row["Date"],
            row["Sent Amount"] and f"-{row['Sent Amount']} {row['Sent Currency']}",
            row["Received Amount"] and f"{row['Received Amount']} {row['Received Currency']}",
            row["Label"],
        )
        for row in rows
    ]
    assert changes == [
        ("2026-03-02 09:30:00 UTC", "-0.00001234 BNB", "", "margin fee"),
        ("2026-03-02 09:30:00 UTC", "", "500 USDT", ""),
        ("2026-03-02 10:00:00 UTC", "-0.5 USDT", "", "margin fee"),
        ("2026-03-02 10:00:00 UTC", "-0.5 USDT", "", "margin fee"),
        ("2026-03-02 10:30:00 UTC", "-4 USDT", "", "realized gain"),
        ("2026-03-02 10:30:00 UTC", "-0.04 USDT", "", "margin fee"),
        ("2026-03-02 10:30:00 UTC", "-0.00001234 BNB", "", "margin fee"),
        ("2026-03-02 11:30:00 UTC", "", "4 USDT", "realized gain"),
        ("2026-03-02 11:30:00 UTC", "-0.04 USDT", "", "margin fee"),
    ]
    # Each line has an identity of its own, so that a second import changes nothing.
    assert len({row["TxHash"] for row in rows}) == len(rows)


def test_the_tax_file_of_one_strategy_has_no_transfers(books: Trade, client: Client) -> None:  # noqa: ARG001
    content: Any = client.get(f"{URL}/tax", {"strategy": "breakout"}).streaming_content  # type: ignore[attr-defined]  # as above
    text = b"".join(content).decode()

    assert text.count("\r\n") == 1 + 4
    assert "TRANSFER" not in text


# The admin


def test_the_page_hands_out_files_and_shows_what_does_not_fit(books: Trade, client: Client) -> None:  # noqa: ARG001
    client.force_login(User.objects.create_superuser("admin", password=None))
    page = reverse("admin:execution_trade_export")

    assert client.get(page).status_code == 200
    answer = client.get(page, {"table": "trades", "format": "csv", "begin": NOW.isoformat(), "symbol": "BTCUSDT"})
    assert answer["Content-Disposition"] == 'attachment; filename="trades.csv"'
    wrong = client.get(page, {"table": "events", "format": "csv", "symbol": "BTCUSDT"}).content.decode()
    assert "cannot be filtered by symbol" in wrong


def test_the_page_asks_for_the_permission_of_the_table(books: Trade, client: Client) -> None:  # noqa: ARG001
    reader = User.objects.create_user("reader", password=None, is_staff=True)
    client.force_login(reader)
    page = reverse("admin:execution_trade_export")
    assert client.get(page).status_code == 403

    reader.user_permissions.add(Permission.objects.get(codename="view_trade"))

    assert client.get(page, {"table": "trades", "format": "csv"}).status_code == 200
    assert client.get(page, {"table": "events", "format": "csv"}).status_code == 403


def test_a_name_of_a_column_is_that_of_the_table_and_stands_once() -> None:
    for name, table in DATASETS.items():
        names = [column.name for column in table.columns()]
        assert len(set(names)) == len(names), name
        assert list(exported(name, ExportFilter(symbol="" if not table.symbol else str(uuid.uuid4())))) == []
        assert OutboxEvent.objects.count() == 0


def test_amounts_have_no_exponent() -> None:
    assert plain(FINEST) == "0.000000000000000001"
