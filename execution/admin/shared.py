"""What all pages of the admin share: they are for reading, and their filters do not read whole tables."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin  # type: ignore[import-untyped]  # the package brings no types


def words(column: str, vocabulary: type[StrEnum]) -> type[SimpleListFilter]:
    """Return a filter by a column's known words; Django's own would read the whole table to find them."""

    class WordFilter(SimpleListFilter):
        title = column.replace("_", " ")
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
            return [(word, word) for word in vocabulary]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
            return queryset.filter(**{column: self.value()}) if self.value() else queryset

    return WordFilter


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> SafeString:
    """Return an HTML table; every cell is escaped."""
    line = format_html_join(
        "", "<th style='text-align:left;padding:2px 12px 2px 0'>{}</th>", ((word,) for word in head)
    )
    body = format_html_join("", "<tr>{}</tr>", ((_cells(row),) for row in rows))
    return format_html("<table><tr>{}</tr>{}</table>", line, body)


def _cells(row: tuple[Any, ...]) -> SafeString:
    return format_html_join("", "<td style='padding:2px 12px 2px 0;vertical-align:top'>{}</td>", ((c,) for c in row))


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # as above
    """Shows every column; states change by evidence only, never by hand."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 -- the framework's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False
