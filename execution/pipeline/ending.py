"""Ends a request that will not become a position: state, claim and `order.failed` in one statement."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from execution.crash_points import CrashPoint, reached
from execution.domain.reasons import Reason
from execution.domain.states import RequestState, RequestTrigger
from execution.domain.trading import Direction
from execution.models import EntryClaim, ExecutionRequest
from execution.pipeline import events_out
from execution.pipeline.transitions import request_move
from execution.pipeline.write import Write


def end_request(
    request: ExecutionRequest,
    trigger: RequestTrigger,
    reason: tuple[Reason, str],
    *,
    now: datetime,
    details: Mapping[str, Any] | None = None,
    failed: events_out.FailureFields | None = None,
) -> bool:
    """End a request from the state that `request` shows; False when somebody else has moved it.

    Args:
        request: as read.
        trigger: what ends it.
        reason: reason code and sentence.
        now: the time written to the rows and the event.
        details: numbers for the journal.
        failed: further fields of the `order.failed` event.

    """
    write = Write()
    state = RequestState(request.state)
    ending(write, request, state, trigger, reason=reason, now=now, details=details, failed=failed)
    ended = write.run()
    reached(CrashPoint.REQUEST_ENDED)
    return ended


def ending(
    write: Write,
    request: ExecutionRequest,
    state: RequestState,
    *triggers: RequestTrigger,
    reason: tuple[Reason, str],
    now: datetime,
    details: Mapping[str, Any] | None = None,
    failed: events_out.FailureFields | None = None,
) -> None:
    """Add a request's end to a statement: its move, its claim given back, its `order.failed`."""
    event = events_out.order_failed(
        symbol=request.symbol,
        side=Direction(request.direction).entry_side.lower(),
        reason=reason,
        now=now,
        trace_id=request.trace_id,
        trade_id=str(request.pk),
        **(failed or events_out.FailureFields()),
    )
    move = request_move(request.pk, state, *triggers, now=now, reason=reason, details=details)
    write.move(move)
    write.say(
        "request_ended",
        request_id=str(request.pk),
        symbol=request.symbol,
        side=event["side"],
        state=move.steps[-1].following.value,
        code=reason[0].value,
        reason=reason[1],
    )
    # The symbol is free for the next decision.
    write.delete(EntryClaim, request_id=request.pk)
    write.emit(request.pk, [(events_out.ORDER_FAILED, event)], trace_id=request.trace_id, now=now)


def expire_request(request: ExecutionRequest, *, now: datetime) -> bool:
    """End a request that is too old to trade."""
    age = (now - request.decided_at).total_seconds()
    most = (request.expires_at - request.decided_at).total_seconds()
    reason = (Reason.SIGNAL_TOO_OLD, f"SIGNAL_TOO_OLD: expected<={most:.0f}s actual={age:.1f}s")
    return end_request(request, RequestTrigger.AGE_EXCEEDED, reason, now=now)
