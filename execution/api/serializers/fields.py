"""The fields that the shapes share, and their base."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from execution.domain import bounds
from execution.domain.exits import LEAST_CALLBACK, MOST_CALLBACK
from execution.domain.money import plain
from execution.domain.unread import not_known
from execution.signals.schemas import LARGEST, SMALLEST

AnySerializer = serializers.Serializer[Any]


class In(AnySerializer):
    """A shape that comes in: a field that it does not know is refused, never left aside."""

    def to_internal_value(self, data: object) -> dict[str, object]:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        if unknown:
            raise serializers.ValidationError({name: [not_known(name, self.fields)] for name in unknown})
        known: dict[str, object] = super().to_internal_value(data)
        return known


# An amount may be written as text, so that a client's floats never touch it; bounds are for numbers.
AMOUNT_PATTERN = r"^(?!0+(\.0+)?$)[0-9]{1,12}(\.[0-9]{1,12})?$"
# A symbol may be written in small letters; the exchange has symbols in Chinese.
SYMBOL_PATTERN = "^[A-Za-z0-9_\u4e00-\u9fff]+$"
CALLBACK_PATTERN = r"^(20(\.0{1,12})?|(1[0-9]|[1-9])(\.[0-9]{1,12})?|0\.[1-9][0-9]{0,11})$"
# None of them steers a terminal; the second has a letter in it. Without look-ahead, which not every reader knows.
CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
SPACES = r" \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
NAME_PATTERN = f"^[^{CONTROLS}]*$"
TEXT_PATTERN = f"^[^{CONTROLS}]*[^{CONTROLS}{SPACES}][^{CONTROLS}]*$"


@extend_schema_field({"type": "string", "format": "decimal", "example": "3.92"})
class Exact(serializers.Field[Decimal, str, str, object]):
    """A Decimal with all its digits, without exponent or trailing zeros."""

    def to_representation(self, value: Decimal) -> str:
        return plain(value)


@extend_schema_field({"type": "string", "format": "date-time"})
class Moment(serializers.Field[datetime, str, str, object]):
    """A time with its zone written as +00:00, which every ISO reader understands."""

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


@extend_schema_field({"type": "string", "format": "date-time"})
class MomentIn(serializers.CharField):
    """A time as in 2026-01-31T12:00:00Z. One beyond the bounds means their end."""

    def to_internal_value(self, data: object) -> datetime:  # type: ignore[override]  # a text becomes a time
        try:
            return bounds.clamped(bounds.iso_of(data if isinstance(data, str) else ""))
        except ValueError:
            raise serializers.ValidationError("Enter a date and time as in 2026-01-31T12:00:00Z.") from None


@extend_schema_field({"type": "string", "pattern": "^(LONG|SHORT)$"})
class DirectionWord(serializers.CharField):
    """Which way a position earns.

    It is a pattern, because the schema knows three sets of words for a `side`.
    """


class WholeIn(serializers.IntegerField):
    """A whole number in ASCII digits: Python's own reader takes underscores and the digits of any script."""

    def to_internal_value(self, data: object) -> int:
        try:
            return bounds.integer_of(data)
        except ValueError:
            self.fail("invalid")


class ExactIn(serializers.DecimalField):
    """A number in ASCII digits, as a number or as text, rounded to what its column keeps."""

    def __init__(self, *, min_value: Decimal, max_value: Decimal, required: bool | None = None) -> None:
        super().__init__(
            max_digits=None, decimal_places=None, min_value=min_value, max_value=max_value, required=required
        )

    def to_internal_value(self, data: object) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | float | str | Decimal):
            self.fail("invalid")
        try:
            return bounds.rounded(bounds.number_of(repr(data) if isinstance(data, float) else str(data)))
        except ValueError:
            self.fail("invalid")


@extend_schema_field(
    {
        "anyOf": [
            {"type": "number", "minimum": float(SMALLEST), "maximum": float(LARGEST)},
            {"type": "string", "pattern": AMOUNT_PATTERN},
        ]
    }
)
class PriceIn(ExactIn):
    """A price in the quote asset."""

    def __init__(self, *, required: bool | None = None) -> None:
        super().__init__(min_value=SMALLEST, max_value=LARGEST, required=required)


@extend_schema_field(
    {
        "anyOf": [
            {"type": "number", "minimum": float(LEAST_CALLBACK), "maximum": float(MOST_CALLBACK)},
            {"type": "string", "pattern": CALLBACK_PATTERN},
        ]
    }
)
class CallbackIn(ExactIn):
    """How far a trailing stop lets the price come back, in percent."""

    def __init__(self, *, required: bool | None = None) -> None:
        super().__init__(min_value=LEAST_CALLBACK, max_value=MOST_CALLBACK, required=required)


class TextIn(serializers.CharField):
    """A sentence or a name in words: text only, on one line, with at least one letter in it."""

    def __init__(self, **options: Any) -> None:
        # Spaces count: what is too long with them is refused and not cut.
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not data.strip():
            self.fail("blank")
        if character := bounds.unfit_character(data):
            raise serializers.ValidationError(f"must not contain the character {character}")
        return data


class UuidIn(serializers.UUIDField):
    """An id in ASCII: Python's own reader takes underscores and the digits of any script."""

    def to_internal_value(self, data: object) -> UUID:
        try:
            return bounds.uuid_of(data if isinstance(data, str) else "")
        except ValueError:
            self.fail("invalid", value=data)


class InSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Declares that an input has no other fields."""

    target_class = "execution.api.serializers.fields.In"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, object]:
        plain_schema: Any = auto_schema._map_serializer  # noqa: SLF001 -- as below
        return {**plain_schema(self.target, direction, bypass_extensions=True), "additionalProperties": False}


class TextInSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Declares which texts are refused."""

    target_class = "execution.api.serializers.fields.TextIn"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, object]:
        plain_schema: Any = auto_schema._map_serializer_field  # noqa: SLF001 -- the package's way to extend its own answer
        return {**plain_schema(self.target, direction, bypass_extensions=True), "pattern": TEXT_PATTERN}
