"""A request as the guard reads it, and a verdict as the journal keeps it."""

from decimal import Decimal

from execution.domain.json_values import JsonValue
from execution.domain.risk_review import AskedTarget, Proposal, RuleVerdict
from execution.domain.trading import Direction, OrderType, TimeInForce
from execution.models import ExecutionRequest


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
        time_in_force=TimeInForce(request.time_in_force) if request.time_in_force else None,
    )


def as_json(rule: RuleVerdict) -> dict[str, JsonValue]:
    """Return a verdict as the journal keeps it."""
    return {
        "rule": rule.rule,
        "numbers": rule.numbers,
        "refusal": rule.refusal,
        "before": None if rule.before is None else format(rule.before, "f"),
        "after": None if rule.after is None else format(rule.after, "f"),
    }
