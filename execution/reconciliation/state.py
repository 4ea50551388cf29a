"""The two sides that `reconcile` compares: the rows in PostgreSQL, and the exchange's reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from execution.domain.brackets import Exposure, Plan, Resting
from execution.domain.clocks import age_of
from execution.domain.money import ZERO
from execution.domain.outcomes import OrderReport, PositionReport
from execution.domain.reasons import CloseReason
from execution.domain.states import OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose, OrderService


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
    """One of our orders. `closed`: its trade is closed, or its request ended without one."""

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
    # Of an entry: until when it may rest.
    expires_at: datetime | None = None
    # Missed by readings, or alarmed: it is noted when it is seen again.
    doubted: bool = False
    service: OrderService = OrderService.STANDARD


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """When a position is to be closed at market, and the close reason of its trade."""

    at: datetime
    reason: CloseReason


@dataclass(frozen=True, kw_only=True)
class OurTrade:
    """An open trade and what of it is still at the exchange, by booked fills.

    `by_software`: a software stop stands in for those that the exchange does not take.
    """

    id: UUID
    symbol: str
    direction: Direction
    position_side: str
    open_quantity: Decimal
    plan: Plan
    exposure: Exposure
    resting: Sequence[Resting]
    changed_at: datetime
    deadline: Deadline | None = None
    by_software: bool = False


@dataclass(frozen=True, kw_only=True)
class OurExternal:
    """An external position that the last cycle has counted.

    `guarded`: it has our exits. `flat_readings`: how many successive cycles have missed it, before this one.
    """

    id: int
    symbol: str
    position_side: str
    direction: Direction
    guarded: bool = False
    flat_readings: int = 0


@dataclass(frozen=True, kw_only=True)
class LocalState:
    """What the rows in PostgreSQL hold."""

    requests: Sequence[OurRequest]
    orders: Sequence[OurOrder]
    trades: Sequence[OurTrade]
    # Symbols and sides of trades that were closed while the exchange was read.
    just_closed: frozenset[tuple[str, str]] = frozenset()
    # Symbols and sides of open trades whose rows cannot be used: their positions are ours, and are left as they stand.
    set_aside: frozenset[tuple[str, str]] = frozenset()
    # Client ids of exits that ended meanwhile: the exchange was seen with them, and there is nothing to cancel.
    just_ended: frozenset[str] = frozenset()
    # Closed trades whose books are due to be looked over, a few at a time.
    to_look_over: Sequence[UUID] = ()
    # External positions, as the cycle before has seen them.
    external: Sequence[OurExternal] = ()


# The list of the open orders of one symbol at one service.
OrderList = tuple[str, OrderService]


@dataclass(frozen=True, kw_only=True)
class OrderLists:
    """Which lists of open orders a reading consists of.

    `whole`: both services with all symbols. `named`: single lists. `resting`: every list in which one of our orders
    rests is among the single ones.
    """

    whole: bool = False
    named: frozenset[OrderList] = frozenset()
    resting: bool = False

    def show(self, symbol: str, service: OrderService) -> bool:
        """Whether an order that is open at this service would be among them."""
        return self.whole or (symbol, service) in self.named


WHOLE, NO_LISTS = OrderLists(whole=True), OrderLists()


@dataclass(frozen=True, kw_only=True)
class VenueState:
    """What the exchange shows: open orders by client id, as far as `lists` show them, and all positions.

    `begun_at`: what our books have changed since then is newer than what was read.
    """

    open_orders: Mapping[str, OrderReport]
    positions: Sequence[PositionReport]
    begun_at: datetime
    lists: OrderLists = WHOLE

    def is_older_than(self, trade: OurTrade) -> bool:
        """Whether a trade has changed while the exchange was read, so that a comparison would show the past."""
        return age_of(trade.changed_at, self.begun_at) <= timedelta(0)


def side_of(row: OurTrade | OurExternal | PositionReport) -> tuple[str, str]:
    """Return the symbol and position side: in hedge mode each side is a position of its own."""
    return row.symbol, row.position_side
