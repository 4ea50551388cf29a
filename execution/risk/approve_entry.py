"""Approves a reviewed entry: its share of every limit, its claim on the symbol, and its numbers, all or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from execution.domain.exit_orders import exit_orders_for, judge_room
from execution.domain.limits import judge_limits
from execution.domain.lots import lot_rule
from execution.domain.risk_review import RuleVerdict
from execution.domain.states import RequestState, RequestTrigger
from execution.domain.trading import OrderType
from execution.models import ExecutionRequest
from execution.risk.decision_snapshot import impact_of, plain_fields
from execution.risk.entry_expiry import expiry_of
from execution.risk.limit_usage import conditional_orders, lock_usage, take_claim, usage_for
from execution.risk.proposal import as_json, proposal_of
from execution.risk.review_entry import EntryReview
from execution.store.transitions import move_request


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Whether the request is approved now, or the limit that it would exceed; neither: another process moved it."""

    approved: bool
    exceeded: RuleVerdict | None
    details: Mapping[str, Any]


def approve_entry(request: ExecutionRequest, review: EntryReview, *, now: datetime) -> Approval:
    """Claim the symbol and a share of every limit, and approve; call it in a transaction.

    The limits are judged under one lock, so that two entries never take the same room.
    """
    verdict, policy, rules = review.verdict, review.policy, review.rules
    lock_usage()
    usage = usage_for(request, review.side, policy, now=now)
    orders = {"resting": conditional_orders(), "needed": _exit_orders(review)}
    limits = (
        *judge_limits(impact_of(proposal_of(request), verdict), usage, policy),
        judge_room(**orders, policy=policy),
    )
    judged = [*review.details["rules"], *(as_json(rule) for rule in limits)]
    details = review.details | {"rules": judged, "usage": plain_fields(usage), "exit_orders": orders}
    exceeded = next((rule for rule in limits if rule.refusal), None)
    approved = exceeded is None and take_claim(request, review.side, now=now)
    approved = approved and move_request(
        request.pk,
        RequestState.CLEARED,
        RequestTrigger.GUARD_APPROVED,
        now=now,
        details=details,
        quote_asset=rules.quote_asset,
        quote_index=verdict.index.price if verdict.index else None,
        reference_price=verdict.reference_price,
        limit_price=verdict.limit_price,
        quantity=verdict.quantity,
        stop_price=verdict.stop_price or None,
        target_price=verdict.target_price,
        position_side=review.side,
        policy_version=policy.version,
        approved_at=now,
        entry_expires_at=expiry_of(request, policy),
    )
    return Approval(approved=approved, exceeded=exceeded, details=details)


def _exit_orders(review: EntryReview) -> int:
    """Return how many orders the exits take; what others have resting at the account, nobody here knows."""
    verdict = review.verdict
    if not verdict.exits:
        return 0
    return exit_orders_for(verdict.quantity, verdict.exits, lot_rule(review.rules, OrderType.MARKET))
