"""A contract of the listing with its terms changed at random: what a sequence trades on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from execution.domain.money import ceil_to, floor_to
from tests.support.desk import Desk

DOLLARS = frozenset({"USDT", "USDC", "USD1", "FDUSD", "BFUSD"})
LEAST_NOTIONALS = ("5", "20", "50", "100")
TICK_FACTORS, STEP_FACTORS = (1, 1, 1, 2, 5, 10), (1, 1, 1, 2, 5, 10)
# A tick or a step that is coarser than this leaves no room for exits or for sizes.
COARSEST_TICK, COARSEST_STEP_USD = Decimal("0.002"), Decimal(60)


@dataclass(kw_only=True)
class Contract:
    """One contract; `first` are its terms as the sequence began, to which it returns at the end."""

    desk: Desk
    random: Random
    symbol: str
    quote: str
    # What one unit of the quote asset is worth in USD.
    quote_usd: Decimal
    terms: dict[str, Decimal]
    price: Decimal
    # False from the last minutes of a dated contract on.
    trades: bool = True
    first: Mapping[str, Decimal] = field(init=False)

    def __post_init__(self) -> None:
        self._mutate()
        self.first = dict(self.terms)

    @classmethod
    def of(cls, desk: Desk, row: Mapping[str, Any], usd: Mapping[str, Decimal], random: Random) -> "Contract":
        """Draw one from its row of exchangeInfo."""
        filters = {each["filterType"]: each for each in row["filters"]}
        quote = desk.exchange.quote(row["symbol"])
        return cls(
            desk=desk,
            random=random,
            symbol=row["symbol"],
            quote=row["quoteAsset"],
            quote_usd=usd[row["quoteAsset"]],
            terms={
                "tick": Decimal(filters["PRICE_FILTER"]["tickSize"]),
                "step": Decimal(filters["LOT_SIZE"]["stepSize"]),
                "min_notional": Decimal(filters["MIN_NOTIONAL"]["notional"]),
                "market_max_quantity": Decimal(filters["MARKET_LOT_SIZE"]["maxQty"]),
            },
            price=quote.mark,
        )

    @property
    def tick(self) -> Decimal:
        return self.terms["tick"]

    @property
    def step(self) -> Decimal:
        return self.terms["step"]

    def quantity_for(self, usd: Decimal) -> Decimal:
        """Return the base quantity on a step that is worth so many USD, at least one step."""
        return max(floor_to(usd / (self.price * self.quote_usd), self.step), self.step)

    def price_at(self, fraction: Decimal) -> Decimal:
        """Return the price that lies a fraction above the present one (below it when negative), on a tick."""
        return max(floor_to(self.price * (1 + fraction), self.tick), self.tick)

    def move(self, price: Decimal) -> None:
        """Set the price, on a tick, and hold it there."""
        self.price = max(floor_to(price, self.tick), self.tick)
        self.desk.paper.set_price(self.symbol, text(self.price))

    def change(self, **terms: Decimal) -> None:
        """Change the terms at the exchange; a coarser tick takes the price with it onto its grid."""
        self.terms |= terms
        body = {name: text(value) for name, value in terms.items()}
        self.desk.paper.control("POST", "symbols", {"symbol": self.symbol, **body})
        if "tick" in terms:
            self.move(self.price)

    def change_at_random(self) -> str:
        """Change one of the terms, as the venue does while positions are open; return its name."""
        name = self.random.choice(("tick", "step", "min_notional", "market_max_quantity"))
        if name == "market_max_quantity":
            self.limit_market_orders(self.quantity_for(Decimal(self.random.randint(20, 400))))
        else:
            self.change(**{name: self._drawn(name)})
        return name

    def limit_market_orders(self, quantity: Decimal) -> None:
        """Let MARKET orders be no larger than this, on a step that keeps every smaller step valid."""
        self.change(market_max_quantity=ceil_to(quantity, self.step))

    def restore(self) -> None:
        """Return to the terms of the beginning, when every quantity and price of the sequence was valid."""
        if self.terms != self.first:
            self.change(**self.first)

    def _mutate(self) -> None:
        self.first = dict(self.terms)
        self.change(**{name: self._drawn(name) for name in ("tick", "step", "min_notional")})

    def _drawn(self, name: str) -> Decimal:
        if name == "tick":
            factors = [f for f in TICK_FACTORS if self.first["tick"] * f <= self.price * COARSEST_TICK]
            return self.first["tick"] * self.random.choice(factors or [1])
        if name == "step":
            unit = self.first["step"] * self.price * self.quote_usd
            factors = [f for f in STEP_FACTORS if unit * f <= COARSEST_STEP_USD]
            return self.first["step"] * self.random.choice(factors or [1])
        dollars = Decimal(self.random.choice(LEAST_NOTIONALS))
        return dollars if self.quote in DOLLARS else self.terms["min_notional"]


def text(value: Decimal) -> str:
    return format(value, "f")
