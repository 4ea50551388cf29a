"""Moves the prices of a plan's legs. Only an operator may loosen a stop."""

from datetime import datetime
from decimal import Decimal

from execution.domain.brackets import break_even_at, is_tighter, round_stop, round_target
from execution.domain.distances import Distance, Measure
from execution.domain.money import ZERO, plain
from execution.domain.trading import Direction, OrderPurpose
from execution.models import Bracket, BracketLeg, ExecutionRequest, Trade
from execution.models.bracket import LegOrigin
from execution.protection.coverage import publish_levels
from execution.store.brackets import load_bracket, lock_anchored_legs, lock_leg, set_leg_callback, set_leg_level
from execution.store.transitions import log_step


def move_stop(
    trade: Trade, price: Decimal, *, origin: LegOrigin, now: datetime, operator: str = "", why: str = ""
) -> bool:
    """Move the stop in the plan.

    The orders follow with the next comparison, new before old.

    Args:
        trade: the open trade.
        price: the new trigger price, on its tick.
        origin: why it lies there.
        now: written to the log.
        operator: who asks for it; only an operator may loosen a stop.
        why: the operator's reason, for the log.

    Returns:
        False when there is no stop, or when it would not become tighter and no operator asks for that.

    """
    stop = lock_leg(trade.pk, OrderPurpose.STOP)
    if stop is None or stop.price is None:
        return False
    if stop.price == price or not (operator or is_tighter(Direction(trade.direction), price, stop.price)):
        return False
    _move(trade, stop, price, origin, now, operator, why)
    return True


def move_target(trade: Trade, leg: BracketLeg, price: Decimal, *, now: datetime, operator: str, why: str) -> bool:
    """Move a target in the plan for an operator, False when it lies there already."""
    if leg.price == price:
        return False
    _move(trade, leg, price, LegOrigin.OPERATOR, now, operator, why)
    return True


def move_callback(trade: Trade, percent: Decimal, *, now: datetime, operator: str, why: str) -> bool:
    """Move the trailing stop's distance for an operator, False when nothing changes.

    The order that replaces it forgets the best price that the old one has seen.
    """
    leg = lock_leg(trade.pk, OrderPurpose.TRAILING)
    if leg is None or leg.callback_percent is None or leg.callback_percent == percent:
        return False
    set_leg_callback(leg.pk, percent)
    _log(trade, leg, plain(leg.callback_percent), plain(percent), LegOrigin.OPERATOR, now, operator, why)
    return True


def follow_first_target(trade: Trade, *, now: datetime) -> bool:
    """Move the stop to the entry once a target has filled, where the plan asks for it.

    Call it in a transaction.
    """
    bracket = load_bracket(trade.pk)
    if not bracket.break_even:
        return False
    direction, buffer = Direction(trade.direction), bracket.break_even_buffer
    price = break_even_at(direction, trade.entry_price, buffer, bracket.tick_size)
    return move_stop(trade, price, origin=LegOrigin.BREAK_EVEN, now=now)


def anchor_defaults(
    request: ExecutionRequest, entry_price: Decimal, *, now: datetime
) -> tuple[Decimal | None, Decimal | None]:
    """Move exits that are meant by their distance to it from the real entry price, and return the levels.

    These are defaults, and what was asked for in percent, R or ATR. The levels are the stop's and the nearest target's.

    They were placed from the price that was expected, so as not to wait for the fill's. A stop that would have to move
    away stays: it only ever becomes tighter.
    """
    stop, target = request.stop_price, request.target_price
    reference = request.reference_price
    if not reference or entry_price == reference:
        return stop, target
    bracket = load_bracket(request.pk)
    # The stop comes first: what is measured in R depends on it.
    for leg in lock_anchored_legs(request.pk):
        is_stop = leg.purpose == OrderPurpose.STOP
        if leg.measure:
            meant = _at_distance(request, leg, entry_price, stop)
        else:
            # Multiplied first: dividing first would lose the last digit, and rounding a whole tick with it.
            meant = ((stop if is_stop else target) or ZERO) * entry_price / reference
        price = _anchored(request, bracket, leg, meant)
        if price != leg.price:
            _move(request, leg, price, LegOrigin(leg.origin), now)
        if is_stop:
            stop = price
        elif leg.number == 1:
            target = price
    return stop, target


def _at_distance(request: ExecutionRequest, leg: BracketLeg, entry_price: Decimal, stop: Decimal | None) -> Decimal:
    """Return where a leg lies that was asked for by its distance, from the real entry price."""
    distance = Distance(measure=Measure(leg.measure), amount=leg.distance or ZERO, fixed=True)
    away = distance.from_entry(entry_price, risk=abs(entry_price - (stop or entry_price)))
    side = -1 if leg.purpose == OrderPurpose.STOP else 1
    return entry_price + away * side * Direction(request.direction).sign


def _anchored(request: ExecutionRequest, bracket: Bracket, leg: BracketLeg, price: Decimal) -> Decimal:
    """Return where a leg belongs whose level follows the entry price, on its tick."""
    direction, present = Direction(request.direction), leg.price or ZERO
    if leg.purpose == OrderPurpose.TARGET:
        return round_target(direction, price, bracket.tick_size)
    rounded = round_stop(direction, price, bracket.tick_size)
    return rounded if is_tighter(direction, rounded, present) else present


def _move(
    owner: Trade | ExecutionRequest,
    leg: BracketLeg,
    price: Decimal,
    origin: LegOrigin,
    now: datetime,
    operator: str = "",
    why: str = "",
) -> None:
    before = plain(leg.price) if leg.price is not None else None
    set_leg_level(leg.pk, price, origin)
    _log(owner, leg, before, plain(price), origin, now, operator, why)
    publish_levels(owner.pk, now=now)


def _log(
    owner: Trade | ExecutionRequest,
    leg: BracketLeg,
    before: str | None,
    after: str,
    origin: LegOrigin,
    now: datetime,
    operator: str,
    why: str,
) -> None:
    details = {"purpose": leg.purpose, "number": leg.number, "from": before, "to": after, "operator": operator}
    trigger = f"leg_moved_{origin.lower()}"
    log_step("trade", owner.pk, to_state="LEG_MOVED", trigger=trigger, now=now, reason=("", why), details=details)
