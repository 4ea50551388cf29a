"""The addresses under /api/execution: each reads its input, makes one call, and shows the result."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import TypeVar

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import QuerySet
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ViewSet

from execution import wiring
from execution.api.base import JsonView
from execution.api.filters import EventsIn, PageIn, TradeFilter, TradePage
from execution.api.kill_switch import move_kill_switch
from execution.api.orders import KEY_HEADER, KEY_PATTERN, PENDING, order_answer, place_rest_order
from execution.api.protection import move_by_hand
from execution.api.schema import one, problems
from execution.api.serializers.events import EventsOut
from execution.api.serializers.fields import SYMBOL_PATTERN
from execution.api.serializers.orders import OrderAnswerOut, RequestOut
from execution.api.serializers.positions import PositionsOut
from execution.api.serializers.protection import ProtectionIn, ProtectionOut
from execution.api.serializers.service import KillSwitchIn, KillSwitchOut, MetricsOut
from execution.api.serializers.trades import TradeOut
from execution.api.serializers.write_off import WriteOffIn, WrittenOffOut
from execution.api.write_off import demand_decision, write_off_by_hand
from execution.domain.bounds import uuid_of
from execution.domain.rate_limits import LimiterState
from execution.health.exchange_parts import limiter_details
from execution.models import Trade
from execution.queries.health_rows import covering, user_stream_beat
from execution.queries.kill_switch import describe
from execution.queries.metrics import ExecutionFigures, execution_figures
from execution.queries.positions import held_positions
from execution.queries.protection import protection_of
from execution.queries.requests import story_of
from execution.queries.trades import trade_exists, trades
from execution.signals.schemas import RestOrder

LONGEST_ECHO = 100
V = TypeVar("V", bound=Callable[..., object])


class OrderViewSet(JsonView, ViewSet):
    """Places an operator's order. It passes the same four layers as every decision."""

    @extend_schema(
        operation_id="place_order",
        request=RestOrder,
        parameters=[
            OpenApiParameter(
                KEY_HEADER,
                location=OpenApiParameter.HEADER,
                type={"type": "string", "pattern": f"^{KEY_PATTERN.pattern}$"},
                description="Makes a repeat harmless: the same key never places a second order.",
            )
        ],
        responses={200: OrderAnswerOut, 202: OrderAnswerOut, **problems(400, 401, 409, 413, 415)},
    )
    def create(self, request: Request) -> Response:
        progress = place_rest_order(
            request.data,
            request.headers.get(KEY_HEADER),
            now=timezone.now(),
            answer_seconds=settings.ENV.order_answer_seconds,
        )
        answer = order_answer(progress)
        pending = answer["status"] == PENDING
        code = status.HTTP_202_ACCEPTED if pending else status.HTTP_200_OK
        return Response(OrderAnswerOut(answer).data, status=code)


