"""The actions that `reconcile` may return, one class each.

`repair.py` and its neighbours carry them out.
"""

from dataclasses import dataclass
from uuid import UUID

from execution.domain.outcomes import OrderReport, PositionReport
from execution.domain.reasons import CloseReason
from execution.domain.states import RequestState
from execution.domain.trading import OrderPurpose, PositionSide


@dataclass(frozen=True, kw_only=True)
class Expire:
    """A request that never left is too old to trade."""

    request_id: UUID


@dataclass(frozen=True, kw_only=True)
class Resume:
    """A request stands still: run the chain from its state on."""

    request_id: UUID
    state: RequestState


@dataclass(frozen=True, kw_only=True)
class Apply:
    """The exchange shows one of our orders further than we know it."""

    order_id: int
    report: OrderReport


@dataclass(frozen=True, kw_only=True)
class LookUpOrder:
    """One of our orders is not among the open ones: ask what became of it."""

    order_id: int


@dataclass(frozen=True, kw_only=True)
class BookExits:
    """The exchange holds less than our trade: look for the fills that closed it."""

    trade_id: UUID


@dataclass(frozen=True, kw_only=True)
class LookOver:
    """A closed trade is due for a second look: book what the exchange shows only now.

    It was closed a while ago, or its entry has filled further since.
    """

    trade_id: UUID


@dataclass(frozen=True, kw_only=True)
class Cover:
    """A position whose plan wants an order that does not rest, or not at its price or quantity."""

    request_id: UUID
    missing: OrderPurpose


@dataclass(frozen=True, kw_only=True)
class CloseInTime:
    """A position whose time is up, or whose contract is about to end."""

    trade_id: UUID
    reason: CloseReason


@dataclass(frozen=True, kw_only=True)
class CancelLeftover:
    """A leg that has outlived its position, or that a newer one has replaced."""

    order_id: int


@dataclass(frozen=True, kw_only=True)
class ExpireEntry:
    """An entry that has rested for as long as it may: what has not filled is cancelled."""

    order_id: int


@dataclass(frozen=True, kw_only=True)
class CheckOrphan:
    """An open order with our prefix that is not among our unfinished ones."""

    client_order_id: str


@dataclass(frozen=True, kw_only=True)
class ReportExternal:
    """A position that no trade and no unfinished entry explains.

    It is logged and never touched, and no entry is sent beside it.
    """

    symbol: str
    sentence: str
    position_side: str = PositionSide.BOTH


@dataclass(frozen=True, kw_only=True)
class Guard:
    """An external position is to have our exits, or has them and may have changed its size."""

    external_id: int


@dataclass(frozen=True, kw_only=True)
class Adopt:
    """An external position is to become a trade."""

    external_id: int


@dataclass(frozen=True, kw_only=True)
class Leave:
    """An external position is gone: its exits are cancelled, too."""

    external_id: int


@dataclass(frozen=True, kw_only=True)
class ExcessQuantity:
    """What other clients have added to our position, as a `position` of its own.

    `guarded`: it has exits that we have placed.
    """

    position: PositionReport
    sentence: str
    guarded: bool = False

    @property
    def symbol(self) -> str:
        return self.position.symbol


# These settle what our orders are; the rest of the comparison rests on that.
SETTLING = (Apply, LookUpOrder, CancelLeftover, ExpireEntry)
Settling = Apply | LookUpOrder | CancelLeftover | ExpireEntry
# These are about positions of others: only the stack that has the account does them.
EXTERNAL = (Guard, Adopt, Leave)
External = Guard | Adopt | Leave
Repair = (
    Expire
    | Resume
    | BookExits
    | LookOver
    | CloseInTime
    | Cover
    | CheckOrphan
    | ReportExternal
    | External
    | ExcessQuantity
)
Action = Settling | Repair
