"""A request as the guard reads it, and a verdict as the journal keeps it."""

from collections.abc import Mapping
from decimal import Decimal

from execution.domain.distances import Distance, Measure
from execution.domain.json_values import JsonValue
from execution.domain.risk_review import AskedSize, AskedTarget, AtrTerms, Proposal, RuleVerdict, SizeMeasure
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
            AskedTarget(
                price=Decimal(each["price"]) if "price" in each else None,
                share=Decimal(each["share"]),
                distance=_distance(each),
            )
            for each in exits.get("targets", [])
        ),
        callback_percent=request.trail_percent,
        activation_price=Decimal(exits["activation_price"]) if "activation_price" in exits else None,
        break_even=exits.get("break_even"),
        time_exit_seconds=exits.get("time_exit_seconds"),
        size=_size(request),
        stop_distance=_distance(exits.get("stop", {})),
        target_distance=_distance(exits.get("target", {})),
        activation_distance=_distance(exits.get("activation", {})),
        atr=AtrTerms(**exits["atr"]) if "atr" in exits else None,
        time_in_force=TimeInForce(request.time_in_force) if request.time_in_force else None,
    )


def _size(request: ExecutionRequest) -> AskedSize | None:
    if not request.size_measure or request.size_amount is None:
        return None
    return AskedSize(measure=SizeMeasure(request.size_measure), amount=request.size_amount)


def _distance(asked: Mapping[str, str]) -> Distance | None:
    """Return the distance that stands under its measure, None without one."""
    found = [Distance(measure=each, amount=Decimal(asked[each])) for each in Measure if each in asked]
    return found[0] if found else None


def as_json(rule: RuleVerdict) -> dict[str, JsonValue]:
    """Return a verdict as the journal keeps it."""
    return {
        "rule": rule.rule,
        "numbers": rule.numbers,
        "refusal": rule.refusal,
        "before": None if rule.before is None else format(rule.before, "f"),
        "after": None if rule.after is None else format(rule.after, "f"),
    }
