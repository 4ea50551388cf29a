"""Rules on moving a position's exits by hand. Pure, so each is tested at its edge.

An operator may loosen a stop as far as the rules allow that judge an entry: distance, open risk, loss of the day.
Beyond them it takes an override that names the rule, and the hard ceilings of the settings hold also then. No override
lets an exit lie where the exchange would trigger it at once, or where the position would be liquidated first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from execution.domain import policy as keys
from execution.domain.brackets import Plan, is_tighter, stop_fraction
from execution.domain.exits import CALLBACK_STEP, LEAST_CALLBACK, MOST_CALLBACK
from execution.domain.money import ONE, ZERO, plain
from execution.domain.policy import KEYS, Policy
from execution.domain.reasons import Reason
from execution.domain.trading import Direction, OrderPurpose

# A field of what was asked, and the rule that it breaks.
Broken = tuple[str, str]


class MoveLimit(StrEnum):
    """The policy's rules on a move that loosens. An override names them."""

    STOP_DISTANCE = "stop_distance"
    OPEN_RISK = "open_risk"
    DAILY_LOSS = "daily_loss"


LIMIT_KEYS: Mapping[MoveLimit, str] = {
    MoveLimit.STOP_DISTANCE: keys.MAX_STOP_DISTANCE,
    MoveLimit.OPEN_RISK: keys.MAX_OPEN_RISK,
    MoveLimit.DAILY_LOSS: keys.MAX_DAILY_LOSS,
}


@dataclass(frozen=True, kw_only=True)
class ProtectionMove:
    """New prices for a plan's legs. What is absent stays.

    `target_prices`: by the target's number, nearest first. `override`: rules of the policy that do not hold for this
    move.
    """

    stop_price: Decimal | None = None
    target_prices: Mapping[int, Decimal] = field(default_factory=dict)
    callback_percent: Decimal | None = None
    override: frozenset[MoveLimit] = frozenset()


