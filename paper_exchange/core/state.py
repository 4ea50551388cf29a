"""All data of the running exchange in one place, and the port through which changes are announced."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from paper_exchange.config import AccountConfig, Config
from paper_exchange.core.accounts import Account, Income, Position
from paper_exchange.core.assumptions import Assumptions
from paper_exchange.core.clock import Clock
from paper_exchange.core.fill_rules import FillRules
from paper_exchange.core.ids import Ids, Texts
from paper_exchange.core.listing import build_listing
from paper_exchange.core.market import Market
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import AlgoOrder, Fill, Order
from paper_exchange.core.replay import ReplayError, ReplayPath
from paper_exchange.core.retention import Retention
from paper_exchange.core.symbols import Symbol
from paper_exchange.core.triggers import Triggers
from paper_exchange.errors import refuse

# Ids grow with the time of the start, so that a restarted exchange does not give the same id twice.
_ID_EPOCH_S = 1_600_000_000
_IDS_PER_SECOND = 10_000


class Listener(Protocol):
    """Hears of every change at the moment it happens. The user data stream is one."""

    def order_changed(self, order: Order, execution: str, fill: Fill | None) -> None: ...

    def algo_changed(self, algo: AlgoOrder) -> None: ...

    def account_changed(
        self,
        account: Account,
        reason: str,
        positions: list[Position],
        symbol: str = "",
        *,
        transferred: tuple[str, Decimal] | None = None,
    ) -> None: ...

    def leverage_changed(self, account: Account, symbol: str, leverage: int) -> None: ...

    def assets_mode_changed(self, account: Account) -> None: ...

    def listen_key_closed(self, text: str) -> None: ...

    def margin_called(self, account: Account, positions: list[Position]) -> None: ...

    def forced_order(self, order: Order) -> None: ...

    def contract_changed(self, symbol: Symbol, *, with_brackets: bool = False) -> None: ...
    def expire_keys(self, now: int) -> None: ...


class Deaf:
    """The listener of an exchange without listeners."""

    def order_changed(self, order: Order, execution: str, fill: Fill | None) -> None: ...

    def algo_changed(self, algo: AlgoOrder) -> None: ...

    def account_changed(
        self,
        account: Account,
        reason: str,
        positions: list[Position],
        symbol: str = "",
        *,
        transferred: tuple[str, Decimal] | None = None,
    ) -> None: ...

    def leverage_changed(self, account: Account, symbol: str, leverage: int) -> None: ...

    def assets_mode_changed(self, account: Account) -> None: ...

    def listen_key_closed(self, text: str) -> None: ...

    def margin_called(self, account: Account, positions: list[Position]) -> None: ...

    def forced_order(self, order: Order) -> None: ...

    def contract_changed(self, symbol: Symbol, *, with_brackets: bool = False) -> None: ...
    def expire_keys(self, now: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceChange:
    """One step of a wallet, for the arbiter's ledger."""

    key: str
    type: str
    amount: Decimal
    balance: Decimal
    time: int
    asset: str = "USDT"


