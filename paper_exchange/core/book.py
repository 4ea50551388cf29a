"""The order book of one symbol: synthetic levels around the price, and resting orders."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from paper_exchange.core.money import ZERO, floor_to
from paper_exchange.core.orders import Order, Side
from paper_exchange.core.symbols import Symbol

LEVELS: Final = 200
# Distance of synthetic levels as a fraction of the price, and what rests on one of them, in dollars.
LEVEL_GAP: Final = Decimal("0.00002")
LEVEL_NOTIONAL: Final = 100_000


class Queue:
    """Resting orders of one side, best price first, then by arrival."""

    def __init__(self, side: Side) -> None:
        self._sign = -1 if side == "BUY" else 1
        self._keys: list[tuple[Decimal, int]] = []
        self._orders: dict[tuple[Decimal, int], Order] = {}
        self._arrivals = 0

    def add(self, order: Order) -> None:
        self._arrivals += 1
        key = (self._sign * order.price, self._arrivals)
        order.queue_key = key
        insort(self._keys, key)
        self._orders[key] = order

    def remove(self, order: Order) -> None:
        key = order.queue_key
        if key is None or key not in self._orders:
            return
        del self._keys[bisect_left(self._keys, key)]
        del self._orders[key]
        order.queue_key = None

    def best(self) -> Order | None:
        return self._orders[self._keys[0]] if self._keys else None

    def __iter__(self) -> Iterator[Order]:
        """Go through a copy, so that the caller may fill and remove."""
        return iter([self._orders[key] for key in self._keys])

    def reached(self, price: Decimal) -> list[Order]:
        """Return the orders that a trade at `price` reaches: bids at or above it, asks at or below it."""
        end = bisect_left(self._keys, (self._sign * price, self._arrivals + 1))
        return [self._orders[key] for key in self._keys[:end]]


class Book:
    """Synthetic liquidity that takers eat and that grows back with the next step of the price."""

    def __init__(self, symbol: Symbol, seed: int) -> None:
        self.symbol = symbol
        self.bids = Queue("BUY")
        self.asks = Queue("SELL")
        # Retail price improvement orders, which neither takers nor readers of the book see.
        self.rpi_bids = Queue("BUY")
        self.rpi_asks = Queue("SELL")
        self.update_id = 1
        # Best level of a side as it was asked for last; gone with the next change.
        self._best: dict[Side, tuple[Decimal, Decimal]] = {}
        self._salt = seed * 2_654_435_761 + sum(symbol.name.encode()) * 40_503
        self._eaten: dict[Decimal, Decimal] = {}
        self.mid = symbol.price
        # How many synthetic levels a side has.
        self.levels = LEVELS
        self.fit()

    def change(self) -> None:
        """Note that the book is no longer what it was."""
        self.update_id += 1
        self._best.clear()

    def fit(self) -> None:
        """Lay the synthetic levels on the symbol's present tick and step."""
        symbol = self.symbol
        self._gap = max(symbol.tick, floor_to(symbol.price * LEVEL_GAP, symbol.tick))
        self._level_steps = max(1, int(LEVEL_NOTIONAL / (symbol.price * symbol.step * symbol.quote_worth)))
        self.change()

    def queue(self, side: Side) -> Queue:
        return self.bids if side == "BUY" else self.asks

    def reached(self, price: Decimal) -> list[Order]:
        """Return all resting orders that a trade at `price` reaches."""
        queues = (self.bids, self.asks, self.rpi_bids, self.rpi_asks)
        return [order for queue in queues for order in queue.reached(price)]

    def _home(self, order: Order) -> Queue:
        """Queue in which an order rests."""
        if order.time_in_force == "RPI":
            return self.rpi_bids if order.side == "BUY" else self.rpi_asks
        return self.queue(order.side)

    def move(self, mid: Decimal) -> None:
        """Centre the synthetic levels on a new price. Eaten liquidity grows back."""
        self.mid = mid
        self._eaten.clear()
        self.change()

    def refill(self) -> None:
        if self._eaten:
            self._eaten.clear()
            self.change()

    def synthetic(self, side: Side, limit: int = LEVELS) -> Iterator[tuple[Decimal, Decimal]]:
        """Yield (price, quantity) of the levels that stand on that side of the book, best first."""
        symbol, eaten = self.symbol, self._eaten
        sign = -1 if side == "BUY" else 1
        price = self.mid + sign * symbol.tick
        # Beyond the best level prices stand on a fixed grid, so that the book changes little when the mid moves.
        grid = int(price / self._gap) + (1 if sign > 0 else -(price % self._gap == 0))
        for _ in range(min(limit, self.levels)):
            if price < symbol.min_price:
                return
            left = self._depth(price)
            if eaten:
                left -= eaten.get(price, ZERO)
            if left > 0:
                yield price, left
            price = self._gap * grid
            grid += sign

    def rest(self, order: Order) -> None:
        """Queue an order at its price."""
        self._home(order).add(order)
        self.change()

    def volume_at(self, side: Side, price: Decimal) -> Decimal:
        """Synthetic quantity on one level. Zero between the levels and beyond the last."""
        for level, quantity in self.synthetic(side):
            if level == price:
                return quantity
            if (level < price) == (side == "BUY"):
                break
        return ZERO

    def remove(self, order: Order) -> None:
        """Take an order out. Harmless when it does not rest here."""
        self._home(order).remove(order)
        self.change()

    def eat(self, price: Decimal, quantity: Decimal) -> None:
        self._eaten[price] = self._eaten.get(price, ZERO) + quantity
        self.change()

    def best(self, side: Side) -> tuple[Decimal, Decimal]:
        """Best price and quantity of a side, resting orders of accounts included."""
        found = self._best.get(side)
        if found is None:
            found = self._best[side] = self._find_best(side)
        return found

    def _find_best(self, side: Side) -> tuple[Decimal, Decimal]:
        # An empty side stands at the farthest price there is, with nothing on it.
        nothing = (self.symbol.min_price if side == "BUY" else self.symbol.max_price, ZERO)
        price, quantity = next(self.synthetic(side), nothing)
        resting = self.queue(side).best()
        if resting is None or (resting.price < price if side == "BUY" else resting.price > price):
            return price, quantity
        own = sum((o.remaining for o in self.queue(side) if o.price == resting.price), ZERO)
        return resting.price, own + (quantity if resting.price == price else ZERO)

    def depth(self, side: Side, limit: int, *, with_rpi: bool = False) -> list[tuple[Decimal, Decimal]]:
        """Return the best `limit` levels of a side, synthetic and resting quantities added up."""
        levels: dict[Decimal, Decimal] = dict(self.synthetic(side, limit))
        hidden = (self.rpi_bids if side == "BUY" else self.rpi_asks) if with_rpi else ()
        for order in (*self.queue(side), *hidden):
            levels[order.price] = levels.get(order.price, ZERO) + order.remaining
        return sorted(levels.items(), reverse=side == "BUY")[:limit]

    def _depth(self, price: Decimal) -> Decimal:
        # A hash of the price, so that a level keeps its size while the price moves around it.
        noise = (int(price / self.symbol.tick) * 2_246_822_519 ^ self._salt) >> 8 & 0xFFFF
        return self.symbol.step * max(1, self._level_steps * (0x8000 + noise) // 0x10000)
