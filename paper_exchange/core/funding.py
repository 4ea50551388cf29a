"""Funding: longs pay shorts at fixed hours, or shorts longs, by rate and mark price of a contract."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import merge
from itertools import islice, repeat
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.market import FUNDING_RATE, Market
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
    """Pays funding and remembers the past rates. When a contract pays is the calendar's business."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._since = state.clock.now_ms()
        self._past: deque[FundingRate] = deque(maxlen=_KEPT)

    def settle(self, market: Market, time: int) -> None:
        self._past.append(FundingRate(market.symbol.name, market.funding_rate, market.mark, time))
        for account in self._state.accounts.values():
            self._pay(account, market)

    def rates(self, market: Market | None, start: int, end: int, limit: int, *, newest: bool) -> list[FundingRate]:
        """At most `limit` past rates of a contract, or of all, in the order of time: the newest or the oldest.

        Those paid here, before them the default at the usual hours of each contract. Times in ms, both included.
        """
        name = market.symbol.name if market else None
        rows = (row for row in self._past if name in {None, row.symbol} and start <= row.time <= end)
        paid = sorted(rows, key=lambda row: row.time)
        markets = [market] if market else list(self._state.markets.values())
        if newest:
            paid = paid[-limit:]
            return self._invented(markets, start, end, limit - len(paid), newest=True) + paid
        invented = self._invented(markets, start, end, limit, newest=False)
        return invented + paid[: limit - len(invented)]

    def _invented(
        self, markets: Sequence[Market], start: int, end: int, count: int, *, newest: bool
    ) -> list[FundingRate]:
        """Rates before the exchange began, as many as are wanted and no more than those."""
        hours = [self._hours(market, start, end) for market in markets]
        runs = [zip(reversed(run) if newest else run, repeat(place)) for place, run in enumerate(hours)]
        chosen = sorted(islice(merge(*runs, reverse=newest), count))
        return [_default_rate(markets[place], time) for time, place in chosen]

    def _hours(self, market: Market, start: int, end: int) -> range:
        """Funding times of a contract before the exchange began. A dated one has none."""
        interval = market.symbol.funding_ms
        if not interval:
            return range(0)
        first = market.next_funding(max(start, market.symbol.onboard_ms) - 1)
        return range(first, min(self._since, end + 1), interval)

    def _pay(self, account: Account, market: Market) -> None:
        symbol = market.symbol
        for side in account.sides():
            position = account.positions.get((symbol.name, side))
            if position is None or not position.amount:
                continue
            payment = to_cash(-position.amount * market.mark * market.funding_rate)
            asset = account.margin_of(symbol)
            self._state.book_income(
                account, "FUNDING_FEE", payment, symbol=symbol.name, info="FUNDING_FEE", asset=asset
            )
            isolated = account.setting(symbol).isolated
            if isolated:
                position.isolated_wallet += payment
            changed = [position] if isolated else []
            self._state.listener.account_changed(account, "FUNDING_FEE", changed, symbol.name)


def _default_rate(market: Market, time: int) -> FundingRate:
    return FundingRate(market.symbol.name, FUNDING_RATE, market.history.price_at(time), time)
