"""Execution quality: shortfalls in USD, summed by group, and the trades that have cost most."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from django.db.models import Count, DecimalField, F, Q, QuerySet, Sum

from execution.domain.money import ZERO
from execution.domain.quote_index import in_usd
from execution.domain.shortfall import in_basis_points
from execution.models import Shortfall
from execution.models.shortfall import PARTS

WORST = 10
# Groups of one kind; the smallest turnovers are left out beyond.
MOST_GROUPS = 200
MONEY: "DecimalField[Decimal, Decimal]" = DecimalField(max_digits=60, decimal_places=36)


class GroupedBy(StrEnum):
    """Columns by which shortfalls are summed."""

    STRATEGY = "strategy"
    SYMBOL = "symbol"
    HOUR = "hour"
    ORDER_TYPE = "order_type"
    SIZE = "size"
    SIDE = "side"

    @property
    def column(self) -> str:
        """The column of the table."""
        return "direction" if self is GroupedBy.SIDE else self.value


@dataclass(frozen=True, kw_only=True)
class QualityFilter:
    """Which trades: closed from `since` on and before `until`, aware times."""

    since: datetime
    until: datetime
    symbol: str = ""
    strategy: str = ""

    def rows(self) -> QuerySet[Shortfall, Shortfall]:
        """Return the rows that match."""
        found = Shortfall.objects.filter(closed_at__gte=self.since, closed_at__lt=self.until)
        found = found.filter(symbol=self.symbol) if self.symbol else found
        return found.filter(strategy=self.strategy) if self.strategy else found


@dataclass(frozen=True, kw_only=True)
class QualitySums:
    """Sums in USD over the trades whose shortfall and index are known. `parts` add up to `total` exactly.

    A part is None where no trade knows it. `unknown`: trades that are in no sum, for want of a benchmark or of a value.
    """

    key: str
    trades: int
    unknown: int
    notional_usd: Decimal
    total_usd: Decimal
    parts: Mapping[str, Decimal | None]

    @property
    def basis_points(self) -> Decimal | None:
        return in_basis_points(self.total_usd, self.notional_usd)


@dataclass(frozen=True, kw_only=True)
class TradeCost:
    """One trade's shortfall, in its quote asset and in USD."""

    row: Shortfall

    @property
    def trade_id(self) -> UUID:
        pk: UUID = self.row.pk
        return pk

    @property
    def total_usd(self) -> Decimal | None:
        return in_usd(self.row.total, self.row.quote_index)

    @property
    def basis_points(self) -> Decimal | None:
        total = self.total_usd
        return in_basis_points(total, self.row.notional_usd or ZERO)

    @property
    def parts(self) -> Mapping[str, Decimal | None]:
        """The parts in the quote asset, which add up to the total."""
        return {name: self.row.part(name) for name in PARTS}


def quality_total(asked: QualityFilter) -> QualitySums:
    """Return the sums over all trades: one statement."""
    return _sums("", asked.rows().aggregate(**_columns()))


def quality_groups(asked: QualityFilter, by: GroupedBy) -> list[QualitySums]:
    """Return the sums of each group, the largest turnover first: one statement."""
    grouped = asked.rows().values(by.column).annotate(**_columns())
    rows = list(grouped.order_by(F("turnover").desc(nulls_last=True), by.column)[:MOST_GROUPS])
    return [_sums(str(row[by.column]), row) for row in rows]


def worst_trades(asked: QualityFilter) -> list[TradeCost]:
    """Return the trades that have cost most in USD."""
    known = (
        asked.rows()
        .select_related("trade")
        .filter(_counted())
        .annotate(cost=F("total") * F("quote_index"))
        .order_by("-cost", "pk")
    )
    return [TradeCost(row=row) for row in known[:WORST]]


def each_trade(asked: QualityFilter, *, most: int) -> Iterator[TradeCost]:
    """Yield trade by trade, newest first, at most so many, in constant memory."""
    for row in asked.rows().order_by("-closed_at", "pk")[:most].iterator(chunk_size=1000):
        yield TradeCost(row=row)


def _counted() -> Q:
    return Q(total__isnull=False, quote_index__isnull=False, complete=True)


def _columns() -> dict[str, Sum | Count]:
    counted = _counted()
    sums = {name: Sum(F(name) * F("quote_index"), filter=counted, output_field=MONEY) for name in ("total", *PARTS)}
    return {
        "trades": Count("pk"),
        "counted": Count("pk", filter=counted),
        "turnover": Sum("notional_usd", filter=counted),
        **{f"sum_{name}": each for name, each in sums.items()},
    }


def _sums(key: str, row: Mapping[str, object]) -> QualitySums:
    def number(name: str) -> int:
        return int(str(row[name]))

    def amount(name: str) -> Decimal | None:
        found = row[name]
        return found if isinstance(found, Decimal) else None

    return QualitySums(
        key=key,
        trades=number("trades"),
        unknown=number("trades") - number("counted"),
        notional_usd=amount("turnover") or ZERO,
        total_usd=amount("sum_total") or ZERO,
        parts={name: amount(f"sum_{name}") for name in PARTS},
    )