@dataclass(frozen=True, kw_only=True)
class LossRoom:
    """What stops may lose: this position's size and entry price, and the others' use of the limits.

    Amounts of the limits are in USD. `ceilings`: what no policy and no override passes, by policy key.
    """

    policy: Policy
    entry_price: Decimal
    open_quantity: Decimal
    others_risk: Decimal
    lost_today: Decimal
    usd_per_quote: Decimal = ONE
    ceilings: Mapping[str, Decimal] = field(default_factory=dict)

    def limit(self, rule: MoveLimit, override: frozenset[MoveLimit]) -> Decimal:
        """Return what holds of a rule: the policy's value, or with an override the hard ceiling."""
        key = LIMIT_KEYS[rule]
        return self.ceilings.get(key, KEYS[key].maximum) if rule in override else self.policy[key]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a move is judged by. `liquidation_price` is 0 where the exchange sees none."""

    direction: Direction
    mark_price: Decimal
    liquidation_price: Decimal
    room: LossRoom


def broken_rules(move: ProtectionMove, plan: Plan, around: Surroundings) -> list[Broken]:
    """Return every rule that a move breaks, with its numbers."""
    return [*_stop(move, plan, around), *_targets(move, plan, around), *_trailing(move, plan, around)]


def _stop(move: ProtectionMove, plan: Plan, around: Surroundings) -> Iterator[Broken]:
    name, price, mark = "stop_loss", move.stop_price, around.mark_price
    if price is None:
        return
    if not plan.of(OrderPurpose.STOP):
        yield name, f"{Reason.INVALID_FIELD}: the plan has no stop to move"
    yield from _off_tick(name, price, plan.tick)
    if stop_fraction(around.direction, mark, price) <= 0:
        yield name, f"{Reason.STOP_ON_WRONG_SIDE}: stop={plain(price)} mark={plain(mark)}"
    limit = around.liquidation_price
    if limit > 0 and not is_tighter(around.direction, price, limit):
        yield name, f"{Reason.STOP_BEYOND_LIQUIDATION}: stop={plain(price)} liquidation={plain(limit)}"
    if loosens_stop(plan, around.direction, price):
        yield from ((name, sentence) for sentence in _losses(move, around, price))


def loosens_stop(plan: Plan, direction: Direction, price: Decimal) -> bool:
    """Whether a stop there would lose more than the plan's stop.

    A plan's stop without a price counts as nearer.
    """
    return any(leg.price is None or is_tighter(direction, leg.price, price) for leg in plan.of(OrderPurpose.STOP))


def _losses(move: ProtectionMove, around: Surroundings, price: Decimal) -> Iterator[str]:
    """Hold what a stop there may lose against the limits, as an entry with such a stop is held."""
    room = around.room
    distance = stop_fraction(around.direction, room.entry_price, price)
    risk = max(ZERO, distance) * room.entry_price * room.open_quantity * room.usd_per_quote
    open_risk = room.others_risk + risk
    parts = f"lost={plain(room.lost_today)} open_risk={plain(room.others_risk)} this_risk={plain(risk)}"
    table = (
        (MoveLimit.STOP_DISTANCE, distance, Reason.STOP_TOO_FAR, f"entry={plain(room.entry_price)}"),
        (MoveLimit.OPEN_RISK, open_risk, Reason.OPEN_RISK_EXCEEDS_LIMIT, f"this_risk={plain(risk)}"),
        (MoveLimit.DAILY_LOSS, room.lost_today + open_risk, Reason.DAILY_LOSS_EXCEEDS_LIMIT, parts),
    )
    for rule, actual, reason, numbers in table:
        limit = room.limit(rule, move.override)
        if actual > limit:
            yield f"{reason}: expected<={plain(limit)} actual={plain(actual)} {numbers} rule={rule}"


def _targets(move: ProtectionMove, plan: Plan, around: Surroundings) -> Iterator[Broken]:
    legs = dict(enumerate(plan.of(OrderPurpose.TARGET), start=1))
    mark = around.mark_price
    for number, price in move.target_prices.items():
        name = f"take_profits.{number}"
        leg = legs.get(number)
        if leg is None:
            yield name, f"{Reason.INVALID_FIELD}: the plan has {len(legs)} targets"
            continue
        if leg.done:
            yield name, f"{Reason.INVALID_FIELD}: target {number} has filled"
        yield from _off_tick(name, price, plan.tick)
        if stop_fraction(around.direction, mark, price) >= 0:
            yield name, f"{Reason.TARGET_ON_WRONG_SIDE}: target={plain(price)} mark={plain(mark)}"


def _trailing(move: ProtectionMove, plan: Plan, around: Surroundings) -> Iterator[Broken]:
    name, percent = "trailing.callback_percent", move.callback_percent
    if percent is None:
        return
    if not plan.of(OrderPurpose.TRAILING):
        yield name, f"{Reason.INVALID_FIELD}: the plan has no trailing stop to move"
    if not LEAST_CALLBACK <= percent <= MOST_CALLBACK or percent % CALLBACK_STEP:
        bounds = f"expected={plain(LEAST_CALLBACK)}%..{plain(MOST_CALLBACK)}% in steps of {plain(CALLBACK_STEP)}%"
        yield name, f"{Reason.TRAILING_OUT_OF_BOUNDS}: {bounds} actual={plain(percent)}%"
    looser = any((leg.callback_percent or ZERO) < percent for leg in plan.of(OrderPurpose.TRAILING))
    limit = around.room.limit(MoveLimit.STOP_DISTANCE, move.override)
    if looser and percent / 100 > limit:
        numbers = f"expected<={plain(limit)} actual={plain(percent / 100)} rule={MoveLimit.STOP_DISTANCE}"
        yield name, f"{Reason.STOP_TOO_FAR}: {numbers}"


def _off_tick(name: str, price: Decimal, tick: Decimal) -> Iterator[Broken]:
    if price % tick:
        yield name, f"{Reason.INVALID_FIELD}: price={plain(price)} is no multiple of tick={plain(tick)}"
