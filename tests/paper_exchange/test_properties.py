"""Random trading in random order: the books must agree with each other after every single step.

The number of sequences is 100, or what PAPER_EXCHANGE_SEQUENCES says.
"""

import contextlib
import io
import os
import pickle
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from paper_exchange.config import AccountConfig, Config
from paper_exchange.core import margin_assets
from paper_exchange.core.accounts import Account, closes
from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.fill_rules import RESTS, FillRule
from paper_exchange.core.margin import account_figures
from paper_exchange.core.money import CENT8, USDT, ZERO
from paper_exchange.core.orders import AlgoTicket, Order, PositionSide, Ticket
from paper_exchange.core.settings import change_assets_mode, change_margin_type
from paper_exchange.errors import ExchangeError
from paper_exchange.store import StateUnpickler
from tests.paper_exchange.trader import BTC, D, Trader

SIDES = st.sampled_from(["BUY", "SELL"])
QUANTITIES = st.integers(1, 5000).map(lambda steps: steps * D("0.001"))
# Mostly near the price, seldom a crash.
PRICES = st.one_of(st.integers(495_000, 505_000), st.integers(300_000, 700_000)).map(lambda ticks: ticks * D("0.1"))
FLAGS = st.booleans()


class RandomTrading(RuleBasedStateMachine):
    """Two accounts on one symbol; refusals are fine, wrong books are not."""

    queue_position = False

    def __init__(self) -> None:
        super().__init__()
        accounts = tuple(AccountConfig(key=key, secret="s", balance=D(10_000)) for key in ("paper", "other"))
        config = Config(static_prices=True, accounts=accounts, queue_position=self.queue_position)
        self.trader = Trader(config, SteppedClock(1_790_000_000_000))
        self.exchange = self.trader.exchange

    @initialize(hedge=FLAGS, isolated=FLAGS, bnb=st.sampled_from(["0", "0.001", "5"]), multi=FLAGS)
    def choose_modes(self, bnb: str, *, hedge: bool, isolated: bool, multi: bool) -> None:
        state, account = self.exchange.state, self.trader.account
        account.dual_side = hedge
        if D(bnb):
            account.fee_burn = True
            margin_assets.transfer(state, account, margin_assets.BNB, D(bnb))
        if isolated:
            change_margin_type(state, account, self.trader.market, isolated=True)
        elif multi:
            change_assets_mode(state, account, multi=True)

    def account(self, *, other: bool) -> Account:
        return self.exchange.state.accounts["other" if other else "paper"]

    def try_place(self, account: Account, ticket: Any) -> None:
        with contextlib.suppress(ExchangeError):
            if isinstance(ticket, AlgoTicket):
                self.exchange.algos.place(account, ticket)
            else:
                self.exchange.orders.place(account, ticket)

    def position_side(self, account: Account, *, long: bool) -> PositionSide:
        if not account.dual_side:
            return "BOTH"
        return "LONG" if long else "SHORT"

    @rule(other=FLAGS, side=SIDES, quantity=QUANTITIES, long=FLAGS, reduce=FLAGS)
    def market_order(self, side: Any, quantity: D, *, other: bool, long: bool, reduce: bool) -> None:
        account = self.account(other=other)
        ticket = Ticket(
            symbol=BTC,
            side=side,
            type="MARKET",
            quantity=quantity,
            position_side=self.position_side(account, long=long),
            reduce_only=None if account.dual_side else reduce,
        )
        self.try_place(account, ticket)

    @rule(
        other=FLAGS,
        side=SIDES,
        quantity=QUANTITIES,
        price=PRICES,
        tif=st.sampled_from(["GTC", "IOC", "FOK", "GTX", "RPI"]),
        stp=st.sampled_from(["NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"]),
        long=FLAGS,
        reduce=FLAGS,
    )
    def limit_order(
        self, side: Any, quantity: D, price: D, tif: str, stp: str, *, other: bool, long: bool, reduce: bool
    ) -> None:
        account = self.account(other=other)
        ticket = Ticket(
            symbol=BTC,
            side=side,
            type="LIMIT",
            quantity=quantity,
            price=price,
            time_in_force=tif,
            stp=stp,
            position_side=self.position_side(account, long=long),
            reduce_only=None if account.dual_side else reduce,
        )
        self.try_place(account, ticket)

    @rule(
        side=SIDES,
        kind=st.sampled_from(["STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]),
        quantity=QUANTITIES,
        trigger=PRICES,
        price=PRICES,
        tif=st.sampled_from(["GTC", "GTE_GTC"]),
        long=FLAGS,
    )
    def conditional_order(
        self, side: Any, kind: str, quantity: D, trigger: D, price: D, tif: str, *, long: bool
    ) -> None:
        account = self.trader.account
        trailing = kind == "TRAILING_STOP_MARKET"
        ticket = AlgoTicket(
            symbol=BTC,
            side=side,
            type=kind,
            quantity=quantity,
            price=price if kind in {"STOP", "TAKE_PROFIT"} else ZERO,
            trigger_price=ZERO if trailing else trigger,
            callback_rate=D(1) if trailing else None,
            time_in_force=tif,
            position_side=self.position_side(account, long=long),
        )
        self.try_place(account, ticket)

    @rule(other=FLAGS, pick=st.integers(0, 50))
    def cancel(self, pick: int, *, other: bool) -> None:
        account = self.account(other=other)
        orders = list(account.open_orders[BTC].values())
        if orders:
            self.exchange.orders.cancel(account, BTC, orders[pick % len(orders)].order_id, None)

    @rule(other=FLAGS, pick=st.integers(0, 50), quantity=QUANTITIES, price=PRICES)
    def amend(self, pick: int, quantity: D, price: D, *, other: bool) -> None:
        account = self.account(other=other)
        orders = list(account.open_orders[BTC].values())
        if not orders:
            return
        order = orders[pick % len(orders)]
        ticket = AmendTicket(symbol=BTC, side=order.side, quantity=quantity, price=price, order_id=order.order_id)
        with contextlib.suppress(ExchangeError):
            self.exchange.amendments.amend(account, ticket)

    @rule(price=PRICES)
    def move_price(self, price: D) -> None:
        self.exchange.set_price(BTC, price, hold=True)

    @rule(hours=st.integers(0, 9))
    def pass_time(self, hours: int) -> None:
        self.trader.clock.advance(hours * 3_600_000)
        self.exchange.step()

    @rule(
        tenths=st.integers(0, 10),
        parts=st.integers(1, 3),
        every_ms=st.sampled_from([0, 1000]),
        rest=st.sampled_from(sorted(RESTS)),
    )
    def divide_next_order(self, tenths: int, parts: int, every_ms: int, rest: str) -> None:
        fraction = D(tenths) / 10
        rule = FillRule(id="divide", fraction=fraction, parts=parts, every_ms=every_ms, rest=rest)
        self.exchange.state.fill_rules.add(rule)

    @rule(rate=st.integers(-30, 30))
    def fund(self, rate: int) -> None:
        self.trader.market.funding_rate = rate * D("0.0001")
        self.exchange.funding.settle(self.trader.market, self.trader.clock.now_ms())

    @rule()
    def deleverage(self) -> None:
        for position in self.trader.account.held():
            self.exchange.liquidation.close(position, self.trader.account, "ADL")

    @rule()
    def restart(self) -> None:
        """Go on with what a state file would bring back."""
        self.exchange = StateUnpickler(io.BytesIO(pickle.dumps(self.exchange))).load()
        self.trader.exchange = self.exchange
        assert isinstance(self.exchange.clock, SteppedClock)
        self.trader.clock = self.exchange.clock

    @invariant()
    def wallet_is_what_was_published(self) -> None:
        for account in self.exchange.state.accounts.values():
            in_usdt = [row for row in account.income if row.asset == USDT]
            assert account.wallet == account.deposits + sum((row.amount for row in in_usdt), ZERO)
            assert account.wallet == account.wallet.quantize(CENT8)
            fills = [fill for rows in account.fills.values() for fill in rows]
            for kind, amount in (
                ("REALIZED_PNL", sum((fill.realized for fill in fills), ZERO)),
                ("COMMISSION", -sum((f.commission for f in fills if f.commission_asset == USDT), ZERO)),
            ):
                assert sum((row.amount for row in in_usdt if row.type == kind), ZERO) == amount

    @invariant()
    def coins_are_what_was_published(self) -> None:
        for account in self.exchange.state.accounts.values():
            for asset, amount in account.coins.items():
                assert 0 <= amount == sum((row.amount for row in account.income if row.asset == asset), ZERO)

    @invariant()
    def positions_are_the_sum_of_their_fills(self) -> None:
        for account in self.exchange.state.accounts.values():
            for (symbol, side), position in account.positions.items():
                fills = [fill for fill in account.fills[symbol] if fill.order.position_side == side]
                bought = sum((f.quantity for f in fills if f.order.side == "BUY"), ZERO)
                assert position.amount == bought - sum((f.quantity for f in fills if f.order.side == "SELL"), ZERO)
                assert side != "LONG" or position.amount >= 0
                assert side != "SHORT" or position.amount <= 0

    @invariant()
    def open_orders_books_and_margins_agree(self) -> None:
        market = self.trader.market
        book = market.book
        resting = {id(order) for order in (*book.bids, *book.asks, *book.rpi_bids, *book.rpi_asks)}
        opened = [o for a in self.exchange.state.accounts.values() for o in a.open_orders[BTC].values()]
        # Between its parts an order stands in no book.
        waiting = {id(order) for order in opened if order.queue_key is None}
        assert resting == {id(order) for order in opened} - waiting
        assert not waiting or self.exchange.state.fill_rules.has_waiting
        assert all(order.is_open and order.remaining > 0 for order in opened)
        for account in self.exchange.state.accounts.values():
            assert account.open_clients == {order.client_id for order in account.open_orders[BTC].values()}
            for (_, side), exposure in account.exposures.items():
                orders = [o for o in account.open_orders[BTC].values() if o.position_side == side and enlarges(o)]
                assert exposure.bids == sum((o.remaining * o.price for o in orders if o.side == "BUY"), ZERO)
                assert exposure.asks == sum((o.remaining * o.price for o in orders if o.side == "SELL"), ZERO)

    @invariant()
    def orders_are_the_sum_of_their_fills(self) -> None:
        for order in self.exchange.state.orders:
            assert order.executed == sum((fill.quantity for fill in order.fills), ZERO) <= order.quantity
            assert (order.status == "FILLED") == (order.executed == order.quantity)

    @invariant()
    def money_is_never_owed(self) -> None:
        for account in self.exchange.state.accounts.values():
            assert account_figures(account, self.exchange.state.markets).available >= 0
            if not account.held():
                assert account.cross_wallet == account.wallet >= 0


def enlarges(order: Order) -> bool:
    return not (order.reduce_only or closes(order.side, order.position_side))


class RandomQueueing(RandomTrading):
    """The same while resting orders wait for their turn."""

    queue_position = True


SETTINGS = settings(
    max_examples=int(os.environ.get("PAPER_EXCHANGE_SEQUENCES", "100")),
    stateful_step_count=25,
    deadline=None,
    derandomize="PAPER_EXCHANGE_SEQUENCES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
RandomTrading.TestCase.settings = RandomQueueing.TestCase.settings = SETTINGS
TestRandomTrading = RandomTrading.TestCase
TestRandomQueueing = RandomQueueing.TestCase
