"""Columns that several tables share."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import Q


def money(**options: Any) -> "models.DecimalField[Any, Any]":
    """Return a column for a price, quantity or amount: exact to 18 decimals, more than any asset has."""
    return models.DecimalField(max_digits=36, decimal_places=18, **options)


def optional_money() -> "models.DecimalField[Any, Any]":
    return money(null=True, blank=True)


def code(length: int = 32, **options: Any) -> "models.CharField[Any, Any]":
    """Return a column for a word of a fixed vocabulary."""
    return models.CharField(max_length=length, **options)


def one_of(name: str, column: str, words: Iterable[StrEnum]) -> models.CheckConstraint:
    """Return a constraint that keeps a column within its vocabulary."""
    return models.CheckConstraint(name=name, condition=Q(**{f"{column}__in": sorted(words)}))
