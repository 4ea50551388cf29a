"""Rows that events of the user-data stream are compared with."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Max, Q, QuerySet, Sum

from execution.domain.states import ORDER_LIVE, TRADE_OPEN, OrderTrigger, RequestState
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, ExecutionRequest, Fill, Order, Trade


def order_made_by_trigger(symbol: str, algo_id: str) -> Order | None:
    """Return the conditional order of an open trade that has made the order of an event, with its request."""
    orders = Order.objects.select_related("request")
    ours = orders.filter(request__trade__symbol=symbol, request__trade__state__in=sorted(TRADE_OPEN))
    return ours.filter(algo_id=algo_id).first()


def is_request_in(request_id: UUID, states: Collection[RequestState]) -> bool:
    """Whether the request is in one of these states."""
    return ExecutionRequest.objects.filter(pk=request_id, state__in=sorted(states)).exists()


def live_orders_beside(leg: Order) -> QuerySet[Order, Order]:
    """Return the live orders of the same request and purpose."""
    return Order.objects.filter(request_id=leg.request_id, purpose=leg.purpose, state__in=sorted(ORDER_LIVE))


def executed_quantities(request_id: UUID) -> tuple[Decimal | None, Decimal | None]:
    """Return what the orders of a request have entered and exited, in the base asset.

    A sum is None where there is no order.
    """
    entered = Sum("executed_quantity", filter=Q(purpose=OrderPurpose.ENTRY))
    exited = Sum("executed_quantity", filter=~Q(purpose=OrderPurpose.ENTRY))
    sums = Order.objects.filter(request_id=request_id).aggregate(entered=entered, exited=exited)
    return sums["entered"], sums["exited"]


def open_trades_on(symbol: str, position_side: str) -> QuerySet[Trade, Trade]:
    """Return the open trades of one symbol and side."""
    return Trade.objects.filter(symbol=symbol, position_side=position_side, state__in=sorted(TRADE_OPEN))


def open_trades_in(*symbols: str) -> QuerySet[Trade, Trade]:
    """Return the open trades of these symbols."""
    return Trade.objects.filter(symbol__in=symbols, state__in=sorted(TRADE_OPEN))


def open_trades_with_other_leverage(symbol: str, leverage: int) -> QuerySet[Trade, Trade]:
    """Return the open trades of a symbol that were opened with another leverage."""
    return Trade.objects.filter(symbol=symbol, state__in=sorted(TRADE_OPEN)).exclude(leverage=leverage)


def newest_numbers() -> tuple[int, int]:
    """Return the highest numbers of journal lines and of fills, zero where there are none: two statements."""
    line = AuditEvent.objects.aggregate(last=Max("pk"))["last"] or 0
    fill = Fill.objects.aggregate(last=Max("pk"))["last"] or 0
    return line, fill


def orders_accepted_behind(line: int, *, sent_after: datetime) -> list[str]:
    """Return the client ids of orders that a journal line behind this number shows accepted."""
    lines = AuditEvent.objects.filter(pk__gt=line, entity="order", trigger=OrderTrigger.ACCEPTED)
    names = list(lines.values_list("entity_id", flat=True))
    sent = Order.objects.filter(client_order_id__in=names, sent_at__gt=sent_after) if names else Order.objects.none()
    return list(sent.values_list("client_order_id", flat=True))


def fills_booked_behind(fill: int, *, filled_after: datetime) -> list[tuple[str, int]]:
    """Return symbol and exchange trade id of the fills behind this number."""
    rows = Fill.objects.filter(pk__gt=fill, filled_at__gt=filled_after)
    return list(rows.values_list("symbol", "exchange_trade_id"))
