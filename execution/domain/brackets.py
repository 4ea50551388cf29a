"""The exits of a position: their prices, the orders that a plan wants, and what the account lacks.

A plan belongs to one life of a position, named by its trade's id; no leg of it is ever read for another life.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from execution.domain.lots import LotRule, closing_parts
from execution.domain.money import ONE, ZERO, ceil_to, floor_to
from execution.domain.trading import Direction, OrderPurpose

# Where the exchange names no maximum.
UNBOUNDED = Decimal(10**12)


def stop_fraction(direction: Direction, reference: Decimal, stop: Decimal) -> Decimal:
    """Return how far the stop lies on the losing side, as a fraction of the reference price.

    Negative on the wrong side.
    """
    return (reference - stop) * direction.sign / reference


def target_distance(direction: Direction, reference: Decimal, target: Decimal) -> Decimal:
    """Return how far the target lies on the winning side, as a fraction of the reference price.

    Negative on the wrong side.
    """
    return -stop_fraction(direction, reference, target)


def stop_price_at(direction: Direction, reference: Decimal, fraction: Decimal) -> Decimal:
    """Return the price that lies `fraction` of the reference price on the losing side."""
    return reference * (ONE - fraction * direction.sign)


def target_price_at(direction: Direction, reference: Decimal, fraction: Decimal) -> Decimal:
    """Return the price that lies `fraction` of the reference price on the winning side."""
    return reference * (ONE + fraction * direction.sign)


def round_stop(direction: Direction, price: Decimal, tick: Decimal) -> Decimal:
    """Round a stop away from the entry, so that rounding never makes it trigger earlier than asked."""
    return floor_to(price, tick) if direction is Direction.LONG else ceil_to(price, tick)


def round_target(direction: Direction, price: Decimal, tick: Decimal) -> Decimal:
    """Round a target towards the entry, so that rounding never puts it out of reach."""
    return floor_to(price, tick) if direction is Direction.LONG else ceil_to(price, tick)


def break_even_at(direction: Direction, entry: Decimal, buffer: Decimal, tick: Decimal) -> Decimal:
    """Return the break-even stop: the entry price plus `buffer` of it for the fees.

    Rounded to the tick in the user's favour.
    """
    price = target_price_at(direction, entry, buffer)
    return ceil_to(price, tick) if direction is Direction.LONG else floor_to(price, tick)


def is_tighter(direction: Direction, price: Decimal, than: Decimal) -> bool:
    """Whether a stop at `price` loses less than one at `than`."""
    return price > than if direction is Direction.LONG else price < than


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One exit of a plan, and what its orders have done so far.

    `price` triggers it; a trailing leg begins to follow there, or at once without a price. `share` is of all that the
    entry fills. `done`: an order of it was filled to the end, so it wants no other.
    """

    id: int
    purpose: OrderPurpose
    price: Decimal | None
    share: Decimal = ONE
    callback_percent: Decimal | None = None
    executed: Decimal = ZERO
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The legs of one position, nearest target first, with the exchange's grid for market orders."""

    legs: tuple[Leg, ...]
    tick: Decimal
    step: Decimal
    minimum: Decimal
    maximum: Decimal = UNBOUNDED

    @property
    def lot(self) -> LotRule:
        return LotRule(step=self.step, minimum=self.minimum, maximum=self.maximum)

    def of(self, purpose: OrderPurpose) -> list[Leg]:
        return [leg for leg in self.legs if leg.purpose is purpose]


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What there is to protect, in base asset: all that the entry filled, and what is still open.

    `growing`: the entry rests and may fill further. `hedged`: the exchange refuses a closing order that is larger than
    the position, instead of trimming it.
    """

    filled: Decimal
    open: Decimal
    growing: bool = False
    hedged: bool = False

    def closing_parts(self, lot: LotRule) -> list[Decimal]:
        """Return the orders that would close all of it. In hedge mode they may leave less than a step."""
        return closing_parts(self.open, lot, trims=not self.hedged)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A leg with the quantity that it should close now.

    For a missing order the quantity is that order's.
    """

    leg: Leg
    quantity: Decimal


