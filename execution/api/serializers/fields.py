"""The fields that the shapes share, and their base."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from execution.domain.money import plain
from execution.pipeline.schemas import LARGEST, SMALLEST

AnySerializer = serializers.Serializer[Any]


@extend_schema_field({"type": "string", "format": "decimal", "example": "3.92"})
class Exact(serializers.Field[Any, Any, str, Any]):
    """A Decimal with all its digits, without exponent or trailing zeros."""

    def to_representation(self, value: Decimal) -> str:
        return plain(value)


@extend_schema_field({"type": "string", "format": "date-time"})
class Moment(serializers.Field[Any, Any, str, Any]):
    """A time with its zone written as +00:00, which every ISO reader understands."""

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


@extend_schema_field({"type": "string", "pattern": "^(LONG|SHORT)$"})
class DirectionWord(serializers.CharField):
    """Which way a position earns; a pattern, because the schema knows three sets of words for a `side`."""


class PriceIn(serializers.DecimalField):
    """A price in the quote asset, as a number or as text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=24, decimal_places=12, min_value=SMALLEST, max_value=LARGEST, **options)
