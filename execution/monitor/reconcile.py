"""Compares our books with the exchange and says what to do; pure, so every case is a test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from execution.domain.brackets import Exposure, Plan, Resting, compare
from execution.domain.client_ids import is_ours
from execution.domain.clocks import age_of
from execution.domain.external import ExternalPositions, direction_of
from execution.domain.money import ZERO
from execution.domain.outcomes import OrderReport, PositionReport, held_in
from execution.domain.states import (
    ORDER_FINAL,
    ORDER_LIVE,
    ORDER_UNSETTLED,
    REQUEST_BEFORE_WIRE,
    OrderState,
    RequestState,
)
from execution.domain.trading import Direction, OrderPurpose, PositionSide

PROTECTIVE = frozenset({OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING})
NEEDS_COVER = frozenset({RequestState.FILLED})
NEEDS_BOOKING = frozenset({RequestState.PROTECTED, RequestState.FLATTENED})


@dataclass(frozen=True, kw_only=True)
class OurRequest:
    """An unfinished request."""

    id: UUID
    state: RequestState
    moved_at: datetime
    expires_at: datetime
    symbol: str = ""


@dataclass(frozen=True, kw_only=True)
class OurOrder:
    """An order of ours; `closed`: its trade is closed, or its request ended without one."""

    id: int
    request_id: UUID
    client_order_id: str
    symbol: str
    purpose: OrderPurpose
    state: OrderState
    quantity: Decimal
    executed_quantity: Decimal
    sent_at: datetime
    closed: bool
    # Of an entry: how much of what it has executed is in the books of its trade.
    booked_quantity: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class OurTrade:
    """An open trade and what of it is still at the exchange, by booked fills."""

    id: UUID
    symbol: str
    direction: Direction
    position_side: str
    open_quantity: Decimal
    plan: Plan
    exposure: Exposure
    resting: Sequence[Resting]
    changed_at: datetime
    closes_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class OurExternal:
    """A position of somebody else that the last cycle has counted.

    `guarded`: it has exits of ours. `flat_readings`: how many successive cycles have missed it, before this one.
    """

    id: int
    symbol: str
    position_side: str
    direction: Direction
    guarded: bool = False
    flat_readings: int = 0


@dataclass(frozen=True, kw_only=True)
class Books:
    """What PostgreSQL says."""

    requests: Sequence[OurRequest]
    orders: Sequence[OurOrder]
    trades: Sequence[OurTrade]
    # Symbols and sides of trades that were closed while the exchange was read.
    just_closed: frozenset[tuple[str, str]] = frozenset()
    # Client ids of exits that ended meanwhile: the exchange was seen with them, and there is nothing to cancel.
    just_ended: frozenset[str] = frozenset()
    # Closed trades whose books are due to be looked over, a few at a time.
    to_look_over: Sequence[UUID] = ()
    # Positions that others have opened, as the cycle before has seen them.
    external: Sequence[OurExternal] = ()


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the exchange says, read in bulk: open orders of both books by client id, and positions.

    `begun_at`: what our books have changed since then is newer than what was read.
    """

    open_orders: Mapping[str, OrderReport]
    positions: Sequence[PositionReport]
    begun_at: datetime


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a fast path may take before the monitor steps in."""

    stalled_after: timedelta


@dataclass(frozen=True, kw_only=True)
class Expire:
    """A request that never left is too old to trade."""

    request_id: UUID


@dataclass(frozen=True, kw_only=True)
class Resume:
    """A request stands still: run the chain from its state on."""

    request_id: UUID
    state: RequestState


@dataclass(frozen=True, kw_only=True)
class Apply:
    """The exchange shows one of our orders further than we know it."""

    order_id: int
    report: OrderReport


@dataclass(frozen=True, kw_only=True)
class LookUpOrder:
    """One of our orders is not among the open ones: ask what became of it."""

    order_id: int


@dataclass(frozen=True, kw_only=True)
class BookExits:
    """The exchange holds less than our trade: look for the fills that closed it."""

    trade_id: UUID


@dataclass(frozen=True, kw_only=True)
class LookOver:
    """A trade was closed a while ago, or its entry filled further since: book what the exchange shows only now."""

    trade_id: UUID


@dataclass(frozen=True, kw_only=True)
class Cover:
    """A position whose plan wants an order that does not rest, or not at its price or quantity."""

    request_id: UUID
    missing: OrderPurpose


@dataclass(frozen=True, kw_only=True)
class CloseInTime:
    """A position whose time is up."""

    trade_id: UUID


@dataclass(frozen=True, kw_only=True)
class CancelLeftover:
    """A leg that has outlived its position, or that a newer one has replaced."""

    order_id: int


@dataclass(frozen=True, kw_only=True)
class CheckStray:
    """An open order with our prefix that is not among our unfinished ones."""

    client_order_id: str


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """A position that no trade and no running entry of ours explains: said, never touched, and no entries beside it."""

    symbol: str
    sentence: str
    position_side: str = PositionSide.BOTH


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A position of somebody else that is to have exits of ours, or has them and may have changed its size."""

    external_id: int