@dataclass(frozen=True, kw_only=True)
class Resting:
    """An order of a leg that rests at the exchange. `quantity` is what it has still to execute.

    `seen`: the exchange's own lists know it, and it is not overdue. One that they have forgotten, or whose price was
    passed without a fill, protects nothing. `begun`: it has executed a part.
    """

    order_id: int
    leg_id: int | None
    quantity: Decimal
    price: Decimal | None
    callback_percent: Decimal | None = None
    seen: bool = True
    begun: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What to place and what to cancel.

    `missing` has an entry for each order to place. `excess` are ids of orders to cancel once all orders stand that
    replace them.
    """

    missing: tuple[Wanted, ...]
    excess: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Held:
    """One leg compared with its orders: those that are right, and the quantities of those that it lacks."""

    right: frozenset[int]
    lacking: tuple[Decimal, ...]


def wanted_legs(plan: Plan, exposure: Exposure) -> list[Wanted]:
    """Return the legs that should rest now, the stop first, each with all that it should close."""
    if exposure.open <= 0:
        return []
    targets = plan.of(OrderPurpose.TARGET)
    quantities = target_quantities(targets, exposure, plan)
    # A trailing leg that is placed anew forgets the best price it has seen, so it waits until its size is known.
    trailing = [] if exposure.growing else plan.of(OrderPurpose.TRAILING)
    return [
        *(Wanted(leg=leg, quantity=exposure.open) for leg in plan.of(OrderPurpose.STOP)),
        *(Wanted(leg=leg, quantity=part) for leg, part in zip(targets, quantities, strict=True) if part > 0),
        *(Wanted(leg=leg, quantity=exposure.open) for leg in trailing),
    ]


def compare(plan: Plan, exposure: Exposure, resting: Iterable[Resting]) -> Comparison:
    """Compare the resting orders with the wanted ones. An order within a tick of its price stays.

    A leg may want several orders, because the exchange bounds each. The older orders of a leg stay until all of the
    right ones stand, so that the position never loses protection.
    """
    orders = sorted(resting, key=lambda order: order.order_id)
    wanted = wanted_legs(plan, exposure)
    held = {want.leg.id: _held_against(want, plan, exposure, orders) for want in wanted}
    settled = {leg_id for leg_id, each in held.items() if not each.lacking}
    # While the entry grows, a trailing leg that wants no order only waits, so its orders stay.
    waiting = {OrderPurpose.TRAILING} if exposure.growing else set[OrderPurpose]()
    settled |= {leg.id for leg in plan.legs if leg.id not in held and leg.purpose not in waiting}
    right = frozenset[int]().union(*(each.right for each in held.values()))
    return Comparison(
        missing=tuple(Wanted(leg=want.leg, quantity=part) for want in wanted for part in held[want.leg.id].lacking),
        excess=tuple(order.order_id for order in orders if order.leg_id in settled and order.order_id not in right),
    )


def _held_against(want: Wanted, plan: Plan, exposure: Exposure, orders: Sequence[Resting]) -> _Held:
    """Match a leg's orders with the parts that the present lot asks for. Of equal orders the newest stays."""
    trims = not exposure.hedged
    parts = closing_parts(want.quantity, plan.lot, trims=trims)
    fitting = [order for order in orders if order.leg_id == want.leg.id and _fits(want.leg, order, plan)]
    if want.leg.purpose is OrderPurpose.TRAILING and trims:
        return _follows(want, plan, fitting)
    if not parts:
        # The present filters take no order at all for it, as a maximum below the step: what rests is all there is. In
        # hedge mode one that is larger than the position would be refused.
        rests = [
            order for order in orders if order.leg_id == want.leg.id and (trims or order.quantity <= want.quantity)
        ]
        return _Held(right=frozenset(order.order_id for order in rests), lacking=())
    exact = _adding_up_to(want.quantity, fitting)
    # Orders that execute just now have odd quantities; replaced, they would be in each other's way.
    if exact and (len(exact) <= len(parts) or any(order.begun for order in exact)):
        return _Held(right=frozenset(order.order_id for order in exact), lacking=())
    left, right = list(parts), set()
    for order in reversed(fitting):
        if order.quantity in left:
            left.remove(order.quantity)
            right.add(order.order_id)
    return _Held(right=frozenset(right), lacking=tuple(left))


