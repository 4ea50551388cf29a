"""Funding: at fixed hours longs pay shorts, or the other way round, by rate and mark price."""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.market import FUNDING_INTERVAL_MS, FUNDING_RATE, Market
from paper_exchange.core.money import to_cash
from paper_exchange.core.state import State

# Payments that are remembered: of a hundred contracts, three months of one each hour.
_KEPT: Final = 250_000


@dataclass(frozen=True, slots=True)
class FundingRate:
    symbol: str
    rate: Decimal
    mark: Decimal
    time: int


class Funding:
    """Knows when the next payment is due and remembers the past ones."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._due = next_due(state.clock.now_ms())
        self._past: deque[FundingRate] = deque(maxlen=_KEPT)

    @property
    def due(self) -> int:
        """Time of the next payment (ms)."""
        return self._due

    def step(self, now: int) -> None:
        """Pay for every due time that has passed, also when time was stepped over several."""
        while self._due <= now:
            for market in self._state.markets.values():
                self.settle(market, self._due)
            self._due += FUNDING_INTERVAL_MS

    def settle(self, market: Market, time: int) -> None:
        self._past.append(FundingRate(market.symbol.name, market.funding_rate, market.mark, time))
        for account in self._state.accounts.values():
            self._pay(account, market)

    def rates(self, symbol: str | None, start: int, end: int) -> list[FundingRate]:
        """Past rates in order of time: those paid here, before them the default at its usual hours."""
        since = self._past[0].time if self._past else self._due
        invented = [
            FundingRate(market.symbol.name, FUNDING_RATE, market.history.price_at(time), time)
            for time in range(next_due(start - 1), min(since, end + 1), FUNDING_INTERVAL_MS)
            for market in self._state.markets.values()
            if symbol in {None, market.symbol.name}
        ]
        paid = [row for row in self._past if symbol in {None, row.symbol} and start <= row.time <= end]
        return invented + paid

    def _pay(self, account: Account, market: Market) -> None:
        symbol = market.symbol
        for side in account.sides():
            position = account.positions.get((symbol.name, side))
            if position is None or not position.amount:
                continue
            payment = to_cash(-position.amount * market.mark * market.funding_rate)
            self._state.book_income(account, "FUNDING_FEE", payment, symbol=symbol.name, info="FUNDING_FEE")
            isolated = account.setting(symbol).isolated
            if isolated:
                position.isolated_wallet += payment
            changed = [position] if isolated else []
            self._state.listener.account_changed(account, "FUNDING_FEE", changed, symbol.name)


def next_due(now: int) -> int:
    """Return the first funding time after a moment."""
    return (now // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
