"""First step: check the emergency stop before every order that adds risk, manual ones too.

Exits never come here.
"""

from uuid import UUID

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.ports import RiskSafety
from execution.domain.reasons import Reason
from execution.domain.states import RequestState, RequestTrigger
from execution.orders.end_request import end_request, expire_request
from execution.outbox import payloads
from execution.risk.ess import EssRules, decide, ess_verdict
from execution.store.atomic_write import Write
from execution.store.requests import load_request
from execution.store.transitions import request_move


def check_ess(request_id: UUID, *, risk_safety: RiskSafety, rules: EssRules, clock: Clock) -> bool:
    """Clear a request or deny it. Returns True when this call has cleared it."""
    request = load_request(request_id)
    if request.state != RequestState.RECEIVED:
        return False
    if clock() > request.expires_at:
        expire_request(request, now=clock())
        return False
    decision = decide(risk_safety, rules, clock)
    reached(CrashPoint.ESS_ANSWERED)
    now = clock()
    details = {
        "ess_state": decision.state,
        "ess_age_seconds": decision.age_seconds,
        "permitted": decision.permitted,
        "evidence": decision.evidence,
    }
    if not decision.permitted:
        reason = (Reason.ESS_BLOCKED, f"ESS blocked: {ess_verdict(decision).numbers}")
        extra = payloads.FailureFields(ess_state=decision.state)
        end_request(request, RequestTrigger.ESS_BLOCKED, reason, now=now, details=details, failed=extra)
        return False
    move = request_move(request_id, RequestState.RECEIVED, RequestTrigger.ESS_CLEARED, now=now, details=details)
    cleared = Write().move(move).may_be_lost().run()
    reached(CrashPoint.ESS_CLEARED)
    return cleared
