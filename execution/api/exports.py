"""`GET /api/execution/exports/{table}`: the books as CSV, JSON Lines or Parquet, and a tax file."""

from collections.abc import Mapping

from django.core.validators import RegexValidator
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from execution.api.base import JsonView
from execution.api.schema import problems
from execution.api.serializers.fields import SYMBOL_PATTERN, AnySerializer, MomentIn
from execution.domain import bounds
from execution.operations.export_files import FileFormat, NotInstalledError
from execution.queries.downloads import TABLES, TooManyRowsError, download
from execution.queries.exports import ExportFilter, FilterError

# A file in each format, by its media type without parameters.
FILES = {(200, each.media_type.partition(";")[0]): OpenApiTypes.BINARY for each in FileFormat}


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

    lookup_url_kwarg = "table"
    lookup_value_regex = "[^/]+"

    def query_parameters(self) -> frozenset[str]:
        return frozenset(ExportIn().fields)

    @extend_schema(
        operation_id="export_table",
        parameters=[
            ExportIn,
            OpenApiParameter("table", location=OpenApiParameter.PATH, enum=TABLES, description="The table."),
        ],
        responses={**FILES, **problems(400, 401, 404)},
    )
    def retrieve(self, request: Request, table: str) -> HttpResponseBase:
        if table not in TABLES:
            raise NotFound(f"There is no table {table[:100]}; there are {', '.join(TABLES)}")
        return export_answer(table, request.query_params.dict())


def export_answer(table: str, parameters: Mapping[str, str]) -> HttpResponseBase:
    """Return a table as a file.

    Raises:
        rest_framework.exceptions.ValidationError: a parameter that does not fit, or more rows than one answer has.

    """
    asked = ExportIn(data=parameters)
    asked.is_valid(raise_exception=True)
    file_format = FileFormat(asked.validated_data["format"])
    try:
        return download(table, asked.selection(), file_format)
    except FilterError as error:
        raise ValidationError({error.name: [str(error)]}) from None
    except TooManyRowsError as error:
        raise ValidationError({"from": [str(error)]}) from None
    except NotInstalledError as error:
        raise ValidationError({"format": [str(error)]}) from None
