"""Ends a request that will not become a position: state, claim and `order.failed` in one statement."""

from collections.abc import Mapping
from datetime import datetime

import structlog

from execution.crash_points import CrashPoint, reached
from execution.domain.outcomes import Mismatch
from execution.domain.reasons import Reason
from execution.domain.risk_review import RuleVerdict
from execution.domain.states import RequestState, RequestTrigger
from execution.domain.trading import Direction
from execution.models import ExecutionRequest, PositionSlot
from execution.outbox import payloads
from execution.risk.entry_expiry import age_verdict
from execution.risk.entry_gate import GateBlock, Stack, gate_block
from execution.risk.proposal import as_json
from execution.store.atomic_write import Write
from execution.store.emergency_stop import known_block
from execution.store.transitions import request_move

log = structlog.get_logger(__name__)


def end_request(
    request: ExecutionRequest,
    trigger: RequestTrigger,
    reason: tuple[Reason, str],
    *,
    now: datetime,
    details: Mapping[str, object] | None = None,
    failed: payloads.FailureFields | None = None,
) -> bool:
    """End a request from the state that `request` shows, False when another process has moved it.

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
    details: Mapping[str, object] | None = None,
    failed: payloads.FailureFields | None = None,
) -> None:
    """Add a request's end to a statement: its move, its claim given back, its `order.failed`."""
    event = payloads.order_failed(
        symbol=request.symbol,
        side=Direction(request.direction).entry_side.lower(),
        reason=reason,
        now=now,
        trace_id=request.trace_id,
        trade_id=str(request.pk),
        **(failed or payloads.FailureFields()),
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
    write.delete(PositionSlot, request_id=request.pk)
    write.emit(request.pk, [(payloads.ORDER_FAILED, event)], trace_id=request.trace_id, now=now)


def expire_request(request: ExecutionRequest, *, now: datetime) -> bool:
    """End a request that is too old to trade."""
    reason = (Reason.SIGNAL_TOO_OLD, f"SIGNAL_TOO_OLD: {age_verdict(request, now=now).numbers}")
    return end_request(request, RequestTrigger.AGE_EXCEEDED, reason, now=now)


def deny(request: ExecutionRequest, rule: RuleVerdict, details: Mapping[str, object], *, now: datetime) -> bool:
    """End a request by the rule that it breaks.

    Without `details` the journal keeps the rule alone.
    """
    code = rule.refusal or Reason.INVALID_FIELD
    reason = (code, f"{code}: {rule.numbers}")
    kept = details or {"rules": [as_json(rule)]}
    return end_request(request, RequestTrigger.GUARD_DENIED, reason, now=now, details=kept)


def stop_at(obstacle: GateBlock, request: ExecutionRequest, *, now: datetime) -> None:
    """Refuse a request, or leave it where it is until reconciliation resumes it or it expires."""
    if obstacle.code is None:
        log.warning("entry_waits", request_id=str(request.pk), reason=obstacle.sentence)
        return
    deny(request, RuleVerdict(rule="entry_gate", numbers=obstacle.sentence, refusal=obstacle.code), {}, now=now)


def deny_setup(request: ExecutionRequest, mismatch: Mismatch, *, now: datetime) -> None:
    """End a request for which the account is not set up as demanded."""
    reason = (mismatch.reason, str(mismatch))
    end_request(request, RequestTrigger.GUARD_DENIED, reason, now=now, failed={"error_code": mismatch.code})


def end_stopped(request: ExecutionRequest, stack: Stack, *, now: datetime) -> None:
    """End an approved request by what keeps it from leaving.

    Nothing does when another process has moved it.
    """
    block = known_block()
    obstacle = gate_block(stack, request.symbol, now=now)
    if block:
        found = f"state={block.state} before sending ({block.source}: {block.reason})"
        reason = (Reason.ESS_BLOCKED, f"ESS blocked: {found}")
        end_request(request, RequestTrigger.ESS_BLOCKED, reason, now=now, failed={"ess_state": block.state})
    elif obstacle:
        stop_at(obstacle, request, now=now)
