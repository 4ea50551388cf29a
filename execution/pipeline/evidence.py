"""Applies what the exchange says about one of our orders; chain, monitor and stream all come through here.

Every function takes an order as it was read earlier, with its request, locks its row, and looks again.
"""

from datetime import datetime

from django.db import transaction

from execution.domain.outcomes import STATUS_TRIGGERS, ExchangeStatus, OrderReport, Refused, Unknown
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
from execution.models import Order
from execution.pipeline import events_out
from execution.pipeline.ending import end_request
from execution.pipeline.outbox import emit
from execution.pipeline.transitions import move_order, move_request

# What other processes may have changed since an order was read.
VOLATILE = ("state", "executed_quantity", "exchange_order_id", "algo_id", "attempts")


def settle_accepted(order: Order, report: OrderReport, *, now: datetime, source: str) -> None:
    """Write what the exchange knows about an order; safe to repeat and to come late.

    Quantities only grow and a finished order stays finished, so reports may arrive in any order. Afterwards `order`
    and its request show what is stored.
    """
    with transaction.atomic():
        _lock(order)
        before = OrderState(order.state)
        path = order_path(before, report.status)
        if not path and report.executed_quantity <= order.executed_quantity and before in ORDER_FINAL:
            return
        _write(order, path, report, source, now)
        if order.purpose == OrderPurpose.ENTRY:
            _carry_to_request(order, before, now)
        if before in ORDER_UNSETTLED:
            placed = events_out.order_placed(order, order.request, now)
            _emit(order, events_out.ORDER_PLACED, placed, now)


def order_path(state: OrderState, status: ExchangeStatus) -> list[OrderTrigger]:
    """Return the triggers that lead from our state to what the exchange reports; none for what is known already."""
    if state in ORDER_FINAL:
        return []
    path = []
    if state in ORDER_UNSETTLED:
        path.append(OrderTrigger.ACCEPTED)
        state = OrderState.ACCEPTED
    trigger = STATUS_TRIGGERS[status]
    if trigger is OrderTrigger.ACCEPTED:
        return path
    # An order that has begun to fill has triggered long ago, and one that fills in parts says so once.
    if trigger in {OrderTrigger.CONDITION_MET, OrderTrigger.PART_FILLED} and state is not OrderState.ACCEPTED:
        return path
    return [*path, trigger]


def settle_refused(order: Order, refused: Refused, *, now: datetime) -> None:
    """Write the proof that an order is not at the exchange; an entry's request ends with it."""
    with transaction.atomic():
        _lock(order)
        # An answer that comes after others have written UNKNOWN does not end it: they look it up.
        if order.state != OrderState.SUBMITTING:
            return
        sentence = f"EXCHANGE_REFUSED: code={refused.code} message={refused.message}"
        reason = (Reason.EXCHANGE_REFUSED, sentence)
        failed = events_out.FailureFields(
            client_order_id=order.client_order_id, error_code=refused.code, attempts=order.attempts
        )
        _end_request_of(order, RequestTrigger.EXCHANGE_REFUSED, reason, failed, now)
        move_order(
            order,
            OrderTrigger.REFUSED,
            now=now,
            reason=reason,
            error_code=refused.code,
            last_evidence=sentence,
            last_evidence_at=now,
        )
        if order.purpose != OrderPurpose.ENTRY:
            event = events_out.order_failed(
                symbol=order.symbol,
                side=order.side.lower(),
                reason=reason,
                now=now,
                trace_id=order.request.trace_id,
                trade_id=str(order.request_id),
                **failed,
            )
            _emit(order, events_out.ORDER_FAILED, event, now)


def settle_unknown(order: Order, unknown: Unknown, *, now: datetime) -> None:
    """Write that nobody knows; only evidence leads on from here."""
    with transaction.atomic():
        _lock(order)
        if order.state != OrderState.SUBMITTING:
            return
        reason = (Reason.OUTCOME_UNKNOWN, f"OUTCOME_UNKNOWN: {unknown.message}")
        move_order(
            order,
            OrderTrigger.OUTCOME_UNKNOWN,
            now=now,
            reason=reason,
            last_evidence=reason[1],
            last_evidence_at=now,
        )
        if order.purpose == OrderPurpose.ENTRY:
            move_request(
                order.request_id, RequestState.SUBMITTING, RequestTrigger.OUTCOME_UNKNOWN, now=now, reason=reason
            )
            order.request.state = RequestState.UNKNOWN


