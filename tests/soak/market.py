"""The soak's market: seeded random walks on symbols that stand still between the steps, and funding on the hour."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from tests.support.desk import Desk

STEP_SECONDS = 5
# A price changes by about a tenth of a percent a step, and by one or two percent once in a while.
STEP_FRACTION, LEAP_FRACTION, LEAP_CHANCE = 0.001, 0.015, 0.001
FUNDING_SECONDS = 3600


@dataclass(kw_only=True)
class Listing:
    """One symbol with its price now."""

    symbol: str
    tick: Decimal
    price: Decimal


@dataclass(kw_only=True)
class Market:
    """Moves time and prices, the exchange's and ours together."""

    desk: Desk
    random: Random
    listings: Sequence[Listing]
    passed_seconds: int = field(default=0, init=False)

    @classmethod
    def of(cls, desk: Desk, symbols: Sequence[str], random: Random) -> "Market":
        listings = []
        for symbol in symbols:
            rules = desk.exchange.rules(symbol)
            if rules is None:
                raise AssertionError(f"{symbol} is not listed")
            bid = desk.exchange.quote(symbol).bid
            listings.append(Listing(symbol=symbol, tick=rules.tick_size, price=bid + rules.tick_size))
        return cls(desk=desk, random=random, listings=listings)

    def step(self) -> None:
        """Let some seconds pass and every price take its step."""
        self.let_pass(STEP_SECONDS)
        for listing in self.listings:
            spread = LEAP_FRACTION if self.random.random() < LEAP_CHANCE else STEP_FRACTION
            moved = float(listing.price) * (1 + self.random.gauss(0, spread))
            ticks = max(round(moved / float(listing.tick)), 1)
            listing.price = ticks * listing.tick
            self.desk.paper.set_price(listing.symbol, format(listing.price, "f"))

    def let_pass(self, seconds: int) -> None:
        self.desk.paper.control("POST", "clock", {"advance_ms": seconds * 1000})
        self.desk.clock.let_pass(seconds)
        before, self.passed_seconds = self.passed_seconds, self.passed_seconds + seconds
        if before // FUNDING_SECONDS != self.passed_seconds // FUNDING_SECONDS:
            rate = format(self.random.uniform(-0.0003, 0.0003), ".6f")
            for listing in self.listings:
                self.desk.paper.control("POST", "funding", {"symbol": listing.symbol, "rate": rate})
