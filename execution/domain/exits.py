"""Guard rules on exits: stop, targets, trailing stop, break-even and time exit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from execution.domain import brackets
from execution.domain import policy as keys
from execution.domain.distances import Distance, Measure
from execution.domain.liquidation import bracket_for, liquidation_distance
from execution.domain.money import ONE, ZERO, ceil_to, plain
from execution.domain.reasons import Reason
from execution.domain.risk_review import AskedTarget, RiskReview
from execution.domain.trading import Direction

PERCENT = 100
# What the exchange takes for a trailing stop, in percent.
LEAST_CALLBACK, MOST_CALLBACK, CALLBACK_STEP = Decimal("0.1"), Decimal(20), Decimal("0.1")


@dataclass(frozen=True, kw_only=True)
class PlannedTarget:
    """A target as approved, on its tick. `share` is a fraction of the position.

    `distance`: what it was asked for by, where no rule has moved it; it is meant from the real entry price.
    """

    price: Decimal
    share: Decimal
    distance: Distance | None = None


@dataclass(frozen=True, kw_only=True)
class ExitPlan:
    """The exits as approved, on their ticks, nearest target first.

    It has no stop only where the policy allows that.

    A defaulted price is meant from the real entry price and moves there once that is known.
    """

    stop_price: Decimal | None
    stop_defaulted: bool
    targets: tuple[PlannedTarget, ...]
    target_defaulted: bool
    callback_percent: Decimal | None
    activation_price: Decimal | None
    break_even: bool
    break_even_buffer: Decimal
    time_exit_seconds: int | None
    # As that of a target.
    stop_distance: Distance | None = None


def judge_exits(review: RiskReview, reference: Decimal) -> ExitPlan:
    """Apply every rule about exits and return what will protect the position."""
    proposal, policy = review.proposal, review.policy
    stop, stop_distance = _stop(review, reference)
    risk = ZERO if stop is None else abs(reference - stop)
    targets = _targets(review, reference, risk)
    callback, activation = _trailing(review, reference, risk)
    wants_break_even = bool(policy[keys.BREAK_EVEN]) if proposal.break_even is None else proposal.break_even
    return ExitPlan(
        stop_price=stop,
        stop_defaulted=proposal.stop_price is None and proposal.stop_distance is None,
        targets=targets,
        target_defaulted=proposal.target_price is None and proposal.target_distance is None and not proposal.targets,
        callback_percent=callback,
        activation_price=activation,
        break_even=wants_break_even,
        break_even_buffer=policy[keys.BREAK_EVEN_BUFFER],
        time_exit_seconds=proposal.time_exit_seconds or int(policy[keys.DEFAULT_TIME_EXIT]) or None,
        stop_distance=stop_distance,
    )


@dataclass(frozen=True, kw_only=True)
class _ExitRule:
    """What stop and target have in common: the policy keys of their distances, and their side."""

    name: str
    default: str
    least: str
    wrong_side: Reason
    # On which side of a long's entry it lies.
    sign: int
    at: Callable[[Direction, Decimal, Decimal], Decimal]
    distance: Callable[[Direction, Decimal, Decimal], Decimal]


STOP = _ExitRule(
    name="stop",
    default=keys.DEFAULT_STOP,
    least=keys.MIN_STOP_DISTANCE,
    wrong_side=Reason.STOP_ON_WRONG_SIDE,
    sign=-1,
    at=brackets.stop_price_at,
    distance=brackets.stop_fraction,
)
TARGET = _ExitRule(
    name="target",
    default=keys.DEFAULT_TARGET,
    least=keys.MIN_TARGET_DISTANCE,
    wrong_side=Reason.TARGET_ON_WRONG_SIDE,
    sign=1,
    at=brackets.target_price_at,
    distance=brackets.target_distance,
)
# Where a trailing stop begins to follow: on the target's side, and only noted when it was reached already.
ACTIVATION = replace(TARGET, name="activation")


def _exit_price(review: RiskReview, reference: Decimal, asked: Decimal | None, rule: _ExitRule) -> Decimal:
    """Return where an exit belongs.

    The policy's default when none was asked. A small crossing is moved, a large one refused.
    """
    direction, policy = review.proposal.direction, review.policy
    if asked is None:
        asked = rule.at(direction, reference, policy[rule.default])
        review.adjust(f"{rule.name}_default", f"distance={plain(policy[rule.default])}", None, asked)
    distance, least = rule.distance(direction, reference, asked), policy[rule.least]
    tolerance = policy[keys.CROSSING_TOLERANCE]
    numbers = f"{rule.name}={plain(asked)} reference={plain(reference)} crossing<={plain(tolerance)}"
    review.check(f"{rule.name}_side", numbers, rule.wrong_side, passed=distance >= -tolerance)
    if not -tolerance <= distance < least:
        return asked
    moved = rule.at(direction, reference, least)
    review.adjust(f"{rule.name}_distance", f"expected>={plain(least)} actual={distance:.6f}", asked, moved)
    return moved


def _level(review: RiskReview, reference: Decimal, distance: Distance, rule: _ExitRule, risk: Decimal) -> Decimal:
    """Return where an exit lies that was asked for by its distance from the entry price.

    R without a stop, and a level that is no price, are refused.
    """
    if distance.measure is Measure.R:
        known = plain(risk) if risk else "none"
        numbers = f"r={plain(distance.amount)} risk={known}"
        review.check(f"{rule.name}_in_r", numbers, Reason.STOP_REQUIRED, passed=risk > 0)
    away = distance.at(review.atr).from_entry(reference, risk=risk)
    level = reference + away * rule.sign * review.proposal.direction.sign
    by = {Measure.PERCENT: "", Measure.R: f" risk={plain(risk)}", Measure.ATR: f" atr={plain(review.atr or ZERO)}"}
    numbers = f"{distance.measure}={plain(distance.amount)}{by[distance.measure]} reference={plain(reference)}"
    review.adjust(f"{rule.name}_level", numbers, None, level)
    numbers = f"expected>0 actual={plain(level)}"
    review.check(f"{rule.name}_price", numbers, Reason.PRICE_OUT_OF_BOUNDS, passed=level > 0)
    return level


def _stop(review: RiskReview, reference: Decimal) -> tuple[Decimal | None, Distance | None]:
    """Return the stop on its tick, and its asked distance where no rule has moved it.

    No stop is refused unless the policy allows it.
    """
    direction, policy, distance = review.proposal.direction, review.policy, review.proposal.stop_distance
    asked = review.proposal.stop_price
    if distance:
        asked = _level(review, reference, distance, STOP, ZERO)
    if asked is None and not policy[keys.DEFAULT_STOP]:
        allowed = bool(policy[keys.ALLOW_NO_STOP])
        review.check("stop_required", "stop=none default=none", Reason.STOP_REQUIRED, passed=allowed)
        return None, None
    wanted = _exit_price(review, reference, asked, STOP)
    stop = brackets.round_stop(direction, wanted, review.rules.tick_size)
    # Moving and rounding go outwards, so what will be sent is measured, not what was asked.
    fraction, most = brackets.stop_fraction(direction, reference, stop), policy[keys.MAX_STOP_DISTANCE]
    numbers = f"expected<={plain(most)} actual={fraction:.6f}"
    review.check("stop_max_distance", numbers, Reason.STOP_TOO_FAR, passed=fraction <= most)
    return stop, distance.at(review.atr) if distance and wanted == asked else None


def check_liquidation(review: RiskReview, reference: Decimal, stop: Decimal, quantity: Decimal) -> None:
    """Refuse a stop beyond the liquidation price, which protects nothing.

    The position's size decides which margin bracket counts.
    """
    proposal, notional = review.proposal, quantity * reference
    distance = brackets.stop_fraction(proposal.direction, reference, stop)
    limit = partial(liquidation_distance, proposal.direction, leverage=proposal.leverage, notional=notional)
    # A careful policy may assume more than the exchange asks for, and stands in where the exchange names nothing.
    rate, liquidation = review.policy[keys.MAINTENANCE_MARGIN], limit(rate=review.policy[keys.MAINTENANCE_MARGIN])
    bracket = bracket_for(review.brackets, notional)
    asked = limit(rate=bracket.rate, deduction=bracket.deduction) if bracket else liquidation
    if bracket and asked < liquidation:
        rate, liquidation = bracket.rate, asked
    numbers = (
        f"expected<{liquidation:.6f} actual={distance:.6f} leverage={proposal.leverage} "
        f"maintenance={plain(rate)} notional={plain(notional)}"
    )
    passed = distance < liquidation
    review.check("stop_before_liquidation", numbers, Reason.STOP_BEYOND_LIQUIDATION, passed=passed)


def _targets(review: RiskReview, reference: Decimal, risk: Decimal) -> tuple[PlannedTarget, ...]:
    """Return the targets on their ticks, nearest first."""
    proposal = review.proposal
    only = AskedTarget(price=proposal.target_price, share=ONE, distance=proposal.target_distance)
    placed = [_target(review, reference, each, risk) for each in proposal.targets or (only,)]
    return tuple(sorted(placed, key=lambda each: each.price * proposal.direction.sign))


def _target(review: RiskReview, reference: Decimal, target: AskedTarget, risk: Decimal) -> PlannedTarget:
    """Return a target on its tick, and its distance where no rule has moved it.

    A very far one is only noted.
    """
    direction, policy, tick = review.proposal.direction, review.policy, review.rules.tick_size
    asked = target.price
    if target.distance:
        asked = _level(review, reference, target.distance, TARGET, risk)
    wanted = _exit_price(review, reference, asked, TARGET)
    distance, usual = brackets.target_distance(direction, reference, wanted), policy[keys.MAX_TARGET_DISTANCE]
    if distance > usual:
        review.note("target_far", f"usual<={plain(usual)} actual={distance:.6f}")
    price = brackets.round_target(direction, wanted, tick)
    # On a coarse tick, towards the entry may be the entry itself.
    too_near = brackets.target_distance(direction, reference, price) < policy[keys.MIN_TARGET_DISTANCE]
    kept = target.distance if wanted == asked and not too_near else None
    return PlannedTarget(
        price=price + tick * direction.sign if too_near else price,
        share=target.share,
        distance=kept and kept.at(review.atr),
    )


def _trailing(review: RiskReview, reference: Decimal, risk: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """Return a trailing stop's callback in percent and its activation price."""
    asked, default = review.proposal.callback_percent, review.policy[keys.DEFAULT_TRAIL] * PERCENT
    percent = asked or default
    if not percent:
        return None, None
    callback = ceil_to(percent, CALLBACK_STEP)
    if callback != asked:
        review.adjust("trailing_callback", f"step={plain(CALLBACK_STEP)}% default={asked is None}", asked, callback)
    numbers = f"expected={plain(LEAST_CALLBACK)}%..{plain(MOST_CALLBACK)}% actual={plain(percent)}%"
    sane = LEAST_CALLBACK <= percent <= MOST_CALLBACK
    review.check("trailing_range", numbers, Reason.TRAILING_OUT_OF_BOUNDS, passed=sane)
    return callback, _activation(review, reference, risk)


def _activation(review: RiskReview, reference: Decimal, risk: Decimal) -> Decimal | None:
    """Return a trailing stop's activation price, or None when it was reached already."""
    direction, asked = review.proposal.direction, review.proposal.activation_price
    if review.proposal.activation_distance:
        asked = _level(review, reference, review.proposal.activation_distance, ACTIVATION, risk)
    if asked is None:
        return None
    activation = brackets.round_target(direction, asked, review.rules.tick_size)
    if brackets.target_distance(direction, reference, activation) <= 0:
        review.note("trailing_activation", f"activation={plain(asked)} reached={plain(reference)}: it follows at once")
        return None
    return activation