class WriteOffMixin(JsonView):
    """Lets an operator write off what the exchange denies.

    The id is that which a decision shares with its trade.
    """

    @action(detail=True, methods=["post"], url_path="write-off")
    def write_off(self, request: Request, pk: str) -> Response:
        """End what the books hold and the exchange denies now: no fill, price or result is made up."""
        demand_decision(pk)
        asked = WriteOffIn(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(WrittenOffOut(write_off_by_hand(pk, **asked.validated_data)).data)


def _documented(operation_id: str) -> Callable[[V], V]:
    codes = problems(400, 401, 404, 409, 413, 415, 503)
    described = extend_schema(operation_id=operation_id, request=WriteOffIn, responses={200: WrittenOffOut, **codes})
    return extend_schema_view(write_off=described)


@_documented("write_off_decision")
class RequestViewSet(WriteOffMixin, ViewSet):
    """Shows the state of a decision, and every step that led there."""

    lookup_value_regex = "[^/]+"

    @extend_schema(operation_id="request_story", responses={200: RequestOut, **problems(401, 404)})
    def retrieve(self, request: Request, pk: str) -> Response:  # noqa: ARG002 -- the framework's signature
        try:
            return Response(RequestOut(story_of(uuid_of(pk))).data)
        except (ValueError, ObjectDoesNotExist):
            raise NotFound(f"Request {pk[:LONGEST_ECHO]} not found") from None


class PositionViewSet(JsonView, ViewSet):
    """Shows all positions with the orders that protect them."""

    @extend_schema(operation_id="positions", responses={200: one(PositionsOut), **problems(401)})
    def list(self, request: Request) -> Response:  # noqa: ARG002 -- the framework's signature
        return Response(PositionsOut.of(held_positions()).data)


@_documented("write_off_trade")
class TradeViewSet(WriteOffMixin, ListModelMixin, GenericViewSet[Trade]):
    """Shows trades, newest first, or one of them."""

    serializer_class = TradeOut
    filter_backends = [DjangoFilterBackend]
    filterset_class = TradeFilter
    pagination_class = TradePage
    lookup_value_regex = "[^/]+"

    def query_parameters(self) -> frozenset[str]:
        return frozenset({*TradeFilter.get_filters(), *PageIn().fields}) if self.action == "list" else frozenset()

    def get_queryset(self) -> QuerySet[Trade]:
        return trades()

    @extend_schema(
        operation_id="trades",
        parameters=[OpenApiParameter("symbol", type={"type": "string", "pattern": SYMBOL_PATTERN})],
        responses={200: TradeOut, **problems(400, 401)},
    )
    def list(self, request: Request, *args: object, **kwargs: object) -> Response:
        # Django's forms take an empty value for one that was left out.
        if empty := [name for name, value in request.query_params.items() if not value]:
            raise ValidationError({name: ["must not be empty"] for name in empty})
        return super().list(request, *args, **kwargs)

    @extend_schema(operation_id="trade", responses={200: TradeOut, **problems(401, 404)})
    def retrieve(self, request: Request, pk: str) -> Response:  # noqa: ARG002 -- the framework's signature
        try:
            return Response(TradeOut(trades().get(pk=uuid_of(pk))).data)
        except (ValueError, ObjectDoesNotExist):
            raise NotFound(f"Trade {pk[:LONGEST_ECHO]} not found") from None

    @extend_schema(operation_id="trade_protection", responses={200: ProtectionOut, **problems(401, 404)})
    @action(detail=True, methods=["get"])
    def protection(self, request: Request, pk: str) -> Response:  # noqa: ARG002 -- the framework's signature
        """Show a trade's bracket with its live orders."""
        try:
            return Response(ProtectionOut(protection_of(uuid_of(pk))).data)
        except (ValueError, ObjectDoesNotExist):
            raise NotFound(f"Trade {pk[:LONGEST_ECHO]} not found") from None

    @extend_schema(
        operation_id="move_protection",
        request=ProtectionIn,
        responses={200: ProtectionOut, 202: ProtectionOut, **problems(400, 401, 404, 409, 413, 415, 503)},
    )
    @protection.mapping.patch
    def move_protection(self, request: Request, pk: str) -> Response:
        """Move stop, targets or trailing stop by hand.

        Each new order stands before the one that it replaces goes.
        """
        self._demand(pk)
        asked = ProtectionIn(data=request.data)
        asked.is_valid(raise_exception=True)
        seconds = settings.ENV.order_answer_seconds
        try:
            moved = move_by_hand(uuid_of(pk), asked.validated_data, now=timezone.now(), answer_seconds=seconds)
        except (ValueError, ObjectDoesNotExist):
            raise NotFound(f"Trade {pk[:LONGEST_ECHO]} not found") from None
        code = status.HTTP_200_OK if moved.settled else status.HTTP_202_ACCEPTED
        return Response(ProtectionOut(moved).data, status=code)

    def _demand(self, pk: str) -> None:
        """Answer 404 before the body is checked, when there is no such trade."""
        try:
            known = trade_exists(uuid_of(pk))
        except ValueError:
            known = False
        if not known:
            raise NotFound(f"Trade {pk[:LONGEST_ECHO]} not found")


class EventViewSet(JsonView, ViewSet):
    """Shows what was published, for readers that missed some of it."""

    def query_parameters(self) -> frozenset[str]:
        return frozenset(EventsIn().fields)

    @extend_schema(operation_id="events", parameters=[EventsIn], responses={200: one(EventsOut), **problems(400, 401)})
    def list(self, request: Request) -> Response:
        asked = EventsIn(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        return Response(EventsOut(asked.page()).data)


class KillSwitchViewSet(JsonView, ViewSet):
    """Shows and moves the kill switch."""

    @extend_schema(operation_id="kill_switch", responses={200: one(KillSwitchOut), **problems(401)})
    def list(self, request: Request) -> Response:  # noqa: ARG002 -- the framework's signature
        return Response(KillSwitchOut(describe()).data)

    @extend_schema(
        operation_id="move_kill_switch",
        request=KillSwitchIn,
        responses={200: KillSwitchOut, **problems(400, 401, 409, 413, 415)},
    )
    def create(self, request: Request) -> Response:
        """Put a level in force, or release it, and answer when no entry is being sent any more."""
        asked = KillSwitchIn(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(KillSwitchOut(move_kill_switch(**asked.validated_data, now=timezone.now())).data)


class MetricsViewSet(JsonView, ViewSet):
    """Shows the execution metrics."""

    @extend_schema(operation_id="execution_metrics", responses={200: one(MetricsOut), **problems(401)})
    def list(self, request: Request) -> Response:  # noqa: ARG002 -- the framework's signature
        return Response(MetricsOut(figures_of(execution_figures(), limiter_figures(), timezone.now())).data)


def figures_of(figures: ExecutionFigures, limiter: LimiterState | None, now: datetime) -> dict[str, object]:
    beat = user_stream_beat()
    details = beat.details if beat else {}
    return {
        "orders_placed_total": figures.orders_placed,
        "orders_filled_total": figures.orders_filled,
        "orders_failed_total": figures.orders_failed,
        "success_rate_pct": figures.success_rate_pct,
        "avg_order_latency_ms": figures.average_latency_ms,
        "avg_slippage_pct": figures.average_slippage_pct,
        "rate_limit_tokens_available": limiter.available if limiter else None,
        "rate_limit_tokens_per_minute": settings.ENV.binance_rate_limit_rpm,
        "circuit_breaker": circuit_figures(),
        "rate_limits": limiter_details(limiter) if limiter else None,
        "covering": covering(beat, now),
        "stream_lag_ms_p50": details.get("lag_ms_p50"),
        "stream_lag_ms_p99": details.get("lag_ms_p99"),
    }


def circuit_figures() -> dict[str, object] | None:
    """Return the circuit breaker's state, or None when Redis does not answer."""
    try:
        return asdict(wiring.circuit_state())
    except wiring.RedisSilentError:
        return None


def limiter_figures() -> LimiterState | None:
    """Return the limiter's state, or None when Redis, which counts for all processes, does not answer."""
    try:
        return wiring.limiter_state()
    except wiring.RedisSilentError:
        return None
