"""Rows of one decision that a write-off reads and ends."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from execution.domain.authorization import Authorization
from execution.domain.json_values import JsonObject
from execution.domain.states import ORDER_FINAL
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest, OperatorAction, Order, Trade
from execution.models.operator_action import Verb


def trade_of_decision(request_id: UUID) -> Trade | None:
    """Return the trade of a decision with its request."""
    return Trade.objects.select_related("request").filter(pk=request_id).first()


def unfinished_orders_of_decision(request_id: UUID) -> tuple[Order, ...]:
    """Return the orders that are not over with their request, oldest first."""
    unfinished = Order.objects.filter(request_id=request_id).exclude(state__in=sorted(ORDER_FINAL))
    return tuple(unfinished.select_related("request").order_by("id"))


def entry_of_decision(request_id: UUID) -> Order | None:
    """Return the entry of a decision, None when none was written."""
    return Order.objects.filter(request=request_id, purpose=OrderPurpose.ENTRY).first()


def decisions_of_orders(names: Collection[str]) -> dict[str, UUID]:
    """Return the requests of the orders with these client ids, by client id."""
    return dict(Order.objects.filter(client_order_id__in=names).values_list("client_order_id", "request_id"))


def earlier_write_off(request_id: UUID) -> OperatorAction | None:
    """Return the last write-off of this decision."""
    return OperatorAction.objects.filter(verb=Verb.WRITE_OFF, subject=request_id).order_by("-pk").first()


def note_write_off(
    request: ExecutionRequest, authorization: Authorization, *, evidence: JsonObject, before: JsonObject, now: datetime
) -> OperatorAction:
    """Insert the row that auditors read.

    It holds who wrote off, why, what the exchange answered, and which states ended.
    """
    return OperatorAction.objects.create(
        verb=Verb.WRITE_OFF,
        subject=request.pk,
        symbol=request.symbol,
        by=authorization.by,
        reason=authorization.reason,
        evidence=evidence,
        before=before,
        at=now,
    )