def settle_absent(order: Order, *, now: datetime, evidence: str) -> None:
    """Write that an order of unknown outcome was never accepted, with the evidence that proves it."""
    with transaction.atomic():
        _lock(order)
        if order.state != OrderState.UNKNOWN:
            return
        reason = (Reason.ABSENCE_PROVEN, f"ABSENCE_PROVEN: {evidence}")
        failed = events_out.FailureFields(client_order_id=order.client_order_id, attempts=order.attempts)
        _end_request_of(order, RequestTrigger.ABSENCE_PROVEN, reason, failed, now)
        move_order(
            order,
            OrderTrigger.ABSENCE_PROVEN,
            now=now,
            reason=reason,
            last_evidence=reason[1],
            last_evidence_at=now,
        )


def _lock(order: Order) -> None:
    """Lock an order's row and take over what others may have written."""
    stored = Order.objects.select_for_update().filter(pk=order.pk).values_list(*VOLATILE).get()
    for name, value in zip(VOLATILE, stored, strict=True):
        setattr(order, name, value)


def _write(order: Order, path: list[OrderTrigger], report: OrderReport, source: str, now: datetime) -> None:
    """Store ids, quantity and evidence, with the move if there is one."""
    columns = {
        "exchange_order_id": report.order_id or order.exchange_order_id,
        "algo_id": report.algo_id or order.algo_id,
        "executed_quantity": max(order.executed_quantity, report.executed_quantity),
        "missing_readings": 0,
        "last_evidence": f"{source}: {report.status} executed={report.executed_quantity}",
        "last_evidence_at": now,
    }
    if path:
        move_order(order, *path, now=now, **columns)
        return
    Order.objects.filter(pk=order.pk).update(**columns)
    for name, value in columns.items():
        setattr(order, name, value)


def _carry_to_request(order: Order, before: OrderState, now: datetime) -> None:
    """Move an entry's request along: accepted with its order, then filled, or ended when nothing filled."""
    request = order.request
    # Entry and request leave SUBMITTING and UNKNOWN in the same transactions, so their names agree until then.
    state = RequestState(before.value) if before in ORDER_UNSETTLED else RequestState.ACCEPTED
    triggers = [RequestTrigger.EXCHANGE_ACCEPTED] if before in ORDER_UNSETTLED else []
    over = OrderState(order.state) in ORDER_FINAL and before not in ORDER_FINAL
    if over and order.executed_quantity > 0:
        triggers.append(RequestTrigger.ENTRY_FILLED)
    details = {"order_state": order.state, "executed_quantity": order.executed_quantity}
    if triggers and move_request(request.pk, state, *triggers, now=now, details=details):
        filled = RequestTrigger.ENTRY_FILLED in triggers
        request.state = RequestState.FILLED if filled else RequestState.ACCEPTED
    if over and order.executed_quantity <= 0:
        reason = (Reason.ENTRY_ENDED_WITHOUT_FILL, f"ENTRY_ENDED_WITHOUT_FILL: order_state={order.state}")
        failed = events_out.FailureFields(client_order_id=order.client_order_id, attempts=order.attempts)
        request.state = RequestState.ACCEPTED
        end_request(request, RequestTrigger.ENTRY_ENDED_EMPTY, reason, now=now, failed=failed)


def _end_request_of(
    order: Order,
    trigger: RequestTrigger,
    reason: tuple[Reason, str],
    failed: events_out.FailureFields,
    now: datetime,
) -> None:
    """End an entry's request, whose state is named as its order's; call it before the order moves."""
    if order.purpose == OrderPurpose.ENTRY:
        order.request.state = RequestState(order.state)
        end_request(order.request, trigger, reason, now=now, failed=failed)


def _emit(order: Order, event_type: str, payload: dict[str, object], now: datetime) -> None:
    emit(order.request_id, [(event_type, payload)], trace_id=order.request.trace_id, now=now)
