"""The guard: whether an entry is sane, how large it may be, and which exits protect it. Pure, so it can be re-run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from execution.domain import brackets
from execution.domain import policy as keys
from execution.domain.money import ONE, ZERO, basis_points, ceil_to, floor_to, plain
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.sizing import LotRule, lot_rule, quantity_for
from execution.domain.trading import Direction, OrderType, Quote, SymbolRules

HIGH_LEVERAGE = 10


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An entry as it was asked for. `notional_usd` wins over `base_quantity`; prices in the quote asset."""

    symbol: str
    direction: Direction
    order_type: OrderType
    notional_usd: Decimal | None
    base_quantity: Decimal | None
    limit_price: Decimal | None
    expected_price: Decimal | None
    leverage: int
    stop_price: Decimal | None
    target_price: Decimal | None
    confidence: Decimal | None


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    """One rule with its numbers; `refusal` is set when it refuses, `before` and `after` when it adjusts."""

    rule: str
    numbers: str
    refusal: Reason | None = None
    before: Decimal | None = None
    after: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the guard decided: the order to send, or the first rule that refused."""

    rules: tuple[RuleVerdict, ...]
    reference_price: Decimal = ZERO
    limit_price: Decimal | None = None
    quantity: Decimal = ZERO
    stop_price: Decimal = ZERO
    target_price: Decimal = ZERO

    @property
    def refusal(self) -> RuleVerdict | None:
        return next((rule for rule in self.rules if rule.refusal), None)


@dataclass
class _Review:
    """One run of the guard over one proposal; collects each rule's verdict."""

    proposal: Proposal
    quote: Quote
    rules: SymbolRules
    policy: Policy
    verdicts: list[RuleVerdict] = field(default_factory=list)

    def note(self, rule: str, numbers: str) -> None:
        self.verdicts.append(RuleVerdict(rule=rule, numbers=numbers))

    def check(self, rule: str, numbers: str, refusal: Reason, *, passed: bool) -> None:
        self.verdicts.append(RuleVerdict(rule=rule, numbers=numbers, refusal=None if passed else refusal))

    def adjust(self, rule: str, numbers: str, before: Decimal | None, after: Decimal) -> None:
        self.verdicts.append(RuleVerdict(rule=rule, numbers=numbers, before=before, after=after))


def judge(proposal: Proposal, *, quote: Quote, rules: SymbolRules, policy: Policy) -> Verdict:
    """Apply every rule and return the verdict with all numbers; limits that need the books are the step's."""
    review = _Review(proposal=proposal, quote=quote, rules=rules, policy=policy)
    reference, limit_price = _reference(review)
    # An empty book, or a limit below one tick: without a price there is nothing to size or to measure against.
    if reference <= 0:
        return Verdict(rules=tuple(review.verdicts))
    _check_symbol(review)
    _check_confidence(review)
    _check_leverage(review)
    _check_slippage(review)
    quantity = _size(review, reference)
    stop = _stop(review, reference)
    target = _target(review, reference)
    return Verdict(
        rules=tuple(review.verdicts),
        reference_price=reference,
        limit_price=limit_price,
        quantity=quantity,
        stop_price=stop,
        target_price=target,
    )


def _reference(review: _Review) -> tuple[Decimal, Decimal | None]:
    """Return the price that sizes and distances refer to, and the limit price on the symbol's tick."""
    proposal, tick = review.proposal, review.rules.tick_size
    if proposal.limit_price is None:
        taking = review.quote.taking_price(proposal.direction)
        review.check("book", f"price={plain(taking)}", Reason.MARKET_DATA_UNAVAILABLE, passed=taking > 0)
        return taking, None
    # A limit is rounded in the user's favour: never pay more, never sell for less than was asked.
    rounder = floor_to if proposal.direction is Direction.LONG else ceil_to
    limit = rounder(proposal.limit_price, tick)
    if limit != proposal.limit_price:
        review.adjust("limit_on_tick", f"tick={plain(tick)}", proposal.limit_price, limit)
    least, most = review.rules.min_price, review.rules.max_price
    numbers = f"expected={plain(least)}..{plain(most)} actual={plain(limit)}"
    review.check("limit_price", numbers, Reason.PRICE_OUT_OF_BOUNDS, passed=limit > 0 and least <= limit <= most)
    return limit, limit


def _check_symbol(review: _Review) -> None:
    state = "TRADING" if review.rules.trading else "not TRADING"
    review.check("symbol_trading", f"status={state}", Reason.SYMBOL_NOT_TRADING, passed=review.rules.trading)


def _check_confidence(review: _Review) -> None:
    confidence = review.proposal.confidence
    # A person's order has no confidence; the limit is about models.
    if confidence is None:
        return
    least = review.policy[keys.MIN_CONFIDENCE]
    numbers = f"expected>={plain(least)} actual={plain(confidence)}"
    review.check("confidence", numbers, Reason.CONFIDENCE_BELOW_LIMIT, passed=confidence >= least)


def _check_leverage(review: _Review) -> None:
    most, actual = review.policy[keys.MAX_LEVERAGE], review.proposal.leverage
    review.check(
        "leverage", f"expected<={plain(most)} actual={actual}", Reason.LEVERAGE_EXCEEDS_LIMIT, passed=actual <= most
    )


