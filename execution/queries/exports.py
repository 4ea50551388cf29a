"""The books as tables for other programs, and a tax file.

Rows come from a cursor of the server, so that memory does not grow with their number. The order is that of the books.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from django.db.models import (
    BigAutoField,
    BooleanField,
    DateTimeField,
    DecimalField,
    Field,
    IntegerField,
    Model,
    QuerySet,
)

from execution.domain.equity import WalletPart, part_of
from execution.domain.money import plain
from execution.models import AccountIncome, ExecutionRequest, Fill, Income, Order, OutboxEvent, Trade

# Rows that are in memory at a time.
CHUNK = 2000
Row = tuple[object, ...]


class ValueKind(StrEnum):
    """What the values of a column are. Everything else is text: ids, words, JSON."""

    NUMBER = "number"
    WHOLE = "whole"
    TRUTH = "truth"
    TIME = "time"
    TEXT = "text"


KINDS: "Mapping[type[Field[object, object]], ValueKind]" = {
    DecimalField: ValueKind.NUMBER,
    IntegerField: ValueKind.WHOLE,
    BigAutoField: ValueKind.WHOLE,
    BooleanField: ValueKind.TRUTH,
    DateTimeField: ValueKind.TIME,
}


@dataclass(frozen=True, kw_only=True)
class ExportColumn:
    """A column of a file: its name, and what its values are."""

    name: str
    kind: ValueKind


class FilterError(ValueError):
    """A choice that does not fit a table. `name` is the parameter."""

    def __init__(self, name: str, table: str) -> None:
        super().__init__(f"{table} cannot be filtered by {name}" if name != "format" else f"{table} is CSV")
        self.name = name


@dataclass(frozen=True, kw_only=True)
class ExportFilter:
    """Which rows: from `since` on and before `until`, aware times.

    An empty word or None means all.
    """

    since: datetime | None = None
    until: datetime | None = None
    symbol: str = ""
    strategy: str = ""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A table that can be exported.

    `time`, `symbol` and `strategy` are the ways to what it is filtered by, empty where there is none. `further`: ways
    to columns of other tables.
    """

    model: type[Model]
    time: str
    order: Sequence[str]
    symbol: str = ""
    strategy: str = ""
    further: Mapping[str, str]

    def columns(self) -> list[ExportColumn]:
        """Return the columns of the file, in order: all of the table, then those of other tables."""
        own = [ExportColumn(name=field.attname, kind=kind_of(field)) for field in self.model._meta.concrete_fields]
        return [*own, *(ExportColumn(name=name, kind=ValueKind.TEXT) for name in self.further)]

    def rows(self, which: ExportFilter) -> "QuerySet[Model, Row]":
        """Return the rows that match, each with the values of `columns()`.

        Raises:
            FilterError: the table has no such column.

        """
        conditions: dict[str, object] = {}
        for name, way in (("symbol", self.symbol), ("strategy", self.strategy)):
            word = getattr(which, name)
            if word and not way:
                raise FilterError(name, str(self.model._meta.verbose_name_plural))
            if word:
                conditions[way] = word
        if which.since:
            conditions[f"{self.time}__gte"] = which.since
        if which.until:
            conditions[f"{self.time}__lt"] = which.until
        names = [*(field.attname for field in self.model._meta.concrete_fields), *self.further.values()]
        found: QuerySet[Model, Row] = (
            QuerySet(self.model).filter(**conditions).order_by(*self.order).values_list(*names)
        )
        return found


def kind_of(field: "Field[object, object]") -> ValueKind:
    """Return what the values of a table's column are."""
    return next((kind for each, kind in KINDS.items() if isinstance(field, each)), ValueKind.TEXT)


OF_TRADE = {"symbol": "trade__symbol", "strategy": "trade__request__strategy"}
DATASETS: Mapping[str, Dataset] = {
    "trades": Dataset(
        model=Trade,
        time="entry_at",
        order=("entry_at", "id"),
        symbol="symbol",
        strategy="request__strategy",
        further={"source": "request__source", "model": "request__model", "strategy": "request__strategy"},
    ),
    "orders": Dataset(
        model=Order,
        time="created_at",
        order=("id",),
        symbol="symbol",
        strategy="request__strategy",
        further={"strategy": "request__strategy"},
    ),
    "fills": Dataset(
        model=Fill,
        time="filled_at",
        order=("id",),
        symbol="symbol",
        strategy="trade__request__strategy",
        further={"client_order_id": "order__client_order_id", "strategy": "trade__request__strategy"},
    ),
    "income": Dataset(
        model=Income,
        time="at",
        order=("id",),
        symbol=OF_TRADE["symbol"],
        strategy=OF_TRADE["strategy"],
        further=OF_TRADE,
    ),
    "account-income": Dataset(model=AccountIncome, time="at", order=("id",), symbol="symbol", further={}),
    "decisions": Dataset(
        model=ExecutionRequest,
        time="received_at",
        order=("received_at", "id"),
        symbol="symbol",
        strategy="strategy",
        further={},
    ),
    "events": Dataset(model=OutboxEvent, time="created_at", order=("id",), further={}),
}


