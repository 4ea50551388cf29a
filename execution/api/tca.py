"""`GET /api/execution/tca`: what execution has cost, as JSON or, trade by trade, as CSV."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.core.validators import RegexValidator
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from execution import wiring
from execution.api.base import JsonView
from execution.api.schema import one, problems
from execution.api.serializers.fields import SYMBOL_PATTERN, AnySerializer, MomentIn
from execution.api.serializers.tca import TcaOut
from execution.domain import bounds
from execution.domain.csv_cells import line
from execution.models.shortfall import PARTS
from execution.queries.execution_quality import (
    GroupedBy,
    QualityFilter,
    TradeCost,
    each_trade,
    quality_groups,
    quality_total,
    worst_trades,
)

DEFAULT_LENGTH = timedelta(days=30)
CSV, JSON = "csv", "json"
CSV_TYPE = "text/csv"
# A longer table is exported by a command.
MOST_ROWS = 100_000
TRADE_COLUMNS = (
    *("trade_id", "closed_at", "symbol", "side", "strategy", "order_type", "size", "hour", "quote_asset"),
    *("quote_index", "benchmark", "benchmark_price", "wanted_quantity", "missed_quantity", "complete", "total"),
    *(*PARTS, "total_usd", "basis_points"),
)


class TcaIn(AnySerializer):
    """Which trades: those closed in the last 30 days without a range."""

    to = MomentIn(required=False, help_text="Closed before this time; now without it.")
    symbol = serializers.CharField(required=False, validators=[RegexValidator(SYMBOL_PATTERN)])
    strategy = serializers.CharField(required=False, max_length=100)
    by = serializers.ChoiceField(choices=list(GroupedBy), default=GroupedBy.STRATEGY)
    format = serializers.ChoiceField(
        choices=[JSON, CSV], required=False, help_text="`csv`: trade by trade. Without it, `Accept: text/csv` counts."
    )

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        """Add `from`, which Python does not allow as the name of an attribute."""
        begin = MomentIn(required=False, help_text="Closed from this time on; 30 days before `to` without it.")
        return {"from": begin, **super().get_fields()}

    def filter(self, now: datetime) -> QualityFilter:
        """Return which trades were asked for."""
        asked = self.validated_data
        until = asked.get("to", now)
        since = asked.get("from", until - DEFAULT_LENGTH)
        if since >= until:
            raise ValidationError({"from": ["must be before `to`"]})
        symbol = bounds.capitals(asked.get("symbol", ""))
        return QualityFilter(since=since, until=until, symbol=symbol, strategy=asked.get("strategy", ""))


class TcaViewSet(JsonView, ViewSet):
    """Shows what execution has cost: implementation shortfall, split into its parts."""

    def query_parameters(self) -> frozenset[str]:
        return frozenset(TcaIn().fields)

    @extend_schema(
        operation_id="execution_quality",
        parameters=[TcaIn],
        responses={(200, "application/json"): one(TcaOut), (200, CSV_TYPE): OpenApiTypes.STR, **problems(400, 401)},
    )
    def list(self, request: Request) -> HttpResponseBase:
        asked = TcaIn(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        which, by = asked.filter(wiring.clock()), GroupedBy(asked.validated_data["by"])
        accepted = CSV if CSV_TYPE in request.headers.get("Accept", "") else JSON
        if asked.validated_data.get("format", accepted) == CSV:
            answer = StreamingHttpResponse(csv_lines(which), content_type=f"{CSV_TYPE}; charset=utf-8")
            answer["Content-Disposition"] = 'attachment; filename="execution-quality.csv"'
            return answer
        report = {
            "begin": which.since,
            "end": which.until,
            "by": by,
            "total": quality_total(which),
            "groups": quality_groups(which, by),
            "worst": worst_trades(which),
        }
        return Response(TcaOut(report).data)


def csv_lines(which: QualityFilter) -> Iterator[str]:
    """Yield a head and one line a trade, newest first."""
    yield line(TRADE_COLUMNS)
    for cost in each_trade(which, most=MOST_ROWS):
        yield line(_cells(cost))


def _cells(cost: TradeCost) -> list[object]:
    row = cost.row
    return [
        *(cost.trade_id, row.closed_at, row.symbol, row.direction, row.strategy, row.order_type, row.size, row.hour),
        *(row.quote_asset, row.quote_index, row.benchmark, row.benchmark_price, row.wanted_quantity),
        *(row.missed_quantity, row.complete, row.total, *cost.parts.values(), cost.total_usd, cost.basis_points),
    ]
