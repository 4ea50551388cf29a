"""Applies what the exchange says about one of our orders; chain, monitor and stream all come through here."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from execution.domain.outcomes import STATUS_TRIGGERS, OrderReport, Refused, Unknown
from execution.domain.reasons import Reason
from execution.domain.states import (
    ORDER_FINAL,
    ORDER_UNSETTLED,
    OrderState,
    OrderTrigger,
    RequestState,
    RequestTrigger,
)
from execution.domain.trading import OrderPurpose
from execution.models import ExecutionRequest, Order
from execution.pipeline import events_out
from execution.pipeline.ending import end_request
from execution.pipeline.outbox import emit
from execution.pipeline.transitions import move_order, move_request


def settle_accepted(order_id: int, report: OrderReport, *, now: datetime, source: str) -> Order:
    """Write what the exchange knows about an order; safe to repeat and to come late. Returns the order as it is now.

    Quantities only grow and a finished order stays finished, so reports may arrive in any order.
    """
    with transaction.atomic():
        order = Order.objects.select_for_update().select_related("request").get(pk=order_id)
        if OrderState(order.state) in ORDER_FINAL and report.executed_quantity <= order.executed_quantity:
            return order
        _take_over_ids(order, report, source, now)
        if OrderState(order.state) in ORDER_UNSETTLED:
            _first_acceptance(order, now)
        _follow(order, report, now)
        if order.purpose == OrderPurpose.ENTRY:
            _move_entry_request(order, now)
    return order


def settle_refused(order_id: int, refused: Refused, *, now: datetime) -> None:
    """Write the proof that an order is not at the exchange; an entry's request ends with it."""
    with transaction.atomic():
        order = Order.objects.select_for_update().select_related("request").get(pk=order_id)
        if OrderState(order.state) not in ORDER_UNSETTLED:
            return
        sentence = f"EXCHANGE_REFUSED: code={refused.code} message={refused.message}"
        reason = (Reason.EXCHANGE_REFUSED, sentence)
        move_order(
            order,
            OrderTrigger.REFUSED,
            now=now,
            reason=reason,
            error_code=refused.code,
            last_evidence=sentence,
            last_evidence_at=now,
        )
        failed = events_out.FailureFields(
            client_order_id=order.client_order_id, error_code=refused.code, attempts=order.attempts
        )
        if order.purpose == OrderPurpose.ENTRY:
            end_request(order.request, RequestTrigger.EXCHANGE_REFUSED, reason, now=now, failed=failed)
            return
        event = events_out.order_failed(
            symbol=order.symbol,
            side=order.side.lower(),
            reason=reason,
            now=now,
            trace_id=order.request.trace_id,
            trade_id=str(order.request_id),
            **failed,
        )
        emit(order.request_id, [(events_out.ORDER_FAILED, event)], trace_id=order.request.trace_id, now=now)


def settle_unknown(order_id: int, unknown: Unknown, *, now: datetime) -> None:
    """Write that nobody knows; only evidence leads on from here."""
    with transaction.atomic():
        order = Order.objects.select_for_update().select_related("request").get(pk=order_id)
        if order.state != OrderState.SUBMITTING:
            return
        reason = (Reason.OUTCOME_UNKNOWN, f"OUTCOME_UNKNOWN: {unknown.message}")
        move_order(
            order, OrderTrigger.OUTCOME_UNKNOWN, now=now, reason=reason, last_evidence=reason[1], last_evidence_at=now
        )
        if order.purpose == OrderPurpose.ENTRY:
            move_request(
                order.request_id, RequestState.SUBMITTING, RequestTrigger.OUTCOME_UNKNOWN, now=now, reason=reason
            )


