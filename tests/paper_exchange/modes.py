"""The four ways to hold a position: long or short, in one-way or in hedge mode; tests walk all of them."""

from dataclasses import dataclass
from typing import Any, Final

from paper_exchange.core.orders import AlgoOrder, Order, PositionSide, Side
from paper_exchange.core.settings import change_position_mode
from tests.paper_exchange.trader import Trader


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One of them; `terms` are what its reducing orders carry besides, `position_side` its row."""

    name: str
    opening: Side
    closing: Side
    position_side: PositionSide

    @property
    def is_hedge(self) -> bool:
        return self.position_side != "BOTH"

    @property
    def terms(self) -> dict[str, Any]:
        return {"position_side": self.position_side} if self.is_hedge else {"reduce_only": True}

    @property
    def http_terms(self) -> dict[str, str]:
        """Return the same as request parameters."""
        return {"positionSide": self.position_side} if self.is_hedge else {"reduceOnly": "true"}

    def prepare(self, trader: Trader, quantity: str = "") -> None:
        """Bring an account into the mode and open a position of that size."""
        if self.is_hedge:
            change_position_mode(trader.account, dual=True)
        if quantity:
            trader.send(self.opening, "MARKET", quantity, **self.side_terms)

    @property
    def side_terms(self) -> dict[str, Any]:
        return {"position_side": self.position_side} if self.is_hedge else {}

    def beyond(self, steps: int) -> str:
        """Price of a resting order that closes with a profit; more steps are farther away."""
        return str(50_000 + (500 * steps if self.closing == "SELL" else -500 * steps))

    def against(self, steps: int) -> str:
        """Price at which the position loses; a stop's trigger."""
        return str(50_000 - (500 * steps if self.closing == "SELL" else -500 * steps))

    def rest(self, trader: Trader, quantity: str, steps: int = 1) -> Order:
        """Place a reducing LIMIT order that rests."""
        return trader.send(self.closing, "LIMIT", quantity, self.beyond(steps), **self.terms)

    def stop(self, trader: Trader, quantity: str = "0", steps: int = 1, **terms: Any) -> AlgoOrder:
        """Place a reducing STOP_MARKET order; without a quantity it closes the position."""
        terms = {"close_position": True, **self.side_terms, **terms} if quantity == "0" else {**self.terms, **terms}
        return trader.condition(self.closing, terms.pop("kind", "STOP_MARKET"), quantity, self.against(steps), **terms)


MODES: Final = (
    Mode(name="one-way long", opening="BUY", closing="SELL", position_side="BOTH"),
    Mode(name="one-way short", opening="SELL", closing="BUY", position_side="BOTH"),
    Mode(name="hedge long", opening="BUY", closing="SELL", position_side="LONG"),
    Mode(name="hedge short", opening="SELL", closing="BUY", position_side="SHORT"),
)


def name_of(value: object) -> str | None:
    return value.name if isinstance(value, Mode) else None
