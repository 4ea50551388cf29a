"""An API key's account: wallet, positions, settings, and indexes of its orders."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from paper_exchange.core.money import CREDITS, DOLLARS, USDT, ZERO
from paper_exchange.core.orders import AlgoOrder, Fill, Order, PositionSide, Side
from paper_exchange.core.symbols import Symbol

if TYPE_CHECKING:
    from paper_exchange.core.amending import Amendment


@dataclass(slots=True, eq=False)
class Position:
    """Holding of one symbol and side. `amount` is negative for a short, `entry` is not rounded."""

    symbol: Symbol
    side: PositionSide
    amount: Decimal = ZERO
    entry: Decimal = ZERO
    realized: Decimal = ZERO
    open_fees: Decimal = ZERO
    isolated_wallet: Decimal = ZERO
    updated: int = 0

    def apply(self, signed_quantity: Decimal, price: Decimal) -> Decimal:
        """Book a fill and return its realised PnL, not rounded. Crossing zero restarts the entry price."""
        amount = self.amount
        if amount * signed_quantity >= 0:
            total = amount + signed_quantity
            self.entry = (self.entry * amount + price * signed_quantity) / total
            self.amount = total
            return ZERO
        closed = min(abs(amount), abs(signed_quantity))
        pnl = (price - self.entry) * (closed if amount > 0 else -closed)
        self.amount = amount + signed_quantity
        if not self.amount:
            self.entry = ZERO
        elif self.amount * amount < 0:
            self.entry = price
        return pnl

    def unrealized(self, mark: Decimal) -> Decimal:
        return (mark - self.entry) * self.amount if self.amount else ZERO

    @property
    def break_even(self) -> Decimal:
        """Entry price moved by the fees paid for what is still open."""
        return self.entry + self.open_fees / self.amount if self.amount else ZERO


@dataclass(slots=True, eq=False)
class SymbolSettings:
    leverage: int
    isolated: bool = False


@dataclass(slots=True, eq=False)
class Exposure:
    """What the open orders that may enlarge a position would cost, in quote currency."""

    bids: Decimal = ZERO
    asks: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """One change of the wallet, as GET /income shows it."""

    type: str
    symbol: str
    amount: Decimal
    info: str
    time: int
    tran_id: int
    trade_id: str
    asset: str = "USDT"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginChange:
    """A transfer between the cross wallet and an isolated position. Negative when it was taken out."""

    symbol: str
    side: PositionSide
    amount: Decimal
    time: int


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """Everything one API key owns."""

    key: str
    secret: bytes
    # PEM of the key that signs instead of the secret.
    public_key: str = ""
    alias: str
    deposits: Decimal
    wallet: Decimal
    default_leverage: int
    # In credits mode the wallet, fees, funding and realised PnL are in BNFCR; contracts stay quoted in USDT.
    credits: bool = False
    # Balances in other assets than the wallet's own.
    coins: dict[str, Decimal] = field(default_factory=dict)
    # Conditional orders that it may have open at a time; None: as many as everybody.
    algo_limit: int | None = None
    dual_side: bool = False
    multi_assets: bool = False
    fee_burn: bool = False
    # The key was taken back: every signed or keyed call is refused.
    revoked: bool = False
    updated: int = 0
    positions: dict[tuple[str, PositionSide], Position] = field(default_factory=dict)
    # Those of them that are not flat.
    open_positions: dict[tuple[str, PositionSide], Position] = field(default_factory=dict)
    settings: dict[str, SymbolSettings] = field(default_factory=dict)
    exposures: dict[tuple[str, PositionSide], Exposure] = field(default_factory=lambda: defaultdict(Exposure))
    orders: dict[str, list[Order]] = field(default_factory=lambda: defaultdict(list))
    order_by_id: dict[tuple[str, int], Order] = field(default_factory=dict)
    order_by_client: dict[tuple[str, str], Order] = field(default_factory=dict)
    open_orders: dict[str, dict[int, Order]] = field(default_factory=lambda: defaultdict(dict))
    open_clients: set[str] = field(default_factory=set)
    algos: dict[str, list[AlgoOrder]] = field(default_factory=lambda: defaultdict(list))
    algo_by_id: dict[int, AlgoOrder] = field(default_factory=dict)
    algo_by_client: dict[str, AlgoOrder] = field(default_factory=dict)
    open_algos: dict[int, AlgoOrder] = field(default_factory=dict)
    fills: dict[str, list[Fill]] = field(default_factory=lambda: defaultdict(list))
    # Rows of the last months; `booked` sums up all there ever were, by asset and kind.
    income: list[Income] = field(default_factory=list)
    booked: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    # Orders of liquidation and ADL with their kind.
    force_orders: list[tuple[str, Order]] = field(default_factory=list)
    margin_changes: list[MarginChange] = field(default_factory=list)
    # Assets (or USD, in multi-assets mode) whose owner was warned and that have not recovered yet.
    margin_calls: set[str] = field(default_factory=set)
    # Changes of each amended order, oldest first.
    amendments: dict[int, list["Amendment"]] = field(default_factory=lambda: defaultdict(list))

    @property
    def asset(self) -> str:
        """Asset of the wallet itself. The others are coins."""
        return CREDITS if self.credits else USDT

    def margin_of(self, symbol: Symbol) -> str:
        """Asset that margin, fees, funding and realised PnL of a contract are in.

        In credits mode that is credits for every contract in dollars, and the contract's own asset for the others.
        """
        return self.asset if symbol.margin in DOLLARS and self.credits else symbol.margin

    def position(self, symbol: Symbol, side: PositionSide) -> Position:
        """Return the holding, creating an empty one at first use."""
        key = (symbol.name, side)
        found = self.positions.get(key)
        if found is None:
            found = self.positions[key] = Position(symbol, side)
        return found

    def amount(self, symbol: Symbol, side: PositionSide) -> Decimal:
        found = self.positions.get((symbol.name, side))
        return found.amount if found else ZERO

    def setting(self, symbol: Symbol) -> SymbolSettings:
        found = self.settings.get(symbol.name)
        if found is None:
            leverage = min(self.default_leverage, symbol.max_leverage)
            found = self.settings[symbol.name] = SymbolSettings(leverage)
        return found

    @property
    def cross_wallet(self) -> Decimal:
        """Wallet without the margin that was set aside for isolated positions."""
        return self.cross(self.asset)

    def balance(self, asset: str) -> Decimal:
        return self.wallet if asset == self.asset else self.coins.get(asset, ZERO)

    def cross(self, asset: str) -> Decimal:
        """Balance of an asset without the margin that was set aside for isolated positions."""
        return self.balance(asset) - self.isolated(asset)

    def isolated(self, asset: str) -> Decimal:
        held = self.open_positions.values()
        return sum((position.isolated_wallet for position in held if self.margin_of(position.symbol) == asset), ZERO)

    def assets(self) -> list[str]:
        """Return the assets of the wallet and of the margin of positions and open orders, its own first."""
        needed = {self.margin_of(position.symbol) for position in self.open_positions.values()}
        needed |= {self.margin_of(order.symbol) for book in self.open_orders.values() for order in book.values()}
        return [self.asset, *self.coins, *sorted(needed - {self.asset, *self.coins})]

    def held(self) -> list[Position]:
        """Return the positions that are not flat."""
        return list(self.open_positions.values())

    def note_position(self, position: Position) -> None:
        """Keep the positions that are not flat at hand."""
        key = (position.symbol.name, position.side)
        if position.amount:
            self.open_positions[key] = position
        else:
            self.open_positions.pop(key, None)

    def sides(self) -> tuple[PositionSide, ...]:
        return ("LONG", "SHORT") if self.dual_side else ("BOTH",)

    def add_order(self, order: Order) -> None:
        symbol = order.symbol.name
        self.orders[symbol].append(order)
        self.order_by_id[symbol, order.order_id] = order
        self.order_by_client[symbol, order.client_id] = order

    def add_algo(self, algo: AlgoOrder) -> None:
        self.algos[algo.symbol.name].append(algo)
        self.algo_by_id[algo.algo_id] = algo
        self.algo_by_client[algo.client_id] = algo
        self.open_algos[algo.algo_id] = algo

    def open_order(self, order: Order) -> None:
        self.open_orders[order.symbol.name][order.order_id] = order
        self.open_clients.add(order.client_id)
        self.expose(order, order.remaining)

    def shut_order(self, order: Order) -> None:
        """Take an order out of the open ones. Its unfilled rest no longer needs margin."""
        if self.open_orders[order.symbol.name].pop(order.order_id, None) is None:
            return
        self.open_clients.discard(order.client_id)
        self.expose(order, -order.remaining)

    def expose(self, order: Order, quantity: Decimal) -> None:
        if order.reduce_only or closes(order.side, order.position_side):
            return
        key = (order.symbol.name, order.position_side)
        exposure = self.exposures[key]
        if order.side == "BUY":
            exposure.bids += quantity * order.price
        else:
            exposure.asks += quantity * order.price
        if not (exposure.bids or exposure.asks):
            del self.exposures[key]

    def has_open_orders(self, symbol: str | None = None) -> bool:
        """Return whether ordinary or conditional orders wait, on one symbol or at all."""
        if symbol is None:
            return bool(self.open_algos) or any(self.open_orders.values())
        return bool(self.open_orders[symbol]) or any(a.symbol.name == symbol for a in self.open_algos.values())


def closes(side: Side, position_side: PositionSide) -> bool:
    """Return whether a hedge-mode order is a closing one by its nature."""
    return (position_side, side) in {("LONG", "SELL"), ("SHORT", "BUY")}
