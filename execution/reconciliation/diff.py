"""Compares our books with the exchange and returns what to repair, as a pure function."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from execution.domain.brackets import compare
from execution.domain.clocks import age_of
from execution.domain.external import ExternalPositions
from execution.domain.outcomes import held_in
from execution.domain.states import (
    ORDER_FINAL,
    ORDER_LIVE,
    ORDER_UNSETTLED,
    REQUEST_BEFORE_WIRE,
    REQUEST_UNBOOKED,
)
from execution.domain.trading import OrderPurpose
from execution.reconciliation.actions import (
    Action,
    Apply,
    BookExits,
    CancelLeftover,
    CloseInTime,
    Cover,
    Expire,
    ExpireEntry,
    LookOver,
    LookUpOrder,
    Resume,
)
from execution.reconciliation.diff_external import unexplained
from execution.reconciliation.state import LocalState, OurOrder, VenueState, side_of

PROTECTIVE = frozenset({OrderPurpose.STOP, OrderPurpose.TARGET, OrderPurpose.TRAILING})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a fast path may take before the monitor steps in."""

    stalled_after: timedelta


def reconcile(
    books: LocalState,
    seen: VenueState,
    *,
    patience: Patience,
    now: datetime,
    wish: ExternalPositions = ExternalPositions.IGNORE,
) -> list[Action]:
    """Return what to repair, orders first: how they end may settle the rest.

    `wish`: what the operator wants of external positions.
    """
    return [
        *_order_actions(books, seen, patience, now),
        *_replaced_legs(books, seen),
        *_trade_actions(books, seen, now),
        *_request_actions(books, patience, now),
        *(LookOver(trade_id=trade_id) for trade_id in books.to_look_over),
        *unexplained(books, seen, wish),
    ]


def _order_actions(books: LocalState, seen: VenueState, patience: Patience, now: datetime) -> list[Action]:
    actions = [
        _order_action(order, seen, now, stalled=age_of(order.sent_at, now) >= patience.stalled_after)
        for order in books.orders
    ]
    return [action for action in actions if action is not None]


def _order_action(order: OurOrder, seen: VenueState, now: datetime, *, stalled: bool) -> Action | None:
    report = seen.open_orders.get(order.client_order_id)
    live = order.state in ORDER_LIVE
    if report is None:
        # A fresh order may be on its way; an older one has ended, or was never there.
        missed = stalled and order.state not in ORDER_FINAL and seen.lists.show(order.symbol, order.service)
        return LookUpOrder(order_id=order.id) if missed else None
    # Legs have outlived the position; so has the rest of an entry whose filled part was closed.
    if order.closed and (order.purpose in PROTECTIVE or (order.purpose is OrderPurpose.ENTRY and live)):
        return CancelLeftover(order_id=order.id)
    # The answer to its cancel shows what it has filled, too.
    if live and order.expires_at and now >= order.expires_at:
        return ExpireEntry(order_id=order.id)
    # Also an order that we had given up: the exchange is right about what it has.
    known = order.executed_quantity
    if order.purpose is OrderPurpose.ENTRY:
        # A process may have died between the evidence of a fill and its cover and booking.
        known = min(known, order.booked_quantity)
    if order.state in ORDER_UNSETTLED or report.executed_quantity > known or (live and order.doubted):
        return Apply(order_id=order.id, report=report)
    return None


def _replaced_legs(books: LocalState, seen: VenueState) -> list[Action]:
    """Cancel orders of a leg that a right one has replaced, and those of a leg that needs none any more.

    The right one must be seen at the exchange just now: until then the older one goes on covering.
    """
    here = {order.id for order in books.orders if order.client_order_id in seen.open_orders}
    surplus: list[int] = []
    for trade in books.trades:
        resting = [replace(order, seen=order.seen and order.order_id in here) for order in trade.resting]
        surplus += compare(trade.plan, trade.exposure, resting).excess
    return [CancelLeftover(order_id=order_id) for order_id in surplus if order_id in here]


def _trade_actions(books: LocalState, seen: VenueState, now: datetime) -> list[Action]:
    held = {side_of(row): row for row in seen.positions}
    actions: list[Action] = []
    for trade in books.trades:
        # It would be compared with its own past.
        if seen.is_older_than(trade):
            continue
        at_exchange = held_in(held.get(side_of(trade)), trade.direction)
        if at_exchange < trade.open_quantity:
            actions.append(BookExits(trade_id=trade.id))
        elif trade.deadline and now >= trade.deadline.at:
            actions.append(CloseInTime(trade_id=trade.id, reason=trade.deadline.reason))
        else:
            missing = compare(trade.plan, trade.exposure, trade.resting).missing
            actions += [Cover(request_id=trade.id, missing=want.leg.purpose) for want in missing[:1]]
    return actions


def _request_actions(books: LocalState, patience: Patience, now: datetime) -> list[Action]:
    actions: list[Action] = []
    for request in books.requests:
        if age_of(request.moved_at, now) < patience.stalled_after:
            continue
        if request.state in REQUEST_BEFORE_WIRE and now > request.expires_at:
            actions.append(Expire(request_id=request.id))
        elif request.state in REQUEST_BEFORE_WIRE | REQUEST_UNBOOKED:
            actions.append(Resume(request_id=request.id, state=request.state))
    return actions
