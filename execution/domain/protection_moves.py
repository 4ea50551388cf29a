"""Judges what a person asks of a position's exits: pure, so that every rule is tested at its edge without an exchange.

A person may loosen a stop. Nobody may put an exit where the exchange would trigger it at once, or where the position
would be liquidated first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from execution.domain.brackets import Plan, is_tighter, stop_distance
from execution.domain.exits import CALLBACK_STEP, LEAST_CALLBACK, MOST_CALLBACK
from execution.domain.money import plain
from execution.domain.reasons import Reason
from execution.domain.trading import Direction, OrderPurpose

# A field of what was asked, and the rule that it breaks.
Broken = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class ProtectionMove:
    """New prices of legs that a plan has; targets by their number, nearest first. What is absent stays."""

    stop_price: Decimal | None = None
    target_prices: Mapping[int, Decimal] = field(default_factory=dict)
    callback_percent: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a move is judged by. `liquidation_price` is 0 where the exchange sees none."""

    direction: Direction
    mark_price: Decimal
    liquidation_price: Decimal


def broken_rules(move: ProtectionMove, plan: Plan, around: Surroundings) -> list[Broken]:
    """Return every rule that a move breaks, with its numbers."""
    return [*_stop(move, plan, around), *_targets(move, plan, around), *_trailing(move, plan)]


def _stop(move: ProtectionMove, plan: Plan, around: Surroundings) -> Iterator[Broken]:
    name, price, mark = "stop_loss", move.stop_price, around.mark_price
    if price is None:
        return
    if not plan.of(OrderPurpose.STOP):
        yield name, f"{Reason.INVALID_FIELD}: the plan has no stop to move"
    yield from _off_tick(name, price, plan.tick)
    if stop_distance(around.direction, mark, price) <= 0:
        yield name, f"{Reason.STOP_ON_WRONG_SIDE}: stop={plain(price)} mark={plain(mark)}"
    limit = around.liquidation_price
    if limit > 0 and not is_tighter(around.direction, price, limit):
        yield name, f"{Reason.STOP_BEYOND_LIQUIDATION}: stop={plain(price)} liquidation={plain(limit)}"


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
        if stop_distance(around.direction, mark, price) >= 0:
            yield name, f"{Reason.TARGET_ON_WRONG_SIDE}: target={plain(price)} mark={plain(mark)}"


def _trailing(move: ProtectionMove, plan: Plan) -> Iterator[Broken]:
    name, percent = "trailing.callback_percent", move.callback_percent
    if percent is None:
        return
    if not plan.of(OrderPurpose.TRAILING):
        yield name, f"{Reason.INVALID_FIELD}: the plan has no trailing stop to move"
    if not LEAST_CALLBACK <= percent <= MOST_CALLBACK or percent % CALLBACK_STEP:
        bounds = f"expected={plain(LEAST_CALLBACK)}%..{plain(MOST_CALLBACK)}% in steps of {plain(CALLBACK_STEP)}%"
        yield name, f"{Reason.TRAILING_OUT_OF_BOUNDS}: {bounds} actual={plain(percent)}%"


def _off_tick(name: str, price: Decimal, tick: Decimal) -> Iterator[Broken]:
    if price % tick:
        yield name, f"{Reason.INVALID_FIELD}: price={plain(price)} is no multiple of tick={plain(tick)}"
