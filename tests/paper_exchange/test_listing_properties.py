"""Whatever contracts are traded, changed, listed, delisted and delivered in whatever order, the books stay exact."""

import contextlib
import os
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paper_exchange.config import AccountConfig, Config
from paper_exchange.core.accounts import Account
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.contract_changes import ContractChange, change_contract
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.listing import ListingError
from paper_exchange.core.margin import account_figures, total_figures
from paper_exchange.core.market import Market
from paper_exchange.core.money import CENT8, ZERO
from paper_exchange.core.orders import AlgoTicket, Ticket
from paper_exchange.core.settings import change_assets_mode, change_margin_type, change_position_mode, fit_leverage
from paper_exchange.core.symbols import make_brackets
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.conftest import NOON
from tests.paper_exchange.trader import D

DEPOSITS = {"USDT": D(10_000), "USDC": D(5_000), "BTC": D("0.1"), "BNB": D(2)}
HOUR = 3_600_000
CONTRACTS = st.sampled_from(
    [
        "BTCUSDT",
        "ETHUSDC",
        "AVAXUSDC",
        "ETHBTC",
        "BNBBTC",
        "1000PEPEUSDT",
        "币安人生USDT",
        "AUCTIONUSDT",
        "BTCUSDT_260925",
        "ETHUSDT_261225",
        "XAUUSDT",
        "NEWUSDT",
    ]
)
SIDES = st.sampled_from(["BUY", "SELL"])
# Of what the deposit would carry: most orders are granted, and several of the largest bring a forced closing near.
SHARES = st.sampled_from([D("0.01"), D("0.03"), D("0.1"), D("0.3"), D("0.8")])


