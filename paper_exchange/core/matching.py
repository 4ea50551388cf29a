"""Matching: takers walk the book, resting orders wait and fill when the price reaches them."""

from collections.abc import Callable
from decimal import Decimal

from paper_exchange.core.accounts import Account, closes
from paper_exchange.core.book import Queue
from paper_exchange.core.fill_rules import Plan
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import POST_ONLY, Fill, Order, PositionSide, Side, opposite
from paper_exchange.core.settlement import settle
from paper_exchange.core.state import State
from paper_exchange.core.symbols import Symbol
from paper_exchange.errors import refuse

# Why the exchange ended an order by itself, as reported in the event field "er".
BY_SELF_TRADE, BY_IOC, BY_REDUCE_ONLY, BY_LIQUIDATION, BY_POSITION_END, BY_MARKET_REST = 1, 2, 4, 5, 6, 9


def crosses(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Return whether an order of that side and limit would trade at `price`."""
    return price <= limit if side == "BUY" else price >= limit


def reduces_only(order: Order) -> bool:
    return order.reduce_only or closes(order.side, order.position_side)


def reducible(account: Account, symbol: Symbol, side: Side, position_side: PositionSide) -> Decimal:
    """Quantity by which an order of that side may reduce the position."""
    amount = account.amount(symbol, position_side)
    return max(-amount if side == "BUY" else amount, ZERO)


def _ignore(_: Order) -> None: ...


class Matching:
    """Executes orders against the books. Callers have checked that the orders are allowed."""

    def __init__(self, state: State) -> None:
        self._state = state
        # Called with every order that rested and ended.
        self.on_end: Callable[[Order], None] = _ignore
        # Called with every order whose fill left its position flat.
        self.on_flat: Callable[[Order], None] = _ignore

    def __getstate__(self) -> dict[str, object]:
        """Leave out the listeners: the exchange connects them again."""
        return {"_state": self._state, "on_end": None, "on_flat": None}

    def check_immediate(self, order: Order) -> None:
        """Refuse what must not be recorded: post-only that would take, FOK that cannot fill, an empty market."""
        market = self._state.markets[order.symbol.name]
        best, _ = market.book.best(opposite(order.side))
        if order.type == "MARKET":
            if not crosses(order.side, self._bound(market, order), best):
                raise refuse(-4131)
        elif order.time_in_force in POST_ONLY and crosses(order.side, order.price, best):
            raise refuse(-5022)
        elif order.time_in_force == "FOK" and self._liquidity(market, order) < order.quantity:
            raise refuse(-5021)

    def note_arrival(self, order: Order) -> None:
        """Write down the best prices that a new order finds, for the report of fills."""
        book = self._state.markets[order.symbol.name].book
        (bid, bids), (ask, asks) = book.best("BUY"), book.best("SELL")
        order.arrival_bid, order.arrival_ask = bid if bids else None, ask if asks else None

    def execute(self, order: Order) -> None:
        """Let a new order take what it can. The rest goes to the book or expires."""
        market = self._state.markets[order.symbol.name]
        plan = self._state.fill_rules.plan(order) if self._state.fill_rules.rules else None
        if plan is not None:
            self.carry_on(plan)
            return
        if order.time_in_force not in POST_ONLY:
            self._take(market, order)
        if order.is_open:
            self._leave(order)
        if order.fills:
            self._announce_position(order)
            self.drop_idle_reducers(order)

    def carry_on(self, plan: Plan) -> None:
        """Fill the next part of an order that a rule divides, or all parts at once, and end it as ruled."""
        order = plan.order
        while plan.targets and order.is_open:
            self.fill_up_to(order, plan.targets.pop())
            if plan.targets and plan.rule.every_ms:
                self._state.fill_rules.wait(plan, self._state.clock.now_ms())
                return
        if not order.is_open:
            return
        if plan.rule.rest == "NORMAL":
            self._leave(order)
        else:
            reason = BY_MARKET_REST if order.type == "MARKET" else BY_IOC
            self.close(order, plan.rule.rest, reason if plan.rule.rest == "EXPIRED" else 0)

    def fill_up_to(self, order: Order, target: Decimal) -> None:
        """Let an order that does not rest take from the book until that much of it is executed."""
        executed = order.executed
        self._take(self._state.markets[order.symbol.name], order, target)
        if order.executed == executed:
            return
        self._announce_position(order)
        if not order.is_open:
            self.on_end(order)
        self.drop_idle_reducers(order)

    def fill_resting(self, order: Order, quantity: Decimal) -> None:
        """Let a resting order execute at its price, as if another order had met it there."""
        self._fill_resting(self._state.markets[order.symbol.name], order, quantity)

    def sweep(self, market: Market) -> None:
        """Fill the resting orders that a trade at the last price reaches."""
        volume = market.traded
        for order in market.book.reached(market.last):
            if not order.is_open:
                continue
            if order.ahead is not None and order.price == market.last:
                volume -= self._fill_in_turn(market, order, volume)
            elif market.is_filled_by_touch(order.price, self._state.config.fill_probability):
                self._fill_resting(market, order)

    def close(self, order: Order, status: str, reason: int = 0) -> None:
        """End an open order: CANCELED by its owner, or EXPIRED by the exchange."""
        self._remove(order)
        order.status = status
        order.expiry_reason = reason
        order.updated = self._state.clock.now_ms()
        self._state.retention.ended(order)
        execution = "CANCELED" if status == "CANCELED" else "EXPIRED"
        self._state.listener.order_changed(order, execution, None)
        self.on_end(order)

    def replace(self, order: Order, price: Decimal, quantity: Decimal) -> None:
        """Give an open order a new price and quantity. Whatever changed, it queues anew, and it may take."""
        account = order.account
        self._remove(order)
        order.price, order.quantity = price, quantity
        order.stp = "NONE"
        order.updated = self._state.clock.now_ms()
        account.open_order(order)
        self._state.listener.order_changed(order, "AMENDMENT", None)
        self.execute(order)

    def rest(self, order: Order) -> None:
        """Put an order at the end of its level, behind what stands there now."""
        book = self._state.markets[order.symbol.name].book
        order.ahead = book.volume_at(order.side, order.price) if self._state.config.queue_position else None
        book.rest(order)

    def _settle(self, order: Order, price: Decimal, quantity: Decimal, *, maker: bool, trade_id: int) -> Fill:
        fill = settle(self._state, order, price, quantity, maker=maker, trade_id=trade_id)
        order.account.expose(order, -quantity)
        if not order.is_open:
            self._remove(order)
            self._state.retention.ended(order)
        return fill

    def _remove(self, order: Order) -> None:
        self._state.markets[order.symbol.name].book.remove(order)
        order.account.shut_order(order)

    def _leave(self, order: Order) -> None:
        if order.type == "MARKET":
            trimmed = reduces_only(order) and not self._allowed(order)
            self.close(order, "EXPIRED", BY_REDUCE_ONLY if trimmed else BY_MARKET_REST)
        elif order.time_in_force in {"IOC", "FOK"}:
            self.close(order, "EXPIRED", BY_IOC)
        elif not self._allowed(order):
            self.close(order, "EXPIRED", BY_REDUCE_ONLY)
        else:
            self.rest(order)

    def _take(self, market: Market, order: Order, target: Decimal | None = None) -> None:
        book, side = market.book, opposite(order.side)
        bound = self._bound(market, order)
        levels = book.synthetic(side)
        level = next(levels, None)
        while order.is_open and (wanted := self._wanted(order, target)):
            resting = book.queue(side).best()
            if resting is not None and (level is None or self._comes_first(order.side, resting, level[0])):
                if not crosses(order.side, bound, resting.price):
                    return
                self._meet(market, order, resting, wanted)
                continue
            if level is None or not crosses(order.side, bound, level[0]):
                return
            price, available = level
            quantity = min(wanted, available)
            if resting is not None and resting.price == price and resting.ahead:
                quantity = min(quantity, resting.ahead)
            self._let_pass(book.queue(side), price, quantity)
            book.eat(price, quantity)
            self._fill(market, order, price, quantity)
            level = next(levels, None) if quantity == available else (price, available - quantity)

    def _meet(self, market: Market, taker: Order, maker: Order, wanted: Decimal) -> None:
        """Trade against a resting order of an account, or prevent a trade of an account with itself."""
        if taker.account is maker.account and taker.stp != "NONE":
            if taker.stp in {"EXPIRE_MAKER", "EXPIRE_BOTH"}:
                self.close(maker, "EXPIRED_IN_MATCH", BY_SELF_TRADE)
            if taker.stp in {"EXPIRE_TAKER", "EXPIRE_BOTH"}:
                self.close(taker, "EXPIRED_IN_MATCH", BY_SELF_TRADE)
            return
        quantity = min(wanted, self._allowed(maker))
        if not quantity:
            self.close(maker, "EXPIRED", BY_REDUCE_ONLY)
            return
        fill = self._fill(market, taker, maker.price, quantity)
        self._fill_maker(maker, quantity, fill.trade_id)

    def _fill(self, market: Market, order: Order, price: Decimal, quantity: Decimal) -> Fill:
        now = self._state.clock.now_ms()
        trade = market.print_trade(price, quantity, now, buyer_is_maker=order.side == "SELL")
        fill = self._settle(order, price, quantity, maker=False, trade_id=trade.trade_id)
        self._state.listener.order_changed(order, "TRADE", fill)
        return fill

    @staticmethod
    def _comes_first(taker: Side, resting: Order, level: Decimal) -> bool:
        """Return whether a taker meets a resting order before the rest of the synthetic level."""
        return crosses(taker, level, resting.price) and not (resting.price == level and resting.ahead)

    @staticmethod
    def _let_pass(queue: Queue, price: Decimal, quantity: Decimal) -> None:
        """Move the orders of a level forward by volume that traded before them."""
        for order in queue.reached(price):
            if order.price == price and order.ahead:
                order.ahead = max(order.ahead - quantity, ZERO)

    def _fill_in_turn(self, market: Market, order: Order, volume: Decimal) -> Decimal:
        """Let volume trade on the level of an order: first what is before it. Return how much the order took."""
        passed = min(order.ahead or ZERO, volume)
        order.ahead = (order.ahead or ZERO) - passed
        executed = order.executed
        if volume > passed:
            self._fill_resting(market, order, volume - passed)
        return order.executed - executed

    def _fill_resting(self, market: Market, order: Order, most: Decimal | None = None) -> None:
        quantity = self._allowed(order)
        if not quantity:
            self.close(order, "EXPIRED", BY_REDUCE_ONLY)
            return
        quantity = min(quantity, *(limit for limit in (most, market.resting_fill) if limit is not None), quantity)
        now = self._state.clock.now_ms()
        trade = market.print_trade(order.price, quantity, now, buyer_is_maker=order.side == "BUY")
        self._fill_maker(order, quantity, trade.trade_id)

    def _fill_maker(self, order: Order, quantity: Decimal, trade_id: int) -> None:
        fill = self._settle(order, order.price, quantity, maker=True, trade_id=trade_id)
        self._state.markets[order.symbol.name].book.change()
        self._state.listener.order_changed(order, "TRADE", fill)
        self._announce_position(order)
        if not order.is_open:
            self.on_end(order)
        self.drop_idle_reducers(order)

    def _announce_position(self, order: Order) -> None:
        position = order.account.position(order.symbol, order.position_side)
        self._state.listener.account_changed(order.account, "ORDER", [position])

    def drop_idle_reducers(self, filled: Order) -> None:
        """Expire resting reduce-only orders that have nothing left to reduce, and what ends with its position."""
        account, symbol, side = filled.account, filled.symbol, filled.position_side
        is_flat = not account.amount(symbol, side)
        for order in list(account.open_orders[symbol.name].values()):
            if reduces_only(order) and not self._allowed(order):
                self.close(order, "EXPIRED", BY_REDUCE_ONLY)
            elif is_flat and order.time_in_force == "GTE_GTC" and order.position_side == side:
                self.close(order, "EXPIRED", BY_POSITION_END)
        if is_flat:
            self.on_flat(filled)

    def _allowed(self, order: Order) -> Decimal:
        """Quantity that an order may still execute: a reducing one never more than the position."""
        if not reduces_only(order):
            return order.remaining
        return min(order.remaining, reducible(order.account, order.symbol, order.side, order.position_side))

    def _wanted(self, order: Order, target: Decimal | None) -> Decimal:
        """Quantity that a taker may take now, up to the executed quantity that it aims at."""
        allowed = self._allowed(order)
        return allowed if target is None else min(allowed, max(target - order.executed, ZERO))

    @staticmethod
    def _bound(market: Market, order: Order) -> Decimal:
        if order.type != "MARKET":
            return order.price
        take = market.symbol.market_take_bound
        return market.mark * (1 + take if order.side == "BUY" else 1 - take)

    def _liquidity(self, market: Market, order: Order) -> Decimal:
        """Quantity on the book at the order's limit or better, up to what it wants."""
        side, found = opposite(order.side), ZERO
        for resting in market.book.queue(side):
            if crosses(order.side, order.price, resting.price) and resting.account is not order.account:
                found += resting.remaining
        for price, quantity in market.book.synthetic(side):
            if found >= order.quantity or not crosses(order.side, order.price, price):
                break
            found += quantity
        return found
