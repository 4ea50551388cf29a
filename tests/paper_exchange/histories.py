"""Every list with a history: how to ask for it, how a row comes into being, and what its documentation promises."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from paper_exchange.config import Config
from paper_exchange.core import settings
from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.assumptions import assume
from paper_exchange.core.clock import SteppedClock
from tests.paper_exchange.trader import BTC, D, Trader

DAY: Final = 86_400_000
WEEK: Final = 7 * DAY
NOW: Final = 1_790_000_000_000


class Historian(Trader):
    """A trader who places rows at chosen ages, and asks for them as if at `NOW`."""

    def __init__(self) -> None:
        super().__init__(
            Config(static_prices=True, queue_position=False, min_notional=D(5)), SteppedClock(NOW - 100 * DAY)
        )

    def go_to(self, age_ms: int) -> None:
        """Let the clock stand that long before `NOW`; only forward."""
        self.clock.advance(NOW - age_ms - self.clock.now_ms())

    def assume(self, **switches: str) -> None:
        self.exchange.state.assumptions = assume(self.exchange.state.assumptions, switches)


@dataclass(frozen=True, kw_only=True)
class History:
    """One list; `longest` is the longest period between two times and the code for more, None when undocumented."""

    path: str
    add: Callable[[Historian], object]
    time: str
    page: int
    most: int
    params: dict[str, object] = field(default_factory=lambda: {"symbol": BTC})
    prepare: Callable[[Historian], object] = lambda _: None
    reach: int = WEEK
    longest: tuple[int, int] | None = (WEEK, -4165)
    less_than: bool = False
    kept: int = 90 * DAY
    all_without_times: bool = False
    newest_first: bool = False

    def rows(self, trader: Historian, **params: object) -> list[Any]:
        """Rows of a call in the order of time."""
        found: list[Any] = trader.get(self.path, **self.params, **params)
        return found[::-1] if self.newest_first else found

    def ages(self, trader: Historian, **params: object) -> list[float]:
        """Ages in days of what a call answers, oldest first."""
        return [(NOW - row[self.time]) / DAY for row in self.rows(trader, **params)]


def add_fill(trader: Historian) -> None:
    # What earlier orders took from the book has grown back.
    trader.market.book.refill()
    trader.send("SELL" if trader.position().amount > 0 else "BUY", "MARKET", "0.003")


def add_algo(trader: Historian) -> None:
    """Let a conditional order trigger and fill, so that it is kept."""
    sells = trader.position().amount > 0
    trader.condition("SELL" if sells else "BUY", "STOP_MARKET", "0.003", "49990" if sells else "50010")
    trader.price("49990" if sells else "50010")
    trader.price("50000")


def add_income(trader: Historian) -> None:
    trader.exchange.state.book_income(trader.account, "TRANSFER", D("0.00000001"))


def add_amendment(trader: Historian) -> None:
    [order] = trader.account.open_orders[BTC].values()
    price = D("49000.10") if order.price == D(49_000) else D(49_000)
    trader.exchange.amendments.amend(
        trader.account,
        AmendTicket(symbol=BTC, side="BUY", quantity=order.quantity, price=price, order_id=order.order_id),
    )


def add_forced(trader: Historian) -> None:
    trader.market.book.refill()
    trader.buy("0.003")
    trader.exchange.liquidation.force(trader.position(), trader.account, "ADL")


def isolate(trader: Historian) -> None:
    settings.change_margin_type(trader.exchange.state, trader.account, trader.market, isolated=True)
    trader.buy("0.003")


def add_margin(trader: Historian) -> None:
    settings.change_position_margin(trader.exchange.state, trader.account, trader.market, "BOTH", D("0.01"))


HISTORIES: Final = (
    History(path="userTrades", add=add_fill, time="time", page=500, most=1000),
    History(path="allOrders", add=add_fill, time="time", page=500, most=1000, less_than=True),
    History(path="allOrders", add=add_fill, time="time", page=500, most=1000, less_than=True, params={}),
    History(path="allAlgoOrders", add=add_algo, time="createTime", page=500, most=1000, less_than=True),
    History(path="income", add=add_income, time="time", page=100, most=1000, params={}, longest=None),
    History(
        path="orderAmendment",
        prepare=lambda trader: trader.bid("0.010", "49000", client_id="a"),
        add=add_amendment,
        time="time",
        page=50,
        most=100,
        params={"symbol": BTC, "origClientOrderId": "a"},
        longest=None,
        all_without_times=True,
        newest_first=True,
    ),
    History(path="forceOrders", add=add_forced, time="time", page=50, most=100, params={}, longest=None),
    History(
        path="positionMargin/history",
        prepare=isolate,
        add=add_margin,
        time="time",
        page=500,
        most=500,
        reach=30 * DAY,
        longest=(30 * DAY, -4165),
        kept=30 * DAY,
    ),
)
NAMES: Final = [f"{row.path}{'' if row.params else ' without symbol'}" for row in HISTORIES]


def laid(history: History, *ages_ms: int) -> Historian:
    """Return a trader at `NOW` with a row of each of these ages, oldest first."""
    trader = Historian()
    trader.go_to(max(ages_ms) + 1)
    history.prepare(trader)
    for age in ages_ms:
        trader.go_to(age)
        history.add(trader)
    trader.go_to(0)
    return trader
