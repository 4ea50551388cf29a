"""Guard rules on exits: stop, targets, trailing stop, break-even and time exit."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from execution.domain import brackets
from execution.domain import policy as keys
from execution.domain.liquidation import bracket_for, liquidation_distance
from execution.domain.money import ONE, ceil_to, plain
from execution.domain.reasons import Reason
from execution.domain.risk_review import AskedTarget, RiskReview
from execution.domain.trading import Direction

PERCENT = 100
# What the exchange takes for a trailing stop, in percent.
LEAST_CALLBACK, MOST_CALLBACK, CALLBACK_STEP = Decimal("0.1"), Decimal(20), Decimal("0.1")


@dataclass(frozen=True, kw_only=True)
class ExitPlan:
    """The exits as approved, on their ticks, nearest target first.

    It has no stop only where the policy allows that.

    A defaulted price is meant from the real entry price and moves there once that is known.
    """

    stop_price: Decimal | None
    stop_defaulted: bool
    targets: tuple[AskedTarget, ...]
    target_defaulted: bool
    callback_percent: Decimal | None
    activation_price: Decimal | None
    break_even: bool
    break_even_buffer: Decimal
    time_exit_seconds: int | None


def judge_exits(review: RiskReview, reference: Decimal) -> ExitPlan:
    """Apply every rule about exits and return what will protect the position."""
    proposal, policy = review.proposal, review.policy
    stop = _stop(review, reference)
    targets = _targets(review, reference)
    callback, activation = _trailing(review, reference)
    wants_break_even = bool(policy[keys.BREAK_EVEN]) if proposal.break_even is None else proposal.break_even
    return ExitPlan(
        stop_price=stop,
        stop_defaulted=proposal.stop_price is None,
        targets=targets,
        target_defaulted=proposal.target_price is None and not proposal.targets,
        callback_percent=callback,
        activation_price=activation,
        break_even=wants_break_even,
        break_even_buffer=policy[keys.BREAK_EVEN_BUFFER],
        time_exit_seconds=proposal.time_exit_seconds or int(policy[keys.DEFAULT_TIME_EXIT]) or None,
    )


@dataclass(frozen=True, kw_only=True)
class _ExitRule:
    """What stop and target have in common: the policy keys of their distances, and their side."""

    name: str
    default: str
    least: str
    wrong_side: Reason
    at: Callable[[Direction, Decimal, Decimal], Decimal]
    distance: Callable[[Direction, Decimal, Decimal], Decimal]


STOP = _ExitRule(
    name="stop",
    default=keys.DEFAULT_STOP,
    least=keys.MIN_STOP_DISTANCE,
    wrong_side=Reason.STOP_ON_WRONG_SIDE,
    at=brackets.stop_price_at,
    distance=brackets.stop_fraction,
)
TARGET = _ExitRule(
    name="target",
    default=keys.DEFAULT_TARGET,
    least=keys.MIN_TARGET_DISTANCE,
    wrong_side=Reason.TARGET_ON_WRONG_SIDE,
    at=brackets.target_price_at,
    distance=brackets.target_distance,
)


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


def _stop(review: RiskReview, reference: Decimal) -> Decimal | None:
    """Return the stop on its tick. No stop is refused unless the policy allows it."""
    direction, policy = review.proposal.direction, review.policy
    if review.proposal.stop_price is None and not policy[keys.DEFAULT_STOP]:
        allowed = bool(policy[keys.ALLOW_NO_STOP])
        review.check("stop_required", "stop=none default=none", Reason.STOP_REQUIRED, passed=allowed)
        return None
    wanted = _exit_price(review, reference, review.proposal.stop_price, STOP)
    stop = brackets.round_stop(direction, wanted, review.rules.tick_size)
    # Moving and rounding go outwards, so what will be sent is measured, not what was asked.
    distance, most = brackets.stop_fraction(direction, reference, stop), policy[keys.MAX_STOP_DISTANCE]
    numbers = f"expected<={plain(most)} actual={distance:.6f}"
    review.check("stop_max_distance", numbers, Reason.STOP_TOO_FAR, passed=distance <= most)
    return stop


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


def _targets(review: RiskReview, reference: Decimal) -> tuple[AskedTarget, ...]:
    """Return the targets on their ticks, nearest first."""
    proposal = review.proposal
    if not proposal.targets:
        return (AskedTarget(price=_target(review, reference, proposal.target_price), share=ONE),)
    placed = [AskedTarget(price=_target(review, reference, each.price), share=each.share) for each in proposal.targets]
    return tuple(sorted(placed, key=lambda each: each.price * proposal.direction.sign))


def _target(review: RiskReview, reference: Decimal, asked: Decimal | None) -> Decimal:
    """Return a target on its tick. A very far one is only noted."""
    direction, policy, tick = review.proposal.direction, review.policy, review.rules.tick_size
    wanted = _exit_price(review, reference, asked, TARGET)
    distance, usual = brackets.target_distance(direction, reference, wanted), policy[keys.MAX_TARGET_DISTANCE]
    if distance > usual:
        review.note("target_far", f"usual<={plain(usual)} actual={distance:.6f}")
    target = brackets.round_target(direction, wanted, tick)
    # On a coarse tick, towards the entry may be the entry itself.
    too_near = brackets.target_distance(direction, reference, target) < policy[keys.MIN_TARGET_DISTANCE]
    return target + tick * direction.sign if too_near else target


def _trailing(review: RiskReview, reference: Decimal) -> tuple[Decimal | None, Decimal | None]:
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
    return callback, _activation(review, reference)


def _activation(review: RiskReview, reference: Decimal) -> Decimal | None:
    """Return a trailing stop's activation price, or None when it was reached already."""
    direction, asked = review.proposal.direction, review.proposal.activation_price
    if asked is None:
        return None
    activation = brackets.round_target(direction, asked, review.rules.tick_size)
    if brackets.target_distance(direction, reference, activation) <= 0:
        review.note("trailing_activation", f"activation={plain(asked)} reached={plain(reference)}: it follows at once")
        return None
    return activation
