"""Approves a reviewed entry: its share of the limits, its slot and its numbers, all or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Model

from execution.domain.exit_orders import exit_orders_for, judge_room
from execution.domain.json_values import JsonObject
from execution.domain.limits import judge_limits
from execution.domain.lots import lot_rule
from execution.domain.risk_review import RuleVerdict
from execution.domain.states import RequestState, RequestTrigger
from execution.domain.trading import OrderType
from execution.models import ExecutionRequest, PositionSlot
from execution.risk.decision_snapshot import ExitOrders, impact_of, plain_fields
from execution.risk.entry_expiry import expiry_of
from execution.risk.limit_usage import usage_and_orders
from execution.risk.proposal import as_json, proposal_of
from execution.risk.review_entry import EntryReview
from execution.store.atomic_write import Write
from execution.store.slots import SLOT_TAKEN, lock_usage
from execution.store.transitions import RequestColumns, request_move


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


def approve_entry(request: ExecutionRequest, review: EntryReview, *, plan: Sequence[Model], now: datetime) -> Approval:
    """Take the slot and a share of every limit, and approve the request, in the caller's transaction.

    The limits are judged under one lock, so that two entries never take the same room. The rows of its exits, the
    `plan`, are stored with the approval.

    Raises:
        IntegrityError: another process has taken the slot meanwhile; the transaction is lost.

    """
    lock_usage()
    limits = review_limits(request, review, now=now)
    if limits.exceeded:
        return Approval(approved=False, exceeded=limits.exceeded, details=limits.details)
    move = request_move(
        request.pk,
        RequestState.CLEARED,
        RequestTrigger.GUARD_APPROVED,
        now=now,
        details=limits.details,
        unless=SLOT_TAKEN,
        unless_with=[request.symbol, review.side, request.pk],
        **approved_columns(request, review, now=now),
    )
    slot = PositionSlot(symbol=request.symbol, position_side=review.side, request=request, claimed_at=now)
    # Nothing leaves before the next commit, which waits for the disk: the lock on the usage is not held over that.
    write = Write().move(move).insert(slot).may_be_lost()
    for row in plan:
        write.insert(row)
    return Approval(approved=write.run(), exceeded=None, details=limits.details)


def review_limits(request: ExecutionRequest, review: EntryReview, *, now: datetime) -> LimitReview:
    """Judge a reviewed entry by every limit, and change nothing.

    An approval calls it under `lock_usage`.
    """
    verdict, policy, rules = review.verdict, review.policy, review.rules
    usage, resting = usage_and_orders(request, review.side, policy, now=now)
    orders = ExitOrders(
        # Orders of other clients at the account are not known here.
        resting=resting,
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
