"""`GET /api/execution/exports/{table}`: the books as CSV, JSON Lines or Parquet, and a tax file."""

import tempfile
from collections.abc import Iterator, Mapping
from typing import IO

from django.core.validators import RegexValidator
from django.http import FileResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from execution.api.base import JsonView
from execution.api.equity import MomentIn
from execution.api.schema import problems
from execution.api.serializers.fields import SYMBOL_PATTERN, AnySerializer
from execution.domain import bounds
from execution.operations.export_files import FileFormat, NotInstalledError, csv_file, jsonl_file, write_parquet
from execution.queries.exports import (
    DATASETS,
    KOINLY,
    ExportFilter,
    FilterError,
    exported,
    has_more_than,
    tax_lines,
)

TAX = "tax"
TABLES = (*DATASETS, TAX)
# A larger file is made by `manage.py export`: no request holds a worker of the web for minutes.
MOST_ROWS = 100_000
IN_MEMORY_BYTES = 5_000_000


class ExportIn(AnySerializer):
    """Which rows, in which format."""

    to = MomentIn(required=False, help_text="Before this time.")
    symbol = serializers.CharField(required=False, validators=[RegexValidator(SYMBOL_PATTERN)])
    strategy = serializers.CharField(required=False, max_length=100)
    format = serializers.ChoiceField(choices=list(FileFormat), default=FileFormat.CSV)

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        """Add `from`, which Python does not allow as the name of an attribute."""
        return {"from": MomentIn(required=False, help_text="From this time on."), **super().get_fields()}

    def selection(self) -> ExportFilter:
        """Return which rows were asked for."""
        asked = self.validated_data
        return ExportFilter(
            since=asked.get("from"),
            until=asked.get("to"),
            symbol=bounds.capitals(asked.get("symbol", "")),
            strategy=asked.get("strategy", ""),
        )


class ExportViewSet(JsonView, ViewSet):
    """Hands out tables as files."""

    lookup_value_regex = "[^/]+"

    def query_parameters(self) -> frozenset[str]:
        return frozenset(ExportIn().fields)

    @extend_schema(
        operation_id="export_table",
        parameters=[
            ExportIn,
            OpenApiParameter("id", location=OpenApiParameter.PATH, enum=TABLES, description="The table."),
        ],
        responses={(200, "text/csv"): OpenApiTypes.BINARY, **problems(400, 401, 404)},
    )
    def retrieve(self, request: Request, pk: str) -> HttpResponseBase:
        if pk not in TABLES:
            raise NotFound(f"There is no table {pk[:100]}; there are {', '.join(TABLES)}")
        return export_answer(pk, request.query_params.dict())


def export_answer(table: str, parameters: Mapping[str, str]) -> HttpResponseBase:
    """Return a table as a file.

    Raises:
        rest_framework.exceptions.ValidationError: a parameter that does not fit, or more rows than one answer has.

    """
    asked = ExportIn(data=parameters)
    asked.is_valid(raise_exception=True)
    file_format = FileFormat(asked.validated_data["format"])
    if table == TAX and file_format is not FileFormat.CSV:
        raise ValidationError({"format": ["the tax file is CSV"]})
    which = asked.selection()
    try:
        return _answer(table, which, file_format)
    except FilterError as error:
        raise ValidationError({error.name: [str(error)]}) from None
    except NotInstalledError as error:
        raise ValidationError({"format": [str(error)]}) from None


def _answer(table: str, which: ExportFilter, file_format: FileFormat) -> HttpResponseBase:
    if has_more_than("fills" if table == TAX else table, which, MOST_ROWS):
        reason = f"more than {MOST_ROWS} rows: narrow the range, or use `manage.py export {table}`"
        raise ValidationError({"from": [reason]})
    name = f"{table}.{file_format.value}"
    if file_format is FileFormat.PARQUET:
        file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 -- the answer closes it
        write_parquet(DATASETS[table].columns(), exported(table, which), file)
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename=name, content_type=file_format.media_type)
    answer = StreamingHttpResponse(text_lines(table, which, file_format), content_type=file_format.media_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def text_lines(table: str, which: ExportFilter, file_format: FileFormat) -> Iterator[str]:
    """Return the lines of a table's file in a format of text."""
    if table == TAX:
        return csv_file(KOINLY, (found.cells() for found in tax_lines(which)))
    names = [column.name for column in DATASETS[table].columns()]
    write = csv_file if file_format is FileFormat.CSV else jsonl_file
    return write(names, exported(table, which))
