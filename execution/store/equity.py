"""Statements on the equity history, and on the income that explains it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction

from execution.domain.equity import Parts, Resolution, WalletPart
from execution.models import AccountIncome, EquityPoint

# The last row of each span, with the least and the greatest equity in it, and up to where stored parts explain it.
SPANS = """
    WITH span AS (
        SELECT max(at) AS last, min(low_usd) AS low, max(high_usd) AS high,
            max(at) FILTER (WHERE parts IS NOT NULL) AS explained_to
        FROM execution_equitypoint WHERE at > %(after)s AND at < %(until)s
        GROUP BY {bucket} ORDER BY last LIMIT %(limit)s
    )
    SELECT point.at, point.balances::text, point.prices::text, point.wallet_usd, point.unrealized_usd, low, high,
        span.explained_to, point.unrealized::text
    FROM span JOIN execution_equitypoint point ON point.at = span.last ORDER BY point.at
"""
# Stored parts, summed over the rows of each interval.
STORED_PARTS = """
    SELECT interval.number, asset.key, part.key, sum(part.value::numeric)
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) WITH ORDINALITY AS interval (begin, until, number)
    JOIN execution_equitypoint point ON point.at > interval.begin AND point.at <= interval.until
    CROSS JOIN LATERAL jsonb_each(point.parts) AS asset
    CROSS JOIN LATERAL jsonb_each_text(asset.value) AS part
    WHERE point.parts IS NOT NULL GROUP BY 1, 2, 3
"""
# The account's income, summed over each interval by asset and kind.
INCOME = """
    SELECT interval.number, income.asset, income.kind, sum(income.amount)
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) WITH ORDINALITY AS interval (begin, until, number)
    JOIN execution_accountincome income ON income.at > interval.begin AND income.at <= interval.until
    GROUP BY 1, 2, 3
"""
# Begin and end of a span of time; the end belongs to it.
Interval = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class SpanRow:
    """The last reading of a span, with the extremes of the span. `balances` and `prices` are JSON."""

    at: datetime
    balances: str
    prices: str
    wallet_usd: Decimal
    unrealized_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    explained_to: datetime | None
    unrealized: str


def insert_equity_point(row: EquityPoint) -> None:
    """Insert a row in one statement.

    One of the same moment stays as it is.
    """
    EquityPoint.objects.bulk_create([row], ignore_conflicts=True)


def last_point_before(moment: datetime) -> EquityPoint | None:
    """Return the newest row that is older than `moment`, None without one."""
    return EquityPoint.objects.filter(at__lt=moment).order_by("-at").first()


def last_point_until(moment: datetime) -> EquityPoint | None:
    """Return the newest row that is not younger than `moment`, None without one."""
    return EquityPoint.objects.filter(at__lte=moment).order_by("-at").first()


def first_point() -> EquityPoint | None:
    """Return the oldest row, None before the first monitor cycle."""
    return EquityPoint.objects.order_by("at").first()


def newest_point() -> EquityPoint | None:
    """Return the newest row, None before the first monitor cycle."""
    return EquityPoint.objects.order_by("-at").first()


def oldest_points(resolution: Resolution, *, before: datetime, most: int) -> list[EquityPoint]:
    """Return the oldest rows of a resolution, at most so many."""
    return list(EquityPoint.objects.filter(resolution=resolution, at__lt=before).order_by("at")[:most])


def replace_points(rows: Sequence[EquityPoint], by: Sequence[EquityPoint]) -> None:
    """Delete rows and insert those that stand for them from now on, in one transaction."""
    with transaction.atomic():
        EquityPoint.objects.filter(pk__in=[row.pk for row in rows]).delete()
        EquityPoint.objects.bulk_create(by)


def income_between(begin: datetime, until: datetime) -> list[tuple[str, str, Decimal, datetime]]:
    """Return asset, kind, amount and time of income after `begin` until `until`, oldest first."""
    lines = AccountIncome.objects.filter(at__gt=begin, at__lte=until).order_by("at", "pk")
    return list(lines.values_list("asset", "kind", "amount", "at"))


def spans_between(after: datetime, until: datetime, resolution: Resolution, *, limit: int) -> list[SpanRow]:
    """Return the last reading of each span, oldest first, at most `limit` of them.

    `after` itself is left out.
    """
    bucket = "at" if resolution is Resolution.SAMPLE else f"date_trunc('{resolution.value}', at, 'UTC')"
    with connection.cursor() as cursor:
        cursor.execute(SPANS.replace("{bucket}", bucket), {"after": after, "until": until, "limit": limit})
        names = SpanRow.__annotations__
        return [SpanRow(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def stored_parts(intervals: Sequence[Interval]) -> list[Parts]:
    """Return what stored parts explain of each interval."""
    found: list[dict[str, dict[WalletPart, Decimal]]] = [{} for _ in intervals]
    for number, asset, part, amount in _by_interval(STORED_PARTS, intervals):
        found[number - 1].setdefault(asset, {})[WalletPart(part)] = amount
    return list(found)


def income_sums(intervals: Sequence[Interval]) -> list[list[tuple[str, str, Decimal]]]:
    """Return asset, kind and sum of the account's income of each interval."""
    found: list[list[tuple[str, str, Decimal]]] = [[] for _ in intervals]
    for number, asset, kind, amount in _by_interval(INCOME, intervals):
        found[number - 1].append((asset, kind, amount))
    return found


def _by_interval(statement: str, intervals: Sequence[Interval]) -> list[tuple[int, str, str, Decimal]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"starts": [begin for begin, _ in intervals], "ends": [end for _, end in intervals]})
        return [(number, asset, name, amount) for number, asset, name, amount in cursor.fetchall()]
