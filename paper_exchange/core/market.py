"""One symbol's market: its last and mark price, book, history and waiting conditional orders."""

from bisect import bisect_left, insort
from decimal import Decimal
from random import Random
from typing import Final

from paper_exchange.core.book import Book
from paper_exchange.core.history import History, PublicTrade
from paper_exchange.core.money import ZERO
from paper_exchange.core.orders import AlgoOrder
from paper_exchange.core.premium import Basis
from paper_exchange.core.prices import PricePath, PriceSource
from paper_exchange.core.symbols import HOUR_MS, Symbol

FUNDING_INTERVAL_MS: Final = 8 * HOUR_MS
FUNDING_RATE: Final = Decimal("0.00010000")


class Watch:
    """Conditional orders by trigger price, so that a price step looks only at those it reaches."""

    def __init__(self) -> None:
        self._rising: list[tuple[Decimal, int]] = []
        self._falling: list[tuple[Decimal, int]] = []
        self._algos: dict[int, AlgoOrder] = {}

    def add(self, algo: AlgoOrder, *, rising: bool) -> None:
        insort(self._rising if rising else self._falling, self._key(algo))
        self._algos[algo.algo_id] = algo

    def remove(self, algo: AlgoOrder) -> None:
        if self._algos.pop(algo.algo_id, None) is None:
            return
        key = self._key(algo)
        for keys in (self._rising, self._falling):
            index = bisect_left(keys, key)
            if index < len(keys) and keys[index] == key:
                del keys[index]
                return

    def reached(self, price: Decimal) -> list[AlgoOrder]:
        """Return the orders whose trigger a price meets, by placement."""
        rising = self._rising[: bisect_left(self._rising, (price, 1 << 62))]
        falling = self._falling[bisect_left(self._falling, (price, 0)) :]
        return [self._algos[algo_id] for algo_id in sorted(key[1] for key in (*rising, *falling))]

    @staticmethod
    def _key(algo: AlgoOrder) -> tuple[Decimal, int]:
        return algo.ticket.trigger_price, algo.algo_id


class Market:
    """State of one symbol. The exchange moves its price and settles what that price reaches."""

    def __init__(self, symbol: Symbol, *, seed: int, volatility: float, first_trade_id: int, now: int) -> None:
        self.symbol = symbol
        self.last = symbol.price
        self.mark = symbol.price
        self.updated = self.stepped = now
        self.held = False
        # Volume that the last price brought along.
        self.traded = ZERO
        # Most that a resting order executes when a trade reaches it; None for all of it.
        self.resting_fill: Decimal | None = None
        self.funding_rate = FUNDING_RATE
        self.path: PriceSource = PricePath(symbol, seed, volatility)
        self.book = Book(symbol, seed)
        self.history = History(symbol, seed, first_trade_id)
        self.history.begin(now, self.last)
        self.basis = Basis(symbol, seed)
        self.watches = {"CONTRACT_PRICE": Watch(), "MARK_PRICE": Watch()}
        self.trailing: dict[int, AlgoOrder] = {}
        self._random = Random(f"trades/{seed}/{symbol.name}")  # noqa: S311 - prints, not secrets

    def set_price(self, last: Decimal, mark: Decimal, now: int, volume: Decimal | None = None) -> None:
        """Take over a new price: centre the book on it and print a public trade, by default of any volume."""
        self.last, self.mark, self.updated = last, mark, now
        self.book.move(last)
        self.traded = self.symbol.step * self._random.randint(1, 2000) if volume is None else volume
        self.print_trade(last, self.traded, now)

    def print_trade(
        self, price: Decimal, quantity: Decimal, now: int, *, buyer_is_maker: bool | None = None
    ) -> PublicTrade:
        maker = self._random.random() < 0.5 if buyer_is_maker is None else buyer_is_maker
        trade = PublicTrade(self.history.next_trade_id(), price, quantity, now, maker)
        self.history.record(trade)
        return trade

    def is_filled_by_touch(self, price: Decimal, probability: float) -> bool:
        """Return whether a resting order fills: surely when the price has gone through it, else by chance."""
        return price != self.last or probability >= 1 or self._random.random() < probability

    def working_price(self, working_type: str) -> Decimal:
        return self.mark if working_type == "MARK_PRICE" else self.last

    def next_funding(self, now: int) -> int:
        """Return the first funding time after a moment.

        Zero for a contract without funding, as on the venue.
        """
        interval = self.symbol.funding_ms
        return (now // interval + 1) * interval if interval else 0
