"""Funding: at fixed hours longs pay shorts, or the other way round, by rate and mark price of each contract."""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.market import FUNDING_RATE, Market
from paper_exchange.core.money import to_cash
from paper_exchange.core.state import State

# Past rates that are kept: three months of the whole listing.
_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class FundingRate:
    symbol: str
    rate: Decimal
    mark: Decimal
    time: int


class Funding:
    """Pays funding and remembers the past rates; when a contract pays is the calendar's business."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._since = state.clock.now_ms()
        self._past: deque[FundingRate] = deque(maxlen=_KEPT)

    def settle(self, market: Market, time: int) -> None:
        self._past.append(FundingRate(market.symbol.name, market.funding_rate, market.mark, time))
        for account in self._state.accounts.values():
            self._pay(account, market)

    def rates(self, symbol: str | None, start: int, end: int) -> list[FundingRate]:
        """Past rates in order of time: those paid here, before them the default at its usual hours."""
        invented = [
            FundingRate(market.symbol.name, FUNDING_RATE, market.history.price_at(time), time)
            for market in self._state.markets.values()
            if symbol in {None, market.symbol.name} and market.symbol.funding_ms
            for time in self._hours(market, start, end)
        ]
        paid = [row for row in self._past if symbol in {None, row.symbol} and start <= row.time <= end]
        return sorted(invented, key=lambda row: row.time) + paid

    def _hours(self, market: Market, start: int, end: int) -> range:
        """Funding times of a contract before the exchange began."""
        first = market.next_funding(max(start, market.symbol.onboard_ms) - 1)
        return range(first, min(self._since, end + 1), market.symbol.funding_ms)

    def _pay(self, account: Account, market: Market) -> None:
        symbol = market.symbol
        for side in account.sides():
            position = account.positions.get((symbol.name, side))
            if position is None or not position.amount:
                continue
            payment = to_cash(-position.amount * market.mark * market.funding_rate)
            self._state.book_income(
                account, "FUNDING_FEE", payment, symbol=symbol.name, info="FUNDING_FEE", asset=symbol.margin
            )
            isolated = account.setting(symbol).isolated
            if isolated:
                position.isolated_wallet += payment
            changed = [position] if isolated else []
            self._state.listener.account_changed(account, "FUNDING_FEE", changed, symbol.name)