def _follows(want: Wanted, plan: Plan, fitting: Sequence[Resting]) -> _Held:
    """Keep every trailing order of the leg.

    Reduce-only trims one that is too large, and a new order would forget the best price it has seen.
    """
    right, short = set(), want.quantity
    for order in fitting:
        if short > 0:
            right.add(order.order_id)
            short -= order.quantity
    return _Held(right=frozenset(right), lacking=tuple(closing_parts(short, plan.lot, trims=True)))


def _adding_up_to(quantity: Decimal, fitting: Sequence[Resting]) -> list[Resting]:
    """Return orders that close exactly this quantity, or none.

    Larger and newer orders are taken first.
    """
    taken, left = [], quantity
    for order in sorted(fitting, key=lambda order: (order.quantity, order.order_id), reverse=True):
        if order.quantity <= left:
            taken.append(order)
            left -= order.quantity
    return [] if left else taken


def target_quantities(targets: Sequence[Leg], exposure: Exposure, plan: Plan) -> list[Decimal]:
    """Return what each target should still close: its share of all that filled, less what it has closed.

    When the position was reduced by others, the parts shrink with it. What a finished target has left over, because
    the entry filled further, and parts below the minimum go to the last target that is not done.
    """
    shares = split(exposure.filled, [leg.share for leg in targets], plan.step)
    left = [max(ZERO, share - leg.executed) for share, leg in zip(shares, targets, strict=True)]
    waiting = [place for place, leg in enumerate(targets) if not leg.done]
    expected = exposure.filled - sum((leg.executed for leg in targets), ZERO)
    if not waiting or expected <= 0:
        return [ZERO] * len(targets)
    _hand_on(left, [place for place, leg in enumerate(targets) if leg.done], waiting[-1])
    scale = min(Fraction(1), Fraction(exposure.open) / Fraction(expected))
    parts = _on_steps([Fraction(part) * scale for part in left], plan.step)
    small = [place for place in waiting if parts[place] < plan.minimum and place != waiting[-1]]
    _hand_on(parts, small, waiting[-1])
    # The exchange refuses less than its minimum; then the stop alone is in charge.
    parts = [part if part >= plan.minimum else ZERO for part in parts]
    if not exposure.hedged and sum((leg.share for leg in targets), ZERO) == ONE:
        # Together they are meant to close everything: the last takes what lies below a step too.
        parts[waiting[-1]] += exposure.open - sum(parts, ZERO)
    return parts


def split(quantity: Decimal, shares: Sequence[Decimal], step: Decimal) -> list[Decimal]:
    """Split a quantity into parts on steps that add up to all of their shares together, floored once."""
    return _on_steps([Fraction(quantity) * Fraction(share) for share in shares], step)


def _on_steps(parts: Sequence[Fraction], step: Decimal) -> list[Decimal]:
    """Floor the running sum, not each part, so that nothing is lost between them."""
    rounded: list[Decimal] = []
    running, before = Fraction(0), 0
    for part in parts:
        running += part
        steps = int(running / Fraction(step))
        rounded.append((steps - before) * step)
        before = steps
    return rounded


def _hand_on(parts: list[Decimal], givers: Iterable[int], taker: int) -> None:
    for place in givers:
        parts[taker] += parts[place]
        parts[place] = ZERO


def _fits(leg: Leg, order: Resting, plan: Plan) -> bool:
    """Whether an order has its leg's price within a tick and a quantity that the exchange executes.

    The exchange keeps orders whose price lies off a new tick, and they trigger as before. One whose quantity does not
    fit the present lot would be refused when it triggers.
    """
    off_lot = order.quantity % plan.step or not plan.minimum <= order.quantity <= plan.maximum
    if not order.seen or (off_lot and not order.begun):
        return False
    if leg.purpose is OrderPurpose.TRAILING:
        return order.callback_percent == leg.callback_percent
    if order.price is None or leg.price is None:
        return False
    return abs(order.price - leg.price) <= plan.tick