@dataclass(kw_only=True, eq=False)
class State:
    config: Config
    clock: Clock
    symbols: dict[str, Symbol]
    markets: dict[str, Market]
    # Contracts that have left the listing: their past can still be asked for.
    delisted: dict[str, Market] = field(default_factory=dict)
    order_ids: Ids
    algo_ids: Ids
    tran_ids: Ids
    listener: Listener
    accounts: dict[str, Account] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    algos: list[AlgoOrder] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    balances: list[BalanceChange] = field(default_factory=list)
    # Good-till-date orders: (end, id, order), the next one first.
    expiring: list[tuple[int, int, Order | AlgoOrder]] = field(default_factory=list)
    frozen: bool = False
    fill_rules: FillRules = field(default_factory=FillRules)
    triggers: Triggers = field(default_factory=Triggers)
    texts: Texts = field(default_factory=Texts)
    assumptions: Assumptions = field(default_factory=Assumptions)
    retention: Retention = field(default_factory=Retention)

    def __getstate__(self) -> dict[str, object]:
        """Leave the listener out: it belongs to the running process."""
        return self.__dict__ | {"listener": Deaf()}

    def market(self, symbol: str) -> Market:
        """Return a symbol's market. -1121 for one that is not listed."""
        found = self.markets.get(symbol)
        if found is None:
            raise refuse(-1121)
        return found

    def past_market(self, symbol: str) -> Market:
        """Return the market of a contract that is listed or was. -1121 for one that never was."""
        return self.delisted[symbol] if symbol in self.delisted else self.market(symbol)

    def last_booked(self) -> int:
        """Return when the last order came or the last balance changed. Zero before the first."""
        order = max(self.orders[-1].created, self.orders[-1].updated) if self.orders else 0
        return max(order, self.balances[-1].time if self.balances else 0)

    def add_order(self, order: Order) -> None:
        """Write a new order into its account's books and into the arbiter's ledger."""
        order.account.add_order(order)
        self.orders.append(order)
        self.retention.placed(order)

    def add_algo(self, algo: AlgoOrder) -> None:
        algo.account.add_algo(algo)
        self.algos.append(algo)
        self.retention.placed(algo)

    def add_account(self, wanted: AccountConfig) -> Account:
        account = Account(
            key=wanted.key,
            secret=wanted.secret.encode(),
            public_key=wanted.public_key,
            alias=f"Paper{len(self.accounts)}",
            deposits=wanted.balance,
            wallet=wanted.balance,
            coins=dict(wanted.coins),
            default_leverage=self.config.leverage,
            credits=wanted.credits,
            updated=self.clock.now_ms(),
        )
        self.accounts[wanted.key] = account
        for asset, amount in ((account.asset, wanted.balance), *wanted.coins):
            self.balances.append(
                BalanceChange(
                    key=account.key, type="DEPOSIT", amount=amount, balance=amount, time=account.updated, asset=asset
                )
            )
        return account

    def book_income(
        self,
        account: Account,
        kind: str,
        amount: Decimal,
        *,
        symbol: str = "",
        info: str = "",
        trade_id: str = "",
        asset: str = "",
    ) -> None:
        """Change the balance by exactly `amount`, which the caller has rounded to cash, and write its row.

        Without an asset it is the one of the account's wallet.
        """
        now, asset = self.clock.now_ms(), asset or account.asset
        if asset == account.asset:
            account.wallet += amount
            balance = account.wallet
        else:
            balance = account.coins[asset] = account.coins.get(asset, ZERO) + amount
        account.updated = now
        account.booked[asset, kind] = account.booked.get((asset, kind), ZERO) + amount
        account.income.append(
            Income(
                type=kind,
                symbol=symbol,
                amount=amount,
                info=info,
                time=now,
                tran_id=next(self.tran_ids),
                trade_id=trade_id,
                asset=asset,
            )
        )
        self.balances.append(
            BalanceChange(key=account.key, type=kind, amount=amount, balance=balance, time=now, asset=asset)
        )


def build_state(config: Config, clock: Clock, previous: State | None = None) -> State:
    """Return a fresh exchange: listed symbols, markets, configured accounts.

    Ids go on from a previous state.
    """
    now = clock.now_ms()
    base = first_id(now)
    symbols = build_listing(config, now)
    for replay in config.replays:
        if replay.symbol not in symbols:
            raise ReplayError(f"{replay.symbol} is not listed: it cannot follow {replay.file}")
    state = State(
        config=config,
        clock=clock,
        symbols=symbols,
        markets={name: _market(config, symbol, base, now, previous) for name, symbol in symbols.items()},
        order_ids=previous.order_ids if previous else Ids(base + 1),
        algo_ids=previous.algo_ids if previous else Ids(2 * 10**15 + base + 1),
        tran_ids=previous.tran_ids if previous else Ids(base + 1),
        listener=previous.listener if previous else Deaf(),
        texts=previous.texts if previous else Texts(),
        assumptions=config.assumptions,
    )
    for account in config.accounts:
        state.add_account(account)
    return state


def first_id(now: int) -> int:
    """Return the first of the ids that are given from a moment on."""
    return max(1, now // 1000 - _ID_EPOCH_S) * _IDS_PER_SECOND


def _market(config: Config, symbol: Symbol, base: int, now: int, previous: State | None) -> Market:
    known = previous and (previous.markets.get(symbol.name) or previous.delisted.get(symbol.name))
    first = known.history.next_trade_id() if known else base
    return open_market(config, symbol, first, now)


def open_market(config: Config, symbol: Symbol, first_trade_id: int, now: int) -> Market:
    market = Market(symbol, seed=config.seed, volatility=config.volatility, first_trade_id=first_trade_id, now=now)
    follow_recording(config, market)
    return market


def follow_recording(config: Config, market: Market) -> None:
    """Let a market follow the file of prices that was chosen for it, if one was."""
    for replay in config.replays:
        if replay.symbol == market.symbol.name and not isinstance(market.path, ReplayPath):
            market.path = ReplayPath(market.symbol, replay.file, config.replay_speed)
