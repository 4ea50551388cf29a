"""Orders, conditional (algo) orders and fills as the exchange books them, and their tickets."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from paper_exchange.core.money import ZERO
from paper_exchange.core.symbols import Symbol

if TYPE_CHECKING:
    from paper_exchange.core.accounts import Account

Side = Literal["BUY", "SELL"]
PositionSide = Literal["BOTH", "LONG", "SHORT"]

OPEN_STATUSES: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
ALGO_OPEN: Final = frozenset({"NEW", "TRIGGERING", "TRIGGERED"})
CONDITIONAL_TYPES: Final = frozenset(
    {"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"}
)
# Times in force that never take; RPI orders moreover meet only users of the app and the web page.
POST_ONLY: Final = frozenset({"GTX", "RPI"})
LIMIT_CONDITIONAL: Final = frozenset({"STOP", "TAKE_PROFIT"})


def opposite(side: Side) -> Side:
    return "SELL" if side == "BUY" else "BUY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """A well-formed request for an ordinary order.

    Whether the exchange grants it is decided by the core.
    """

    symbol: str
    side: Side
    type: str
    quantity: Decimal
    price: Decimal = ZERO
    time_in_force: str = "GTC"
    position_side: PositionSide | None = None
    reduce_only: bool | None = None
    client_id: str | None = None
    price_match: str = "NONE"
    stp: str = "EXPIRE_MAKER"
    good_till: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgoTicket:
    """A well-formed request for a conditional order. `quantity` is zero with close_position."""

    symbol: str
    side: Side
    type: str
    quantity: Decimal = ZERO
    price: Decimal = ZERO
    trigger_price: Decimal = ZERO
    time_in_force: str = "GTC"
    working_type: str = "CONTRACT_PRICE"
    position_side: PositionSide | None = None
    reduce_only: bool | None = None
    close_position: bool = False
    price_protect: bool = False
    activate_price: Decimal | None = None
    callback_rate: Decimal | None = None
    client_id: str | None = None
    price_match: str = "NONE"
    stp: str = "EXPIRE_MAKER"
    good_till: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """An ordinary order. Only matching changes it."""

    order_id: int
    account: "Account"
    symbol: Symbol
    client_id: str
    side: Side
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    position_side: PositionSide
    reduce_only: bool
    created: int
    updated: int
    price_match: str = "NONE"
    stp: str = "EXPIRE_MAKER"
    good_till: int = 0
    status: str = "NEW"
    executed: Decimal = ZERO
    quote: Decimal = ZERO
    expiry_reason: int = 0
    close_position: bool = False
    algo: "AlgoOrder | None" = None
    fills: "list[Fill]" = field(default_factory=list)
    amendments: int = 0
    modify_id: int | None = None
    # Place in the queue of its price level; a new one after each amendment.
    queue_key: tuple[Decimal, int] | None = None
    # Synthetic volume before it on its level; None when places in the queue do not count.
    ahead: Decimal | None = None
    # Best prices of the book when the order came; None for an empty side, and for what the exchange ordered itself.
    arrival_bid: Decimal | None = None
    arrival_ask: Decimal | None = None

    @property
    def arrival_price(self) -> Decimal | None:
        """Price that a taker of this side would have got first when the order came."""
        return self.arrival_ask if self.side == "BUY" else self.arrival_bid

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def average_price(self) -> Decimal:
        return self.quote / self.executed if self.executed else ZERO


@dataclass(slots=True, kw_only=True, eq=False)
class AlgoOrder:
    """A conditional order of the Algo Service.

    After its trigger `order` is the ordinary order it became.
    """

    algo_id: int
    account: "Account"
    symbol: Symbol
    client_id: str
    ticket: AlgoTicket
    position_side: PositionSide
    reduce_only: bool
    created: int
    updated: int
    status: str = "NEW"
    triggered_at: int = 0
    reject_reason: str = ""
    order: Order | None = None
    # Trailing only: the activation price, whether it was reached, and the best price since placement.
    activate_price: Decimal = ZERO
    activated: bool = False
    extreme: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        """Still waiting for its trigger. One that hangs in TRIGGERING is neither open nor ended."""
        return self.status == "NEW"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fill:
    """One execution of one order. `realized` is before the fee, both are as booked in the wallet."""

    trade_id: int
    order: Order
    price: Decimal
    quantity: Decimal
    quote: Decimal
    realized: Decimal
    commission: Decimal
    commission_asset: str
    maker: bool
    time: int