@dataclass(frozen=True, kw_only=True)
class Adopt:
    """A position of somebody else that is to become a trade of ours."""

    external_id: int


@dataclass(frozen=True, kw_only=True)
class Leave:
    """A position of somebody else that is gone: our exits go, too."""

    external_id: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """Something that is not ours to repair: said, never touched."""

    subject: str
    sentence: str


# These settle what our orders are; what the rest of the comparison says rests on it.
SETTLING = (Apply, LookUpOrder, CancelLeftover)
Settling = Apply | LookUpOrder | CancelLeftover
# These are about positions of others: only the stack that has the account does them.
EXTERNAL = (Guard, Adopt, Leave)
External = Guard | Adopt | Leave
Repair = Expire | Resume | BookExits | LookOver | CloseInTime | Cover | CheckStray | Stranger | External | Report
Action = Settling | Repair


def reconcile(
    books: Books,
    seen: Observation,
    *,
    patience: Patience,
    now: datetime,
    wish: ExternalPositions = ExternalPositions.IGNORE,
) -> list[Action]:
    """Return what to repair, orders first: what they tell may settle the rest.

    `wish`: what the operator wants of positions that others have opened.
    """
    strange = _foreign_positions(books, seen)
    return [
        *_order_actions(books, seen, patience, now),
        *_replaced_legs(books, seen),
        *_trade_actions(books, seen, now),
        *_request_actions(books, patience, now),
        *(LookOver(trade_id=trade_id) for trade_id in books.to_look_over),
        *_strangers(strange),
        *_external_actions(books, seen, strange, wish),
        *_strays(books, seen),
    ]


def _order_actions(books: Books, seen: Observation, patience: Patience, now: datetime) -> list[Action]:
    actions = [
        _order_action(order, seen, age_of(order.sent_at, now) >= patience.stalled_after) for order in books.orders
    ]
    return [action for action in actions if action is not None]


def _order_action(order: OurOrder, seen: Observation, stalled: bool) -> Action | None:  # noqa: FBT001 -- private
    report = seen.open_orders.get(order.client_order_id)
    live = order.state in ORDER_LIVE
    if report is None:
        # A fresh order may be on its way; an older one has ended, or was never there.
        return LookUpOrder(order_id=order.id) if stalled and order.state not in ORDER_FINAL else None
    # Legs have outlived the position; so has the rest of an entry whose filled part was closed.
    if order.closed and (order.purpose in PROTECTIVE or (order.purpose is OrderPurpose.ENTRY and live)):
        return CancelLeftover(order_id=order.id)
    # Also an order that we had given up: the exchange is right about what it has.
    known = order.executed_quantity
    if order.purpose is OrderPurpose.ENTRY:
        # A process may have died between the evidence of a fill and its cover and booking.
        known = min(known, order.booked_quantity)
    if order.state in ORDER_UNSETTLED or report.executed_quantity > known:
        return Apply(order_id=order.id, report=report)
    return None


def _replaced_legs(books: Books, seen: Observation) -> list[Action]:
    """Cancel the orders of a leg that a right one has replaced, and those of a leg that wants none any more.

    The right one must be seen at the exchange just now: until then the older one goes on covering.
    """
    here = {order.id for order in books.orders if order.client_order_id in seen.open_orders}
    surplus: list[int] = []
    for trade in books.trades:
        resting = [replace(order, seen=order.seen and order.order_id in here) for order in trade.resting]
        surplus += compare(trade.plan, trade.exposure, resting).surplus
    return [CancelLeftover(order_id=order_id) for order_id in surplus if order_id in here]


