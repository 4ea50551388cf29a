"""Third step: judge the entry, fix its quantity and exits, and claim the symbol."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from execution.crash_points import CrashPoint, reached
from execution.domain.exit_orders import exit_orders_for, judge_room
from execution.domain.limits import judge_limits
from execution.domain.lots import lot_rule
from execution.domain.policy import Policy
from execution.domain.ports import Exchange, Memory
from execution.domain.reasons import Reason
from execution.domain.review import AskedTarget, Proposal, RuleVerdict
from execution.domain.safety import ANY_SYMBOL, Verdict, judge
from execution.domain.sizing import SizingMode, sizing_mode
from execution.domain.states import RequestState, RequestTrigger
from execution.domain.trading import Direction, OrderType, PositionSide, SymbolLists, SymbolRules
from execution.models import ExecutionRequest
from execution.pipeline.bracket_rows import write_bracket
from execution.pipeline.ending import end_request, expire_request
from execution.pipeline.entry_expiry import expiry_of
from execution.pipeline.entry_gate import Obstacle, Stack, obstacle_of_loss, obstacle_to_entry
from execution.pipeline.guard_inputs import noted, plain_fields, stake_of
from execution.pipeline.policy import policy_age_seconds, policy_in_force
from execution.pipeline.pricing import priced
from execution.pipeline.transitions import move_request
from execution.pipeline.usage import conditional_orders, lock_usage, take_claim, usage_for

log = structlog.get_logger(__name__)
Clock = Callable[[], datetime]


def guard_safety(
    request_id: UUID,
    *,
    exchange: Exchange,
    stack: Stack,
    memory: Memory,
    clock: Clock,
    lists: SymbolLists = ANY_SYMBOL,
) -> bool:
    """Approve a request with its numbers or refuse it with the rule; True when this call has approved it.

    Raises:
        ExchangeUnavailableError: no market data; the request stays CLEARED and is resumed or expires.

    """
    request = ExecutionRequest.objects.get(pk=request_id)
    if request.state != RequestState.CLEARED:
        return False
    if clock() > request.expires_at:
        expire_request(request, now=clock())
        return False
    obstacle = obstacle_to_entry(stack, request.symbol, now=clock()) or obstacle_of_loss(memory)
    if obstacle:
        stop_at(obstacle, request, now=clock())
        return False
    rules = exchange.rules(request.symbol)
    policy = policy_in_force()
    if rules is None or policy.unusable:
        _refuse(request, _unjudgeable(policy) if rules else _unknown(request), {}, clock())
        return False
    quote = exchange.quote(request.symbol)
    proposal = proposal_of(request)
    index = priced(exchange, rules.quote_asset)
    by_equity = sizing_mode(proposal, policy) is SizingMode.EQUITY_FRACTION
    equity = _equity(exchange, rules) if by_equity else None
    brackets = exchange.margin_brackets(request.symbol)
    verdict = judge(
        proposal, quote=quote, rules=rules, policy=policy, lists=lists, equity=equity, brackets=brackets, index=index
    )
    side = PositionSide(request.direction) if exchange.hedge_mode() else PositionSide.BOTH
    details: dict[str, Any] = {"rules": [as_json(rule) for rule in verdict.rules], "policy_version": policy.version}
    details["policy_age_seconds"] = policy_age_seconds(clock())
    details["inputs"] = noted(
        quote,
        proposal.direction,
        rules=rules,
        policy=policy,
        lists=lists,
        equity=equity,
        brackets=brackets,
        index=index,
    )
    reached(CrashPoint.ENTRY_JUDGED)
    if verdict.refusal:
        _refuse(request, verdict.refusal, details, clock())
        return False
    approved = _approve(request, verdict, policy, rules, side, details, clock())
    reached(CrashPoint.ENTRY_APPROVED)
    return approved


def _unknown(request: ExecutionRequest) -> RuleVerdict:
    return RuleVerdict(rule="symbol", numbers=f"symbol={request.symbol}", refusal=Reason.UNKNOWN_SYMBOL)


def _unjudgeable(policy: Policy) -> RuleVerdict:
    """Refuse by limits that nobody can read: their defaults may be looser than what was meant."""
    return RuleVerdict(
        rule="policy", numbers=f"keys={','.join(sorted(policy.unusable))}", refusal=Reason.POLICY_UNUSABLE
    )


def _equity(exchange: Exchange, rules: SymbolRules) -> Decimal | None:
    """Return what stands behind contracts of this margin asset, in USD; None when no index prices the asset."""
    index = priced(exchange, rules.margin_asset)
    return exchange.equity().behind(rules.margin_asset, index) if index else None


def stop_at(obstacle: Obstacle, request: ExecutionRequest, *, now: datetime) -> None:
    """Refuse a request, or leave it where it is: the monitor resumes it, or it expires."""
    if obstacle.code is None:
        log.warning("entry_waits", request_id=str(request.pk), reason=obstacle.sentence)
        return
    _refuse(request, RuleVerdict(rule="entry_gate", numbers=obstacle.sentence, refusal=obstacle.code), {}, now)


def proposal_of(request: ExecutionRequest) -> Proposal:
    """Return what was asked for, as the guard reads it."""
    exits = request.exits_asked
    return Proposal(
        symbol=request.symbol,
        direction=Direction(request.direction),
        order_type=OrderType(request.order_type),
        notional_usd=request.notional_usd,
        base_quantity=request.base_quantity_asked,
        limit_price=request.limit_price_asked,
        expected_price=request.expected_price,
        leverage=request.leverage,
        stop_price=request.stop_price_asked,
        target_price=request.target_price_asked,
        confidence=request.confidence,
        targets=tuple(
            AskedTarget(price=Decimal(each["price"]), share=Decimal(each["share"])) for each in exits.get("targets", [])
        ),
        callback_percent=request.trail_percent,
        activation_price=Decimal(exits["activation_price"]) if "activation_price" in exits else None,
        break_even=exits.get("break_even"),
        time_exit_seconds=exits.get("time_exit_seconds"),
    )


def _approve(
    request: ExecutionRequest,
    verdict: Verdict,
    policy: Policy,
    rules: SymbolRules,
    side: PositionSide,
    details: dict[str, Any],
    now: datetime,
) -> bool:
    """Claim the symbol and a share of every limit, approve and write the plan, in one transaction; or refuse."""
    with transaction.atomic():
        lock_usage()
        usage = usage_for(request, side, policy, now=now)
        orders = {"resting": conditional_orders(), "needed": _exit_orders(verdict, rules)}
        limits = (
            *judge_limits(stake_of(proposal_of(request), verdict), usage, policy),
            judge_room(**orders, policy=policy),
        )
        rules_told = [*details["rules"], *(as_json(rule) for rule in limits)]
        details = details | {"rules": rules_told, "usage": plain_fields(usage), "exit_orders": orders}
        obstacle = next((rule for rule in limits if rule.refusal), None)
        if obstacle:
            _refuse(request, obstacle, details, now)
            return False
        moved = take_claim(request, side, now=now) and move_request(
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
            position_side=side,
            policy_version=policy.version,
            approved_at=now,
            entry_expires_at=expiry_of(request, policy),
        )
        if moved and verdict.exits:
            write_bracket(request, verdict.exits, rules)
        # Somebody else moved the request: the claim taken above must not outlive this transaction.
        transaction.set_rollback(not moved)
        return moved


def _exit_orders(verdict: Verdict, rules: SymbolRules) -> int:
    """Return how many orders the exits take; what others have resting at the account, nobody here knows."""
    return exit_orders_for(verdict.quantity, verdict.exits, lot_rule(rules, OrderType.MARKET)) if verdict.exits else 0


def _refuse(request: ExecutionRequest, rule: RuleVerdict, details: dict[str, Any], now: datetime) -> None:
    code = rule.refusal or Reason.INVALID_FIELD
    reason = (code, f"{code}: {rule.numbers}")
    end_request(request, RequestTrigger.GUARD_REFUSED, reason, now=now, details=details or {"rules": [as_json(rule)]})


def as_json(rule: RuleVerdict) -> dict[str, Any]:
    """Return a verdict as the journal keeps it."""
    return {
        "rule": rule.rule,
        "numbers": rule.numbers,
        "refusal": rule.refusal,
        "before": None if rule.before is None else format(rule.before, "f"),
        "after": None if rule.after is None else format(rule.after, "f"),
    }
