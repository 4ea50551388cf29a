"""Approves a reviewed entry: its share of the limits, its slot and its numbers, all or nothing."""

from dataclasses import dataclass
from datetime import datetime

from execution.domain.exit_orders import exit_orders_for, judge_room
from execution.domain.json_values import JsonObject
from execution.domain.limits import judge_limits
from execution.domain.lots import lot_rule
from execution.domain.risk_review import RuleVerdict
from execution.domain.states import RequestState, RequestTrigger
from execution.domain.trading import OrderType
from execution.models import ExecutionRequest
from execution.risk.decision_snapshot import ExitOrders, impact_of, plain_fields
from execution.risk.entry_expiry import expiry_of
from execution.risk.limit_usage import usage_for
from execution.risk.proposal import as_json, proposal_of
from execution.risk.review_entry import EntryReview
from execution.store.slots import conditional_orders, lock_usage, take_slot
from execution.store.transitions import RequestColumns, move_request


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Whether the request is approved now, and the limit that it would exceed.

    Neither, when another process has moved the request or holds the slot.
    """

    approved: bool
    exceeded: RuleVerdict | None
    details: JsonObject


@dataclass(frozen=True, kw_only=True)
class LimitReview:
    """Every limit's verdict on a reviewed entry, and `details` of both reviews for the journal."""

    limits: tuple[RuleVerdict, ...]
    details: JsonObject

    @property
    def exceeded(self) -> RuleVerdict | None:
        return next((rule for rule in self.limits if rule.refusal), None)


def approve_entry(request: ExecutionRequest, review: EntryReview, *, now: datetime) -> Approval:
    """Take the slot and a share of every limit, and approve the request, in the caller's transaction.

    The limits are judged under one lock, so that two entries never take the same room.
    """
    lock_usage()
    limits = review_limits(request, review, now=now)
    approved = limits.exceeded is None and take_slot(request, review.side, now=now)
    approved = approved and move_request(
        request.pk,
        RequestState.CLEARED,
        RequestTrigger.GUARD_APPROVED,
        now=now,
        details=limits.details,
        **approved_columns(request, review, now=now),
    )
    return Approval(approved=approved, exceeded=limits.exceeded, details=limits.details)


def review_limits(request: ExecutionRequest, review: EntryReview, *, now: datetime) -> LimitReview:
    """Judge a reviewed entry by every limit, and change nothing.

    An approval calls it under `lock_usage`.
    """
    verdict, policy, rules = review.verdict, review.policy, review.rules
    usage = usage_for(request, review.side, policy, now=now)
    orders = ExitOrders(
        # Orders of other clients at the account are not known here.
        resting=conditional_orders(),
        needed=exit_orders_for(verdict.quantity, verdict.exits, lot_rule(rules, OrderType.MARKET))
        if verdict.exits
        else 0,
    )
    limits = (
        *judge_limits(impact_of(proposal_of(request), verdict), usage, policy),
        judge_room(**orders, policy=policy),
    )
    details: JsonObject = {
        **review.details,
        "rules": [as_json(rule) for rule in (*verdict.rules, *limits)],
        "usage": plain_fields(usage),
        "exit_orders": {"resting": orders["resting"], "needed": orders["needed"]},
    }
    return LimitReview(limits=limits, details=details)


def approved_columns(request: ExecutionRequest, review: EntryReview, *, now: datetime) -> RequestColumns:
    """Return the numbers of a reviewed entry as an approval writes them."""
    verdict = review.verdict
    return RequestColumns(
        quote_asset=review.rules.quote_asset,
        quote_index=verdict.index.price if verdict.index else None,
        reference_price=verdict.reference_price,
        limit_price=verdict.limit_price,
        quantity=verdict.quantity,
        stop_price=verdict.stop_price or None,
        target_price=verdict.target_price,
        position_side=review.side,
        policy_version=review.policy.version,
        approved_at=now,
        entry_expires_at=expiry_of(request, review.policy),
    )
