"""Reads where a decision stands, and its whole story from the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Prefetch, Q

from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, ExecutionRequest, Fill, Order, OutboxEvent, Trade


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A request with what it has become so far."""

    request: ExecutionRequest
    entry: Order | None
    trade: Trade | None


@dataclass(frozen=True, kw_only=True)
class Story:
    """Everything that is written about one request, each list in the order of its events."""

    request: ExecutionRequest
    trade: Trade | None
    orders: Sequence[Order]
    fills: Sequence[Fill]
    transitions: Sequence[AuditEvent]
    events: Sequence[OutboxEvent]


def request_exists(request_id: UUID) -> bool:
    """Whether there is a decision of this id."""
    return ExecutionRequest.objects.filter(pk=request_id).exists()


def progress_of(request_id: UUID) -> Progress:
    """Return a request's state, entry and trade, in two statements.

    Raises:
        ExecutionRequest.DoesNotExist: there is no such request.

    """
    entries = Order.objects.filter(purpose=OrderPurpose.ENTRY)
    rows = ExecutionRequest.objects.select_related("trade").prefetch_related(
        Prefetch("orders", entries, to_attr="entries")
    )
    request = rows.get(pk=request_id)
    entry: list[Order] = getattr(request, "entries", [])
    return Progress(request=request, entry=entry[0] if entry else None, trade=getattr(request, "trade", None))


def story_of(request_id: UUID) -> Story:
    """Return a request's whole story, in five statements. A trade has its request's id.

    Raises:
        ExecutionRequest.DoesNotExist: there is no such request.

    """
    request = ExecutionRequest.objects.select_related("inbox", "trade").get(pk=request_id)
    orders = list(Order.objects.filter(request=request).order_by("id"))
    fills = Fill.objects.filter(trade_id=request_id).select_related("order").order_by("filled_at", "exchange_trade_id")
    return Story(
        request=request,
        trade=getattr(request, "trade", None),
        orders=orders,
        fills=list(fills),
        transitions=transitions_of(request_id, orders),
        events=list(OutboxEvent.objects.filter(aggregate=str(request_id)).order_by("sequence")),
    )


def transitions_of(request_id: UUID, orders: Sequence[Order]) -> list[AuditEvent]:
    """Return the steps of a request, its orders and its trade, as they happened."""
    about = Q(entity__in=["request", "trade"], entity_id=str(request_id)) | Q(
        entity="order", entity_id__in=[order.client_order_id for order in orders]
    )
    return list(AuditEvent.objects.filter(about).order_by("id"))