def exported(name: str, which: ExportFilter, *, most: int | None = None) -> Iterator[Row]:
    """Yield the rows of a table, at most so many.

    Raises:
        FilterError: the table cannot be filtered so.

    """
    rows = DATASETS[name].rows(which)
    return (rows[:most] if most else rows).iterator(chunk_size=CHUNK)


def has_more_than(name: str, which: ExportFilter, most: int) -> bool:
    """Whether more rows match than `most`."""
    return DATASETS[name].rows(which)[most : most + 1].exists()


# Taxes

# The columns of Koinly's universal file.
KOINLY = (
    *("Date", "Sent Amount", "Sent Currency", "Received Amount", "Received Currency", "Fee Amount", "Fee Currency"),
    *("Net Worth Amount", "Net Worth Currency", "Label", "Description", "TxHash"),
)
GAIN, COST = "realized gain", "margin fee"


@dataclass(frozen=True, kw_only=True)
class TaxLine:
    """One change of the wallet: negative amounts were paid. `label` is Koinly's, empty for a transfer."""

    at: datetime
    amount: Decimal
    asset: str
    label: str
    description: str
    reference: str

    def cells(self) -> list[str]:
        """Return the line in Koinly's columns."""
        amount = plain(abs(self.amount))
        sent, received = (("", ""), (amount, self.asset)) if self.amount > 0 else ((amount, self.asset), ("", ""))
        when = self.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return [when, *sent, *received, "", "", "", "", self.label, self.description, self.reference]


def tax_lines(which: ExportFilter) -> Iterator[TaxLine]:
    """Yield results, fees, funding and transfers in the order of their times."""
    lines = (_of_fills(which), _of_income(which), _of_transfers(which))
    return (line for line in heapq.merge(*lines, key=lambda line: line.at) if line.amount)


def _of_fills(which: ExportFilter) -> Iterator[TaxLine]:
    columns = ("filled_at", "symbol", "exchange_trade_id", "realized_pnl", "pnl_asset", "trade__quote_asset")
    rows = DATASETS["fills"].rows(which).order_by("filled_at", "id")
    for at, symbol, number, realized, asset, quote, commission, fee_asset in _stream(
        rows.values_list(*columns, "commission", "commission_asset")
    ):
        reference = f"fill:{symbol}:{number}"
        yield _line(at, realized, asset or quote, GAIN, f"{symbol} result", f"{reference}:result")
        yield _line(at, -Decimal(str(commission)), fee_asset, COST, f"{symbol} fee", f"{reference}:fee")


def _of_income(which: ExportFilter) -> Iterator[TaxLine]:
    rows = DATASETS["income"].rows(which).order_by("at", "id")
    for at, amount, asset, kind, symbol, number, trade in _stream(
        rows.values_list("at", "amount", "asset", "kind", "trade__symbol", "transaction_id", "trade_id")
    ):
        label = GAIN if Decimal(str(amount)) > 0 else COST
        yield _line(at, amount, asset, label, f"{symbol} {kind}", f"income:{kind}:{number}:{trade}")


def _of_transfers(which: ExportFilter) -> Iterator[TaxLine]:
    """Yield deposits and withdrawals, unless trades of one symbol or strategy were asked for."""
    if which.symbol or which.strategy:
        return
    rows = DATASETS["account-income"].rows(which).order_by("at", "id")
    for at, amount, asset, kind, number in _stream(rows.values_list("at", "amount", "asset", "kind", "transaction_id")):
        if part_of(str(kind)) is WalletPart.TRANSFERS:
            yield _line(at, amount, asset, "", str(kind), f"income:{kind}:{number}")


def _stream(rows: "QuerySet[Model, Row]") -> Iterable[Row]:
    return rows.iterator(chunk_size=CHUNK)


def _line(at: object, amount: object, asset: object, label: str, description: str, reference: str) -> TaxLine:
    if not isinstance(at, datetime) or not isinstance(amount, Decimal):
        raise TypeError(f"{reference}: a line without time or amount")
    return TaxLine(at=at, amount=amount, asset=str(asset), label=label, description=description, reference=reference)
