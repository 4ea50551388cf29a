"""Applies the exchange's reports to our orders, for the chain, reconciliation and the user stream.

Every function takes an order as it was read earlier, with its request. It writes on the condition that the order is
still in that state; when another process was faster, it reads the order again and looks once more.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from execution.domain.money import plain
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
from execution.models import Order, VenueBlock
from execution.orders.end_request import ending
from execution.outbox import payloads
from execution.store.atomic_write import Move, Write
from execution.store.orders import count_missing_reading, save_alarm, update_in_state
from execution.store.transitions import NO_REASON, apply_to, log_step, order_move, request_move

log = structlog.get_logger(__name__)
# The exchange ends an order by its own clock, which may be this far ahead of ours.
CLOCKS_DIFFER = timedelta(minutes=1)

# Refusals of a LIMIT order that its time in force has asked for.
BY_TIME_IN_FORCE = frozenset({Reason.POST_ONLY_WOULD_TAKE, Reason.FOK_NOT_FILLABLE})

# What other processes may have changed since an order was read.
VOLATILE = (
    *("state", "executed_quantity", "exchange_order_id", "algo_id", "attempts", "missing_readings", "missing_since"),
    *("alarmed_at", "accepted_at", "expired_at", "passed_since", "overdue_at"),
)


def apply_report(order: Order, report: OrderReport, *, now: datetime, source: str) -> None:
    """Write what the exchange reports about an order.

    It may be repeated and may come late.

    Quantities only grow and a finished order stays finished, so reports may arrive in any order. Afterwards `order`
    and its request show what is stored.
    """
    while not _settled(order, report, source, now):
        order.refresh_from_db(fields=VOLATILE)
        # The faster process has moved the request along, and what the caller does next rests on its state.
        order.request.refresh_from_db(fields=["state"])


def apply_acceptances(
    reports: Sequence[tuple[Order, OrderReport]], *, also: Callable[[], Move | None], now: datetime, source: str
) -> bool:
    """Write the first reports about several exits of one position in one statement.

    Args:
        reports: the orders as this process has written them, each with what the exchange reports.
        also: the request's move that belongs to the reports, asked when the orders show them.
        now: written to rows and journal.
        source: which evidence it is.

    Returns:
        False when another process has moved one of the orders: then nothing is written, and they are read again.

    """
    write = Write()
    for order, report in reports:
        _settle(write, order, report, order_path(OrderState(order.state), report.status), source, now)
    move = also()
    if move:
        write.move(move)
    if write.run_whole():
        return True
    for order, _ in reports:
        order.refresh_from_db(fields=VOLATILE)
    return False


def order_path(state: OrderState, status: ExchangeStatus) -> list[OrderTrigger]:
    """Return the triggers that lead from our state to the reported one, none when it is known already."""
    if state in ORDER_FINAL:
        return []
    path = []
    if state in ORDER_UNSETTLED:
        path.append(OrderTrigger.ACCEPTED)
        state = OrderState.ACCEPTED
    trigger = STATUS_TRIGGERS[status]
    if trigger is OrderTrigger.ACCEPTED:
        return path
    # An order that has begun to fill has triggered long ago, and one that fills in parts reports it once.
    if trigger in {OrderTrigger.CONDITION_MET, OrderTrigger.PART_FILLED} and state is not OrderState.ACCEPTED:
        return path
    return [*path, trigger]


def apply_rejection(order: Order, refused: Refused, *, now: datetime) -> None:
    """Write the proof that an order is not at the exchange, and end an entry's request with it.

    When others have written UNKNOWN in the meantime, it stays so: they look the order up.
    """
    answer = f"code={refused.code} message={refused.message}"
    by_exchange = refused.code is not None or refused.reason is Reason.EXCHANGE_REJECTED
    sentence = f"{refused.reason}: {answer if by_exchange else refused.message}"
    if refused.reason in BY_TIME_IN_FORCE and order.price is not None:
        sentence += f" time_in_force={order.time_in_force} limit={plain(order.price)}"
    reason = (refused.reason, sentence)
    move = order_move(
        order,
        OrderTrigger.REJECTED,
        now=now,
        reason=reason,
        error_code=refused.code,
        last_evidence=sentence,
        last_evidence_at=now,
    )
    failed = payloads.FailureFields(
        client_order_id=order.client_order_id, error_code=refused.code, attempts=order.attempts
    )
    _end(order, move, RequestTrigger.EXCHANGE_REJECTED, reason, failed)


def apply_unknown(order: Order, unknown: Unknown, *, now: datetime) -> None:
    """Write that the outcome of an order is unknown.

    Only evidence from the exchange leads on from there.
    """
    reason = (Reason.OUTCOME_UNKNOWN, f"OUTCOME_UNKNOWN: {unknown.message}")
    move = order_move(
        order, OrderTrigger.OUTCOME_UNKNOWN, now=now, reason=reason, last_evidence=reason[1], last_evidence_at=now
    )
    write = Write().move(move)
    if order.purpose == OrderPurpose.ENTRY:
        trigger = RequestTrigger.OUTCOME_UNKNOWN
        write.move(request_move(order.request_id, RequestState.SUBMITTING, trigger, now=now, reason=reason))
    if write.run():
        apply_to(order, move)
        order.request.state = RequestState.UNKNOWN if order.purpose == OrderPurpose.ENTRY else order.request.state


def apply_absence(order: Order, *, now: datetime, evidence: str) -> None:
    """Write that an order of unknown outcome was never accepted, with the evidence that proves it."""
    reason = (Reason.ABSENCE_PROVEN, f"ABSENCE_PROVEN: {evidence}")
    move = order_move(
        order, OrderTrigger.ABSENCE_PROVEN, now=now, reason=reason, last_evidence=reason[1], last_evidence_at=now
    )
    failed = payloads.FailureFields(client_order_id=order.client_order_id, attempts=order.attempts)
    _end(order, move, RequestTrigger.ABSENCE_PROVEN, reason, failed)


def apply_unseen_end(order: Order, *, now: datetime, evidence: str) -> None:
    """Write that an order the exchange once had is over, though its end was never reported.

    `evidence` is what proves it.

    What it has executed stays; an entry's request goes on with that, or ends without a position.
    """
    reason = (Reason.ENDED_UNSEEN, f"{Reason.ENDED_UNSEEN}: {evidence}")
    known = {"executed_quantity": order.executed_quantity, "alarmed_at": None}
    move = order_move(
        order,
        OrderTrigger.ENDED_UNSEEN,
        now=now,
        reason=reason,
        last_evidence=reason[1],
        last_evidence_at=now,
        **known,
    )
    write = Write().move(move)
    request_state = _carry_to_request(write, order, move, OrderState(order.state), now)
    if write.run():
        log.warning("order_ended_unseen", client_order_id=order.client_order_id, evidence=evidence)
        apply_to(order, move)
        order.request.state = request_state or order.request.state


def note_reading(order: Order, sentence: str, *, now: datetime) -> None:
    """Count one more reading that shows no trace of an order, and keep its sentence."""
    count_missing_reading(order, sentence, now=now)
    order.refresh_from_db(fields=[*VOLATILE, "sent_at", "last_evidence", "last_evidence_at"])


def raise_alarm(order: Order, sentence: str, *, now: datetime) -> None:
    """Raise the alarm for an order that stays unsettled.

    The log names it once. The row keeps the alarm until evidence arrives.
    """
    if save_alarm(order, sentence, now=now):
        age_seconds = (now - order.sent_at).total_seconds()
        log.error(
            "order_unsettled",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            state=order.state,
            age_seconds=round(age_seconds, 1),
            evidence=sentence,
        )
        details = {"age_seconds": age_seconds, "evidence": sentence}
        log_step("order", order.client_order_id, to_state=order.state, trigger="alarm_raised", now=now, details=details)


def _settled(order: Order, report: OrderReport, source: str, now: datetime) -> bool:
    """Write one report from the state that `order` shows, False when the order has moved on."""
    before = OrderState(order.state)
    path = order_path(before, report.status)
    if not path:
        return _note(order, report, _columns(order, report, source, now))
    write = Write()
    move = _settle(write, order, report, path, source, now)
    request_state = _carry_to_request(write, order, move, before, now)
    if not write.run():
        return False
    apply_to(order, move)
    order.request.state = request_state or order.request.state
    return True


def _settle(
    write: Write, order: Order, report: OrderReport, path: Sequence[OrderTrigger], source: str, now: datetime
) -> Move:
    """Add the order's move and its event. An order that was not settled shows the report from here on."""
    before, columns = OrderState(order.state), _columns(order, report, source, now)
    if path[-1] is OrderTrigger.CONDITION_MET and order.purpose in {OrderPurpose.STOP, OrderPurpose.TRAILING}:
        # From here on it has to execute: see protection/overdue_stops.py.
        columns["passed_since"] = order.passed_since or now
    move = order_move(order, *path, now=now, reason=NO_REASON, **columns)
    write.move(move)
    if before in ORDER_UNSETTLED:
        apply_to(order, move)
        placed = payloads.order_placed(order, order.request, now)
        write.emit(order.request_id, [(payloads.ORDER_PLACED, placed)], trace_id=order.request.trace_id, now=now)
    return move