def _check_slippage(review: _Review) -> None:
    """Compare the best price to take with the planned one; a better price is never refused."""
    proposal = review.proposal
    # A limit order cannot fill worse than its limit; without a planned price there is nothing to compare.
    if proposal.order_type is OrderType.LIMIT or proposal.expected_price is None:
        return
    taking = review.quote.taking_price(proposal.direction)
    actual = (taking - proposal.expected_price) * proposal.direction.sign / taking
    limit = review.policy[keys.MAX_SLIPPAGE] / (2 if proposal.leverage > HIGH_LEVERAGE else 1)
    numbers = (
        f"expected<={basis_points(limit)}bps actual={basis_points(actual)}bps "
        f"planned={plain(proposal.expected_price)} book={plain(taking)}"
    )
    review.check("slippage", numbers, Reason.SLIPPAGE_EXCEEDS_LIMIT, passed=actual <= limit)


def _size(review: _Review, reference: Decimal) -> Decimal:
    """Floor the quantity to its step and hold it against the filters; a too small order is never enlarged."""
    proposal, lot = review.proposal, lot_rule(review.rules, review.proposal.order_type)
    if proposal.notional_usd is not None:
        quantity = quantity_for(proposal.notional_usd, reference, lot)
        review.note(
            "size", f"notional={plain(proposal.notional_usd)} price={plain(reference)} quantity={plain(quantity)}"
        )
    else:
        asked = proposal.base_quantity or ZERO
        quantity = floor_to(asked, lot.step)
        if quantity != asked:
            review.adjust("quantity_on_step", f"step={plain(lot.step)}", asked, quantity)
    _check_quantity(review, quantity, lot)
    _check_notional(review, quantity, reference)
    return quantity


def _check_quantity(review: _Review, quantity: Decimal, lot: LotRule) -> None:
    small = f"expected>={plain(lot.minimum)} actual={plain(quantity)}"
    large = f"expected<={plain(lot.maximum)} actual={plain(quantity)}"
    review.check("min_quantity", small, Reason.QUANTITY_BELOW_MINIMUM, passed=quantity >= lot.minimum and quantity > 0)
    review.check("max_quantity", large, Reason.QUANTITY_ABOVE_MAXIMUM, passed=quantity <= lot.maximum)


def _check_notional(review: _Review, quantity: Decimal, reference: Decimal) -> None:
    # The exchange measures a market order's notional at the mark price.
    market = review.proposal.order_type is OrderType.MARKET
    at_exchange = quantity * (review.quote.mark if market else reference)
    least, most = review.rules.min_notional, review.policy[keys.MAX_ORDER_NOTIONAL]
    small = f"expected>={plain(least)} actual={plain(at_exchange)}"
    large = f"expected<={plain(most)} actual={plain(quantity * reference)}"
    review.check("min_notional", small, Reason.NOTIONAL_BELOW_MINIMUM, passed=at_exchange >= least)
    review.check("max_notional", large, Reason.NOTIONAL_EXCEEDS_LIMIT, passed=quantity * reference <= most)


@dataclass(frozen=True, kw_only=True)
class _ExitRule:
    """What stop and target have in common: the policy keys of their distances, and which side they belong on."""

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
    at=brackets.stop_at,
    distance=brackets.stop_distance,
)
TARGET = _ExitRule(
    name="target",
    default=keys.DEFAULT_TARGET,
    least=keys.MIN_TARGET_DISTANCE,
    wrong_side=Reason.TARGET_ON_WRONG_SIDE,
    at=brackets.target_at,
    distance=brackets.target_distance,
)


def _exit_price(review: _Review, reference: Decimal, asked: Decimal | None, rule: _ExitRule) -> Decimal:
    """Return where an exit belongs: the default when none was asked, small crossings moved, absurd ones refused."""
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


def _stop(review: _Review, reference: Decimal) -> Decimal:
    """Return the stop on its tick."""
    direction = review.proposal.direction
    wanted = _exit_price(review, reference, review.proposal.stop_price, STOP)
    stop = brackets.round_stop(direction, wanted, review.rules.tick_size)
    # Moving and rounding go outwards, so what will be sent is measured, not what was asked.
    _check_stop_distance(review, brackets.stop_distance(direction, reference, stop))
    return stop


def _check_stop_distance(review: _Review, distance: Decimal) -> None:
    policy, leverage = review.policy, review.proposal.leverage
    most = policy[keys.MAX_STOP_DISTANCE]
    # With only its own margin behind it, a position is liquidated about here; beyond it the stop protects nothing.
    liquidation = ONE / leverage - policy[keys.MAINTENANCE_MARGIN]
    far = f"expected<={plain(most)} actual={distance:.6f}"
    beyond = f"expected<{liquidation:.6f} actual={distance:.6f} leverage={leverage}"
    review.check("stop_max_distance", far, Reason.STOP_TOO_FAR, passed=distance <= most)
    review.check("stop_before_liquidation", beyond, Reason.STOP_BEYOND_LIQUIDATION, passed=distance < liquidation)


def _target(review: _Review, reference: Decimal) -> Decimal:
    """Return the target on its tick; a very far one is only noted."""
    direction, policy, tick = review.proposal.direction, review.policy, review.rules.tick_size
    wanted = _exit_price(review, reference, review.proposal.target_price, TARGET)
    distance, usual = brackets.target_distance(direction, reference, wanted), policy[keys.MAX_TARGET_DISTANCE]
    if distance > usual:
        review.note("target_far", f"usual<={plain(usual)} actual={distance:.6f}")
    target = brackets.round_target(direction, wanted, tick)
    # On a coarse tick, towards the entry may be the entry itself.
    too_near = brackets.target_distance(direction, reference, target) < policy[keys.MIN_TARGET_DISTANCE]
    return target + tick * direction.sign if too_near else target