class Venue(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        coins = tuple((asset, amount) for asset, amount in DEPOSITS.items() if asset != "USDT")
        paper = AccountConfig(key="paper", secret="paper-secret", balance=DEPOSITS["USDT"], coins=coins)
        config = Config(static_prices=True, queue_position=False, accounts=(paper,))
        self.clock = SteppedClock(NOON)
        self.exchange = Exchange(config, self.clock)

    @property
    def account(self) -> Account:
        return self.exchange.state.accounts["paper"]

    def market(self, name: str) -> Market | None:
        return self.exchange.state.markets.get(name)

    def quantity(self, market: Market, share: Decimal) -> Decimal:
        """Return a quantity that binds about a share of the asset's deposit at leverage 20."""
        worth = DEPOSITS[market.symbol.margin] * 20 * share
        steps = max(worth / market.mark // market.symbol.step, D(1))
        return min(steps * market.symbol.step, market.symbol.market_max_quantity)

    @rule(name=CONTRACTS, side=SIDES, share=SHARES)
    def open(self, name: str, side: Any, share: Decimal) -> None:
        market = self.market(name)
        if market is None:
            return
        self.send(market, side, self.quantity(market, share), closes=False)

    @rule(name=CONTRACTS, side=SIDES, share=SHARES)
    def open_more(self, name: str, side: Any, share: Decimal) -> None:
        self.open(name, side, share)

    @rule(number=st.integers(0, 9), parts=st.integers(1, 3))
    def close(self, number: int, parts: int) -> None:
        held = self.account.held()
        if not held:
            return
        position = held[number % len(held)]
        market = self.exchange.state.markets[position.symbol.name]
        step = market.symbol.step
        amount = max(abs(position.amount) / parts // step, D(1)) * step
        amount = min(amount, market.symbol.market_max_quantity)
        self.send(market, "SELL" if position.amount > 0 else "BUY", amount, closes=True)

    def send(self, market: Market, side: Any, quantity: Decimal, *, closes: bool) -> None:
        terms: dict[str, Any] = {"reduce_only": True} if closes else {}
        if self.account.dual_side:
            terms = {"position_side": "LONG" if (side == "BUY") != closes else "SHORT"}
        ticket = Ticket(symbol=market.symbol.name, side=side, type="MARKET", quantity=quantity, **terms)
        with contextlib.suppress(ExchangeError):
            self.exchange.orders.place(self.account, ticket)

    @rule(name=CONTRACTS, side=SIDES, share=SHARES, steps=st.integers(1, 300))
    def bid_or_ask(self, name: str, side: Any, share: Decimal, steps: int) -> None:
        market = self.market(name)
        if market is None:
            return
        price = market.last + market.symbol.tick * (-steps if side == "BUY" else steps)
        ticket = Ticket(symbol=name, side=side, type="LIMIT", quantity=self.quantity(market, share), price=price)
        with contextlib.suppress(ExchangeError):
            self.exchange.orders.place(self.account, ticket)

    @rule(name=CONTRACTS, side=SIDES, far=st.decimals(min_value=D("0.01"), max_value=D("0.1"), places=3))
    def stop(self, name: str, side: Any, far: Decimal) -> None:
        market = self.market(name)
        if market is None:
            return
        tick = market.symbol.tick
        trigger = market.mark * (1 + far if side == "BUY" else 1 - far) // tick * tick
        ticket = AlgoTicket(symbol=name, side=side, type="STOP_MARKET", trigger_price=trigger, close_position=True)
        with contextlib.suppress(ExchangeError):
            self.exchange.algos.place(self.account, ticket)

    @rule(name=CONTRACTS, change=st.decimals(min_value=D("-0.2"), max_value=D("0.2"), places=3))
    def move(self, name: str, change: Decimal) -> None:
        market = self.market(name)
        if market is None:
            return
        symbol = market.symbol
        price = max(market.last * (1 + change) // symbol.tick * symbol.tick, symbol.min_price)
        self.exchange.set_price(name, min(price, symbol.max_price), hold=True)

    @rule(hours=st.sampled_from([1, 7, 9, 30, 24 * 9]))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours * HOUR)
        self.exchange.step()

    @rule(name=CONTRACTS, coarser=st.sampled_from([2, 5, 10]), hours=st.sampled_from([1, 4, 8]))
    def change_terms(self, name: str, coarser: int, hours: int) -> None:
        market = self.market(name)
        if market is None or market.symbol.tick * coarser * 100 > market.last:
            return
        symbol = market.symbol
        rows = make_brackets((max(b.leverage // 2, 1), b.cap, b.maint_ratio) for b in symbol.brackets)
        terms = ContractChange(
            tick=symbol.tick * coarser, step=symbol.step * coarser, funding_hours=hours, brackets=rows
        )
        change_contract(market, terms)
        fit_leverage(self.exchange.state, symbol)
        self.exchange.calendar.change()

    @rule(name=CONTRACTS, hours=st.integers(0, 48))
    def announce_end(self, name: str, hours: int) -> None:
        market = self.market(name)
        if market is None or name in {"BTCUSDT", "ETHUSDT", "BNBUSDT"}:
            return
        market.symbol.delivery_ms = self.clock.now_ms() + hours * HOUR
        self.exchange.calendar.change()

    @rule(price=st.decimals(min_value=1, max_value=500, places=2))
    def list_new(self, price: Decimal) -> None:
        state = self.exchange.state
        if "NEWUSDT" in state.markets:
            self.exchange.calendar.delist(state.markets["NEWUSDT"])
            return
        like = state.symbols["SOLUSDT"]
        with contextlib.suppress(ListingError):
            self.exchange.calendar.list(replace(like, name="NEWUSDT", pair="NEWUSDT", base="NEW", price=price))

    @rule(name=CONTRACTS, choice=st.integers(0, 3))
    def change_settings(self, name: str, choice: int) -> None:
        state, account, market = self.exchange.state, self.account, self.market(name)
        with contextlib.suppress(ExchangeError):
            if choice == 0:
                change_assets_mode(state, account, multi=not account.multi_assets)
            elif choice == 1 and market is not None:
                change_margin_type(state, account, market, isolated=not account.setting(market.symbol).isolated)
            elif choice == 2:
                account.fee_burn = not account.fee_burn
            elif choice == 3:
                change_position_mode(account, dual=not account.dual_side)

    @invariant()
    def each_balance_is_what_was_booked(self) -> None:
        for asset, deposit in DEPOSITS.items():
            booked = sum((row.amount for row in self.account.income if row.asset == asset), ZERO)
            assert self.account.balance(asset) == deposit + booked, asset
            assert booked == booked.quantize(CENT8)

    @invariant()
    def profit_is_in_the_margin_asset(self) -> None:
        fills = [fill for rows in self.account.fills.values() for fill in rows]
        for asset in DEPOSITS:
            realized = sum((fill.realized for fill in fills if fill.order.symbol.margin == asset), ZERO)
            rows = self.account.income
            assert realized == sum((r.amount for r in rows if r.asset == asset and r.type == "REALIZED_PNL"), ZERO)

    @invariant()
    def nothing_is_left_on_what_is_gone(self) -> None:
        state, account = self.exchange.state, self.account
        assert {position.symbol.name for position in account.held()} <= state.markets.keys()
        assert {name for name, book in account.open_orders.items() if book} <= state.markets.keys()
        assert {algo.symbol.name for algo in account.open_algos.values()} <= state.markets.keys()
        assert not state.markets.keys() & state.delisted.keys()

    @invariant()
    def nothing_is_owed_without_a_position(self) -> None:
        state, account = self.exchange.state, self.account
        for asset in DEPOSITS:
            assert account_figures(account, state.markets, asset).available >= 0
            if not account.held():
                assert account.balance(asset) >= 0, asset
        assert total_figures(account, state.markets).wallet is not None

    @invariant()
    def past_is_in_order(self) -> None:
        times = [row.time for row in self.account.income]
        assert times == sorted(times)
        for orders in self.account.orders.values():
            created = [order.created for order in orders]
            assert created == sorted(created)


Venue.TestCase.settings = settings(
    max_examples=int(os.environ.get("PAPER_EXCHANGE_SEQUENCES", "20")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestVenue = Venue.TestCase
