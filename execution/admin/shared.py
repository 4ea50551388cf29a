"""What all pages of the admin share: they are for reading, and their filters do not read whole tables."""

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.db.models import BinaryField, DateTimeField, DecimalField, Field, JSONField, Model, QuerySet, UUIDField
from django.http import HttpRequest, HttpResponse
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin  # type: ignore[import-untyped]  # the package brings no types

from execution.admin.numbers import NOTHING, display_grid, written
from execution.queries.kill_switch import describe

Cell = SafeString | str
Column = Callable[[Model], Cell]
# Writes a column's value for people: its name, the value, its row.
Writer = Callable[[str, object, Model], Cell]
# A list shows the beginning of what is long; its row's page shows all.
LONGEST_CELL = 80
ID_SHOWN = 8


def words(column: str, vocabulary: type[StrEnum]) -> type[SimpleListFilter]:
    """Return a filter by a column's known words.

    Django's own filter would read the whole table to find them.
    """

    class WordFilter(SimpleListFilter):
        title = column.replace("_", " ")
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:  # noqa: ARG002
            return [(word, word) for word in vocabulary]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
            return queryset.filter(**{column: self.value()}) if self.value() else queryset

    return WordFilter


def moment_text(value: datetime | None) -> SafeString | str:
    """Write a time to the second, with its zone, on one line."""
    return format_html('<span class="xs-time">{}</span>', formats.localize(value)) if value else NOTHING


def in_words(value: object) -> str:
    """Write JSON on one line as `name=value`, without what is empty."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={in_words(each)}" for name, each in value.items() if each not in (None, "", [], {}))
    return "; ".join(in_words(each) for each in value) if isinstance(value, list) else str(value)


def shortened(text: str) -> SafeString | str:
    """Cut a text for a list. The whole text shows when a pointer rests on it."""
    if len(text) <= LONGEST_CELL:
        return text
    return format_html('<span title="{}">{}…</span>', text, text[:LONGEST_CELL])


def pretty_json(value: object) -> SafeString | str:
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return format_html('<pre class="xs-json" tabindex="0">{}</pre>', text) if value else NOTHING


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # as above
    """Shows every column read-only: states change by evidence, never by hand.

    Numbers, times, ids and JSON are written as people read them, in lists and on pages, whichever table it is.
    """

    show_full_result_count = False
    list_per_page = 50
    list_fullwidth = True
    list_before_template = "execution/parts/brakes.html"

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 -- the framework's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def get_list_display(self, request: HttpRequest) -> list[str | Column]:
        return [self._column(name, listed) for name in super().get_list_display(request)]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str | Column]:
        return [self._column(name, whole) for name in super().get_fields(request, obj)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        answer: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "switch": describe()})
        return answer

    def _column(self, name: str, write: Writer) -> str | Column:
        """Return a column's name, or what writes it in its place where the framework would write it badly."""
        field = next((each for each in self.opts.fields if each.name == name), None)
        return column(field, write) if isinstance(field, REWRITTEN) and not hasattr(self, name) else name


REWRITTEN = (DecimalField, DateTimeField, JSONField, UUIDField, BinaryField)


def column(field: "Field[object, object]", write: Writer) -> Column:
    """Return a column of the admin that writes a field with `write(name, value, row)` and sorts by it."""

    def shown(row: Model) -> SafeString | str:
        value = getattr(row, field.name)
        return NOTHING if value is None else write(field.name, value, row)

    shown.__name__ = field.name
    shown.short_description = field.verbose_name  # type: ignore[attr-defined]  # how the framework names columns
    shown.admin_order_field = field.name  # type: ignore[attr-defined]  # as above
    return shown


def listed(name: str, value: object, row: Model) -> SafeString | str:
    """Write a value of a list: short, on one line."""
    if isinstance(value, dict | list):
        return shortened(in_words(value))
    if isinstance(value, UUID):
        return format_html('<span title="{}">{}</span>', value, str(value)[:ID_SHOWN])
    return whole(name, value, row)


def whole(name: str, value: object, row: Model) -> SafeString | str:
    """Write a value of a row's page: all of it."""
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, dict | list):
        return pretty_json(value)
    if isinstance(value, bytes | memoryview):
        return format_html('<span class="xs-code">{}</span>', bytes(value).hex())
    if isinstance(value, UUID):
        return format_html('<span class="xs-code">{}</span>', value)
    return written(name, value, display_grid(row)) if isinstance(value, Decimal) else str(value)
