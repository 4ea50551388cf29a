"""What is due by the calendar: funding, deliveries and listings of contracts.

A contract that ends takes no opening orders in its last minutes, then its orders expire and its positions are settled
at the mark price. Later it leaves the listing, while a dated one makes room for the next of its pair.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Final

from paper_exchange.core.accounts import Account, Position
from paper_exchange.core.algo import AlgoService
from paper_exchange.core.contract_changes import TRADING, is_halted
from paper_exchange.core.funding import Funding
from paper_exchange.core.listing import check, dated, quarter_ends
from paper_exchange.core.market import Market
from paper_exchange.core.matching import BY_POSITION_END, Matching
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import Order
from paper_exchange.core.settlement import settle
from paper_exchange.core.state import State, first_id, open_market
from paper_exchange.core.symbols import CURRENT_QUARTER, HOUR_MS, NEXT_QUARTER, NO_DELIVERY_MS, Symbol

# How long before its end a contract takes no opening orders, and how long after it the contract stays listed.
LAST_CALL_MS: Final = 10 * 60_000
DELIVERED_AFTER_MS: Final = 60_000
LISTED_AFTER_MS: Final = HOUR_MS
_NEVER: Final = 1 << 62
# Order of what falls on one moment.
_LAST_CALL, _BEGIN, _FUNDING, _DELIVERY, _DELIVERED, _GONE = range(6)
PENDING: Final = "PENDING_TRADING"
# Statuses in which a contract waits for its end, and in which it has had it.
_LIVING: Final = frozenset({TRADING, "PRE_SETTLE", "PRE_DELIVERING", "BREAK"})
_ENDED: Final = frozenset({"DELIVERING", "DELIVERED", "SETTLING", "CLOSE"})


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """What is due at a moment (ms). At one moment things happen in the order of their ranks."""

    time: int
    rank: int
    symbol: str
    action: Callable[[], None] = field(compare=False)


class Calendar:
    """Does in the order of time what is due, also when time was stepped over much of it."""

    def __init__(self, state: State, matching: Matching, algos: AlgoService, funding: Funding) -> None:
        now = state.clock.now_ms()
        self._state = state
        self._matching = matching
        self._algos = algos
        self._funding = funding
        self._paid: dict[str, int] = dict.fromkeys(state.markets, now)
        # Contracts that begin or ended here; those that ended before the start stay as they were listed.
        self._pending = {name for name, symbol in state.symbols.items() if _is_announced(symbol, now)}
        self._ended: set[str] = set()
        self._next = 0

    @property
    def due(self) -> int:
        """Time of the next event (ms), the funding of any contract among them."""
        if not self._next:
            self._next = min((event.time for event in self._events()), default=_NEVER)
        return self._next

    def concerned(self, now: int) -> list[Market]:
        """Return the contracts for which something is due."""
        if self.due > now:
            return []
        names = {event.symbol: None for event in self._events() if event.time <= now}
        return [self._state.markets[name] for name in names]

    def step(self, now: int) -> None:
        """Do all that is due. Nearly always a single comparison."""
        while (due := self.due) <= now:
            self.change()
            self._do(sorted(event for event in self._events() if event.time == due))

    def _do(self, events: Sequence[Event]) -> None:
        # What was booked after a moment of which we are late comes before what that moment brings.
        with self._state.clock.at(max(events[0].time, self._state.last_booked())):
            for event in events:
                event.action()

    def change(self) -> None:
        """Look anew at what is due next, after the terms of a contract have changed."""
        self._next = 0

    def begin_interval(self, market: Market) -> None:
        """Pay what is due by the present funding interval, and begin the next one now."""
        now = self._state.clock.now_ms()
        self.step(now)
        self._paid[market.symbol.name] = now

    def list(self, symbol: Symbol) -> Market:
        """List a new contract, at the price it names.

        ListingError when no client could trade it.
        """
        check(symbol)
        now, known = self._state.clock.now_ms(), self._state.delisted.pop(symbol.name, None)
        first = known.history.next_trade_id() if known else first_id(now)
        self._forget_positions(symbol.name)
        self._state.symbols[symbol.name] = symbol
        market = self._state.markets[symbol.name] = open_market(self._state.config, symbol, first, now)
        self._paid[symbol.name] = now
        if _is_announced(symbol, now):
            self._pending.add(symbol.name)
        self.change()
        self._state.listener.contract_changed(symbol, with_brackets=True)
        return market

    def _forget_positions(self, name: str) -> None:
        """Let a name that is listed again begin flat: the old contract's positions are settled."""
        for account in self._state.accounts.values():
            for key in [key for key in account.positions if key[0] == name]:
                del account.positions[key]

    def delist(self, market: Market) -> None:
        """Settle a contract now, unless it is, and take it off the listing."""
        name = market.symbol.name
        if market.symbol.status not in _ENDED:
            self._deliver(market)
        market.symbol.status = "DELIVERED" if market.symbol.is_dated else "CLOSE"
        del self._state.symbols[name], self._state.markets[name]
        self._state.delisted[name] = market
        self._ended.discard(name)
        self._pending.discard(name)
        self._state.listener.contract_changed(market.symbol)
        self.change()

    def _events(self) -> Iterator[Event]:
        for name, market in self._state.markets.items():
            symbol = market.symbol
            if symbol.funding_ms:
                yield Event(market.next_funding(self._paid[name]), _FUNDING, name, partial(self._pay, market))
            if name in self._pending:
                yield Event(symbol.onboard_ms, _BEGIN, name, partial(self._begin, market))
            if symbol.status in _LIVING and symbol.delivery_ms < NO_DELIVERY_MS:
                yield from self._end_events(market)
            elif name in self._ended:
                yield from self._after_events(market)

    def _end_events(self, market: Market) -> Iterator[Event]:
        symbol = market.symbol
        if symbol.status == TRADING:
            status = "PRE_DELIVERING" if symbol.is_dated else "PRE_SETTLE"
            yield Event(symbol.delivery_ms - LAST_CALL_MS, _LAST_CALL, symbol.name, partial(self._move, market, status))
        yield Event(symbol.delivery_ms, _DELIVERY, symbol.name, partial(self._deliver, market))

    def _after_events(self, market: Market) -> Iterator[Event]:
        symbol = market.symbol
        if symbol.status == "DELIVERING":
            moved = partial(self._move, market, "DELIVERED")
            yield Event(symbol.delivery_ms + DELIVERED_AFTER_MS, _DELIVERED, symbol.name, moved)
        yield Event(symbol.delivery_ms + LISTED_AFTER_MS, _GONE, symbol.name, partial(self.delist, market))

    def _pay(self, market: Market) -> None:
        name = market.symbol.name
        self._paid[name] = due = market.next_funding(self._paid[name])
        if not is_halted(market.symbol):
            self._funding.settle(market, due)

    def _begin(self, market: Market) -> None:
        self._pending.discard(market.symbol.name)
        if market.symbol.status == PENDING:
            self._move(market, TRADING)

    def _move(self, market: Market, status: str) -> None:
        market.symbol.status = status
        self._state.listener.contract_changed(market.symbol)

    def _deliver(self, market: Market) -> None:
        """End a contract: its orders expire, then its positions are settled."""
        symbol = market.symbol
        symbol.delivery_ms = min(symbol.delivery_ms, self._state.clock.now_ms())
        for account in self._state.accounts.values():
            self._end_orders(account, symbol)
            for position in [held for held in account.held() if held.symbol is symbol]:
                self._settle(account, market, position)
        self._ended.add(symbol.name)
        self._move(market, "DELIVERING" if symbol.is_dated else "SETTLING")
        if symbol.is_dated:
            self._roll(symbol)
        self.change()

    def _end_orders(self, account: Account, symbol: Symbol) -> None:
        for order in list(account.open_orders[symbol.name].values()):
            self._matching.close(order, "EXPIRED", BY_POSITION_END)
        for algo in [algo for algo in account.open_algos.values() if algo.symbol is symbol]:
            self._algos.close(algo, "EXPIRED")

    def _settle(self, account: Account, market: Market, position: Position) -> None:
        state, config = self._state, self._state.config
        order = self._order(account, market, position)
        state.add_order(order)
        price = settlement_price(market)
        trade = market.print_trade(price, order.quantity, order.created, buyer_is_maker=order.side == "SELL")
        fill = settle(
            state,
            order,
            price,
            order.quantity,
            maker=False,
            trade_id=trade.trade_id,
            fee_rate=config.taker_rate if config.delivery_rate is None else config.delivery_rate,
            profit=state.assumptions.delivery_income,
        )
        state.listener.order_changed(order, "TRADE", fill)
        state.listener.account_changed(account, "ORDER", [position])

    def _order(self, account: Account, market: Market, position: Position) -> Order:
        now = self._state.clock.now_ms()
        kind = self._state.assumptions.delivery_id if market.symbol.is_dated else "settlement_autoclose"
        return Order(
            order_id=next(self._state.order_ids),
            account=account,
            symbol=market.symbol,
            client_id=f"{kind}-{now}",
            side="SELL" if position.amount > 0 else "BUY",
            type="MARKET",
            time_in_force="GTC",
            quantity=abs(position.amount),
            price=ZERO,
            position_side=position.side,
            reduce_only=True,
            created=now,
            updated=now,
        )

    def _roll(self, ended: Symbol) -> None:
        """Let the next contract of a pair become the current one, and list the one after it."""
        if ended.contract_type != CURRENT_QUARTER:
            return
        later = [
            symbol
            for symbol in self._state.symbols.values()
            if symbol.pair == ended.pair and symbol.contract_type == NEXT_QUARTER
        ]
        for symbol in later:
            symbol.contract_type = CURRENT_QUARTER
            self._state.listener.contract_changed(symbol)
            delivery = next(quarter_ends(symbol.delivery_ms))
            terms = replace(symbol, price=self._state.markets[symbol.name].last)
            fresh = dated(terms, NEXT_QUARTER, delivery, self._state.clock.now_ms())
            if fresh.name not in self._state.symbols:
                self.list(fresh)


def settlement_price(market: Market) -> Decimal:
    """Price at which positions are settled: the mark price on the contract's grid."""
    tick = market.symbol.tick
    return max((market.mark / tick).to_integral_value() * tick, market.symbol.min_price)


def _is_announced(symbol: Symbol, now: int) -> bool:
    """Return whether a contract is listed and begins to trade later."""
    return symbol.status == PENDING and symbol.onboard_ms > now
