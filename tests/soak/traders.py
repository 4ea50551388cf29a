"""Who trades in the soak: decisions of every kind of entry and bracket, and people and the exchange in between."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from execution.domain.money import floor_to
from tests.soak.market import Listing, Market
from tests.support.desk import Desk
from tests.support.ledger import Ledger

SIZE_USD = (100, 600)
STOP_FRACTION, TARGET_FRACTION = (0.004, 0.015), (0.004, 0.02)
HAND_CHANCE = 0.06


@dataclass(kw_only=True)
class Traders:
    """Sends decisions at random, by a seed; counts what was done."""

    desk: Desk
    market: Market
    random: Random
    done: Counter[str] = field(default_factory=Counter)

    def act(self) -> None:
        """Send a decision or two, and now and then let somebody else act."""
        for _ in range(self.random.randint(0, 2)):
            self._decide(self.random.choice(self.market.listings))
        if self.random.random() < HAND_CHANCE:
            self._somebody_else()

    def _decide(self, listing: Listing) -> None:
        side = self.random.choice(("buy", "sell"))
        sign = 1 if side == "buy" else -1
        rests = self.random.random() < 0.4
        entry = moved(listing, -sign * self.random.uniform(0.0005, 0.003)) if rests else listing.price
        fields: dict[str, Any] = {"quantity": self._quantity(listing), **self._bracket(listing, entry, sign)}
        if rests:
            fields["price"] = text(entry)
        request_id = self.desk.signal(listing.symbol, side, **fields)
        self.done[f"decisions {self.desk.run(request_id)}"] += 1

    def _quantity(self, listing: Listing) -> str:
        rules = self.desk.exchange.rules(listing.symbol)
        if rules is None:
            raise AssertionError(f"{listing.symbol} is not listed")
        step = max(rules.limit_step, rules.market_step)
        wanted = Decimal(self.random.randint(*SIZE_USD)) / listing.price
        return text(max(floor_to(wanted, step), step))

    def _bracket(self, listing: Listing, entry: Decimal, sign: int) -> dict[str, Any]:
        at = Listing(symbol=listing.symbol, tick=listing.tick, price=entry)
        targets = sorted(self.random.uniform(*TARGET_FRACTION) for _ in range(self.random.choice((1, 1, 2, 3))))
        share = text((Decimal(1) / len(targets)).quantize(Decimal("0.01")))
        fields: dict[str, Any] = {
            "stop_loss": text(moved(at, -sign * self.random.uniform(*STOP_FRACTION))),
            "take_profits": [{"price": text(moved(at, sign * far)), "share": share} for far in targets],
        }
        if self.random.random() < 0.3:
            fields["trailing"] = {"callback_percent": format(self.random.uniform(0.3, 1.5), ".1f")}
        if self.random.random() < 0.3:
            fields["break_even"] = True
        if self.random.random() < 0.2:
            fields["time_exit_seconds"] = self.random.randint(120, 1800)
        return fields

    def _somebody_else(self) -> None:
        """Close or reduce a position by hand, end an entry that rests, or let the exchange deleverage."""
        positions = Ledger.of(self.desk.paper).positions
        if not positions:
            return
        symbol, amount = self.random.choice(sorted(positions.items()))
        acts: Sequence[tuple[str, Callable[[], object]]] = (
            ("closed by hand", lambda: self._set(symbol, Decimal(0))),
            ("reduced by hand", lambda: self._set(symbol, self._half(symbol, amount))),
            ("deleveraged", lambda: self.desk.paper.control("POST", "close", {"symbol": symbol, "kind": "ADL"})),
        )
        name, act = self.random.choice(acts)
        act()
        self.done[name] += 1

    def _set(self, symbol: str, amount: Decimal) -> None:
        self.desk.paper.control("POST", "position", {"symbol": symbol, "amount": text(amount)})

    def _half(self, symbol: str, amount: Decimal) -> Decimal:
        rules = self.desk.exchange.rules(symbol)
        if rules is None:
            raise AssertionError(f"{symbol} is not listed")
        half = floor_to(abs(amount) / 2, rules.market_step)
        return half if amount > 0 else -half


def moved(listing: Listing, fraction: float) -> Decimal:
    """Return the price that lies a fraction away, on a tick."""
    return floor_to(listing.price * (1 + Decimal(str(fraction))), listing.tick)


def text(value: Decimal) -> str:
    return format(value, "f")
