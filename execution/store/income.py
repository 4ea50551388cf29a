"""Statements on income: the account's lines as they were read, and the part of each that belongs to a trade."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet

from execution.domain.equity import IncomeScope
from execution.domain.outcomes import IncomeKind
from execution.models import AccountIncome, Income, IncomeReading


def account_income_since(kind: IncomeKind, since: datetime, symbol: str) -> QuerySet[AccountIncome, AccountIncome]:
    """Return the account's lines of a kind since then, oldest first; with an empty symbol those of all symbols."""
    rows = AccountIncome.objects.filter(kind=kind, at__gte=since)
    rows = rows.filter(symbol=symbol) if symbol else rows
    return rows.order_by("at", "pk")


def find_income_reading(kind: IncomeKind | IncomeScope) -> IncomeReading | None:
    """Return the last reading of a kind, None before the first."""
    return IncomeReading.objects.filter(kind=kind).first()


def save_income_reading(
    kind: IncomeKind | IncomeScope,
    lines: Sequence[AccountIncome],
    *,
    covers_from: datetime,
    read_to: datetime,
    read_at: datetime,
) -> None:
    """Insert the lines that are new and write what the reading covers, in one transaction.

    Args:
        kind: of the lines.
        lines: what was read; lines that are known stay as they are.
        covers_from: from when on all lines are known.
        read_to: until when, by the exchange's clock.
        read_at: when the reading began, by our clock.

    """
    bounds = {"covers_from": covers_from, "read_to": read_to, "read_at": read_at}
    with transaction.atomic():
        AccountIncome.objects.bulk_create(lines, ignore_conflicts=True)
        IncomeReading.objects.update_or_create(kind=kind, defaults=bounds)


def correct_income(income_id: int, amount: Decimal, value: Decimal | None) -> None:
    """Write the part of a line that belongs to a trade, and its value in the quote asset."""
    Income.objects.filter(pk=income_id).update(amount=amount, value=value)


def insert_income(rows: Sequence[Income]) -> None:
    """Insert a trade's parts of lines, but for those that another trade had first."""
    Income.objects.bulk_create(rows, ignore_conflicts=True)
