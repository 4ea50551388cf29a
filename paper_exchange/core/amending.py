"""Amendment of resting LIMIT orders: a new price or quantity, at the end of the queue."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from paper_exchange.core import rules
from paper_exchange.core.accounts import Account
from paper_exchange.core.contract_changes import TRADING
from paper_exchange.core.ids import Ids
from paper_exchange.core.matching import Matching, crosses, reduces_only
from paper_exchange.core.money import ZERO
from paper_exchange.core.order_entry import OrderEntry
from paper_exchange.core.orders import POST_ONLY, Order, Side, opposite
from paper_exchange.core.state import State
from paper_exchange.errors import refuse

MAX_AMENDMENTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendTicket:
    """A well-formed request to change one order. `price` is zero with a price match."""

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal = ZERO
    order_id: int | None = None
    client_id: str | None = None
    price_match: str = "NONE"
    modify_id: int | None = None
    reduce_only: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """One change of an order, as GET /orderAmendment shows it."""

    amendment_id: int
    order: Order
    time: int
    price_before: Decimal
    price_after: Decimal
    quantity_before: Decimal
    quantity_after: Decimal
    count: int
    modify_id: int | None


class AmendDesk:
    def __init__(self, state: State, order_entry: OrderEntry, matching: Matching) -> None:
        self._state = state
        self._order_entry = order_entry
        self._matching = matching
        self._ids = Ids(1)

    def amend(self, account: Account, ticket: AmendTicket) -> Order:
        """Change an order or refuse. An order that can no longer rest as wanted is cancelled."""
        market = self._state.market(ticket.symbol)
        order = self._order_entry.find(account, ticket.symbol, ticket.order_id, ticket.client_id)
        if order is None or not order.is_open:
            raise refuse(-2013)
        price = ticket.price
        if ticket.price_match != "NONE":
            price = self._order_entry.matched_price(market, ticket.side, ticket.price_match)
        self._check(order, ticket, price)
        best, _ = market.book.best(opposite(order.side))
        would_take = order.time_in_force in POST_ONLY and crosses(order.side, price, best)
        if ticket.quantity <= order.executed or would_take:
            self._matching.close(order, "CANCELED")
            return order
        self._check_margin(order, ticket.quantity, price)
        self._record(order, ticket, price)
        self._matching.replace(order, price, ticket.quantity)
        return order

    @staticmethod
    def history(account: Account, order_id: int) -> list[Amendment]:
        """Return an order's amendments, oldest first."""
        return account.amendments.get(order_id, [])

    def _check(self, order: Order, ticket: AmendTicket, price: Decimal) -> None:
        if order.symbol.status != TRADING:
            raise refuse(-5024)
        if order.type != "LIMIT":
            raise refuse(-5025)
        if order.side != ticket.side:
            raise refuse(-1128)
        if ticket.reduce_only and not order.reduce_only:
            raise refuse(-5047)
        if order.amendments >= MAX_AMENDMENTS:
            raise refuse(-5026)
        if (price, ticket.quantity) == (order.price, order.quantity):
            raise refuse(-5027)
        rules.check_quantity(order.symbol, ticket.quantity, market=False)
        rules.check_price(order.symbol, price)
        rules.check_percent_price(self._state.markets[order.symbol.name], order.side, price)
        spared = order.position_side == "BOTH" or self._state.assumptions.hedge_close_spared
        if not (reduces_only(order) and spared):
            rules.check_notional(order.symbol, price * ticket.quantity, -5029)
        if reduces_only(order) and ticket.quantity > order.quantity:
            market, rest = self._state.markets[order.symbol.name], ticket.quantity - order.executed
            self._order_entry.check_reducible(order.account, market, order.side, order.position_side, rest, but=order)

    def _check_margin(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        if reduces_only(order):
            return
        extra = price * (quantity - order.executed) - order.price * order.remaining
        if extra > 0:
            market = self._state.markets[order.symbol.name]
            rules.check_margin(order.account, self._state.markets, market, order.side, order.position_side, extra)

    def _record(self, order: Order, ticket: AmendTicket, price: Decimal) -> None:
        order.amendments += 1
        order.modify_id = ticket.modify_id
        order.price_match = ticket.price_match
        row = Amendment(
            amendment_id=next(self._ids),
            order=order,
            time=self._state.clock.now_ms(),
            price_before=order.price,
            price_after=price,
            quantity_before=order.quantity,
            quantity_after=ticket.quantity,
            count=order.amendments,
            modify_id=ticket.modify_id,
        )
        order.account.amendments[order.order_id].append(row)
