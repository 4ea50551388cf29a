"""Final pre-send check: whether anything has stopped an entry since its approval.

Emergency stop, kill switch, an entry block or a policy change may have. An entry may have waited for its turn before it
comes here. One statement checks all of it, and more is read only when something has changed.
"""

from datetime import datetime

from execution.domain.ports import EntryBlock
from execution.domain.reasons import Reason
from execution.models import ExecutionRequest
from execution.risk.entry_gate import standing_block
from execution.risk.reapproval import approved_with, renew_approval
from execution.store.emergency_stop import any_block
from execution.store.entry_gates import stopped_and_policy_version


def pre_send_check(request: ExecutionRequest, *, now: datetime) -> EntryBlock | None:
    """Return why an approved entry must not leave, or None when it may."""
    stopped, version = stopped_and_policy_version(request.symbol)
    if stopped and (ess := any_block()):
        return EntryBlock(code=Reason.ESS_BLOCKED, sentence=f"state={ess.state} ({ess.source}: {ess.reason})")
    block = standing_block(request.symbol, now=now) if stopped else None
    if block or version <= approved_with(request):
        return block
    return renew_approval(request, now=now).block