def _trade_actions(books: Books, seen: Observation, now: datetime) -> list[Action]:
    held = {(row.symbol, row.position_side): row for row in seen.positions}
    actions: list[Action] = []
    for trade in books.trades:
        # A trade that changed while the exchange was read would be compared with its own past.
        if age_of(trade.changed_at, seen.begun_at) <= timedelta(0):
            continue
        row = held.get((trade.symbol, trade.position_side))
        at_exchange = held_in(row, trade.direction)
        if at_exchange < trade.open_quantity:
            actions.append(BookExits(trade_id=trade.id))
        elif trade.closes_at and now >= trade.closes_at:
            actions.append(CloseInTime(trade_id=trade.id))
        else:
            missing = compare(trade.plan, trade.exposure, trade.resting).missing
            actions += [Cover(request_id=trade.id, missing=want.leg.purpose) for want in missing[:1]]
        if at_exchange > trade.open_quantity:
            numbers = f"expected={trade.open_quantity} actual={at_exchange}"
            actions.append(Report(subject=trade.symbol, sentence=f"POSITION_LARGER_THAN_TRADE: {numbers}"))
    return actions


def _request_actions(books: Books, patience: Patience, now: datetime) -> list[Action]:
    actions: list[Action] = []
    for request in books.requests:
        if age_of(request.moved_at, now) < patience.stalled_after:
            continue
        if request.state in REQUEST_BEFORE_WIRE and now > request.expires_at:
            actions.append(Expire(request_id=request.id))
        elif request.state in REQUEST_BEFORE_WIRE | NEEDS_COVER | NEEDS_BOOKING:
            actions.append(Resume(request_id=request.id, state=request.state))
    return actions


def _foreign_positions(books: Books, seen: Observation) -> list[PositionReport]:
    """Return the positions that no trade and no running entry of ours explains."""
    ours = {(trade.symbol, trade.position_side) for trade in books.trades} | books.just_closed
    entering = {order.symbol for order in books.orders if order.purpose is OrderPurpose.ENTRY and not order.closed}
    # Filled, and on its way to cover and books.
    entering |= {request.symbol for request in books.requests if request.state in NEEDS_COVER | NEEDS_BOOKING}
    return [row for row in seen.positions if (row.symbol, row.position_side) not in ours and row.symbol not in entering]


def _strangers(strange: Sequence[PositionReport]) -> list[Action]:
    return [
        Stranger(
            symbol=row.symbol,
            sentence=f"POSITION_NOT_OURS: quantity={row.quantity} side={row.position_side}",
            position_side=row.position_side,
        )
        for row in strange
    ]


def _external_actions(
    books: Books, seen: Observation, strange: Sequence[PositionReport], wish: ExternalPositions
) -> list[Action]:
    """Guard or adopt what two successive cycles have found strange; leave what two have missed, or have found turned.

    What is guarded is followed whatever the wish has become: exits that stand still while a position grows would be
    worth less than they seem.
    """
    actions: list[Action] = []
    known = {(row.symbol, row.position_side, row.direction): row for row in books.external}
    for row in strange:
        external = known.get((row.symbol, row.position_side, direction_of(row)))
        if external and wish is ExternalPositions.ADOPT:
            actions.append(Adopt(external_id=external.id))
        elif external and (external.guarded or wish is ExternalPositions.PROTECT):
            actions.append(Guard(external_id=external.id))
    here = {(row.symbol, row.position_side, direction_of(row)) for row in seen.positions}
    gone = [row for key, row in known.items() if key not in here and row.guarded and row.flat_readings]
    return [*actions, *(Leave(external_id=row.id) for row in gone)]


def _strays(books: Books, seen: Observation) -> list[Action]:
    """Name open orders that carry our prefix and that our books think ended, or do not know."""
    known = {order.client_order_id for order in books.orders} | books.just_ended
    strays = sorted(name for name in seen.open_orders if is_ours(name) and name not in known)
    return [CheckStray(client_order_id=name) for name in strays]
