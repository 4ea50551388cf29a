"""Events of the exchange's user-data stream, typed. Its adapter reads them, `user_stream/` acts."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from execution.domain.outcomes import FillReport, OrderReport


@dataclass(frozen=True, kw_only=True)
class News:
    """One event. `sent_at` is the exchange's time of sending, None when the event was unreadable."""

    kind: str
    sent_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class OrderNews(News):
    """An ordinary order of this account changed, ours or not.

    `report` is None when its status is not in our vocabulary, as for some orders of the exchange itself. `fill_id` is 0
    when nothing filled, `algo_id` empty unless a conditional order has made this one. `fill` is None when nothing
    filled, and when the event lacks a part of the fill, such as its fee.
    """

    client_order_id: str
    symbol: str
    buyer: bool
    position_side: str
    report: OrderReport | None
    fill_id: int = 0
    algo_id: str = ""
    fill: FillReport | None = None


@dataclass(frozen=True, kw_only=True)
class AlgoNews(News):
    """A conditional order changed. `reason` is the exchange's when it was rejected at its trigger."""

    report: OrderReport
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class HeldAmount:
    """How much of a position is held now.

    Negative for a short in one-way mode, zero when it is out.
    """

    symbol: str
    position_side: str
    quantity: Decimal


@dataclass(frozen=True, kw_only=True)
class AccountNews(News):
    """Balances or positions changed. Only the positions that did are listed."""

    reason: str
    held: tuple[HeldAmount, ...]


@dataclass(frozen=True, kw_only=True)
class SettingNews(News):
    """A setting of the account changed.

    A symbol's leverage, or with an empty symbol the multi-assets mode.
    """

    symbol: str = ""
    leverage: int = 0


@dataclass(frozen=True, kw_only=True)
class MarginCall(News):
    """The exchange warns that these positions are near their liquidation."""

    symbols: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KeyExpired(News):
    """The listen key has run out. This connection stays open and silent."""

    key: str


@dataclass(frozen=True, kw_only=True)
class HandOn(News):
    """Something happened whose consequences only a comparison with the exchange shows."""


@dataclass(frozen=True, kw_only=True)
class Ignored(News):
    """Known, and nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Unread(News):
    """An event that was not understood. `why` is the reading's error."""

    why: str


StreamNews = OrderNews | AlgoNews | AccountNews | SettingNews | MarginCall | KeyExpired | HandOn | Ignored | Unread