def _columns(order: Order, report: OrderReport, source: str, now: datetime) -> dict[str, object]:
    return {
        "exchange_order_id": report.order_id or order.exchange_order_id,
        "algo_id": report.algo_id or order.algo_id,
        "executed_quantity": max(order.executed_quantity, report.executed_quantity),
        "accepted_at": order.accepted_at or report.created_at,
        "missing_readings": 0,
        "missing_since": None,
        "alarmed_at": None,
        "last_evidence": f"{source}: {report.status} executed={report.executed_quantity}",
        "last_evidence_at": now,
    }


def _note(order: Order, report: OrderReport, columns: dict[str, object]) -> bool:
    """Store news about an order that stays in its state.

    That is a larger executed quantity, or the order id of a triggered conditional order.
    """
    known = (order.executed_quantity, order.exchange_order_id or report.order_id)
    doubted = order.missing_readings or order.alarmed_at
    if (report.executed_quantity, report.order_id or known[1]) == known and not doubted:
        return True
    if not update_in_state(order, columns):
        return False
    for name, value in columns.items():
        setattr(order, name, value)
    return True


def _carry_to_request(write: Write, order: Order, move: Move, before: OrderState, now: datetime) -> RequestState | None:
    """Move an entry's request along: accepted with its order, then filled, or ended when nothing filled."""
    if order.purpose != OrderPurpose.ENTRY:
        return None
    # Entry and request leave SUBMITTING and UNKNOWN in the same statements, so their names agree until then.
    state = RequestState(before.value) if before in ORDER_UNSETTLED else RequestState.ACCEPTED
    triggers = [RequestTrigger.EXCHANGE_ACCEPTED] if before in ORDER_UNSETTLED else []
    following = OrderState(move.steps[-1].following)
    executed = move.columns["executed_quantity"]
    details = {"order_state": following, "executed_quantity": executed}
    if following not in ORDER_FINAL:
        if triggers:
            write.move(request_move(order.request_id, state, *triggers, now=now, details=details))
        return RequestState.ACCEPTED
    if executed > 0:
        triggers.append(RequestTrigger.ENTRY_FILLED)
        write.move(request_move(order.request_id, state, *triggers, now=now, details=details))
        return RequestState.FILLED
    reason = _ended_without_fill(order, following, now)
    failed = payloads.FailureFields(client_order_id=order.client_order_id, attempts=order.attempts)
    triggers.append(RequestTrigger.ENTRY_ENDED_EMPTY)
    ending(write, order.request, state, *triggers, reason=reason, now=now, failed=failed)
    return RequestState.CANCELED


