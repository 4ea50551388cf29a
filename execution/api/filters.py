"""Filters and pages of the trade list. What cannot be understood is an error, never ignored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework import serializers
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from execution.api.serializers.fields import SYMBOL_PATTERN, AnySerializer, UuidIn, WholeIn
from execution.domain import bounds
from execution.models import Trade
from execution.outbox.payloads import EVENT_TYPES
from execution.queries.events import EventPage, events_after
from execution.queries.trades import TradeStatus, count_trades, page_of, with_status

DEFAULT_LIMIT, MOST = 100, 1000
FARTHEST = 2**31 - 1


class IsoField(forms.Field):
    """A time in a query. One beyond the bounds means their end, an empty one is a mistake."""

    def clean(self, value: str | None) -> datetime | None:
        if value is None:
            return None
        try:
            return bounds.clamped(bounds.iso_of(value))
        except ValueError:
            raise forms.ValidationError("Enter a date and time as in 2026-01-31T12:00:00Z.") from None


class IsoFilter(filters.IsoDateTimeFilter):  # type: ignore[misc]  # the package brings no types
    """Compares with a time."""

    field_class = IsoField

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.extra.pop("input_formats", None)


class TradeFilter(filters.FilterSet):  # type: ignore[misc]  # the package brings no types
    """`status`, `symbol`, and the time of entry between `from` and `to`."""

    status = filters.ChoiceFilter(choices=[(status, status) for status in TradeStatus], method="filter_status")
    symbol = filters.CharFilter(method="filter_symbol", validators=[RegexValidator(SYMBOL_PATTERN)])
    from_ = IsoFilter(field_name="entry_at", lookup_expr="gte", label="Entered at this time or later")
    to = IsoFilter(field_name="entry_at", lookup_expr="lt", label="Entered before this time")

    @classmethod
    def get_filters(cls) -> dict[str, object]:
        """Call the lower bound `from`, which Python does not allow as the name of an attribute."""
        found: dict[str, object] = super().get_filters()
        return {name.removesuffix("_"): each for name, each in found.items()}

    def filter_status(self, rows: QuerySet[Trade], name: str, value: str) -> QuerySet[Trade]:  # noqa: ARG002
        return with_status(rows, TradeStatus(value))

    def filter_symbol(self, rows: QuerySet[Trade], name: str, value: str) -> QuerySet[Trade]:  # noqa: ARG002
        return rows.filter(symbol=bounds.capitals(value))


class PageIn(AnySerializer):
    """Which part of the list."""

    limit = WholeIn(default=DEFAULT_LIMIT, min_value=1, max_value=MOST)
    offset = WholeIn(default=0, min_value=0, max_value=FARTHEST)


class EventsIn(AnySerializer):
    """Which events: those behind a cursor, of a type, of a trade."""

    after = WholeIn(
        default=0, min_value=0, max_value=2**63 - 1, help_text="`next_after` of the page before; 0: from the oldest."
    )
    limit = WholeIn(default=DEFAULT_LIMIT, min_value=1, max_value=MOST)
    event_type = serializers.ChoiceField(choices=EVENT_TYPES, required=False)
    trade_id = UuidIn(required=False)

    def page(self) -> EventPage:
        """Return the events that were asked for."""
        asked = self.validated_data
        return events_after(
            asked["after"],
            limit=asked["limit"],
            event_type=asked.get("event_type", ""),
            aggregate=str(asked["trade_id"]) if "trade_id" in asked else "",
        )


class TradePage(BasePagination):
    """`limit` and `offset`, and the numbers of all trades beside the page."""

    def paginate_queryset(
        self,
        queryset: Any,
        request: Request,
        view: APIView | None = None,  # noqa: ARG002 -- the framework's signature
    ) -> list[Any]:
        page = PageIn(data=request.query_params.dict())
        page.is_valid(raise_exception=True)
        return page_of(queryset, **page.validated_data)

    def get_paginated_response(self, data: Sequence[Mapping[str, object]]) -> Response:
        counts = count_trades()
        return Response(
            {
                "trades": data,
                "total_trades": counts.total,
                "open_trades": counts.open,
                "closed_trades": counts.closed,
                "written_off_trades": counts.written_off,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, object]) -> dict[str, object]:
        counters = ("total_trades", "open_trades", "closed_trades", "written_off_trades")
        properties = {"trades": schema} | {name: {"type": "integer"} for name in counters}
        return {"type": "object", "required": list(properties), "properties": properties}

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, object]]:  # noqa: ARG002
        limit = {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
        offset = {"type": "integer", "minimum": 0, "maximum": FARTHEST, "default": 0}
        return [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in (("limit", limit), ("offset", offset))
        ]
