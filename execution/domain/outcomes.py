"""What came of a write at the exchange: accepted, refused with proof, or unknown."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from execution.domain.money import ZERO
from execution.domain.reasons import Reason
from execution.domain.states import OrderTrigger
from execution.domain.trading import Direction


class ExchangeStatus(StrEnum):
    """An order's status as the exchange names it, ordinary and algo orders in one vocabulary."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    TRIGGERED = "TRIGGERED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"


STATUS_TRIGGERS = {
    ExchangeStatus.NEW: OrderTrigger.ACCEPTED,
    ExchangeStatus.PARTIALLY_FILLED: OrderTrigger.PART_FILLED,
    ExchangeStatus.TRIGGERED: OrderTrigger.CONDITION_MET,
    ExchangeStatus.FILLED: OrderTrigger.ALL_FILLED,
    ExchangeStatus.CANCELED: OrderTrigger.CANCELED,
    ExchangeStatus.EXPIRED: OrderTrigger.EXPIRED,
    ExchangeStatus.REJECTED: OrderTrigger.REJECTED,
}


@dataclass(frozen=True, kw_only=True)
class RestingTerms:
    """What an open order would do, in the exchange's terms.

    `reduces`: it can open nothing. `whole`: it closes whatever is there. `trigger_type`: which price a conditional
    order waits for, such as MARK_PRICE.
    """

    kind: str
    side: str
    position_side: str
    reduces: bool
    whole: bool = False
    trigger_type: str = ""
    trigger_price: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class OrderReport:
    """One order as the exchange reports it.

    `order_id` is empty for a conditional order that has not triggered. Only the lists of open orders report `terms`.
    """

    client_order_id: str
    symbol: str
    status: ExchangeStatus
    quantity: Decimal
    executed_quantity: Decimal
    order_id: str = ""
    algo_id: str = ""
    # When the exchange made it, by its own clock. None when it does not report that.
    created_at: datetime | None = None
    terms: RestingTerms | None = None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The exchange has the order."""

    report: OrderReport


class Waits(StrEnum):
    """Who must hold back after an answer: all of us, all that counts as an order, or only what opens risk."""

    NOBODY = "nobody"
    ENTRIES = "entries"
    ORDERS = "orders"
    EVERYBODY = "everybody"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Which requests must hold back after an answer: all, all that count as orders, or entries only."""

    code: int | None
    message: str
    retry_safe: bool
    retry_after_seconds: float = 0.0
    waits: Waits = Waits.NOBODY
    reason: Reason = Reason.EXCHANGE_REJECTED
    by_filters: bool = False


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The order may or may not be at the exchange: only evidence ends this."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Why the account is not as an entry needs it, so that none is sent.

    `wanted` is what the entry needs, `found` what the exchange has.
    """

    reason: Reason
    wanted: str
    found: str
    code: int | None = None

    def __str__(self) -> str:
        return f"{self.reason}: wanted={self.wanted} found={self.found}"


@dataclass(frozen=True, kw_only=True)
class AccountCheck:
    """What the exchange reports of account and key, and every problem that would refuse all entries."""

    position_mode: str
    can_trade: bool
    clock_offset_ms: float
    problems: tuple[str, ...]


PlaceOutcome = Accepted | Refused | Unknown


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A look-up answered that the order does not exist. One such answer is no proof."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A look-up did not get an answer. `sent`: of a cancel, whether the exchange may have acted on it."""

    message: str
    sent: bool = True


LookUp = OrderReport | Missing | Unreadable


@dataclass(frozen=True, kw_only=True)
class FillReport:
    """One fill as the exchange booked it.

    `realized_pnl` is before fees, in `pnl_asset` (empty: the quote asset).
    """

    trade_id: int
    order_id: str
    symbol: str
    buyer: bool
    position_side: str
    price: Decimal
    quantity: Decimal
    realized_pnl: Decimal
    commission: Decimal
    commission_asset: str
    maker: bool
    at: datetime
    pnl_asset: str = ""
    # What the fee is worth in the symbol's quote asset, None when not known.
    fee_value: Decimal | None = None
    # What `realized_pnl` is worth there, None when not known, and before it was valued.
    pnl_value: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class PositionReport:
    """One position row of the exchange. `quantity` is negative for a short in one-way mode.

    `updated_at` is its last change, None when the exchange does not report it.
    """

    symbol: str
    position_side: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal
    liquidation_price: Decimal
    initial_margin: Decimal
    notional: Decimal
    updated_at: datetime | None = None


class IncomeKind(StrEnum):
    """What moves the wallet apart from fills and belongs to a position."""

    FUNDING = "FUNDING_FEE"
    CLEARING = "INSURANCE_CLEAR"


@dataclass(frozen=True, kw_only=True)
class IncomeReport:
    """One line of income, negative when we paid.

    `transaction_id` is unique among the lines of its kind.

    `symbol` is empty where the exchange settles the whole account.
    """

    kind: IncomeKind
    symbol: str
    amount: Decimal
    asset: str
    at: datetime
    transaction_id: str


@dataclass(frozen=True, kw_only=True)
class FundingRate:
    """One funding of a symbol, paid per position in the quote asset: `-quantity * mark * rate`.

    The quantity is negative for a short. `mark` is zero when the exchange does not report it.
    """

    rate: Decimal
    mark: Decimal
    at: datetime


def held_in(row: PositionReport | None, direction: Direction) -> Decimal:
    """Return how much of a position in this direction the exchange holds, never negative."""
    if row is None:
        return ZERO
    if row.position_side == direction.value:
        return abs(row.quantity)
    return max(ZERO, row.quantity * direction.sign)
