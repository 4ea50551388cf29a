"""`GET /api/execution/equity`: the account's history by range, resolution and cursor."""

import re
from datetime import datetime, timedelta
from decimal import Decimal

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from execution import wiring
from execution.api.base import JsonView
from execution.api.schema import one, problems
from execution.api.serializers.equity import EquityOut
from execution.api.serializers.fields import AnySerializer, MomentIn, WholeIn
from execution.domain import bounds
from execution.domain.equity import Peak, Resolution
from execution.domain.money import plain
from execution.queries.equity import CurveCursor, EquityCurve, equity_curve

DEFAULT_LENGTH = timedelta(days=1)
DEFAULT_LIMIT, MOST = 2500, 5000
# Time in microseconds, the highest result and the transfers until then, in USD.
CURSOR = re.compile(r"([0-9]{1,17})_(-?[0-9]{1,20}(?:\.[0-9]{1,18})?)_(-?[0-9]{1,20}(?:\.[0-9]{1,18})?)")


@extend_schema_field({"type": "string", "pattern": f"^{CURSOR.pattern}$"})
class CursorIn(serializers.CharField):
    """The cursor of a page: opaque to clients."""

    def to_internal_value(self, data: object) -> CurveCursor:  # type: ignore[override]  # a text becomes a cursor
        found = CURSOR.fullmatch(data) if isinstance(data, str) else None
        if found is None:
            raise ValidationError("Use `following` of the page before.")
        at, result, transferred = found.groups()
        moment = bounds.EARLIEST + timedelta(microseconds=int(at))
        peak = Peak(result_usd=Decimal(result), transferred_usd=Decimal(transferred))
        return CurveCursor(at=bounds.clamped(moment), peak=peak)


def cursor_text(cursor: CurveCursor) -> str:
    """Write a cursor as clients hand it back."""
    at = (cursor.at - bounds.EARLIEST) // timedelta(microseconds=1)
    return f"{at}_{plain(cursor.peak.result_usd or Decimal(0))}_{plain(cursor.peak.transferred_usd)}"


class EquityIn(AnySerializer):
    """Which part of the history: the last day without a range."""

    to = MomentIn(required=False, help_text="Before this time; now without it.")
    resolution = serializers.ChoiceField(
        choices=list(Resolution), required=False, help_text="Chosen by the length of the range without it."
    )
    after = CursorIn(required=False, help_text="`following` of the page before.")
    limit = WholeIn(default=DEFAULT_LIMIT, min_value=1, max_value=MOST)

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        """Add `from`, which Python does not allow as the name of an attribute."""
        begin = MomentIn(required=False, help_text="From this time on; a day before `to` without it.")
        return {"from": begin, **super().get_fields()}

    def curve(self, now: datetime) -> EquityCurve:
        """Return the page that was asked for."""
        asked = self.validated_data
        until = asked.get("to", now)
        since = asked.get("from", until - DEFAULT_LENGTH)
        if since >= until:
            raise ValidationError({"from": ["must be before `to`"]})
        resolution = Resolution(asked["resolution"]) if "resolution" in asked else None
        return equity_curve(since, until, resolution=resolution, cursor=asked.get("after"), limit=asked["limit"])


class EquityViewSet(JsonView, ViewSet):
    """Shows what the account was worth, and what has moved it."""

    def query_parameters(self) -> frozenset[str]:
        return frozenset(EquityIn().fields)

    @extend_schema(operation_id="equity", parameters=[EquityIn], responses={200: one(EquityOut), **problems(400, 401)})
    def list(self, request: Request) -> Response:
        asked = EquityIn(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        curve = asked.curve(wiring.clock())
        cursor = cursor_text(curve.following) if curve.following else None
        return Response(EquityOut({**vars(curve), "cursor": cursor}).data)
