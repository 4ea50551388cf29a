"""The last question before an entry goes onto the wire: whether anything has said no since it was approved.

It may have waited for its turn. One statement asks for all of it; more is asked only when something has changed.
"""

from datetime import datetime

from django.db import connection

from execution.domain.ports import EntryBlock
from execution.domain.reasons import Reason
from execution.models import EssStatus, ExecutionRequest
from execution.risk.entry_gate import STANDING, standing_veto, standing_with
from execution.risk.reapproval import POLICY_VERSION, approved_with, renew_approval


def pre_send_check(request: ExecutionRequest, *, now: datetime) -> EntryBlock | None:
    """Return what an entry must not leave for: emergency stop, kill switch, a hold, or a policy that has changed."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {STANDING}, {POLICY_VERSION}", standing_with(request.symbol))
        stopped, version = cursor.fetchone() or (True, 0)
    veto = _standing(request.symbol, now) if stopped else None
    if veto or version <= approved_with(request):
        return veto
    return renew_approval(request, now=now).veto


def _standing(symbol: str, now: datetime) -> EntryBlock | None:
    ess = EssStatus.objects.filter(permitted=False).first()
    if ess:
        return EntryBlock(code=Reason.ESS_BLOCKED, sentence=f"state={ess.state} ({ess.source}: {ess.reason})")
    return standing_veto(symbol, now=now)
