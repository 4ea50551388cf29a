"""The exchange as a whole: order entry, algo orders, price steps and the hooks between them."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from heapq import heappop
from itertools import islice
from typing import Final, TypeVar

from paper_exchange.config import Config
from paper_exchange.core.accounts import Account
from paper_exchange.core.algo import AlgoService
from paper_exchange.core.amending import AmendDesk
from paper_exchange.core.assumptions import Assumptions
from paper_exchange.core.calendar import Calendar
from paper_exchange.core.clock import Clock
from paper_exchange.core.contract_changes import is_halted
from paper_exchange.core.funding import Funding
from paper_exchange.core.liquidation import Liquidation
from paper_exchange.core.listen_keys import ListenKeys
from paper_exchange.core.market import Market
from paper_exchange.core.matching import Matching
from paper_exchange.core.order_entry import OrderEntry
from paper_exchange.core.orders import Order
from paper_exchange.core.state import State, build_state, follow_recording

Result = TypeVar("Result")
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
# How far apart the prices of a leap in time are: up to a day, and beyond.
SHORT_STRIDE_MS: Final = 15 * _MINUTE_MS
LONG_STRIDE_MS: Final = 60 * _MINUTE_MS
# A leap of a year in long strides.
MOST_STRIDES: Final = 366 * 24


def stride_of(milliseconds: int) -> int:
    """Return the time between two prices of a leap of that length."""
    return SHORT_STRIDE_MS if milliseconds <= _DAY_MS else LONG_STRIDE_MS


class Exchange:
    """Synchronous and without I/O: time comes from the clock, steps from the caller."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.listen_keys = ListenKeys()
        # Called with every change before it happens.
        self.journal: Callable[[dict[str, object]], None] | None = None
        self._build(build_state(config, clock))

    def __getstate__(self) -> dict[str, object]:
        """Leave out what belongs to the running process."""
        return self.__dict__ | {"journal": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._connect()

    def adopt(self, config: Config) -> None:
        """Go on from a saved state under new settings. Accounts that are new there are opened."""
        self.config = self.state.config = config
        if config.assumptions != Assumptions():
            self.state.assumptions = config.assumptions
        for account in config.accounts:
            if account.key not in self.state.accounts:
                self.state.add_account(account)
        for market in self.state.markets.values():
            follow_recording(config, market)

    def perform(self, note: dict[str, object], action: Callable[[], Result]) -> Result:
        """Do one change at one moment of time, noted in the journal first."""
        now = self.clock.now_ms()
        if self.journal is not None:
            self.journal({"t": now, **note})
        self.clock.pin(now)
        try:
            return action()
        finally:
            self.clock.pin(None)

    def reset(self) -> None:
        """Begin again with fresh accounts, books and prices. Ids are not given twice."""
        self.clock.reset()
        self._build(build_state(self.config, self.clock, self.state))

    def _build(self, state: State) -> None:
        self.state = state
        self.matching = Matching(state)
        self.orders = OrderEntry(state, self.matching)
        self.algos = AlgoService(state, self.orders)
        self.amendments = AmendDesk(state, self.orders, self.matching)
        self.funding = Funding(state)
        self.calendar = Calendar(state, self.matching, self.algos, self.funding)
        self.liquidation = Liquidation(state, self.matching)
        self._connect()
        self._countdowns: dict[tuple[str, str], int] = {}

    def _connect(self) -> None:
        self.matching.on_end = self.algos.order_ended
        self.matching.on_flat = self.algos.position_ended

    def close_listen_key(self, account: str) -> None:
        text = self.listen_keys.close(account)
        if text is not None:
            self.state.listener.listen_key_closed(text)

    def step(self, first: int = 0, count: int | None = None) -> None:
        """Bring prices, books and expiries to this moment, of all markets or of `count` from `first` on."""
        now = self.clock.now_ms()
        stepped = islice(self.state.markets.values(), first, None if count is None else first + count)
        self._move_markets(now, stepped, check_margin=True)
        self._settle_time(now)

    def advance(self, milliseconds: int, stride_ms: int | None = None) -> None:
        """Move time forward with all that falls due on the way, each at its own moment.

        Prices move once a stride, and of a contract that is paid, settled or listed at that moment; resting orders,
        triggers and margin meet these prices.
        """
        now = self.clock.now_ms()
        end, stride = now + milliseconds, stride_ms or stride_of(milliseconds)
        priced = now + stride
        while now < end:
            moment = min(end, priced, *self._due_after(now))
            self.clock.advance(moment - now)
            now = moment
            moving = list(self.state.markets.values()) if now in {end, priced} else self.calendar.concerned(now)
            if moving:
                self._move_markets(now, moving, check_margin=False)
                self.liquidation.check_all()
            if priced <= now:
                priced = now + stride
            self._settle_time(now)

    def _due_after(self, now: int) -> list[int]:
        """Return the moments at which something falls due: the next of each kind."""
        expiring = self.state.expiring
        found = [self.calendar.due, self.state.fill_rules.next_due, self.state.triggers.next_due]
        found += [self.listen_keys.next_end(now), expiring[0][0] if expiring else None, *self._countdowns.values()]
        return [max(moment, now + 1) for moment in found if moment is not None]

    def _settle_time(self, now: int) -> None:
        """Bring what is independent of prices to this moment: calendar, expiries, retention."""
        self.calendar.step(now)
        self.expire()
        self.state.listener.expire_keys(now)
        self.state.retention.step(self.state.accounts, now)

    def _move_markets(self, now: int, markets: Iterable[Market], *, check_margin: bool) -> None:
        moving = not (self.config.static_prices or self.state.frozen or self.config.mirror)
        for market in markets:
            seconds, market.stepped = max(0, now - market.stepped) / 1000, now
            market.book.refill()
            if moving and not (market.held or is_halted(market.symbol)):
                for last, mark in market.path.steps(seconds):
                    self.move(market, last, mark, check_margin=check_margin)

    def move(
        self,
        market: Market,
        last: Decimal,
        mark: Decimal,
        volume: Decimal | None = None,
        *,
        check_margin: bool = True,
    ) -> None:
        """Give a market a new price and settle everything that it reaches."""
        market.set_price(last, mark, self.clock.now_ms(), volume)
        if is_halted(market.symbol):
            return
        self.matching.sweep(market)
        self.algos.check_price(market)
        if check_margin:
            self.liquidation.check(market)

    def mirror(self, kind: str, symbol: str, first: Decimal, second: Decimal) -> None:
        """Take over a source's trade (price, volume), mark price (twice) or quote (bid, ask)."""
        market = self.state.markets[symbol]
        if market.held or self.state.frozen or is_halted(market.symbol):
            return
        if kind == "mark":
            market.mark = first
            self.algos.check_price(market)
            self.liquidation.check(market)
            return
        tick, step = market.symbol.tick, market.symbol.step
        raw = first if kind == "trade" else (first + second) / 2
        price = max((raw / tick).to_integral_value() * tick, market.symbol.min_price)
        if kind == "trade":
            self.move(market, price, market.mark, max(second // step * step, step))
        elif market.book.bids.reached(price) or market.book.asks.reached(price):
            # The quotes have passed resting orders without a trade of which we heard.
            self.move(market, price, market.mark, step)
        elif price != market.book.mid:
            market.book.move(price)

    def set_price(
        self,
        symbol: str,
        price: Decimal,
        *,
        mark: Decimal | None = None,
        hold: bool = False,
        anchor: bool = False,
        volume: Decimal | None = None,
    ) -> Market:
        """Set last and mark price at once. `hold` keeps them, `anchor` makes a new centre."""
        market = self.state.market(symbol)
        market.held = hold
        if anchor:
            market.path.recentre(price)
        else:
            market.path.jump(price)
        self.move(market, price, price if mark is None else mark, volume)
        return market

    def count_down(self, account: Account, symbol: str, milliseconds: int) -> None:
        """Cancel a symbol's orders when that time passes without another call. Zero stops the countdown."""
        if milliseconds:
            self._countdowns[account.key, symbol] = self.clock.now_ms() + milliseconds
        else:
            self._countdowns.pop((account.key, symbol), None)

    def is_due(self) -> bool:
        """Return whether anything has run out."""
        now, expiring = self.clock.now_ms(), self.state.expiring
        waiting = (self.state.fill_rules, self.state.triggers)
        if (expiring and expiring[0][0] <= now) or any(plans.is_due(now) for plans in waiting):
            return True
        return any(end <= now for end in self._countdowns.values())

    def expire(self) -> None:
        """End the orders whose time is over, and fill the parts of orders whose time has come."""
        now, expiring = self.clock.now_ms(), self.state.expiring
        while expiring and expiring[0][0] <= now:
            _, _, order = heappop(expiring)
            if not order.is_open:
                continue
            if isinstance(order, Order):
                self.matching.close(order, "EXPIRED")
            else:
                self.algos.close(order, "EXPIRED")
        for plan in self.state.fill_rules.due(now):
            # An order that rests was amended meanwhile.
            if plan.order.is_open and plan.order.queue_key is None:
                self.matching.carry_on(plan)
        for hold in self.state.triggers.due(now):
            self.algos.let_go(hold)
        for key, symbol in [watched for watched, end in self._countdowns.items() if end <= now]:
            del self._countdowns[key, symbol]
            self.orders.cancel_all(self.state.accounts[key], symbol)
            if self.state.assumptions.countdown_conditional:
                self.algos.cancel_all(self.state.accounts[key], symbol)
