"""Order entry: accepts or refuses ordinary orders, cancels them and finds them."""

from decimal import Decimal
from heapq import heappush
from typing import Final

from paper_exchange.core import rules
from paper_exchange.core.accounts import Account, closes
from paper_exchange.core.contract_changes import check_control, check_status
from paper_exchange.core.market import Market
from paper_exchange.core.matching import Matching, reducible
from paper_exchange.core.money import CENT8, ZERO
from paper_exchange.core.orders import AlgoOrder, Order, PositionSide, Side, Ticket, opposite
from paper_exchange.core.retention import GOOD_TILL_CANCEL_MS
from paper_exchange.core.state import State
from paper_exchange.errors import refuse

# Length of the ids that orders without one are given.
GIVEN_ID_LENGTH: Final = 22
GOOD_TILL_MIN_MS: Final = 600_000
GOOD_TILL_MAX: Final = 253_402_300_799_000


class OrderEntry:
    def __init__(self, state: State, matching: Matching) -> None:
        self._state = state
        self._matching = matching

    def place(self, account: Account, ticket: Ticket, algo: AlgoOrder | None = None, *, at_rest: bool = False) -> Order:
        """Grant an order and match it. `algo` is the conditional order that it comes from.

        `at_rest` leaves it unfilled and outside the book until `match`.
        """
        order = self.check(account, ticket, algo)
        self._matching.check_immediate(order)
        self._matching.note_arrival(order)
        self._state.add_order(order)
        account.open_order(order)
        if algo is not None:
            algo.order = order
        self._state.listener.order_changed(order, "NEW", None)
        if not at_rest:
            self._matching.execute(order)
        if order.is_open:
            end = order.good_till or order.created + GOOD_TILL_CANCEL_MS
            heappush(self._state.expiring, (end, order.order_id, order))
        return order

    def check(self, account: Account, ticket: Ticket, algo: AlgoOrder | None = None) -> Order:
        """Return the order that a ticket would become, or refuse it. Nothing is recorded."""
        market = self._state.market(ticket.symbol)
        position_side = rules.resolve_position_side(account, ticket.position_side)
        reduce_only = rules.resolve_reduce_only(account, ticket.reduce_only)
        price = self._price(market, ticket)
        self._check_filters(market, ticket, price, algo)
        self._check_id(account, ticket, algo)
        reducing = reduce_only or closes(ticket.side, position_side)
        check_status(market.symbol, reducing=reducing)
        if not reducing:
            check_control(market.symbol, ticket.side)
        if ticket.time_in_force == "RPI" and not market.symbol.rpi:
            raise refuse(-1115)
        if reducing:
            if algo is None and not (reduce_only or self._state.assumptions.hedge_close_spared):
                rules.check_notional(market.symbol, (price or market.mark) * ticket.quantity)
            self._check_reducing(account, market, ticket, position_side, algo)
        else:
            self._check_opening(account, market, ticket, position_side, price)
        if len(account.open_orders[ticket.symbol]) >= market.symbol.max_open_orders:
            raise refuse(-2025)
        return self._order(account, market, ticket, position_side, price, algo)

    def match(self, order: Order) -> None:
        """Match an order that was granted at rest."""
        self._matching.execute(order)
        if not order.is_open:
            self._matching.on_end(order)

    def end(self, order: Order, status: str) -> None:
        self._matching.close(order, status)

    def find(self, account: Account, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        """Look an order up. The order id wins over the client's id, of which the newest counts."""
        if order_id is not None:
            return account.order_by_id.get((symbol, order_id))
        return account.order_by_client.get((symbol, client_id or ""))

    def cancel(self, account: Account, symbol: str, order_id: int | None, client_id: str | None) -> Order:
        order = self.find(account, symbol, order_id, client_id)
        if order is None or not order.is_open:
            raise refuse(-2011)
        self._matching.close(order, "CANCELED")
        return order

    def cancel_all(self, account: Account, symbol: str) -> int:
        """Cancel the open orders of a symbol and return how many there were."""
        orders = list(account.open_orders[symbol].values())
        for order in orders:
            self._matching.close(order, "CANCELED")
        return len(orders)

    def check_good_till(self, good_till: int) -> None:
        if not self._state.clock.now_ms() + GOOD_TILL_MIN_MS < good_till < GOOD_TILL_MAX:
            raise refuse(-5040)

    def matched_price(self, market: Market, ticket_side: str, mode: str) -> Decimal:
        """Price of the level that a priceMatch mode names."""
        kind, _, depth = mode.partition("_")
        side = ticket_side if kind == "QUEUE" else ("SELL" if ticket_side == "BUY" else "BUY")
        levels = market.book.depth("BUY" if side == "BUY" else "SELL", int(depth or 1))
        if len(levels) < int(depth or 1):
            raise refuse(-5041)
        return levels[-1][0]

    def _price(self, market: Market, ticket: Ticket) -> Decimal:
        if ticket.price_match != "NONE":
            return self.matched_price(market, ticket.side, ticket.price_match)
        return ticket.price

    def _check_filters(self, market: Market, ticket: Ticket, price: Decimal, algo: AlgoOrder | None) -> None:
        is_market = ticket.type == "MARKET"
        closes_all = algo is not None and algo.ticket.close_position
        if not closes_all or self._state.assumptions.close_position_limited:
            rules.check_quantity(market.symbol, ticket.quantity, market=is_market)
        if is_market:
            return
        rules.check_price(market.symbol, price)
        rules.check_percent_price(market, ticket.side, price)
        if ticket.time_in_force == "GTD":
            self.check_good_till(ticket.good_till)

    def _check_id(self, account: Account, ticket: Ticket, algo: AlgoOrder | None) -> None:
        if ticket.client_id is None or algo is not None:
            return
        rules.check_client_id(ticket.client_id, "newClientOrderId")
        if ticket.client_id in account.open_clients:
            raise refuse(-4116)

    def _check_opening(
        self, account: Account, market: Market, ticket: Ticket, position_side: PositionSide, price: Decimal
    ) -> None:
        if ticket.type == "MARKET":
            rules.check_notional(market.symbol, market.mark * ticket.quantity)
            price, _ = market.book.best(opposite(ticket.side))
        else:
            rules.check_notional(market.symbol, price * ticket.quantity)
        rules.check_margin(account, self._state.markets, market, ticket.side, position_side, price * ticket.quantity)

    def _check_reducing(
        self, account: Account, market: Market, ticket: Ticket, position_side: PositionSide, algo: AlgoOrder | None
    ) -> None:
        """Refuse when there is nothing to reduce, or when resting orders already reduce it all."""
        rests_count = algo is None or (self._state.assumptions.reducing_at_trigger and not algo.ticket.close_position)
        self.check_reducible(account, market, ticket.side, position_side, ticket.quantity, rests_count=rests_count)

    def check_reducible(
        self,
        account: Account,
        market: Market,
        side: Side,
        position_side: PositionSide,
        quantity: Decimal,
        *,
        rests_count: bool = True,
        but: Order | None = None,
    ) -> None:
        """Hold a reducing order against the position (-2022), and with `rests_count` against resting ones.

        A reduce-only order may be larger than the position, a closing one of hedge mode may not.
        """
        position = reducible(account, market.symbol, side, position_side)
        # Whatever is left of a position can be reduced, also less than a step.
        least = quantity if closes(side, position_side) else CENT8
        if position < least:
            raise refuse(-2022)
        way = self._state.assumptions.reducing
        if way == "trim" or not rests_count:
            return
        resting = self._resting_reducers(account, market, side, position_side, but)
        if position - resting < least:
            raise refuse(-4118 if way == "refuse_4118" else -2022)

    @staticmethod
    def _resting_reducers(
        account: Account, market: Market, side: Side, position_side: PositionSide, but: Order | None
    ) -> Decimal:
        return sum(
            (
                order.remaining
                for order in account.open_orders[market.symbol.name].values()
                if order is not but
                and (order.side, order.position_side) == (side, position_side)
                and (order.reduce_only or position_side != "BOTH")
            ),
            ZERO,
        )

    def _order(
        self,
        account: Account,
        market: Market,
        ticket: Ticket,
        position_side: PositionSide,
        price: Decimal,
        algo: AlgoOrder | None,
    ) -> Order:
        now = self._state.clock.now_ms()
        return Order(
            order_id=next(self._state.order_ids),
            account=account,
            symbol=market.symbol,
            client_id=ticket.client_id or self._state.texts.draw(GIVEN_ID_LENGTH),
            side=ticket.side,
            type=ticket.type,
            time_in_force=ticket.time_in_force,
            quantity=ticket.quantity,
            price=ZERO if ticket.type == "MARKET" else price,
            position_side=position_side,
            reduce_only=bool(ticket.reduce_only) or closes(ticket.side, position_side),
            created=now,
            updated=now,
            price_match=ticket.price_match,
            stp=ticket.stp,
            good_till=ticket.good_till,
            close_position=bool(algo and algo.ticket.close_position),
            algo=algo,
        )
