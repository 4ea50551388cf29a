"""Second step: judge the entry, set its quantity and exits, and reserve the symbol."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Model

from execution.crash_points import CrashPoint, reached
from execution.domain.clocks import Clock
from execution.domain.ports import Exchange, Memory
from execution.domain.risk_review import RuleVerdict
from execution.domain.safety import ANY_SYMBOL
from execution.domain.states import RequestState
from execution.domain.trading import SymbolLists
from execution.models import ExecutionRequest
from execution.orders.end_request import deny, expire_request, stop_at
from execution.protection.bracket_store import bracket_rows
from execution.risk.approve_entry import approve_entry
from execution.risk.entry_gate import Stack, data_loss_block, gate_block
from execution.risk.review_entry import EntryReview, review_entry
from execution.store.requests import load_request


def guard_safety(
    request_id: UUID,
    *,
    exchange: Exchange,
    stack: Stack,
    memory: Memory,
    clock: Clock,
    lists: SymbolLists = ANY_SYMBOL,
) -> bool:
    """Approve a request with its numbers, or deny it with the rule. Returns whether it is approved.

    Raises:
        ExchangeUnavailableError: no market data; the request stays CLEARED and is resumed or expires.

    """
    request = load_request(request_id)
    if request.state != RequestState.CLEARED:
        return False
    if clock() > request.expires_at:
        expire_request(request, now=clock())
        return False
    block = gate_block(stack, request.symbol, now=clock()) or data_loss_block(memory)
    if block:
        stop_at(block, request, now=clock())
        return False
    review = review_entry(request, exchange=exchange, lists=lists, clock=clock)
    if isinstance(review, RuleVerdict):
        deny(request, review, {}, now=clock())
        return False
    reached(CrashPoint.ENTRY_JUDGED)
    if review.verdict.refusal:
        deny(request, review.verdict.refusal, review.details, now=clock())
        return False
    approved = _approve(request, review, clock())
    reached(CrashPoint.ENTRY_APPROVED)
    return approved


def _approve(request: ExecutionRequest, review: EntryReview, now: datetime) -> bool:
    """Approve and write the plan in one transaction, or deny."""
    plan: list[Model] = []
    if review.verdict.exits:
        bracket, legs = bracket_rows(request, review.verdict.exits, review.rules)
        plan = [bracket, *legs]
    try:
        with transaction.atomic():
            approval = approve_entry(request, review, plan=plan, now=now)
            if approval.exceeded:
                deny(request, approval.exceeded, approval.details, now=now)
    except IntegrityError:
        # An adopted position has taken the slot. The request stays where it is, and is judged again.
        return False
    return approval.approved