def settle_absent(order_id: int, *, now: datetime, evidence: str) -> None:
    """Write that an order of unknown outcome was never accepted, with the evidence that proves it."""
    with transaction.atomic():
        order = Order.objects.select_for_update().select_related("request").get(pk=order_id)
        if order.state != OrderState.UNKNOWN:
            return
        reason = (Reason.ABSENCE_PROVEN, f"ABSENCE_PROVEN: {evidence}")
        move_order(
            order, OrderTrigger.ABSENCE_PROVEN, now=now, reason=reason, last_evidence=reason[1], last_evidence_at=now
        )
        if order.purpose == OrderPurpose.ENTRY:
            failed = events_out.FailureFields(client_order_id=order.client_order_id, attempts=order.attempts)
            end_request(order.request, RequestTrigger.ABSENCE_PROVEN, reason, now=now, failed=failed)


def ready_for_cover(request_id: UUID) -> bool:
    """Whether a request's entry has filled and nobody has covered it yet."""
    return ExecutionRequest.objects.filter(pk=request_id, state=RequestState.FILLED).exists()


def _take_over_ids(order: Order, report: OrderReport, source: str, now: datetime) -> None:
    order.exchange_order_id = report.order_id or order.exchange_order_id
    order.algo_id = report.algo_id or order.algo_id
    order.executed_quantity = max(order.executed_quantity, report.executed_quantity)
    order.missing_readings = 0
    order.last_evidence = f"{source}: {report.status} executed={report.executed_quantity}"
    order.last_evidence_at = now
    order.save(
        update_fields=[
            "exchange_order_id",
            "algo_id",
            "executed_quantity",
            "missing_readings",
            "last_evidence",
            "last_evidence_at",
        ]
    )


def _first_acceptance(order: Order, now: datetime) -> None:
    move_order(order, OrderTrigger.ACCEPTED, now=now)
    request = order.request
    if order.purpose == OrderPurpose.ENTRY:
        state = RequestState(request.state)
        if state in {RequestState.SUBMITTING, RequestState.UNKNOWN}:
            move_request(request.pk, state, RequestTrigger.EXCHANGE_ACCEPTED, now=now)
            request.state = RequestState.ACCEPTED
    placed = events_out.order_placed(order, request, now)
    emit(request.pk, [(events_out.ORDER_PLACED, placed)], trace_id=request.trace_id, now=now)


def _follow(order: Order, report: OrderReport, now: datetime) -> None:
    """Move the order to where the report says it is; a report of what is already known moves nothing."""
    trigger = STATUS_TRIGGERS[report.status]
    state = OrderState(order.state)
    if trigger is OrderTrigger.ACCEPTED or state in ORDER_FINAL:
        return
    # A triggered conditional order stays TRIGGERED while its ordinary order rests or fills in parts.
    repeated = {OrderTrigger.CONDITION_MET: OrderState.TRIGGERED, OrderTrigger.PART_FILLED: OrderState.PARTIALLY_FILLED}
    if repeated.get(trigger) == state:
        return
    if trigger is OrderTrigger.CONDITION_MET and state is not OrderState.ACCEPTED:
        return
    move_order(order, trigger, now=now)


def _move_entry_request(order: Order, now: datetime) -> None:
    """Carry a finished entry over to its request: with fills to be covered, or ended without any."""
    request = order.request
    if OrderState(order.state) not in ORDER_FINAL or request.state != RequestState.ACCEPTED:
        return
    if order.executed_quantity > 0:
        details = {"executed_quantity": str(order.executed_quantity), "order_state": order.state}
        move_request(request.pk, RequestState.ACCEPTED, RequestTrigger.ENTRY_FILLED, now=now, details=details)
        request.state = RequestState.FILLED
        return
    reason = (Reason.ENTRY_ENDED_WITHOUT_FILL, f"ENTRY_ENDED_WITHOUT_FILL: order_state={order.state}")
    failed = events_out.FailureFields(client_order_id=order.client_order_id, attempts=order.attempts)
    end_request(request, RequestTrigger.ENTRY_ENDED_EMPTY, reason, now=now, failed=failed)
