"""Decides which lists of open orders a cycle reads, because request weight is a budget. Pure.

Both lists with all symbols cost a weight of 80 of 2,400 a minute, the list of one symbol at one service costs 1. While
the user-data stream reports what happens, the lists only show what it may have missed. So a cycle reads

- everything when the stream does not cover, when a cycle was asked for, and every five minutes;
- the lists in which an order is in doubt, or a side differs from the books, in each cycle;
- the lists in which our orders rest as often as the budget allows, at least once a minute.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from execution.domain.brackets import compare
from execution.domain.clocks import age_of
from execution.domain.outcomes import held_in
from execution.domain.states import ORDER_LIVE
from execution.domain.trading import OrderPurpose, OrderService
from execution.reconciliation.diff import PROTECTIVE, Patience
from execution.reconciliation.diff_external import unexplained_positions
from execution.reconciliation.state import WHOLE, LocalState, OrderList, OrderLists, OurOrder, VenueState, side_of

# Orphan orders in symbols that the books do not name are found this often.
WHOLE_EVERY = timedelta(minutes=5)
# The weight a minute that the lists of resting orders may cost, and their longest interval.
WEIGHT_A_MINUTE, LONGEST_INTERVAL = 40, timedelta(minutes=1)
# The weight of both lists with all symbols: more single lists would cost more.
WHOLE_WEIGHT = 80
# A cycle may begin a little before its time.
EARLY = timedelta(seconds=2)
SERVICES = (OrderService.STANDARD, OrderService.ALGO)


@dataclass(frozen=True, kw_only=True)
class RestingOrder:
    """Where one of our orders that is not over would be listed. `in_doubt`: no evidence shows its present state."""

    symbol: str
    service: OrderService
    in_doubt: bool

    @property
    def list(self) -> OrderList:
        return self.symbol, self.service


@dataclass(frozen=True, kw_only=True)
class PastReadings:
    """When everything, and when the lists of resting orders were read last. None: not since the last failure."""

    whole_at: datetime | None = None
    resting_at: datetime | None = None


def lists_to_read(
    orders: Iterable[RestingOrder],
    past: PastReadings,
    *,
    suspects: Collection[str],
    whole_since: datetime | None,
    now: datetime,
) -> OrderLists:
    """Return the lists of one cycle.

    Args:
        orders: our orders that are not over.
        past: the last readings.
        suspects: symbols in which an invariant did not hold in the last cycle.
        whole_since: a reading of everything is wanted that began then or later, None: in each cycle.
        now: when the reading begins.

    """
    if whole_since is None or _is_due(past.whole_at, WHOLE_EVERY, now) or not _is_since(past.whole_at, whole_since):
        return WHOLE
    orders = list(orders)
    resting = {order.list for order in orders}
    named = {order.list for order in orders if order.in_doubt}
    named |= {(symbol, service) for symbol in suspects for service in SERVICES}
    due = resting_is_due(len(resting), past, now)
    return limited(OrderLists(named=frozenset(named | resting if due else named), resting=due))


def resting_is_due(lists: int, past: PastReadings, now: datetime) -> bool:
    """Whether so many lists of resting orders are due by their budget."""
    interval = timedelta(minutes=1) * lists / WEIGHT_A_MINUTE
    return _is_due(past.resting_at, min(interval, LONGEST_INTERVAL), now)


def limited(lists: OrderLists) -> OrderLists:
    """Return everything where single lists would cost more."""
    return WHOLE if len(lists.named) >= WHOLE_WEIGHT else lists


def lists_in_question(books: LocalState, seen: VenueState, *, patience: Patience, now: datetime) -> OrderLists:
    """Return the lists that a difference asks for and that were not read."""
    symbols = {*_differing_trades(books, seen), *_unfinished_business(books, patience, now)}
    known = {side_of(row) for row in books.external}
    symbols |= {row.symbol for row in unexplained_positions(books, seen) if side_of(row) not in known}
    wanted = {(symbol, service) for symbol in symbols for service in SERVICES}
    return limited(OrderLists(named=frozenset(each for each in wanted if not seen.lists.show(*each))))


def _differing_trades(books: LocalState, seen: VenueState) -> set[str]:
    """Return the symbols of trades whose position is of another size, or whose older legs a newer one replaces."""
    held = {side_of(row): row for row in seen.positions}
    guarded = {side_of(row) for row in books.external}
    found = set()
    for trade in books.trades:
        if seen.is_older_than(trade):
            continue
        at_exchange = held_in(held.get(side_of(trade)), trade.direction)
        explained = at_exchange > trade.open_quantity and side_of(trade) in guarded
        differs = at_exchange != trade.open_quantity and not explained
        if differs or compare(trade.plan, trade.exposure, trade.resting).excess:
            found.add(trade.symbol)
    return found


def _unfinished_business(books: LocalState, patience: Patience, now: datetime) -> set[str]:
    """Return the symbols of orders of which only the list of open orders shows what is to be done."""
    old = [order for order in books.orders if age_of(order.sent_at, now) >= patience.stalled_after]
    return {order.symbol for order in old if _wants_list(order, now)}


def _wants_list(order: OurOrder, now: datetime) -> bool:
    entry = order.purpose is OrderPurpose.ENTRY
    if order.closed and (order.purpose in PROTECTIVE or (entry and order.state in ORDER_LIVE)):
        return True
    expired = order.expires_at is not None and now >= order.expires_at
    return entry and (expired or order.executed_quantity > order.booked_quantity)


def _is_due(at: datetime | None, interval: timedelta, now: datetime) -> bool:
    # A reading in the future is none: a clock was set back.
    return at is None or not timedelta(0) <= age_of(at, now) < interval - EARLY


def _is_since(at: datetime | None, moment: datetime) -> bool:
    return at is not None and at >= moment
