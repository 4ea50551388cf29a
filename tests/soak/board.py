"""The contracts of the long soak: chosen from the venue's listing for their variety, on seeded walks over weeks."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from random import Random
from typing import Any

Row = dict[str, Any]
# Standard deviation of a day, drawn by contract; those that are held for weeks are the calm ones. A leap comes about
# once in a hundred moves, of some days' deviations at once.
DAY_DEVIATION, CALM_DEVIATION = (0.015, 0.05), (0.008, 0.02)
LEAP_DAYS, LEAP_CHANCE = 2.0, 0.01
DAY_SECONDS = 86_400
# How far a walk may go from where it began before it is turned back.
FARTHEST = math.log(2.5)
# In these the venue takes no order at all, not even one that reduces.
CLOSED = frozenset({"PENDING_TRADING", "BREAK", "SETTLING", "DELIVERING", "DELIVERED", "CLOSE"})
DOLLARS = frozenset({"USDT", "USDC", "FDUSD", "USD", "BFUSD", "USD1"})


@dataclass(kw_only=True)
class Contract:
    """One contract: its row of exchangeInfo and its price.

    `foreign`: only others trade it. `keeps`: ours hold it for long.
    """

    row: Row
    price: Decimal
    foreign: bool = False
    deviation: float = 0.0
    keeps: bool = False
    centre: float = 0.0
    moved_at: float = 0.0

    @property
    def symbol(self) -> str:
        return str(self.row["symbol"])

    @property
    def trades(self) -> bool:
        return bool(self.row["status"] == "TRADING")

    @property
    def halted(self) -> bool:
        return self.row["status"] in CLOSED

    @property
    def perpetual(self) -> bool:
        return is_perpetual(self.row)

    @property
    def margin_asset(self) -> str:
        return str(self.row["marginAsset"])

    @property
    def tick(self) -> Decimal:
        return self._filter("PRICE_FILTER", "tickSize")

    @property
    def step(self) -> Decimal:
        return max(self._filter("LOT_SIZE", "stepSize"), self._filter("MARKET_LOT_SIZE", "stepSize"))

    @property
    def market_most(self) -> Decimal:
        return self._filter("MARKET_LOT_SIZE", "maxQty")

    @property
    def min_notional(self) -> Decimal:
        return self._filter("MIN_NOTIONAL", "notional")

    def on_tick(self, price: Decimal) -> Decimal:
        ticks = max((price / self.tick).quantize(Decimal(1), ROUND_HALF_UP), Decimal(1))
        return ticks * self.tick

    def moved(self, fraction: float) -> Decimal:
        """Return the price that lies a fraction away, on a tick."""
        return self.on_tick(self.price * (1 + Decimal(str(fraction))))

    def lots(self, quantity: Decimal) -> Decimal:
        """Return a quantity in whole steps, one at least."""
        return max((quantity / self.step).quantize(Decimal(1), ROUND_DOWN), Decimal(1)) * self.step

    def _filter(self, kind: str, name: str) -> Decimal:
        return next(Decimal(row[name]) for row in self.row["filters"] if row["filterType"] == kind)


def chosen(listing: Mapping[str, Row], number: int, random: Random) -> list[str]:
    """Return symbols that trade, as various as the listing allows: one of each shape in turn."""
    shapes: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for symbol, row in listing.items():
        if row["status"] == "TRADING":
            shapes[shape_of(row)].append(symbol)
    queues = [random.sample(names, len(names)) for _, names in sorted(shapes.items())]
    found: list[str] = []
    while len(found) < number and any(queues):
        found += [queue.pop() for queue in queues if queue]
    return found[:number]


def is_perpetual(row: Row) -> bool:
    return "PERPETUAL" in str(row["contractType"])


def shape_of(row: Row) -> tuple[Any, ...]:
    """Return what makes a contract another kind than the next one."""
    filters = {kind["filterType"]: kind for kind in row["filters"]}
    return (
        row["contractType"],
        row["quoteAsset"],
        str(filters["MIN_NOTIONAL"]["notional"]),
        not str(row["symbol"]).isascii(),
        str(row["symbol"]).startswith("1000"),
    )


@dataclass(kw_only=True)
class Board:
    """All contracts of a run and their prices."""

    random: Random
    contracts: list[Contract]
    by_symbol: dict[str, Contract] = field(default_factory=dict)

    def __post_init__(self) -> None:
        contracts, self.contracts = self.contracts, []
        for place, contract in enumerate(contracts):
            contract.keeps = place % 4 == 1
            self.add(contract)

    def add(self, contract: Contract) -> None:
        """Let a contract walk from its price on."""
        contract.centre = float(contract.price)
        contract.deviation = self.random.uniform(*(CALM_DEVIATION if contract.keeps else DAY_DEVIATION))
        self.contracts.append(contract)
        self.by_symbol[contract.symbol] = contract

    @property
    def ours(self) -> list[Contract]:
        return [contract for contract in self.contracts if not contract.foreign]

    @property
    def open(self) -> list[Contract]:
        """Return the contracts that we trade and that trade now."""
        return [contract for contract in self.ours if contract.trades]

    def usd(self, contract: Contract) -> Decimal:
        """Return what a unit of the contract's quote asset is worth."""
        quote = str(contract.row["quoteAsset"])
        other = self.by_symbol.get(f"{quote}USDT")
        if quote in DOLLARS:
            return Decimal(1)
        return other.price if other else Decimal(50_000)

    def moves(self, number: int, at: float) -> list[Contract]:
        """Move some contracts by what the time since their last move makes of it; return them."""
        moved = self.random.sample(self.contracts, min(number, len(self.contracts)))
        for contract in moved:
            self._move(contract, at)
        return moved

    def _move(self, contract: Contract, at: float) -> None:
        share = math.sqrt(max(at - contract.moved_at, 1.0) / DAY_SECONDS)
        contract.moved_at = at
        change = self.random.gauss(0, contract.deviation * share)
        if self.random.random() < LEAP_CHANCE:
            change += self.random.gauss(0, contract.deviation * LEAP_DAYS)
        away = math.log(float(contract.price) / contract.centre) + change
        away = max(-FARTHEST, min(FARTHEST, away))
        contract.price = contract.on_tick(Decimal(str(contract.centre * math.exp(away))))
