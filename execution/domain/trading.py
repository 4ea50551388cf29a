"""The field's nouns: directions, sides, order kinds, books and the rules of one symbol."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from execution.domain.depth import Level
from execution.domain.money import ZERO


class Direction(StrEnum):
    """Which way a position earns."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def sign(self) -> int:
        return 1 if self is Direction.LONG else -1

    @property
    def entry_side(self) -> "Side":
        return Side.BUY if self is Direction.LONG else Side.SELL

    @property
    def exit_side(self) -> "Side":
        return Side.SELL if self is Direction.LONG else Side.BUY


# The words for a direction that producers use.
DIRECTIONS = {"buy": Direction.LONG, "long": Direction.LONG, "sell": Direction.SHORT, "short": Direction.SHORT}


class Side(StrEnum):
    """What an order does at the exchange."""

    BUY = "BUY"
    SELL = "SELL"


class PositionSide(StrEnum):
    """The exchange's position row: BOTH in one-way mode, LONG or SHORT in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class OrderType(StrEnum):
    """The order types that we send."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"


class TimeInForce(StrEnum):
    """How long a LIMIT entry waits for its fill, in the exchange's words.

    GTC rests until the policy ends it, GTD until its own time, GTX rests and never takes (post-only). IOC fills what it
    can at once and ends, FOK fills at once and whole or not at all.
    """

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    GTD = "GTD"

    @property
    def rests(self) -> bool:
        """Whether what does not fill at once stays in the book."""
        return self not in {TimeInForce.IOC, TimeInForce.FOK}


class OrderPurpose(StrEnum):
    """What an order is for in its trade."""

    ENTRY = "ENTRY"
    STOP = "STOP"
    TARGET = "TARGET"
    TRAILING = "TRAILING"
    CLOSE = "CLOSE"


class OrderService(StrEnum):
    """Which service of the exchange keeps an order. Conditional ones live in the Algo Service.

    That service has ids of its own.
    """

    STANDARD = "STANDARD"
    ALGO = "ALGO"


class Source(StrEnum):
    """Where a decision came from."""

    AI = "ai.decision.made"
    SIGNAL = "signal.execute"
    REST = "rest"
    # No decision: a position that another client has opened.
    EXTERNAL = "external"

    def model(self, named: str) -> str:
        """Return the model behind a decision, always a word: the one it names, or its source's."""
        persons = {Source.SIGNAL: "manual", Source.REST: "manual", Source.EXTERNAL: "external"}
        return named or persons.get(self, "unknown")


@dataclass(frozen=True, kw_only=True)
class InstrumentFilters:
    """The exchange's filters of one symbol (`exchangeInfo`).

    Prices are in the quote asset, quantities in the base asset.

    Results, fees and funding are booked in the margin asset, which is the quote asset of every USDⓈ-M contract so far.
    """

    symbol: str
    trading: bool
    quote_asset: str
    margin_asset: str
    tick_size: Decimal
    min_price: Decimal
    max_price: Decimal
    limit_step: Decimal
    limit_min_quantity: Decimal
    limit_max_quantity: Decimal
    market_step: Decimal
    market_min_quantity: Decimal
    market_max_quantity: Decimal
    # In the quote asset.
    min_notional: Decimal
    # Up to which multiple of the mark price a BUY LIMIT may lie, and down to which a SELL LIMIT; 0: no bound.
    percent_price_up: Decimal = ZERO
    percent_price_down: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The book of a symbol, each side's best level first, and its mark price, at one moment."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    mark: Decimal

    @property
    def bid(self) -> Decimal:
        """Return the best bid, 0 when there is none."""
        return self.bids[0].price if self.bids else ZERO

    @property
    def ask(self) -> Decimal:
        """Return the best ask, 0 when there is none."""
        return self.asks[0].price if self.asks else ZERO

    def taken_levels(self, direction: Direction) -> tuple[Level, ...]:
        """Return the side of the book that a market entry in this direction takes from."""
        return self.asks if direction is Direction.LONG else self.bids

    def taking_price(self, direction: Direction) -> Decimal:
        """Return the best price that a market entry in this direction can get."""
        return self.ask if direction is Direction.LONG else self.bid


@dataclass(frozen=True, kw_only=True)
class SymbolLists:
    """Which symbols may be entered: those `allowed` (empty: all) but for those `denied`."""

    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()

    def verdict(self, symbol: str) -> str:
        """Return "allowed", or which list stands against the symbol."""
        if symbol in self.denied:
            return "denied"
        return "allowed" if not self.allowed or symbol in self.allowed else "not on the list of allowed"