def _ended_without_fill(order: Order, following: OrderState, now: datetime) -> tuple[Reason, str]:
    if not _ended_by_age(order, following, now=now):
        terms = f" time_in_force={order.time_in_force}" if order.time_in_force else ""
        limit = f" limit={plain(order.price)}" if terms and order.price is not None else ""
        return Reason.ENTRY_ENDED_WITHOUT_FILL, f"ENTRY_ENDED_WITHOUT_FILL: order_state={following}{terms}{limit}"
    asked, began = order.request.entry_expires_at, order.expired_at
    ends = VenueBlock.objects.filter(scope=order.symbol, reason_code=Reason.SYMBOL_ENDS).first()
    if ends and began and (asked is None or began < asked):
        # It was cancelled before its time, because what it would have opened could not stay open.
        return Reason.SYMBOL_ENDS, f"SYMBOL_ENDS: {ends.sentence} order_state={following}"
    numbers = f"good_till={(asked or began or now).isoformat()} decided_at={order.request.decided_at.isoformat()}"
    return Reason.ENTRY_EXPIRED, f"ENTRY_EXPIRED: {numbers} order_state={following}"


def _end(
    order: Order,
    move: Move,
    trigger: RequestTrigger,
    reason: tuple[Reason, str],
    failed: payloads.FailureFields,
) -> None:
    """End an order that is not at the exchange, with `order.failed`.

    An entry's request ends with it.
    """
    write = Write().move(move)
    request, now = order.request, move.now
    if order.purpose == OrderPurpose.ENTRY:
        ending(write, request, RequestState(order.state), trigger, reason=reason, now=now, failed=failed)
    else:
        event = payloads.order_failed(
            symbol=order.symbol,
            side=order.side.lower(),
            reason=reason,
            now=now,
            trace_id=request.trace_id,
            trade_id=str(request.pk),
            **failed,
        )
        write.emit(request.pk, [(payloads.ORDER_FAILED, event)], trace_id=request.trace_id, now=now)
    if write.run():
        apply_to(order, move)


def _ended_by_age(order: Order, following: OrderState, *, now: datetime) -> bool:
    """Return whether an entry has ended because its time was up.

    Either we cancelled it for that, or the exchange ended it then.
    """
    if order.expired_at:
        return True
    until = order.request.entry_expires_at
    return following is OrderState.EXPIRED and until is not None and now >= until - CLOCKS_DIFFER
